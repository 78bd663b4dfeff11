"""The four laws, once faults are off and nothing is due: Stripe, the bus, the documents and the customers agree.

Change together with: `checks`, and the laws at the head of ARCHITECTURE.md.
"""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal

from payment.actors.nats.event_payloads import ORDER_CANCELLED, ORDER_CREATED
from payment.core.effects import PAYMENT_CREATED, PAYMENT_DISPUTED, PAYMENT_REFUND_FAILED, PAYMENT_REFUNDED
from payment.core.messages import IntentStatus
from payment.core.order import UNSETTLED, Attempt, AttemptState
from tests.simulation.accounts import Accounts, is_applied, is_poison, order_of, seconds_of
from tests.simulation.checks import Breach, rest, step
from tests.simulation.history import token_hash
from tests.simulation.journal import ChargeAnswered, ChargePosted, StayedReachable, Stored, StripeCharged

EXPONENTS = {"jpy": 0, "kwd": 3}
"""Decimals of the currencies that the plans use, where they are not two (isk is charged as if it had two)."""


REFUNDS_UNDONE = 3
"""After this many refunds of a charge that failed the service asks for no more: stated again, the code's own constant
may be wrong."""
GIVING_BACK_EVENTS = (PAYMENT_REFUNDED, PAYMENT_REFUND_FAILED, PAYMENT_DISPUTED)


def _attempt_of(accounts: Accounts, charge: StripeCharged) -> Attempt | None:
    order = accounts.orders.get(charge.order_id)
    found = (each for each in (order.attempts if order else ()) if each.charge_id == charge.charge_id)
    return next(found, None)


def _blocked(accounts: Accounts, charge: StripeCharged) -> bool:
    """Whether the charge's refund is blocked for good reason: the bank has not decided, or returns each refund
    (F44)."""
    attempt = _attempt_of(accounts, charge)
    if attempt is None or attempt.state is not AttemptState.BLOCKED or attempt.refund is None:
        return False
    return accounts.disputes.get(charge.charge_id) == "needs_response" or attempt.refund.undone >= REFUNDS_UNDONE


def _is_back(accounts: Accounts, charge_id: str) -> bool:
    """Whether the customer has the money back, by the last status of Stripe's refund and of the bank's dispute."""
    return accounts.given_back(charge_id) or accounts.charged_back(charge_id)


def _kept(accounts: Accounts, order_id: str) -> list[str]:
    """Charges that are neither given back, by their last status, nor blocked from it by Stripe itself (F44)."""
    return [
        charge.charge_id
        for charge in accounts.charges_of(order_id)
        if not _is_back(accounts, charge.charge_id) and not _blocked(accounts, charge) and not accounts.is_lost(charge)
    ]


def _announced(accounts: Accounts, subject: str) -> Iterator[dict[str, str]]:
    return (json.loads(each.data) for each in accounts.outgoing if each.subject == subject)


def _all_orders(accounts: Accounts) -> list[str]:
    return sorted({*accounts.orders, *(charge.order_id for charge in accounts.charges.values())})


@rest(law="L1: an order keeps one charge at most", restored=True, corrupt=True)
def one_charge_is_kept(accounts: Accounts) -> Iterator[Breach]:
    for order_id in _all_orders(accounts):
        kept = _kept(accounts, order_id)
        if len(kept) > 1 and not accounts.has_forgotten(order_id, max(accounts.charged_s[each] for each in kept)):
            yield order_id, f"{', '.join(kept)} are kept"


@rest(law="L1: the documents agree with Stripe's accounts")
def documents_agree_with_stripe(accounts: Accounts) -> Iterator[Breach]:
    for order_id in _all_orders(accounts):
        charges = accounts.charges_of(order_id)
        if any(accounts.is_lost(charge) for charge in charges):
            continue
        charged = {charge.charge_id for charge in charges}
        order = accounts.orders.get(order_id)
        known = {each.charge_id for each in (order.attempts if order else ()) if each.charge_id}
        # A charge that an operator gave back before the service knew of it paid nothing, and needs no place in a
        # document.
        if known - charged or any(each not in accounts.by_hand for each in charged - known):
            yield order_id, f"Stripe has charged {sorted(charged)}, the store holds {sorted(known)}"
        for each in order.attempts if order else ():
            # The service does not search for refunds of a payment that an operator or a bank has made.
            if each.charge_id and each.charge_id not in accounts.by_hand:
                yield from ((order_id, words) for words in _disagreement(accounts, each, each.charge_id))


def _disagreement(accounts: Accounts, attempt: Attempt, charge_id: str) -> Iterator[str]:
    refunded, lost = accounts.given_back(charge_id), accounts.charged_back(charge_id)
    if attempt.state is AttemptState.CHARGED_BACK:
        agrees = lost
    else:
        agrees = refunded == (attempt.state is AttemptState.REFUNDED)
    if not agrees:
        yield f"{charge_id} is {attempt.state.value}; at Stripe it is refunded: {refunded}, charged back: {lost}"


@rest(law="L2: each charged customer has a payment:created or a refund")
def the_charged_are_announced(accounts: Accounts) -> Iterator[Breach]:
    reported = {payload["stripeId"] for payload in _announced(accounts, PAYMENT_CREATED)}
    for charge in accounts.charges.values():
        if accounts.is_lost(charge):
            continue
        back = _is_back(accounts, charge.charge_id) or _blocked(accounts, charge)
        if charge.succeeded and charge.charge_id not in reported and not back:
            yield charge.order_id, f"{charge.charge_id} is kept, and was never announced"


@rest(law="L2: no other order has a payment:created, and none has two", corrupt=True)
def only_the_charged_are_announced(accounts: Accounts) -> Iterator[Breach]:
    paid_by: dict[str, str] = {}
    for payload in _announced(accounts, PAYMENT_CREATED):
        charge = accounts.charges.get(payload["stripeId"])
        if charge is None or not charge.succeeded or charge.order_id != payload["orderId"]:
            yield payload["orderId"], f"announced, and never charged: {payload}"
        if paid_by.setdefault(payload["orderId"], payload["stripeId"]) != payload["stripeId"]:
            yield payload["orderId"], f"announced as paid by {payload['stripeId']} and {paid_by[payload['orderId']]}"


@rest(law="L2: a kept charge's payment:created names that charge")
def the_kept_charge_is_announced(accounts: Accounts) -> Iterator[Breach]:
    reported = {payload["orderId"]: payload["stripeId"] for payload in _announced(accounts, PAYMENT_CREATED)}
    for order_id in _all_orders(accounts):
        kept = _kept(accounts, order_id)
        if len(kept) == 1 and reported.get(order_id) != kept[0] and not _cancelled(accounts, order_id):
            yield order_id, f"{kept[0]} is kept, announced was {reported.get(order_id)}"


def _cancelled(accounts: Accounts, order_id: str) -> bool:
    order = accounts.orders.get(order_id)
    came = any(
        each.subject == ORDER_CANCELLED
        and not is_poison(each)
        and order_of(each) == order_id
        and not _is_dead_letter(accounts, each)
        for each in accounts.incoming.values()
    )
    return came or (order is not None and order.cancelled)


def _is_dead_letter(accounts: Accounts, event: Stored) -> bool:
    return any(
        message.data == event.data and message.subject == event.subject for message in accounts.dead_letters.values()
    )


@rest(law="L3: a cancelled order keeps no money")
def the_cancelled_keep_nothing(accounts: Accounts) -> Iterator[Breach]:
    for order_id in _all_orders(accounts):
        if _cancelled(accounts, order_id) and (kept := _kept(accounts, order_id)):
            yield order_id, f"it is cancelled, and {', '.join(kept)} is kept"


def _without_repetitions(events: Iterable[Stored]) -> Iterator[Stored]:
    """Each event where it was published first. A process that was paused may repeat an old event after a newer one
    (F34); its readers recognise a repetition by its contents: no two refunds have one id."""
    known_events: set[tuple[str, bytes]] = set()
    for event in events:
        if (event.subject, event.data) not in known_events:
            known_events.add((event.subject, event.data))
            yield event


@rest(law="L3: the last status of a charge's refund is announced (F21, F44)")
def refunds_are_announced(accounts: Accounts) -> Iterator[Breach]:
    last: dict[str, Stored] = {}
    for event in _without_repetitions(accounts.outgoing):
        if event.subject in GIVING_BACK_EVENTS:
            last[json.loads(event.data)["stripeId"]] = event
    reported = {order_of(event) for event in last.values()}
    for charge_id, event in last.items():
        payload, order_id = json.loads(event.data), order_of(event)
        if not _cancelled(accounts, order_id) and charge_id not in accounts.by_hand:
            yield order_id, f"{event.subject} was published, and it was never cancelled"
        if event.subject == PAYMENT_REFUNDED:
            if accounts.refunds.get(charge_id, {}).get(payload["refundId"]) != "succeeded":
                yield order_id, f"announced as given back, and it is not: {payload}"
        elif event.subject == PAYMENT_REFUND_FAILED and _is_back(accounts, charge_id):
            yield order_id, f"announced as failed, and it is given back: {payload}"
        elif event.subject == PAYMENT_DISPUTED and not accounts.charged_back(charge_id):
            attempt = _attempt_of(accounts, accounts.charges[charge_id])
            if attempt is None or not attempt.undone:
                yield order_id, f"announced as charged back, and it is not: {payload}"
    paid = {payload["orderId"]: payload["stripeId"] for payload in _announced(accounts, PAYMENT_CREATED)}
    for order_id, charge_id in paid.items():
        if charge_id not in accounts.by_hand and accounts.given_back(charge_id) and order_id not in reported:
            yield order_id, f"{charge_id} was announced as paid and given back, and the refund was never announced"


@rest(law="L4: every event is applied, found stale, or a dead letter", corrupt=True)
def events_are_not_lost(accounts: Accounts) -> Iterator[Breach]:
    for event in accounts.incoming.values():
        if _is_dead_letter(accounts, event):
            continue
        if is_poison(event):
            yield "", f"{event.subject} {event.sequence} can't be applied, and is no dead letter"
        elif not is_applied(accounts, event):
            yield order_of(event), f"{event.subject} {event.sequence} is lost"


@rest(law="L4: an order costs what the orders service announced")
def prices_are_exact(accounts: Accounts) -> Iterator[Breach]:
    for event in accounts.incoming.values():
        if event.subject != ORDER_CREATED or is_poison(event) or _is_dead_letter(accounts, event):
            continue
        payload = json.loads(event.data, parse_float=Decimal)
        ticket, order = payload["ticket"], accounts.orders.get(payload["id"])
        exponent = EXPONENTS.get(ticket["currency"], 2)
        owed = (int(Decimal(ticket["price"]).scaleb(exponent)), ticket["currency"], payload["userId"])
        if order is not None and (order.amount, order.currency, order.user_id) != owed:
            yield order.id, f"it costs {owed}, the store holds {(order.amount, order.currency, order.user_id)}"


@rest(law="L4: each 201 is true", corrupt=True)
def answers_201_are_true(accounts: Accounts) -> Iterator[Breach]:
    for request, answer in _answers(accounts):
        if answer.status not in (200, 201):
            continue
        charge = accounts.charges.get(json.loads(answer.body)["stripeId"])
        if charge is None or not charge.succeeded or charge.order_id != request.order_id:
            yield request.order_id, f"{request.who} got {answer.status}, and was never charged"


@rest(law="no intent whose secret is out is open, and none that was confirmed (F46)")
def exposed_intents_are_closed(accounts: Accounts) -> Iterator[Breach]:
    confirmed = {accounts.intent_confirmed_by(key) for key in accounts.fingerprints if key.startswith("confirm-")}
    for intent in accounts.intents.values():
        order = accounts.orders.get(intent.order_id)
        dead = (
            order is None or order.cancelled or order.expires_at is None or seconds_of(order.expires_at) < accounts.at_s
        )
        closed = intent.status in (IntentStatus.CANCELED, IntentStatus.SUCCEEDED)
        if intent.intent_id in accounts.secrets_out and not closed:
            state = "dead" if dead else "alive"
            yield intent.order_id, f"{intent.intent_id} is {intent.status.value}, its secret is out, its order {state}"
        awaits = intent.status in (IntentStatus.REQUIRES_ACTION, IntentStatus.PROCESSING)
        # An intent whose confirm was never answered, and whose create's key Stripe has forgotten since, is known to no
        # process: it awaits a customer who never got its secret.
        known = any(
            each.order.intent is not None and each.order.intent.id == intent.intent_id
            for each in accounts.revisions[intent.order_id]
        )
        if awaits and known and intent.intent_id in confirmed:
            yield intent.order_id, f"{intent.intent_id} was confirmed, and is {intent.status.value}"


SLOW = ("clock jumps ahead", "clock jumps back", "actor hangs", "actor crashes", "document refused", "write lands late")
"""Faults of our own side, after which an in-flight effect is released only when its lease is over."""


@step(StayedReachable, law="no unknown outcome is older than 30 s once Stripe answers")
def outcomes_become_known(entry: StayedReachable, accounts: Accounts) -> Iterator[Breach]:
    slow = (
        "clock jumps ahead",
        "clock jumps back",
        "actor hangs",
        "actor crashes",
        "document refused",
        "write lands late",
    )
    if any(fault in accounts.struck for fault in slow) or accounts.restored:
        return
    for order in accounts.orders.values():
        attempt = order.unsettled
        if attempt is None or attempt.state not in (AttemptState.CONFIRMING, AttemptState.CANCELLING):
            continue
        if order.id in accounts.ever_corrupt:
            continue  # it was set aside for a while; effects in flight meanwhile are retried after their lease
        since_s = next(
            each.at_s
            for each in accounts.revisions[order.id]
            if len(each.order.attempts) >= attempt.number
            and each.order.attempts[attempt.number - 1].state in (AttemptState.CONFIRMING, AttemptState.CANCELLING)
        )
        if entry.at_s - since_s >= entry.for_s:
            yield order.id, f"attempt {attempt.number} is {attempt.state.value} since {since_s:.3f} s"


@rest(law="L4: each 202 resolves; nothing is unsettled, unpublished or due")
def nothing_is_left_undone(accounts: Accounts) -> Iterator[Breach]:
    for order in accounts.orders.values():
        for attempt in order.attempts:
            if attempt.state in UNSETTLED or attempt.state is AttemptState.REFUNDING:
                yield order.id, f"attempt {attempt.number} is still {attempt.state.value}"
            if attempt.recheck is not None:
                yield order.id, f"attempt {attempt.number} is to be rechecked at {attempt.recheck}"
        for event in order.outbox:
            if event.published is None:
                yield order.id, f"{event.subject} was never published"
        if order.due is not None and not any(each.state is AttemptState.BLOCKED for each in order.attempts):
            yield order.id, f"it is due at {order.due}"


@rest(law="L4: a card that an answer calls not charged pays for nothing (F15)")
def denied_is_not_kept(accounts: Accounts) -> Iterator[Breach]:
    for request, answer in _answers(accounts):
        order = accounts.orders.get(request.order_id)
        if answer.status not in (400, 402) or order is None or order.kept is None:
            continue
        if order.kept.intent and (intent := order.intent) is not None and intent.id in accounts.secrets_out:
            # Its secret is out: the customer may have paid by it after all, with any card.
            continue
        if order.kept.token_hash == token_hash(request.token) and not order.cancelled:
            yield order.id, f"{request.who} got {answer.status} for the card that pays for it"


def _answers(accounts: Accounts) -> Iterator[tuple[ChargePosted, ChargeAnswered]]:
    for asked in accounts.asked.values():
        if isinstance(asked.asked, ChargePosted) and isinstance(asked.answer, ChargeAnswered):
            yield asked.asked, asked.answer
