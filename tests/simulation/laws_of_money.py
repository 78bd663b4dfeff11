"""What the service sends to Stripe and what Stripe does, at every step: keys, times, intents, charges, refunds.

The laws read Stripe's own account; a document counts only for what it held before a request left. Change together with:
`checks`.
"""

from collections.abc import Iterator

from payment.core.messages import IntentStatus
from payment.core.order import GIVING_BACK, Attempt, AttemptState, Order, TaskKind
from tests.simulation.accounts import Accounts, seconds_of
from tests.simulation.checks import Breach, step
from tests.simulation.history import token_hash
from tests.simulation.journal import (
    IntentMoved,
    StripeAnswered,
    StripeCharged,
    StripeReceived,
    StripeRefunded,
    StripeSent,
)

KEY_LIFE_S = 12 * 3600.0
"""A confirm may leave this long after its attempt began, in seconds: stated again, the code's own constant may be
wrong."""
CREATE_KEY_LIFE_S = 23 * 3600.0
"""A create may leave this long after the order came, in seconds, without a list of charges before it."""
CREATE_ALONE_S = 18 * 3600.0
"""A confirm may leave this long after the order came, in seconds, with an id that only its own create's answer has."""
RIGHT_ACCOUNT = "acct_right"
"""The account that the database belongs to, also where a process has the key of another one."""
TICK_S = 0.002
"""Wall clocks are read in whole milliseconds: a request may seem to leave this much later than its last instant."""


@step(StripeSent, law="no request to Stripe before its attempt stands in the store (F03)")
def requests_are_committed(entry: StripeSent, accounts: Accounts) -> Iterator[Breach]:
    order = accounts.orders.get(entry.order_id)
    if entry.kind == "create" and (order is None or order.intent is None or not _created_by(order, entry.key)):
        yield entry.order_id, f"{entry.who} sent {entry.key}, and the store holds no such intent"
    if entry.kind == "confirm":
        attempt = accounts.attempt(entry.order_id, entry.attempt)
        if attempt is None:
            yield entry.order_id, f"{entry.who} sent {entry.key}, and the store holds no such attempt"
        elif entry.intent_id is not None and not _is_of(accounts, entry.intent_id, attempt):
            yield entry.order_id, f"{entry.who} sent {entry.key}, and attempt {attempt.number} is another intent's"
    if entry.kind == "refund" and entry.key is not None and not _refund_committed(entry, accounts):
        yield entry.order_id, f"{entry.who} sent {entry.key}, and the store holds no such refund"


def _created_by(order: Order, key: str | None) -> bool:
    """Whether the key is that of the order's intent, or of an earlier one."""
    assert order.intent is not None
    mine, _, number = order.intent.key.rpartition("-")
    prefix, _, asked = str(key).rpartition("-")
    return prefix == mine and int(asked) <= int(number)


def _is_of(accounts: Accounts, intent_id: str, attempt: Attempt) -> bool:
    """Whether the intent's key has the number that the attempt has, or had before Stripe stored an error for it."""
    moved = accounts.intents.get(intent_id)
    return moved is not None and int(moved.key.rpartition("-")[2]) <= attempt.intent


def _refund_committed(entry: StripeSent, accounts: Accounts) -> bool:
    """Whether the document holds the refund's key, or a later one: the document keeps only the last."""
    prefix = str(entry.key).rpartition("-")[0]
    order = accounts.orders.get(entry.order_id)
    owed = order.attempts if order else ()
    return any(each.refund is not None and each.refund.key.rpartition("-")[0] == prefix for each in owed)


@step(StripeSent, law="nothing is sent to another account than the database's (F48)")
def one_account(entry: StripeSent, _accounts: Accounts) -> Iterator[Breach]:
    if entry.kind != "check" and entry.account_id != RIGHT_ACCOUNT:
        yield entry.order_id, f"{entry.who} sent a {entry.kind} to {entry.account_id}"


@step(StripeSent, law="a process that takes a confirm over retrieves the intent before it sends it again (F34)")
def take_overs_retrieve_first(entry: StripeSent, accounts: Accounts) -> Iterator[Breach]:
    if entry.kind != "confirm":
        return
    order = accounts.orders.get(entry.order_id)
    holder = _holder(order, entry.attempt) if order is not None else None
    # A request that leaves while the document has another holder, or a retrieval, was in flight before.
    if holder is None or holder.partition("#")[0] != entry.who:
        return
    # An error stored for a create shows all that a retrieval of its intent could: the next intent begins without one.
    now = _number(order)
    held = [each.order for each in accounts.revisions[entry.order_id] if _number(each.order) == now]
    first = next(found for each in held if (found := _holder(each, entry.attempt)) is not None)
    if first == holder:
        return
    retrievals = [each.came_at for each in accounts.revisions[entry.order_id] if _retrieves(each.order, holder)]
    retrieved_at = accounts.retrieved_at.get((entry.who, entry.order_id), -1)
    if not accounts.restored and (not retrievals or retrieved_at < retrievals[0]):
        yield entry.order_id, f"{entry.who} took {entry.key} over as {holder}, and sent it without a retrieval"


def _number(order: Order | None) -> int:
    return order.intent.number if order is not None and order.intent is not None else 0


def _retrieves(order: Order, holder: str) -> bool:
    """Whether a process is retrieving the order's intent, by a document."""
    task = order.intent.task if order.intent else None
    return task is not None and task.kind is TaskKind.RETRIEVE and task.holder == holder


def _holder(order: Order, number: int) -> str | None:
    """The process that has the confirm of this attempt in flight, by a document."""
    attempt, task = order.unsettled, order.intent.task if order.intent else None
    if attempt is None or attempt.number != number or attempt.state is not AttemptState.CONFIRMING or task is None:
        return None
    return task.holder if task.kind is TaskKind.CONFIRM else None


@step(StripeSent, law="a create whose key may be forgotten is preceded by a list of charges (F47)")
def old_creates_list_first(entry: StripeSent, accounts: Accounts) -> Iterator[Breach]:
    if entry.kind != "create" or accounts.clock_jumped or accounts.restored:
        return
    old_s = accounts.received_s.get(entry.order_id, entry.at_s) + CREATE_KEY_LIFE_S
    listed_s = accounts.listed_s.get((entry.who, entry.order_id))
    if entry.at_s > old_s + TICK_S and (listed_s is None or listed_s < old_s - TICK_S):
        yield entry.order_id, f"{entry.who} sent {entry.key} {entry.at_s - old_s:.0f} s too late, without a list"


@step(StripeSent, law="an intent is confirmed only where no other one of its order can charge (L1)")
def one_intent_at_a_time(entry: StripeSent, accounts: Accounts) -> Iterator[Breach]:
    if entry.kind != "confirm" or accounts.has_forgotten(entry.order_id, entry.at_s):
        return
    sent = accounts.intents.get(entry.intent_id or "")
    if accounts.restored and sent is not None and sent.status is IntentStatus.CANCELED:
        return  # a restored document has forgotten that it is canceled, and Stripe repeats what it stored for the key
    arrived = {accounts.intent_confirmed_by(key) for key in accounts.fingerprints if key.startswith("confirm-")}
    for other in accounts.intents_of(entry.order_id):
        closed = other.status in (IntentStatus.CANCELED, IntentStatus.SUCCEEDED)
        if other.intent_id != entry.intent_id and other.intent_id in arrived and not closed:
            yield entry.order_id, f"{entry.who} sent {entry.key}, and {other.intent_id} is {other.status.value}"


@step(StripeSent, law="an id that a create may not bring again is confirmed from the store alone (L1, F34)")
def ids_are_committed(entry: StripeSent, accounts: Accounts) -> Iterator[Breach]:
    if entry.kind != "confirm" or accounts.clock_jumped or accounts.restored:
        return
    old_s = accounts.received_s.get(entry.order_id, entry.at_s) + CREATE_ALONE_S
    held = {each.order.intent.id for each in accounts.revisions[entry.order_id] if each.order.intent is not None}
    if entry.at_s > old_s + TICK_S and entry.intent_id not in held:
        yield entry.order_id, f"{entry.who} sent {entry.key} {entry.at_s - old_s:.0f} s too late for an id of its own"


@step(StripeReceived, law="no key with two parameter sets (F16)")
def keys_have_one_meaning(entry: StripeReceived, accounts: Accounts) -> Iterator[Breach]:
    if entry.key is None or accounts.restored:
        return
    known = accounts.fingerprints.get(entry.key, entry.fingerprint)
    if known != entry.fingerprint:
        yield entry.order_id, f"{entry.key} was sent with {known}, and now with {entry.fingerprint}"


@step(StripeReceived, law="a request to Stripe has the committed parameters (F04)")
def parameters_are_the_frozen_ones(entry: StripeReceived, accounts: Accounts) -> Iterator[Breach]:
    order = accounts.orders.get(entry.order_id)
    if order is None or order.payment is None or entry.key is None or accounts.restored:
        return
    if entry.kind == "create":
        owed = repr((order.amount, order.currency, order.id, order.payment.id))
        if entry.fingerprint != owed:
            yield entry.order_id, f"{entry.key} asks for {entry.fingerprint}; committed is {owed}"
    if entry.kind == "confirm":
        attempt = accounts.attempt(entry.order_id, int(entry.key.rpartition("-")[2]))
        value = entry.fingerprint.rpartition(", ")[2].strip("')")
        if attempt is not None and token_hash(value) != attempt.token_hash:
            yield entry.order_id, f"{entry.key} confirms with {value}, which is not attempt {attempt.number}'s"


@step(StripeAnswered, law="Stripe never answers that a key came with other parameters, but after a restore (F16, F47)")
def stripe_has_no_complaint(entry: StripeAnswered, accounts: Accounts) -> Iterator[Breach]:
    if "other parameters" in entry.outcome and not accounts.restored:
        yield entry.order_id, f"{entry.key}: {entry.outcome}"


@step(StripeSent, law="no key is confirmed after its time (F17), nothing after its order expired (F36)")
def keys_are_young(entry: StripeSent, accounts: Accounts) -> Iterator[Breach]:
    if entry.kind != "confirm" or accounts.clock_jumped:
        return
    age_s = entry.at_s - accounts.first_stored_s.get((entry.order_id, entry.attempt), entry.at_s)
    if age_s > KEY_LIFE_S + TICK_S:
        yield entry.order_id, f"{entry.who} sent {entry.key} {age_s:.0f} s after it came to be"
    order = accounts.orders.get(entry.order_id)
    if order is not None and order.expires_at is not None:
        late_s = entry.at_s - seconds_of(order.expires_at)
        if late_s > TICK_S:
            yield entry.order_id, f"{entry.who} sent {entry.key} {late_s:.3f} s after its order expired"


@step(IntentMoved, law="an intent that is canceled or has succeeded stays so (F18)")
def closed_intents_stay_closed(entry: IntentMoved, accounts: Accounts) -> Iterator[Breach]:
    before = accounts.intents.get(entry.intent_id)
    if before is not None and before.status in (IntentStatus.CANCELED, IntentStatus.SUCCEEDED):
        yield entry.order_id, f"{entry.intent_id} was {before.status.value}, and is {entry.status.value}"


@step(StripeCharged, law="an intent charges once (F05, F17, F18)")
def intents_charge_once(entry: StripeCharged, accounts: Accounts) -> Iterator[Breach]:
    mine = [each for each in accounts.charges.values() if each.intent_id == entry.intent_id and each.succeeded]
    if entry.succeeded and entry.intent_id is not None and mine:
        yield entry.order_id, f"{entry.intent_id} has charged a second time"


@step(StripeCharged, law="L1: no second charge of one order, ever, but after a full refund")
def one_charge_at_a_time(entry: StripeCharged, accounts: Accounts) -> Iterator[Breach]:
    if not entry.succeeded or accounts.has_forgotten(entry.order_id, entry.at_s):
        return
    kept = [
        each.charge_id
        for each in accounts.charges_of(entry.order_id)
        # A charge whose refund failed is refunded again once the service notices: it counts as given back.
        if not accounts.on_its_way_back(each.charge_id) and not accounts.was_returned(each.charge_id)
    ]
    if kept:
        yield entry.order_id, f"{entry.charge_id} was charged while {', '.join(kept)} is kept"


@step(StripeCharged, law="what is charged is what the order costs (F35)")
def amounts_are_right(entry: StripeCharged, accounts: Accounts) -> Iterator[Breach]:
    order = accounts.orders.get(entry.order_id)
    if accounts.restored:
        return
    if order is None or (order.amount, order.currency) != (entry.amount, entry.currency):
        owed = (order.amount, order.currency) if order else None
        yield entry.order_id, f"charged {entry.amount} {entry.currency}, it costs {owed}"


@step(StripeRefunded, law="a refund only for a charge that exists and is not kept (F20, F21, F23)")
def refunds_have_a_reason(entry: StripeRefunded, accounts: Accounts) -> Iterator[Breach]:
    charge = accounts.charges.get(entry.charge_id)
    if charge is None or not charge.succeeded:
        yield "", f"{entry.refund_id} gives back {entry.charge_id}, which was never charged"
        return
    if entry.refund_id in accounts.refunds[entry.charge_id]:
        return
    if accounts.on_its_way_back(charge.charge_id):
        yield charge.order_id, f"{entry.charge_id} is given back a second time, by {entry.refund_id}"
    order = accounts.orders.get(charge.order_id)
    owed = order.attempts if order else ()
    if entry.charge_id in accounts.by_hand or accounts.restored:
        return
    if not any(each.charge_id == entry.charge_id and each.state in GIVING_BACK for each in owed):
        yield charge.order_id, f"{entry.charge_id} was given back, and no document asks for that"


@step(StripeSent, law="an intent is cancelled only where a document asks for it (F46)")
def cancels_have_a_reason(entry: StripeSent, accounts: Accounts) -> Iterator[Breach]:
    if entry.kind != "cancel" or accounts.restored:
        return
    tasks = [each.order.intent.task for each in accounts.revisions[entry.order_id] if each.order.intent is not None]
    if not any(task is not None and task.kind is TaskKind.CANCEL for task in tasks):
        yield entry.order_id, f"{entry.who} cancels {entry.intent_id}, and no document asked for it"
