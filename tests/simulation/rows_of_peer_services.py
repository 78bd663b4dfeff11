"""The rows about events, the store, the bus, customers and clocks.

Each docstring describes the case that meets its row. Change together with: `rows`, the table in docs/faults.md.
"""

from payment.actors.nats.event_payloads import INCOMING_SUBJECTS, ORDER_CREATED
from payment.core.order import AttemptState, Trigger
from tests.simulation.accounts import Accounts, is_applied, is_poison, order_of
from tests.simulation.faults_of_the_store import UNUSABLE
from tests.simulation.journal import (
    ChargeAnswered,
    ChargePosted,
    DeadLetterKept,
    Delivered,
    DocumentCorrupted,
    EventRejected,
    FaultStruck,
    LineLogged,
    PairMet,
    Stored,
    Wrote,
)
from tests.simulation.rows import row


@row("F01", Delivered)
def created_again(entry: Delivered, accounts: Accounts) -> bool:
    """An order:created is delivered for an order that the store holds already."""
    event = accounts.incoming.get((entry.subject, entry.sequence))
    return entry.subject == ORDER_CREATED and event is not None and not is_poison(event) and is_applied(accounts, event)


@row("F02", ChargePosted)
def two_at_once(entry: ChargePosted, accounts: Accounts) -> bool:
    """A request comes while another one for the same order has no answer yet."""
    return any(each.open for each in accounts.requests(entry.order_id))


@row("F19", ChargePosted)
def posted_after_the_cancel(entry: ChargePosted, accounts: Accounts) -> bool:
    """A request comes for an order that is cancelled and that no request tried to pay before."""
    order = accounts.orders.get(entry.order_id)
    return order is not None and order.cancelled and order.user_id is not None and not order.attempts


@row("F21", PairMet)
def cancelled_after_paid(entry: PairMet, _accounts: Accounts) -> bool:
    """A paid attempt meets the cancel."""
    return (entry.state, entry.trigger) == (AttemptState.PAID, Trigger.CANCELLED)


@row("F22", Wrote)
def cancelled_before_created(entry: Wrote, accounts: Accounts) -> bool:
    """Created comes to an order that a cancel announced."""
    before = accounts.orders.get(entry.order.id)
    return before is not None and before.cancelled and before.user_id is None and entry.order.user_id is not None


@row("F25", FaultStruck)
def the_store_is_away(entry: FaultStruck, _accounts: Accounts) -> bool:
    """The store is away, or its answer to a read is lost."""
    return "F25" in entry.rows


@row("F26", Wrote)
def a_write_is_unanswered(entry: Wrote, _accounts: Accounts) -> bool:
    """A write is applied, and its writer gets no answer."""
    return entry.lost_answer


@row("F27", Wrote)
def without_transactions(_entry: Wrote, _accounts: Accounts) -> bool:
    """Any write: the store of the simulation has no transactions."""
    return True


@row("F28", FaultStruck)
def unpublished_while_away(entry: FaultStruck, accounts: Accounts) -> bool:
    """The bus goes away, or loses a publish, while an event waits to be published."""
    waits = any(event.published is None for order in accounts.orders.values() for event in order.outbox)
    return "F28" in entry.rows and waits


@row("F29", Delivered)
def the_ack_wait_is_over(entry: Delivered, accounts: Accounts) -> bool:
    """An event is delivered again while the process that received it first still lives."""
    return entry.nth > 1 and not accounts.ever_killed and "ack lost" not in accounts.struck


@row("F30", DeadLetterKept)
def poison(entry: DeadLetterKept, accounts: Accounts) -> bool:
    """An event that can't be applied becomes a dead letter."""
    return any(is_poison(each) and each.data == entry.data for each in accounts.incoming.values())


@row("F38", Wrote)
def written_after_a_clock_jump(entry: Wrote, accounts: Accounts) -> bool:
    """A document is written after a clock jumped and before the clock is right again."""
    return accounts.clock_jumped and not accounts.resting


@row("F39", ChargeAnswered)
def too_many_requests(entry: ChargeAnswered, _accounts: Accounts) -> bool:
    """503: a mailbox is full."""
    return entry.status == 503 and b"too many requests" in entry.body.lower()


@row("F52", LineLogged)
def the_store_is_no_use(entry: LineLogged, accounts: Accounts) -> bool:
    """A process loses a store that answers, and that refuses writes, has no data, or is away now and then."""
    lost = entry.event == "dependency_lost" and entry.fields.get("dependency") == "mongodb"
    return lost and any(fault in accounts.struck for fault in UNUSABLE)


@row("F41", FaultStruck)
def a_document_is_refused(entry: FaultStruck, _accounts: Accounts) -> bool:
    """The store rejects one document of a batch for good."""
    return "F41" in entry.rows


@row("F42", Stored)
def both_within_the_window(entry: Stored, accounts: Accounts) -> bool:
    """A payment's second event is stored within two minutes of its first."""
    if entry.subject in INCOMING_SUBJECTS or entry.dropped:
        return False
    return any(
        order_of(each) == order_of(entry) and each.subject != entry.subject and entry.at_s - each.at_s < 120
        for each in accounts.outgoing
    )


@row("F54", EventRejected)
def an_event_is_refused(_entry: EventRejected, _accounts: Accounts) -> bool:
    """A bus that is reachable rejects an event of ours."""
    return True


@row("F43", FaultStruck)
def a_write_is_gone(entry: FaultStruck, _accounts: Accounts) -> bool:
    """A write was sent, and the store does not hold it."""
    return "F43" in entry.rows


@row("F50", DocumentCorrupted)
def a_document_makes_no_sense(_entry: DocumentCorrupted, _accounts: Accounts) -> bool:
    """An operator has edited the document of an order that is stored."""
    return True
