"""When: the times at which somebody must look again. Pure arithmetic on attempts, tasks and the moment of a step.

A lease must outlast whatever it protects: change `LEASE` together with `CALL_TIMEOUT_S` of the Stripe adapter and the
renewal in `payment.actors.hands`. The two ages of a key are Stripe's: it forgets keys after 24 hours at the earliest
(docs.stripe.com/api/idempotent_requests).
"""

from datetime import datetime, timedelta

from payment.core.messages import Moment, client_id_of
from payment.core.order import Attempt, Order, Task, TaskKind

LEASE = timedelta(seconds=60)
"""How long work is one process's own. Longer than a call to Stripe (8 s) and its wait in a queue between renewals."""

KEY_LIFE = timedelta(hours=23)
"""How long a key may be sent. Stripe keeps keys for 24 h: an hour is left for clocks that differ."""

REQUEST_LIFE = timedelta(hours=25)
"""How long a request may be on the wire: what we assume of the world. Longer than keys live."""

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far the clocks of two processes may differ before a time is called wrong."""

STORED_LOOK_DELAY = timedelta(minutes=1)
"""Between learning that an error was stored for a key and asking for the list that settles it (design)."""

FIRST_RESEND_DELAY = timedelta(milliseconds=250)
"""Before an unclear send is repeated. Short: the answer that was lost is most likely stored under the key by now."""

LONGEST_RESEND_DELAY = timedelta(seconds=5)
"""While Stripe stays unclear. It must be well again within 10 s of Stripe's return."""

SHORTEST_LOOK_DELAY = timedelta(seconds=5)
LONGEST_LOOK_DELAY = timedelta(hours=6)
"""Between looks that prove nothing: as long as the attempt is old, so that a late landing is found early."""

LONGEST_DELAY = LONGEST_LOOK_DELAY + CLOCK_TOLERANCE
"""No task is ever due later than this. One that says so was written by a clock that was wrong: it counts as due."""

FIRST_BLOCKED_DELAY = timedelta(minutes=1)
LONGEST_BLOCKED_DELAY = timedelta(hours=1)
"""Between tries of a refund that Stripe blocks: somebody has to look into it, hurry doesn't help (F44)."""


def in_hand(kind: TaskKind, moment: Moment, not_before: datetime | None = None) -> Task:
    """A task that the deciding process has in its hands from now on."""
    start = max(moment.at, not_before) if not_before else moment.at
    return Task(kind, due=start + LEASE, issued=moment.at, holder=moment.process, not_before=not_before)


def watch(due: datetime, moment: Moment) -> Task:
    """A task that waits for its time in nobody's hands."""
    return Task(TaskKind.WATCH, due=due, issued=moment.at)


def takeable(task: Task, moment: Moment) -> bool:
    """Whether the deciding process may take a task: overdue, absurdly far off, or left by an earlier run of ours."""
    overdue = task.due <= moment.at or task.due > moment.at + LONGEST_DELAY
    return overdue or _left_by_an_earlier_run(task, moment)


def _left_by_an_earlier_run(task: Task, moment: Moment) -> bool:
    if task.holder is None or task.holder == moment.process:
        return False
    return client_id_of(task.holder) == moment.client_id


def clock_went_back(attempt: Attempt, at: datetime) -> bool:
    """Whether this attempt was sent in what is now the future: the age of its key is unknown then."""
    return at < attempt.last_sent - CLOCK_TOLERANCE


def came_late(task: Task | None, at: datetime) -> bool:
    """Whether a look comes so long after it was due that nobody ran, or a clock has jumped: no clock tells which."""
    return task is not None and at - task.due > LONGEST_LOOK_DELAY


def may_send(order: Order, attempt: Attempt, at: datetime) -> bool:
    """Whether an attempt's key may be sent (again): its order is payable, its key young, and its age known."""
    return order.open_at(at) and at < attempt.not_after and not clock_went_back(attempt, at)


def send_deadline(order: Order, attempt: Attempt) -> datetime:
    """The last instant at which a request of this attempt may leave."""
    return attempt.not_after if order.expires_at is None else min(attempt.not_after, order.expires_at)


def final_at(attempt: Attempt) -> datetime:
    """From when on no request of this attempt can be executing any more, as far as is known by now."""
    return (attempt.unsendable_since or attempt.not_after) + REQUEST_LIFE


def can_be_closed(attempt: Attempt, at: datetime) -> bool:
    """Whether no request of this attempt can be executing: looks over a request's life, each in its time, found it old.

    One look alone would believe a clock that is a year ahead, and close an attempt that is under way (F38). So would
    two, of which the first had a clock that was days behind: hence `came_late`.
    """
    return attempt.unsendable_since is not None and at >= attempt.unsendable_since + REQUEST_LIFE


def resend_delay(sends: int) -> timedelta:
    """The wait before the next send, after so many: it doubles up to its limit."""
    doublings = min(sends - 1, 10)
    return min(FIRST_RESEND_DELAY * (1 << doublings), LONGEST_RESEND_DELAY)


def next_look(attempt: Attempt, at: datetime) -> datetime:
    """When to look for an attempt again: in as long as it is old, but not past the times that matter."""
    age = max(abs(at - attempt.last_sent), SHORTEST_LOOK_DELAY)
    later = at + min(age, LONGEST_LOOK_DELAY)
    milestones = (attempt.not_after, final_at(attempt))
    return min([later, *(milestone for milestone in milestones if milestone > at)])


def blocked_delay(times: int) -> timedelta:
    """The wait after a refund was blocked for the so-manieth time."""
    doublings = min(times - 1, 10)
    return min(FIRST_BLOCKED_DELAY * (1 << doublings), LONGEST_BLOCKED_DELAY)
