"""One attempt, one trigger: its next state, and what somebody then has in hand for it.

`moved` is the only place where an attempt's state changes, always through the table. What follows from a state (the
task, the refund, the fields that are kept or dropped) stands beside it, one function for each state.

Change together: `payment.core.order.TABLE`, and `_entered` and `_went_on` here.
"""

from typing import assert_never

from msgspec import structs

from payment.core.messages import Moment
from payment.core.order import UNSETTLED, Attempt, AttemptState, Order, Refund, Task, TaskKind, Trigger, next_state
from payment.core.schedule import (
    LEASE,
    STORED_LOOK_DELAY,
    blocked_delay,
    came_late,
    can_be_closed,
    clock_went_back,
    in_hand,
    may_send,
    next_look,
    resend_delay,
    watch,
)

HASTY_REFUND_KEYS = 2
"""Refund keys used without a wait. A Stripe that stores an error for each new one is not helped by a third at once."""


def moved(order: Order, attempt: Attempt, trigger: Trigger, moment: Moment) -> Attempt:
    """The attempt after a trigger: its state by the table, and its task by that state.

    Raises:
        UnreachablePair: the table says that this can't happen.
    """
    state = next_state(attempt.state, trigger)
    if state is not attempt.state:
        return _entered(attempt, state, moment)
    if state in UNSETTLED or state is AttemptState.ABANDONED:
        return _went_on(order, attempt, trigger, moment)
    return _refund_went_on(attempt, trigger, moment)


def with_refund(attempt: Attempt, moment: Moment) -> Attempt:
    """The attempt with its charge to be given back, under a refund key of its own."""
    number = attempt.refund.number + 1 if attempt.refund else 1
    blocked = attempt.refund.blocked if attempt.refund else 0
    refund = Refund(key=f"refund-{attempt.charge_id}-{number}", number=number, blocked=blocked)
    if number <= HASTY_REFUND_KEYS:
        return structs.replace(attempt, refund=refund, task=in_hand(TaskKind.REFUND, moment))
    later = moment.at + blocked_delay(number - HASTY_REFUND_KEYS)
    return structs.replace(attempt, refund=refund, task=watch(later, moment))


def _entered(attempt: Attempt, state: AttemptState, moment: Moment) -> Attempt:
    """A state has been entered: what it means for the attempt's fields and task."""
    settled = attempt.settled or moment.at
    entered = structs.replace(attempt, state=state, task=None)
    match state:
        case AttemptState.PAID | AttemptState.DECLINED | AttemptState.REFUSED | AttemptState.CLOSED:
            return structs.replace(entered, token=None, settled=settled)
        case AttemptState.ABANDONED:
            task = watch(next_look(entered, moment.at), moment)
            return structs.replace(entered, token=None, settled=settled, task=task)
        case AttemptState.ERROR_STORED:
            # Look at once, for the charge that is most likely there; what settles the attempt is asked for later.
            return structs.replace(entered, token=None, last_sent=moment.at, task=in_hand(TaskKind.PROBE, moment))
        case AttemptState.REFUNDING:
            return with_refund(structs.replace(entered, token=None, settled=settled), moment)
        case AttemptState.BLOCKED:
            return _blocked(entered, moment)
        case AttemptState.REFUNDED:
            return entered
        case AttemptState.CHARGING:  # pragma: no cover - no pair of the table leads here, as a test says
            raise AssertionError("an attempt begins in this state and never comes back to it")
        case _:
            assert_never(state)


def _went_on(order: Order, attempt: Attempt, trigger: Trigger, moment: Moment) -> Attempt:
    """The attempt is still unsettled, or watched: who does what for it next."""
    match trigger:
        case Trigger.CANCELLED:
            # Without its token it can't be sent again. What is in somebody's hand is withdrawn there, or ends there.
            return structs.replace(attempt, token=None)
        case Trigger.WITHHELD if _holds(attempt, TaskKind.CHARGE, moment):
            return with_task_returned(attempt, moment)
        case Trigger.UNCLEAR if _holds(attempt, TaskKind.CHARGE, moment):
            # The first time the answer is most likely stored under the key; after that, looking comes before sending.
            return _sent_or_looked_for(order, attempt, moment, look_first=attempt.sends > 1)
        case Trigger.EMPTY_PROBE if _holds(attempt, TaskKind.PROBE, moment):
            return _after_probe(order, attempt, moment)
        case Trigger.DUE:
            return _taken(order, attempt, moment)
        case _:
            return attempt


def _holds(attempt: Attempt, kind: TaskKind, moment: Moment) -> bool:
    """Whether the deciding process has this very task: what others say of it changes nothing."""
    return attempt.task is not None and attempt.task.kind is kind and attempt.task.holder == moment.process


def _taken(order: Order, attempt: Attempt, moment: Moment) -> Attempt:
    """Somebody looks again. Who takes a charge over looks for it before sending, and so does whose look was lost."""
    attempt = _with_age_noted(attempt, moment)
    if attempt.state is AttemptState.CHARGING:
        mine = _holds(attempt, TaskKind.CHARGE, moment)
        return _sent_or_looked_for(order, attempt, moment, look_first=not mine)
    return structs.replace(attempt, task=in_hand(_look_kind(attempt, moment), moment))


def _sent_or_looked_for(order: Order, attempt: Attempt, moment: Moment, *, look_first: bool) -> Attempt:
    if not may_send(order, attempt, moment.at):
        # Expired, too old, or of unknown age: none of that passes, so the token has no use any more.
        attempt = structs.replace(attempt, token=None)
    if look_first or attempt.token is None:
        return structs.replace(attempt, task=in_hand(_look_kind(attempt, moment), moment))
    not_before = moment.at + resend_delay(attempt.sends)
    return structs.replace(
        attempt,
        sends=attempt.sends + 1,
        last_sent=moment.at,
        task=in_hand(TaskKind.CHARGE, moment, not_before),
    )


def _after_probe(order: Order, attempt: Attempt, moment: Moment) -> Attempt:
    """A look proved nothing: send again where that is allowed, else look again later."""
    if attempt.state is AttemptState.CHARGING and attempt.token and may_send(order, attempt, moment.at):
        return _sent_or_looked_for(order, attempt, moment, look_first=False)
    if attempt.state is AttemptState.ERROR_STORED and moment.at < attempt.last_sent + STORED_LOOK_DELAY:
        # Not a minute after a time that is still to come, which a clock that was wrong may have written (F38).
        learnt = min(attempt.last_sent, moment.at)
        return structs.replace(attempt, task=watch(learnt + STORED_LOOK_DELAY, moment))
    return structs.replace(attempt, task=watch(next_look(attempt, moment.at), moment))


def _look_kind(attempt: Attempt, moment: Moment) -> TaskKind:
    """Under which evidence to ask for the list: fixed now, before the question leaves."""
    if can_be_closed(attempt, moment.at):
        return TaskKind.LOOK_FINAL
    if attempt.state is AttemptState.ERROR_STORED and moment.at >= attempt.last_sent + STORED_LOOK_DELAY:
        return TaskKind.LOOK_STORED
    return TaskKind.PROBE


def _with_age_noted(attempt: Attempt, moment: Moment) -> Attempt:
    """The attempt with what this look's clock says of its key's age (F38)."""
    if clock_went_back(attempt, moment.at):
        # Nobody knows how old the key is: it is never sent again, and its old age is yet to be seen. But it was
        # sent before now, whenever that is: from here on a minute is a minute, and not the days that the clock was off.
        return structs.replace(attempt, token=None, unsendable_since=None, last_sent=moment.at)
    since = attempt.unsendable_since
    doubtful = since is None or since > moment.at or came_late(attempt.task, moment.at)
    if moment.at >= attempt.not_after and doubtful:
        return structs.replace(attempt, unsendable_since=moment.at)
    return attempt


def _refund_went_on(attempt: Attempt, trigger: Trigger, moment: Moment) -> Attempt:
    """The charge is still being given back, or settled long ago: who does what for it next."""
    if attempt.refund is None or attempt.state is AttemptState.REFUNDED:
        return attempt
    match trigger:
        case Trigger.DUE:
            kind = TaskKind.REFUND if attempt.state is AttemptState.REFUNDING else TaskKind.LOOK_REFUND
            return structs.replace(attempt, task=in_hand(_refund_kind(attempt, kind), moment))
        case Trigger.REFUND_ERROR_STORED:
            return structs.replace(attempt, task=in_hand(TaskKind.LOOK_REFUND, moment))
        case Trigger.REFUND_NOT_FOUND:
            return with_refund(attempt, moment)
        case Trigger.REFUND_BLOCKED:
            return _blocked(attempt, moment)
        case _:
            return attempt


def _refund_kind(attempt: Attempt, usual: TaskKind) -> TaskKind:
    """Who was looking goes on looking: its key can bring nothing any more."""
    looking = attempt.task is not None and attempt.task.kind is TaskKind.LOOK_REFUND
    return TaskKind.LOOK_REFUND if looking else usual


def _blocked(attempt: Attempt, moment: Moment) -> Attempt:
    assert attempt.refund is not None
    times = attempt.refund.blocked + 1
    refund = structs.replace(attempt.refund, blocked=times)
    return structs.replace(attempt, refund=refund, task=watch(moment.at + blocked_delay(times), moment))


def with_task_returned(attempt: Attempt, moment: Moment) -> Attempt:
    """The attempt with its task out of everybody's hands, and due at once."""
    return structs.replace(attempt, task=returned(attempt.task, moment))


def returned(task: Task | None, moment: Moment) -> Task | None:
    """A task given back undone by the deciding process: due at once. One that is another's is left alone."""
    if task is None or task.holder != moment.process:
        return task
    return structs.replace(task, due=moment.at, holder=None)


def renewed(task: Task | None, moment: Moment) -> Task | None:
    """A task with its lease begun anew by the deciding process. One that is another's is left alone."""
    if task is None or task.holder != moment.process:
        return task
    return structs.replace(task, due=moment.at + LEASE)
