"""The rows about processes that die, stop, pause or crash.

Each docstring describes the case that meets its row. Change together with: `rows`, the table in docs/faults.md.
"""

from collections.abc import Iterator

from payment.core.order import AttemptState, Order, TaskKind
from payment.core.pending import publication
from tests.simulation.accounts import Accounts, is_applied, is_poison, tasks_of
from tests.simulation.journal import (
    ChargePosted,
    Delivered,
    Killed,
    LineLogged,
    Stopping,
    Woken,
)
from tests.simulation.rows import row


def _held_by(order: Order, who: str) -> bool:
    """Whether a process has an effect of an order in flight, by the document."""
    return any(_is(task.holder, who) for task in tasks_of(order))


def _is(holder: str | None, who: str) -> bool:
    return holder is not None and holder.partition("#")[0] == who


def _confirming(accounts: Accounts, who: str) -> Iterator[tuple[str, int]]:
    """Attempts (order and number) whose confirm a process has in flight and that are not settled."""
    for order in accounts.orders.values():
        task = order.intent.task if order.intent else None
        if task is None or task.kind is not TaskKind.CONFIRM or not _is(task.holder, who):
            continue
        for attempt in order.attempts:
            if attempt.state is AttemptState.CONFIRMING:
                yield order.id, attempt.number


def _publishing(accounts: Accounts, who: str) -> Iterator[str]:
    """The message ids of events that a process has to publish and that are not marked as published."""
    for order in accounts.orders.values():
        for event in order.outbox:
            if order.payment and event.task and _is(event.task.holder, who):
                yield publication(order, order.payment, event).message_id


def _writer(order: Order) -> str | None:
    return order.writer.process if order.writer else None


@row("F03", Killed)
def killed_before_the_intent(entry: Killed, accounts: Accounts) -> bool:
    """A process dies with a request of which the store holds nothing."""
    asked = (each.asked for each in accounts.asked.values() if each.open and isinstance(each.asked, ChargePosted))
    return any(each.process == entry.who and not accounts.attempts_of(each.order_id) for each in asked)


@row("F04", Killed)
def killed_before_stripe(entry: Killed, accounts: Accounts) -> bool:
    """A process dies with an attempt in the store whose confirm has not arrived at Stripe."""
    return any(attempt not in accounts.confirms_arrived for attempt in _confirming(accounts, entry.who))


@row("F05", Killed)
def killed_after_the_charge(entry: Killed, accounts: Accounts) -> bool:
    """A process dies after Stripe has charged and before a document shows it."""
    return any(accounts.charges_of(order_id) for order_id, _ in _confirming(accounts, entry.who))


@row("F06", Killed)
def killed_before_the_publish(entry: Killed, accounts: Accounts) -> bool:
    """A process dies with a committed event that is not on the bus."""
    out = {each.message_id for each in accounts.outgoing}
    return any(message_id not in out for message_id in _publishing(accounts, entry.who))


@row("F07", Killed)
def killed_after_the_publish(entry: Killed, accounts: Accounts) -> bool:
    """A process dies with an event on the bus that is not marked as published."""
    out = {each.message_id for each in accounts.outgoing}
    return any(message_id in out for message_id in _publishing(accounts, entry.who))


@row("F08", Delivered)
def delivered_after_its_effect(entry: Delivered, accounts: Accounts) -> bool:
    """An event is delivered again after a process died, or an ack was lost, though its effect stands in the store."""
    event = accounts.incoming.get((entry.subject, entry.sequence))
    if event is None or entry.nth == 1 or is_poison(event) or not is_applied(accounts, event):
        return False
    return accounts.ever_killed or "ack lost" in accounts.struck


@row("F32", LineLogged)
def an_actor_failed(entry: LineLogged, _accounts: Accounts) -> bool:
    """The supervisor reports that an actor crashed or hung."""
    return entry.event in ("actor_crashed", "actor_hung")


@row("F33", Stopping)
def stopped_mid_charge(entry: Stopping, accounts: Accounts) -> bool:
    """SIGTERM while a charge of the process is with Stripe."""
    return any(who == entry.who for who, _ in accounts.in_flight)


@row("F34", Woken)
def woken_after_a_take_over(entry: Woken, accounts: Accounts) -> bool:
    """A process wakes, and another one has written to an order that it had in flight."""
    since_s = accounts.paused.get(entry.who)
    if since_s is None:
        return False
    for revisions in accounts.revisions.values():
        before = [each for each in revisions if each.at_s <= since_s]
        others = [each for each in revisions if each.at_s > since_s and not _is(_writer(each.order), entry.who)]
        if before and others and _held_by(before[-1].order, entry.who):
            return True
    return False
