"""When: the times at which an order must be looked at again. Pure arithmetic on attempts, tasks and a step's time.

A lease must outlast whatever it protects: change `LEASE` together with `CALL_TIMEOUT_S` of the Stripe adapter and the
renewal in `payment.actors.ledger.in_flight`. The ages of keys are Stripe's: it forgets keys after 24 hours at the
earliest (docs.stripe.com/api/idempotent_requests).
"""

from datetime import UTC, datetime, timedelta

from msgspec import structs

from payment.core.messages import Context, client_id_of
from payment.core.order import Attempt, Order, Task, TaskKind

LEASE = timedelta(seconds=60)
"""How long work is one process's own. Longer than a call to Stripe (8 s) and its wait in a queue between renewals."""

CONFIRM_ENDS_WITHIN = timedelta(seconds=10)
"""After its order is cancelled. What was sent ends within a call's timeout (8 s), and what was not is sent no more."""

KEY_LIFE = timedelta(hours=12)
"""How long a confirm's key may be sent. Stripe keeps keys for 24 h: half of that is left for clocks that are wrong."""

CREATE_KEY_LIFE = timedelta(hours=23)
"""After the order came: from then on a create is preceded by a list of charges, and none is made ahead of its first
request. An attempt that may last longer than until `effects.ON_THE_WIRE` before that has its intent's id written before
it confirms. Stripe keeps keys for 24 h."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far the clocks of two processes may differ before a time counts as wrong."""

FIRST_RESEND_DELAY = timedelta(milliseconds=250)
"""Before an unclear send is repeated. Short: the answer that was lost is most likely stored under the key by now."""

LONGEST_RESEND_DELAY = timedelta(seconds=5)
"""While Stripe stays unclear, and between cancels. The outcome must be known within 10 s of Stripe's return."""

SHORTEST_RETRIEVAL_DELAY = timedelta(seconds=5)
LONGEST_RETRIEVAL_DELAY = timedelta(seconds=60)
"""Between looks at an intent that awaits its customer: the wait is the attempt's age, within these bounds."""

RETRIEVALS_APART = timedelta(seconds=2)
"""Between two looks at one order's intent that clients ask for."""

AUTHENTICATION_LIFE = timedelta(hours=24)
"""How long a customer may take to authenticate, also where the order expires later. Then the intent is cancelled."""

CHARGE_LIFE = timedelta(hours=25)
"""How long a charge of release 0.1.0 may land after its last send: a key's life, and an hour."""

LONGEST_LIST_DELAY = timedelta(hours=1)
"""Between lists for such a charge: the wait is the time since its last send, at most this."""

LONGEST_DELAY = LONGEST_LIST_DELAY + CLOCK_TOLERANCE
"""No task is ever due later than this. One that says so was written by a clock that was wrong: it counts as due."""

FIRST_BLOCKED_DELAY = timedelta(minutes=1)
LONGEST_BLOCKED_DELAY = timedelta(hours=1)
"""Between tries of a refund that Stripe blocks: an operator has to look into it, hurry doesn't help (F44)."""

RECHECKS = (timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=30))
"""After a charge was given back it is looked at again. Banks return refunds to Stripe for up to 30 days
(docs.stripe.com/refunds, failed refunds): most of them, of closed cards, in the first days. Each look costs a call."""

RECHECK_LATE = timedelta(hours=6)
"""How late a recheck may be and still count as made at its time: a queue of 100,000 takes that long. A later one may be
a wrong clock's: it is made, and made once more, so that no clock ends the rechecks early by more than this."""

LONGEST_RECHECK = RECHECKS[-1] + timedelta(days=1)
"""No recheck is ever further off. One that is was written by a clock that was wrong: it counts as due."""

LONG_AGO = datetime.min.replace(tzinfo=UTC)


def in_flight(kind: TaskKind, context: Context, delay: timedelta = timedelta(0)) -> Task:
    """A task of the deciding process from now on, not to be sent before `delay` has passed."""
    start = context.now + delay
    return Task(
        kind, due=start + LEASE, issued=context.now, holder=context.process, not_before=start if delay else None
    )


def recheck_later(due: datetime, context: Context) -> Task:
    """A task that waits for its time, and is held by no process."""
    return Task(TaskKind.RECHECK_LATER, due=due, issued=context.now)


def sooner(task: Task | None, due: datetime) -> Task | None:
    """The task, due at this time if it was due later."""
    return task if task is None or task.due <= due else structs.replace(task, due=due)


def takeable(task: Task, context: Context) -> bool:
    """Whether the deciding process may take a task: overdue, absurdly far off, or left by an earlier run of ours."""
    overdue = task.due <= context.now or task.due > context.now + LONGEST_DELAY
    return overdue or _left_by_an_earlier_run(task, context)


def recheck_due(attempt: Attempt, context: Context) -> bool:
    """Whether it is time to look again at a charge that was given back: overdue, or absurdly far off."""
    recheck = attempt.recheck
    return recheck is not None and (recheck <= context.now or recheck > context.now + LONGEST_RECHECK)


def in_time(recheck: datetime | None, at: datetime) -> bool:
    """Whether a recheck that is made now is made at about its time, so that it counts."""
    return recheck is not None and recheck <= at <= recheck + RECHECK_LATE


def next_recheck(rechecks: int, at: datetime) -> datetime | None:
    """When to look again after so many rechecks, the last of them (or the giving back) now. None: never.

    From one to the next, not from the giving back on: a clock that was wrong once must not bring all of them at once.
    """
    if rechecks >= len(RECHECKS):
        return None
    return at + RECHECKS[rechecks] - (RECHECKS[rechecks - 1] if rechecks else timedelta(0))


def _left_by_an_earlier_run(task: Task, context: Context) -> bool:
    if task.holder is None or task.holder == context.process:
        return False
    return client_id_of(task.holder) == context.client_id


def may_send(order: Order, attempt: Attempt, at: datetime) -> bool:
    """Whether an attempt's confirm may be sent (again): its order is alive, its key young, and its age known."""
    clock_went_back = at < attempt.last_sent - CLOCK_TOLERANCE
    return order.open_at(at) and attempt.instrument is not None and at < attempt.not_after and not clock_went_back


def send_deadline(order: Order, attempt: Attempt) -> datetime:
    """The last instant at which a request of this attempt may leave."""
    assert order.expires_at is not None
    return min(attempt.not_after, order.expires_at)


def list_after(order: Order) -> datetime:
    """The time from which Stripe may have forgotten the key of a create of the order's.

    Long ago where the order's age is not known: release 0.1.0 began it, or its last attempt began before it came, by
    clocks of which one was wrong.
    """
    if order.received is None:
        return LONG_AGO
    if order.attempts and order.attempts[-1].first_sent < order.received - CLOCK_TOLERANCE:
        return LONG_AGO
    return order.received + CREATE_KEY_LIFE


def create_deadline(order: Order) -> datetime:
    """The last instant at which a create ahead of the order's first request may leave: it has no attempt with an age.

    Later it could make a second intent, for an earlier create may have made one whose key is forgotten.
    """
    assert order.expires_at is not None
    return min(order.expires_at, list_after(order))


def resend_delay(sends: int) -> timedelta:
    """The wait before the next send, after `sends` of them: it doubles up to its limit."""
    doublings = min(sends - 1, 10)
    return min(FIRST_RESEND_DELAY * (1 << doublings), LONGEST_RESEND_DELAY)


def next_retrieval(order: Order, attempt: Attempt, at: datetime) -> datetime:
    """When to look again at an intent that awaits its customer: after the attempt's age, never past `expires_at`."""
    later = at + min(max(abs(at - attempt.first_sent), SHORTEST_RETRIEVAL_DELAY), LONGEST_RETRIEVAL_DELAY)
    assert order.expires_at is not None
    return min(later, order.expires_at) if order.expires_at > at else later


def next_list(attempt: Attempt, at: datetime) -> datetime:
    """When to list the charges for an attempt of release 0.1.0 again."""
    return at + min(max(abs(at - attempt.last_sent), SHORTEST_RETRIEVAL_DELAY), LONGEST_LIST_DELAY)


def blocked_delay(times: int) -> timedelta:
    """The wait after a refund was blocked for the n-th time."""
    doublings = min(times - 1, 10)
    return min(FIRST_BLOCKED_DELAY * (1 << doublings), LONGEST_BLOCKED_DELAY)
