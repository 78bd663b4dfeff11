"""The rows about Stripe, charges, customers at their banks and refunds.

Each docstring describes the case that meets its row. Change together with: `rows`, the table in docs/faults.md.
"""

from payment.core.messages import IntentStatus
from payment.core.order import AttemptState, Order, Trigger
from payment.core.schedule import KEY_LIFE
from tests.simulation.accounts import Accounts, seconds_of
from tests.simulation.journal import (
    BankPageVisited,
    ChargeAnswered,
    ConfirmedInBrowser,
    IntentMoved,
    LineLogged,
    OperatorActed,
    PairMet,
    StoreRestored,
    StripeAnswered,
    StripeReceived,
    Wrote,
)
from tests.simulation.rows import row


def _cancels(entry: Wrote, accounts: Accounts) -> Order | None:
    """The order as it was, where this write cancels it."""
    before = accounts.orders.get(entry.order.id)
    return before if entry.order.cancelled and before is not None and not before.cancelled else None


@row("F09", StripeAnswered)
def charged_without_an_answer(entry: StripeAnswered, accounts: Accounts) -> bool:
    """A confirm ends unclear, and Stripe has charged."""
    return entry.kind == "confirm" and "Unclear" in entry.outcome and accounts.has_charged(entry.key or "")


@row("F10", StripeAnswered)
def not_charged_without_an_answer(entry: StripeAnswered, accounts: Accounts) -> bool:
    """A confirm ends unclear, and Stripe has not charged."""
    return entry.kind == "confirm" and "Unclear" in entry.outcome and not accounts.has_charged(entry.key or "")


@row("F11", StripeAnswered)
def an_answer_stalled(entry: StripeAnswered, accounts: Accounts) -> bool:
    """A request with a key ends unclear after its answer began to stall."""
    return bool(accounts.struck["answer of Stripe stalls"] and entry.key and "no whole answer" in entry.outcome)


@row("F12", StripeAnswered)
def an_error_is_replayed(entry: StripeAnswered, _accounts: Accounts) -> bool:
    """A 500 comes back for a key, as Stripe stored it."""
    return "stored=True" in entry.outcome


@row("F13", StripeAnswered)
def a_key_is_in_use(entry: StripeAnswered, _accounts: Accounts) -> bool:
    """Stripe answers that a request with the key is executing."""
    return "key_in_use" in entry.outcome.lower()


@row("F14", StripeAnswered)
def too_many(entry: StripeAnswered, _accounts: Accounts) -> bool:
    """Stripe answers a confirm with 429."""
    return entry.kind == "confirm" and "RATE_LIMITED" in entry.outcome


@row("F15", Wrote)
def payable_after_a_decline(entry: Wrote, accounts: Accounts) -> bool:
    """An attempt begins on an order on which one was declined."""
    states = [each.state for each in entry.order.attempts]
    begins = len(states) > accounts.attempts_of(entry.order.id)
    return begins and AttemptState.DECLINED in states[:-1]


@row("F17", Wrote)
def a_key_is_too_old(entry: Wrote, accounts: Accounts) -> bool:
    """An attempt is unsettled, and its key may not be sent any more."""
    order = entry.order
    first_stored_s = [
        accounts.first_stored_s.get((order.id, each.number), entry.at_s)
        for each in order.attempts
        if each is order.unsettled
    ]
    return any(entry.at_s - at_s > KEY_LIFE.total_seconds() for at_s in first_stored_s)


@row("F18", StripeReceived)
def a_confirm_lands_late(entry: StripeReceived, accounts: Accounts) -> bool:
    """A confirm arrives after its intent was cancelled."""
    intent = accounts.intents.get(accounts.intent_confirmed_by(entry.key)) if entry.kind == "confirm" else None
    return intent is not None and intent.status is IntentStatus.CANCELED


@row("F20", Wrote)
def cancelled_while_charging(entry: Wrote, accounts: Accounts) -> bool:
    """The cancel is written while a confirm of the order is with Stripe."""
    before = _cancels(entry, accounts)
    return before is not None and any(accounts.order_of_key.get(key) == before.id for _, key in accounts.in_flight)


@row("F23", StripeAnswered)
def a_refund_is_unclear(entry: StripeAnswered, _accounts: Accounts) -> bool:
    """A refund ends unclear."""
    return entry.kind == "refund" and "Unclear" in entry.outcome


@row("F24", Wrote)
def cancelled_while_unknown(entry: Wrote, accounts: Accounts) -> bool:
    """The cancel is written while the outcome of an attempt is not known."""
    before = _cancels(entry, accounts)
    attempt = before.unsettled if before else None
    return attempt is not None and (attempt.sends > 1 or attempt.state is AttemptState.CANCELLING)


@row("F35", ChargeAnswered)
def an_amount_is_refused(entry: ChargeAnswered, _accounts: Accounts) -> bool:
    """422."""
    return entry.status == 422


@row("F36", StripeAnswered)
def our_key_is_refused(entry: StripeAnswered, _accounts: Accounts) -> bool:
    """Stripe answers a request with a key with 401."""
    return entry.key is not None and "KEY_REFUSED" in entry.outcome


@row("F44", PairMet)
def a_refund_is_blocked(entry: PairMet, _accounts: Accounts) -> bool:
    """Stripe blocks a refund."""
    return entry.trigger is Trigger.REFUND_BLOCKED


@row("F44", PairMet)
def a_refund_has_failed(entry: PairMet, _accounts: Accounts) -> bool:
    """A charge is no longer given back; or its bank has given it back."""
    return entry.trigger in (Trigger.UNDONE, Trigger.DISPUTE_LOST)


@row("F45", BankPageVisited)
def a_customer_at_the_bank(entry: BankPageVisited, accounts: Accounts) -> bool:
    """A customer authenticates, and the order is charged by it."""
    return entry.completes and entry.status is IntentStatus.SUCCEEDED


@row("F45", ConfirmedInBrowser)
def a_browser_pays(entry: ConfirmedInBrowser, _accounts: Accounts) -> bool:
    """A browser confirms by the secret with another card, and that one is charged."""
    return "SUCCEEDED" in entry.outcome


@row("F46", IntentMoved)
def an_exposed_intent_on_a_dead_order(entry: IntentMoved, accounts: Accounts) -> bool:
    """An intent whose secret is out ends (canceled, or charged) when its order is cancelled or has expired."""
    order = accounts.orders.get(entry.order_id)
    ends = entry.status in (IntentStatus.CANCELED, IntentStatus.SUCCEEDED)
    if order is None or not ends or entry.intent_id not in accounts.secrets_out:
        return False
    return order.cancelled or (order.expires_at is not None and seconds_of(order.expires_at) < entry.at_s)


@row("F47", StoreRestored)
def put_back_after_a_charge(entry: StoreRestored, accounts: Accounts) -> bool:
    """The store is restored to its state before an order was charged."""
    known = {each.charge_id for order in entry.orders for each in order.attempts}
    return any(each.succeeded and each.charge_id not in known for each in accounts.charges.values())


@row("F48", LineLogged)
def the_key_of_another_account(entry: LineLogged, accounts: Accounts) -> bool:
    """A process logs that its key is another account's, while an attempt is not settled."""
    unsettled = any(order.unsettled is not None for order in accounts.orders.values())
    return entry.event == "account_mismatch" and unsettled


@row("F49", OperatorActed)
def changed_in_the_dashboard(entry: OperatorActed, accounts: Accounts) -> bool:
    """An operator cancels an intent, or refunds a charge, of an order whose attempt is not settled."""
    order = accounts.orders.get(entry.order_id)
    return order is not None and order.unsettled is not None
