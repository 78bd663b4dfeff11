"""The times of an order's tasks: leases, delays and deadlines. Pure arithmetic on attempts, tasks and `Context.now`.

A lease must outlast what it protects: change `LEASE` together with `CALL_TIMEOUT_S` of the Stripe adapter and the
renewal in `payment.actors.ledger.in_flight`. The lifetimes of keys are Stripe's: it forgets keys after 24 hours at the
earliest (docs.stripe.com/api/idempotent_requests).
"""

from datetime import UTC, datetime, timedelta

from msgspec import structs

from payment.backoff import Backoff
from payment.core.messages import Context, client_id_of
from payment.core.order import Attempt, Order, Task, TaskKind

LEASE = timedelta(seconds=60)
"""How long a task belongs to one process. Longer than a call to Stripe (8 s) and a wait between lease renewals."""

CONFIRM_ENDS_WITHIN = timedelta(seconds=10)
"""How long a confirm may last after its order was cancelled. One that was sent ends within a call's timeout (8 s); one
that was not sent is cancelled."""

KEY_LIFE = timedelta(hours=12)
"""How long a confirm's key may be sent. Stripe keeps keys for 24 h: the other half is a margin for wrong clocks."""

CREATE_KEY_LIFE = timedelta(hours=23)
"""How long after the order's arrival Stripe certainly knows its create's key, which it keeps for 24 h. Later a list of
charges precedes a create, and no intent is created before the first request. An attempt that may last into the last
`effects.ON_THE_WIRE` of this time has its intent's id written before its confirm."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far the clocks of two processes may differ before a time counts as wrong."""

FIRST_RESEND_DELAY = timedelta(milliseconds=250)
"""Between an unclear send and the next. Short: by then Stripe has most likely stored the lost answer under the key."""

LONGEST_RESEND_DELAY = timedelta(seconds=5)
"""The longest delay between unclear sends, and the delay between cancels. The outcome must be known within 10 s after
Stripe is back."""

SHORTEST_RETRIEVAL_DELAY = timedelta(seconds=5)
LONGEST_RETRIEVAL_DELAY = timedelta(seconds=60)
"""Between retrievals of an intent that awaits its customer: the attempt's age, within these bounds."""

RETRIEVALS_APART = timedelta(seconds=2)
"""The least time between two retrievals of one order's intent that requests of clients cause."""

AUTHENTICATION_LIFE = timedelta(hours=24)
"""How long a customer may take to authenticate, also where the order expires later. Then the intent is cancelled."""

CHARGE_LIFE = timedelta(hours=25)
"""How long after its last send an attempt of release 0.1.0 may still charge: a key's life, and an hour."""

LONGEST_LIST_DELAY = timedelta(hours=1)
"""Between lists for such an attempt: the time since its last send, at most this."""

LONGEST_DELAY = LONGEST_LIST_DELAY + CLOCK_TOLERANCE
"""No task is due later than this from now on. A later `due` was written by a wrong clock: the task counts as due."""

FIRST_BLOCKED_DELAY = timedelta(minutes=1)
LONGEST_BLOCKED_DELAY = timedelta(hours=1)
"""Between tries of a refund that Stripe blocks: an operator has to solve it, and faster tries don't help (F44)."""

RECHECKS = (timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=30))
"""How long after a charge was given back it is rechecked. Banks return refunds to Stripe for up to 30 days
(docs.stripe.com/refunds, failed refunds): most of them, of closed cards, in the first days. Each recheck costs a
call."""

RECHECK_LATE = timedelta(hours=6)
"""How late a recheck may be and still count: a queue of 100,000 takes that long. A later one may come from a wrong
clock: it is made, and made once more, so that no clock ends the rechecks early by more than this."""

LONGEST_RECHECK = RECHECKS[-1] + timedelta(days=1)
"""No recheck is further off than this. One that is was written by a wrong clock: it counts as due."""

LONG_AGO = datetime.min.replace(tzinfo=UTC)

_RESENDS = Backoff(FIRST_RESEND_DELAY.total_seconds(), LONGEST_RESEND_DELAY.total_seconds())
_BLOCKED = Backoff(FIRST_BLOCKED_DELAY.total_seconds(), LONGEST_BLOCKED_DELAY.total_seconds())


def in_flight(kind: TaskKind, context: Context, delay: timedelta = timedelta(0)) -> Task:
    """Returns a task that the deciding process has in flight. Its request may not leave before `delay` is over."""
    start = context.now + delay
    return Task(
        kind, due=start + LEASE, issued=context.now, holder=context.process, not_before=start if delay else None
    )


def recheck_later(due: datetime, context: Context) -> Task:
    """Returns a task that waits until `due`, held by no process."""
    return Task(TaskKind.RECHECK_LATER, due=due, issued=context.now)


def sooner(task: Task | None, due: datetime) -> Task | None:
    """Returns the task, due at this time if it was due later."""
    return task if task is None or task.due <= due else structs.replace(task, due=due)


def takeable(task: Task, context: Context) -> bool:
    """Whether the deciding process may take a task.

    It may if the task is overdue, due absurdly late, or held by an earlier run under its client id.
    """
    overdue = task.due <= context.now or task.due > context.now + LONGEST_DELAY
    return overdue or _left_by_an_earlier_run(task, context)


def recheck_due(attempt: Attempt, context: Context) -> bool:
    """Whether a charge that was given back is to be rechecked: its recheck is overdue, or absurdly late."""
    recheck = attempt.recheck
    return recheck is not None and (recheck <= context.now or recheck > context.now + LONGEST_RECHECK)


def in_time(recheck: datetime | None, at: datetime) -> bool:
    """Whether a recheck that is made at `at` is made close enough to its time to count."""
    return recheck is not None and recheck <= at <= recheck + RECHECK_LATE


def next_recheck(rechecks: int, at: datetime) -> datetime | None:
    """Returns when to recheck after `rechecks` of them. None: never again.

    The last of them (or the refund itself) is made now. Each interval counts from the recheck before it, not from the
    refund: a clock that was wrong once must not make all of them due at once.
    """
    if rechecks >= len(RECHECKS):
        return None
    return at + RECHECKS[rechecks] - (RECHECKS[rechecks - 1] if rechecks else timedelta(0))


def _left_by_an_earlier_run(task: Task, context: Context) -> bool:
    if task.holder is None or task.holder == context.process:
        return False
    return client_id_of(task.holder) == context.client_id


def may_send(order: Order, attempt: Attempt, at: datetime) -> bool:
    """Whether an attempt's confirm may be sent (again).

    It may while the order can be paid and the key is young, unless the clock has gone back.
    """
    clock_went_back = at < attempt.last_sent - CLOCK_TOLERANCE
    return order.open_at(at) and attempt.instrument is not None and at < attempt.not_after and not clock_went_back


def send_deadline(order: Order, attempt: Attempt) -> datetime:
    """Returns the last time (UTC) at which a request of this attempt may leave."""
    assert order.expires_at is not None
    return min(attempt.not_after, order.expires_at)


def list_after(order: Order) -> datetime:
    """Returns the time (UTC) from which Stripe may have forgotten the key of a create of the order's.

    `LONG_AGO` where the order's age is not known: release 0.1.0 stored it, or its last attempt began before it arrived,
    by clocks of which one was wrong.
    """
    if order.received is None:
        return LONG_AGO
    if order.attempts and order.attempts[-1].first_sent < order.received - CLOCK_TOLERANCE:
        return LONG_AGO
    return order.received + CREATE_KEY_LIFE


def create_deadline(order: Order) -> datetime:
    """Returns the last time (UTC) at which a create before the order's first request may leave.

    A later one could make a second intent: Stripe may have forgotten the key of an earlier create.
    """
    assert order.expires_at is not None
    return min(order.expires_at, list_after(order))


def resend_delay(sends: int) -> timedelta:
    """Returns the wait before the next send, after `sends` of them: it doubles up to its limit."""
    return timedelta(seconds=_RESENDS.pause_s(sends))


def next_retrieval(order: Order, attempt: Attempt, at: datetime) -> datetime:
    """Returns when to retrieve an intent that awaits its customer: after the attempt's age, never past `expires_at`."""
    later = at + min(max(abs(at - attempt.first_sent), SHORTEST_RETRIEVAL_DELAY), LONGEST_RETRIEVAL_DELAY)
    assert order.expires_at is not None
    return min(later, order.expires_at) if order.expires_at > at else later


def next_list(attempt: Attempt, at: datetime) -> datetime:
    """Returns when to list the charges for an attempt of release 0.1.0 again."""
    return at + min(max(abs(at - attempt.last_sent), SHORTEST_RETRIEVAL_DELAY), LONGEST_LIST_DELAY)


def blocked_delay(times: int) -> timedelta:
    """Returns the wait after a refund was blocked for the n-th time."""
    return timedelta(seconds=_BLOCKED.pause_s(times))
