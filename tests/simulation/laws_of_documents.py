"""Every effect is committed before it leaves: the laws of documents, acks, events and processes.

Each law is about one entry and the state before it. Change together with: `checks`, `payment.core.order`.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta

from payment.actors.nats.event_payloads import INCOMING_SUBJECTS
from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUND_FAILED, PAYMENT_REFUNDED
from payment.core.messages import IntentStatus
from payment.core.order import (
    ATTEMPTS_LIMIT,
    GIVEN_BACK,
    GIVING_BACK,
    TABLE,
    UNSETTLED,
    Attempt,
    AttemptState,
    Intent,
    IntentState,
    Order,
    OutboxEvent,
    TaskKind,
)
from tests.simulation.accounts import Accounts, is_applied, is_poison, order_of, seconds_of, tasks_of
from tests.simulation.bus import GROUP
from tests.simulation.checks import Breach, step
from tests.simulation.journal import (
    Acked,
    DeadLetterKept,
    EventRejected,
    Exited,
    LineLogged,
    PairMet,
    Stored,
    StripeAnswered,
    Wrote,
)

FROZEN = ("number", "amount", "currency", "api_version", "token_hash", "first_sent", "authentication")
"""The fields of an attempt that never change."""
OWES_A_REFUND = frozenset({AttemptState.REFUNDING, AttemptState.BLOCKED})
OWES_AN_INTENT = UNSETTLED - {AttemptState.CHARGING}
"""States in which a task of the attempt's intent is in flight, or will be; an attempt of 0.1.0 has no intent."""
LONGEST_RETRIEVAL_DELAY = timedelta(seconds=60)
REJECTION_LOGGED_WITHIN_S = 10.0
"""An operator can act only on what `/readyz` and the log report."""
COMMIT_S = 45.0
"""A decision made in time may be written late: a write may wait, and a process may be paused."""
RETRIEVALS_ENOUGH = 4
"""This many equal retrievals are enough. The first ones may be another process's, whose answers need not count."""
CHARGED = GIVING_BACK | {AttemptState.PAID}
RECHECKED_S = 29 * 86_400.0
"""A clock that was wrong by hours may end the rechecks too early by as many."""
RESTARTS_EXHAUSTED = 70
"""The exit code of a process whose actors crashed too often."""


@step(Wrote, law="rev only grows, by one each write")
def revision_grows(entry: Wrote, accounts: Accounts) -> Iterator[Breach]:
    before = accounts.orders.get(entry.order.id)
    was = before.rev if before else 0
    if entry.order.rev != was + 1:
        yield entry.order.id, f"rev {was} was followed by {entry.order.rev}"


@step(Wrote, law="nothing is decided about a document that makes no sense (F50)")
def what_is_written_makes_sense(entry: Wrote, accounts: Accounts) -> Iterator[Breach]:
    order, kept = entry.order, entry.order.payment.kept if entry.order.payment is not None else None
    if kept is not None and not 1 <= kept <= len(order.attempts):
        yield order.id, f"it keeps attempt {kept}, and has {len(order.attempts)}"
    if [attempt.number for attempt in order.attempts] != list(range(1, len(order.attempts) + 1)):
        yield order.id, "its attempts do not count from 1 on"


@step(Wrote, law="absorbing states stay, and an attempt's first parameters are frozen")
def nothing_is_revoked(entry: Wrote, accounts: Accounts) -> Iterator[Breach]:
    order, before = entry.order, accounts.orders.get(entry.order.id)
    if before is None:
        return
    if before.cancelled and not order.cancelled:
        yield order.id, "it was cancelled, and is not any more"
    if order.version < before.version:
        yield order.id, f"its version went back from {before.version} to {order.version}"
    if len(order.attempts) < len(before.attempts):
        yield order.id, "an attempt was forgotten"
    if before.payment and order.payment and before.payment.id != order.payment.id:
        yield order.id, "the id of its payment changed"
    if before.payment and before.payment.kept and (not order.payment or order.payment.kept != before.payment.kept):
        yield order.id, "another attempt is kept than before"
    for old, new in zip(before.attempts, order.attempts, strict=False):
        yield from ((order.id, words) for words in _changed(old, new))
    if before.intent is not None:
        yield from ((order.id, words) for words in _intent_changed(before.intent, order.intent))


def _changed(old: Attempt, new: Attempt) -> Iterator[str]:
    for name in FROZEN:
        if getattr(old, name) != getattr(new, name):
            yield f"attempt {old.number}: {name} changed from {getattr(old, name)!r} to {getattr(new, name)!r}"
    if old.state not in UNSETTLED and new.state in UNSETTLED:
        yield f"attempt {old.number} was {old.state.value}, and is unsettled again"
    if old.charge_id not in (None, new.charge_id):
        yield f"attempt {old.number}: the charge {old.charge_id} was forgotten"
    if new.sends < old.sends or new.not_after > old.not_after or new.intent < old.intent:
        yield f"attempt {old.number}: sends, not_after or its intent went the wrong way"


def _intent_changed(old: Intent, new: Intent | None) -> Iterator[str]:
    if new is None or new.number < old.number:
        yield f"intent {old.number} was forgotten"
    elif new.number == old.number:
        if old.id not in (None, new.id) or old.key != new.key:
            yield f"intent {old.number} was {old.id}, and is {new.id}"
        if old.exposed and not new.exposed:
            yield f"the secret of intent {old.number} was out, and is not any more"
        if old.state is not IntentState.OPEN and new.state is IntentState.OPEN:
            yield f"intent {old.number} was {old.state.value}, and is open again"


@step(Wrote, law="the next intent begins only after the last one is closed, or was never confirmed (F12, F18)")
def intents_follow_one_another(entry: Wrote, accounts: Accounts) -> Iterator[Breach]:
    order, before = entry.order, accounts.orders.get(entry.order.id)
    if order.intent is None or before is None or before.intent is None or order.intent.number == before.intent.number:
        return
    last = before.intent
    if order.intent.number != last.number + 1:
        yield order.id, f"intent {last.number} was followed by {order.intent.number}"
    closed = [accounts.intents[last.id].status] if last.id in accounts.intents else []
    if last.id is not None and not all(each in (IntentStatus.CANCELED, IntentStatus.SUCCEEDED) for each in closed):
        yield order.id, f"intent {order.intent.number} began, and {last.id} is {closed[0].value} at Stripe"


@step(Wrote, law="payment ids and the keys of creates are functions of the order alone (F47)")
def names_are_functions_of_the_order(entry: Wrote, _accounts: Accounts) -> Iterator[Breach]:
    order = entry.order
    if order.payment is None:
        return
    named = hashlib.sha256(f"{GROUP}\n{order.id}".encode()).hexdigest()[:32]
    of_0_1_0 = any(not attempt.intent for attempt in order.attempts)
    if order.payment.id != named and not of_0_1_0:
        yield order.id, f"its payment is {order.payment.id}, and not {named}"
    intent = order.intent
    if intent is not None and intent.key != f"intent-{named}-{intent.number}":
        yield order.id, f"the create of intent {intent.number} has the key {intent.key}"


@step(Wrote, law="an open intent whose secret is out is rechecked until it is closed (F46)")
def exposed_intents_are_rechecked(entry: Wrote, _accounts: Accounts) -> Iterator[Breach]:
    intent = entry.order.intent
    if intent is not None and intent.exposed and intent.state is IntentState.OPEN and intent.task is None:
        yield entry.order.id, f"the secret of intent {intent.number} is out, it is open, and nothing is due for it"


@step(Wrote, law="an intent that awaits its customer is retrieved each minute, and when its order expires (F45, F46)")
def awaiting_intents_are_retrieved(entry: Wrote, _accounts: Accounts) -> Iterator[Breach]:
    order, attempt = entry.order, entry.order.unsettled
    task = order.intent.task if order.intent is not None else None
    if (
        attempt is None
        or attempt.state is not AttemptState.AWAITING
        or task is None
        or task.kind is not TaskKind.RECHECK_LATER
    ):
        return
    if task.due > task.issued + LONGEST_RETRIEVAL_DELAY:
        yield order.id, f"it is retrieved {(task.due - task.issued).total_seconds():.0f} s later"
    if order.expires_at is not None and task.issued < order.expires_at < task.due:
        yield order.id, f"it expires at {order.expires_at}, and is retrieved {task.due}"


@step(Wrote, law="no attempt begins to await its customer on a dead order (F46)")
def the_dead_await_no_customer(entry: Wrote, accounts: Accounts) -> Iterator[Breach]:
    order, attempt = entry.order, entry.order.unsettled
    if attempt is None or attempt.state is not AttemptState.AWAITING:
        return
    before = accounts.orders.get(order.id)
    was = before.attempts[attempt.number - 1 :] if before is not None else ()
    begins = not was or was[0].state is not AttemptState.AWAITING
    if order.cancelled:
        yield order.id, f"attempt {attempt.number} awaits its customer, and the order is cancelled"
    expired = order.expires_at is not None and seconds_of(order.expires_at) + COMMIT_S < entry.at_s
    if begins and expired and not accounts.clock_jumped:
        yield order.id, f"attempt {attempt.number} begins to await its customer, and the order has expired"


@step(StripeAnswered, law="a customer who failed is awaited no more, once Stripe has answered so (F45)")
def failures_are_applied(entry: StripeAnswered, accounts: Accounts) -> Iterator[Breach]:
    order = accounts.orders.get(entry.order_id)
    attempt = order.unsettled if order is not None else None
    if entry.kind != "retrieve" or "requires_payment_method" not in entry.outcome or attempt is None:
        return
    if (
        attempt.state is AttemptState.AWAITING
        and accounts.failures_retrieved[entry.order_id, attempt.number] >= RETRIEVALS_ENOUGH
    ):
        yield entry.order_id, f"attempt {attempt.number} is still awaiting, and Stripe has answered that it failed"


@step(Wrote, law="nothing of a customer's card is kept where it can't be sent any more")
def instruments_are_forgotten(entry: Wrote, _accounts: Accounts) -> Iterator[Breach]:
    for attempt in entry.order.attempts:
        if attempt.instrument is not None and (attempt.state is not AttemptState.CONFIRMING or entry.order.cancelled):
            yield entry.order.id, f"attempt {attempt.number} is {attempt.state.value}, and its instrument is kept"


@step(Wrote, law="a new attempt begins only on an open order with nothing unsettled (F02, F15, F19, F22)")
def attempts_begin_rightly(entry: Wrote, accounts: Accounts) -> Iterator[Breach]:
    order, before = entry.order, accounts.orders.get(entry.order.id)
    new = order.attempts[len(before.attempts) if before else 0 :]
    for attempt in new:
        yield from ((order.id, f"attempt {attempt.number} began {why}") for why in _why_not(order, before, attempt))
    if sum(attempt.state in UNSETTLED for attempt in order.attempts) > 1:
        yield order.id, "two attempts are unsettled at once"


def _why_not(order: Order, before: Order | None, attempt: Attempt) -> Iterator[str]:
    if order.user_id is None:
        yield "before the order was created"
    if before is not None and before.cancelled:
        yield "on a cancelled order"
    if before is not None and before.kept is not None:
        yield "on a paid order"
    if before is not None and before.unsettled is not None:
        unsettled = next(each for each in order.attempts if each.number == before.unsettled.number)
        if unsettled.state in UNSETTLED:
            yield f"while attempt {before.unsettled.number} was unsettled"
    if attempt.number > ATTEMPTS_LIMIT:
        yield "past the limit of attempts"
    if any(each.token_hash == attempt.token_hash for each in order.attempts[: attempt.number - 1]):
        yield "with a token that had been tried before"


@step(Wrote, law="due is there exactly when something is owed, and names the earliest")
def due_is_true(entry: Wrote, _accounts: Accounts) -> Iterator[Breach]:
    order = entry.order
    earliest = min((task.due for task in tasks_of(order)), default=None)
    if order.due != earliest:
        yield order.id, f"due is {order.due}, the earliest task is due at {earliest}"
    for attempt in order.attempts:
        owes = attempt.state in OWES_A_REFUND or attempt.state is AttemptState.CHARGING
        if attempt.state not in GIVEN_BACK and (attempt.task is not None) != owes:
            yield order.id, f"attempt {attempt.number} is {attempt.state.value}, its task {attempt.task}"
        if attempt.state in OWES_AN_INTENT and (order.intent is None or order.intent.task is None):
            yield order.id, f"attempt {attempt.number} is {attempt.state.value}, and nothing is due for its intent"
    unpublished = [event for event in order.outbox if event.published is None]
    if any((event.task is not None) != (event is unpublished[0]) for event in unpublished):
        yield order.id, "not exactly the first unpublished event is being published"


@step(Wrote, law="a charge that was given back is rechecked for 30 days (F44, F38)")
def the_given_back_is_rechecked(entry: Wrote, accounts: Accounts) -> Iterator[Breach]:
    order = entry.order
    if order.recheck != min((each.recheck for each in order.attempts if each.recheck is not None), default=None):
        yield order.id, f"it is rechecked at {order.recheck}"
    for attempt in order.attempts:
        if attempt.state not in GIVEN_BACK or attempt.refund is None or not attempt.intent:
            continue
        since_s = accounts.given_back_s.get((order.id, attempt.number, attempt.refund.undone), entry.at_s)
        rechecked = attempt.recheck is not None or attempt.task is not None
        if not rechecked and entry.at_s - since_s < RECHECKED_S and not accounts.restored:
            yield order.id, f"attempt {attempt.number} is {attempt.state.value}, and rechecked no more"


@step(Wrote, law="an attempt's charge is kept or given back, never neither")
def charges_are_kept_or_given_back(entry: Wrote, _accounts: Accounts) -> Iterator[Breach]:
    order = entry.order
    for attempt in order.attempts:
        kept = attempt is order.kept and not order.cancelled
        if attempt.charge_id and kept != (attempt.state is AttemptState.PAID):
            yield order.id, f"charge {attempt.charge_id} is {attempt.state.value}; kept: {kept}"
        if attempt.charge_id and attempt.state not in CHARGED:
            yield order.id, f"attempt {attempt.number} is {attempt.state.value}, and has charged"
        if attempt.charge_id is None and attempt.state in (AttemptState.PAID, AttemptState.REFUNDING):
            yield order.id, f"attempt {attempt.number} is {attempt.state.value} without a charge"


@step(PairMet, law="no pair of state and trigger is met that the table calls unreachable")
def pairs_are_in_the_table(entry: PairMet, _accounts: Accounts) -> Iterator[Breach]:
    if (entry.state, entry.trigger) not in _TABLE:
        yield "", f"{entry.who}: {entry.state.value} met {entry.trigger.value!r}"


_TABLE = dict(TABLE)
"""The table as the code defines it: the simulation replaces it by one that records look-ups."""


# ------------------------------------------------------------------------------------------------------------- the bus


@step(Acked, law="no ack before its effect stands in the store (F08, F25)")
def acks_follow_writes(entry: Acked, accounts: Accounts) -> Iterator[Breach]:
    event = accounts.incoming.get((entry.subject, entry.sequence))
    if accounts.restored:
        return
    if event is None:
        yield "", f"{entry.subject} {entry.sequence} was acknowledged, and never stored"
        return
    dead_letters = any(
        message.data == event.data and message.subject == event.subject for message in accounts.dead_letters.values()
    )
    if not dead_letters and (is_poison(event) or not is_applied(accounts, event)):
        about = "" if is_poison(event) else order_of(event)
        yield about, f"{entry.who} acknowledged {entry.subject} {entry.sequence}, and the store does not show it"


@step(DeadLetterKept, law="only what can't be applied becomes a dead letter (F30, F41)")
def only_poison_becomes_a_dead_letter(entry: DeadLetterKept, accounts: Accounts) -> Iterator[Breach]:
    event = next((each for each in accounts.incoming.values() if each.data == entry.data), None)
    if event is None:
        yield "", f"{entry.identity} is a dead letter, and never came"
    elif (
        not is_poison(event)
        and "document refused" not in accounts.struck
        and order_of(event) not in accounts.ever_corrupt
    ):
        yield order_of(event), f"{entry.identity} is a dead letter, and nothing is wrong with it: {entry.error}"


def _payload(payment_id: str, order_id: str, event: OutboxEvent) -> dict[str, str | None]:
    payload: dict[str, str | None] = {"id": payment_id, "orderId": order_id, "stripeId": event.stripe_id}
    if event.refund_id:
        payload["refundId"] = event.refund_id
    if event.dispute_id:
        payload |= {"disputeId": event.dispute_id, "status": event.status}
    return payload


@step(Stored, law="no event on the bus that the store does not hold (L2, F06, F42)")
def events_follow_writes(entry: Stored, accounts: Accounts) -> Iterator[Breach]:
    if entry.subject in INCOMING_SUBJECTS or accounts.restored:
        return
    payload = json.loads(entry.data)
    order_id = payload["orderId"]
    order = accounts.orders.get(order_id)
    held = [
        _payload(order.payment.id, order.id, event)
        for event in (order.outbox if order and order.payment else ())
        if order and order.payment and event.subject == entry.subject
    ]
    if payload not in held:
        yield order_id, f"{entry.who} published {entry.subject} {payload}; the store holds {held}"
    if not f"{entry.message_id}:".startswith(f"{entry.subject}:{payload['id']}:"):
        yield order_id, f"{entry.subject} has the message id {entry.message_id!r}"
    others = [each for each in accounts.outgoing if each.message_id == entry.message_id and each.data != entry.data]
    if others:
        yield order_id, f"{entry.message_id} is the message id of {others[0].data!r} too: the stream drops one of them"


@step(Stored, law="payment:refunded after payment:created (F21), and before payment:refund_failed (F44)")
def events_keep_their_order(entry: Stored, accounts: Accounts) -> Iterator[Breach]:
    if entry.subject not in (PAYMENT_REFUNDED, PAYMENT_REFUND_FAILED) or accounts.restored:
        return
    payload = json.loads(entry.data)
    refunds = [json.loads(each.data) for each in accounts.outgoing if each.subject == PAYMENT_REFUNDED]
    if entry.subject == PAYMENT_REFUND_FAILED and payload not in refunds:
        yield payload["orderId"], f"{payload['refundId']} is announced as failed, and never was as done"
    order = accounts.orders.get(payload["orderId"])
    owes_created = order is not None and any(event.subject == PAYMENT_CREATED for event in order.outbox)
    if owes_created and not any(
        each.subject == PAYMENT_CREATED and json.loads(each.data)["id"] == payload["id"] for each in accounts.outgoing
    ):
        yield payload["orderId"], "its refund is announced before its payment"


# ------------------------------------------------------------------------------------------------------- the processes


@step(EventRejected, law="a rejection by the bus that lasts ten seconds is logged (F54)")
def a_rejection_is_logged(entry: EventRejected, accounts: Accounts) -> Iterator[Breach]:
    since_s = accounts.rejected_s.get((entry.who, entry.subject), entry.at_s)
    if entry.at_s - since_s > REJECTION_LOGGED_WITHIN_S:
        yield entry.who, f"{entry.subject} is refused since {since_s:.3f} s, and {entry.who} has not logged it"


@step(LineLogged, law="no unexpected exception (F32)")
def nothing_crashes_by_itself(entry: LineLogged, accounts: Accounts) -> Iterator[Breach]:
    if entry.event == "uncaught_exception":
        yield entry.who, f"uncaught: {entry.fields}"
    if entry.event == "actor_crashed" and "Surprise" not in str(entry.fields):
        yield entry.who, f"an actor crashed: {entry.fields}"
    if entry.event == "order_set_aside":
        yield entry.who, f"deciding about an order raised: {entry.fields}"
    if entry.event == "actor_hung" and "actor hangs" not in accounts.struck:
        yield entry.who, f"an actor hung: {entry.fields}"


@step(Exited, law="a process ends on SIGTERM, or after too many crashes (F32, F33)")
def exits_have_a_cause(entry: Exited, accounts: Accounts) -> Iterator[Breach]:
    crashed = accounts.struck["actor crashes"] + accounts.struck["actor hangs"] > 0
    if entry.code != 0 and not (entry.code == RESTARTS_EXHAUSTED and crashed):
        yield entry.who, f"it exited with {entry.code}"
