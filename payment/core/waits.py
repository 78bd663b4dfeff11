"""What is not settled of an order yet, and since when: for logs and metrics. Pure; nothing is decided by it.

`payment.core.pending` says what the world owes an order; this says the same in an operator's terms: the outcome of a
charge, a refund, an event that is not out. Whatever has a task is a `Wait`, and nothing else is. Times are read off the
document, so a process that has just started knows them too.

Change together: `payment.core.pending`, and the tasks here.
"""

import enum
from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from payment.core.effects import PAYMENT_CREATED
from payment.core.order import (
    GIVEN_BACK,
    Attempt,
    AttemptState,
    CancelReason,
    Order,
    OutboxEvent,
    Payment,
    Task,
    TaskKind,
)

STUCK_AFTER = timedelta(seconds=60)
"""How long something may be unsettled before it counts as stuck: a lease, and far more than any call to Stripe."""


class Matter(enum.Enum):
    """What is not settled. The value is the metrics' label."""

    OUTCOME = "outcome"
    """Whether a card is charged is not known yet."""
    CUSTOMER = "customer"
    """The bank wants the customer to authenticate, or has not decided yet."""
    REFUND = "refund"
    """A charge is to be given back."""
    BLOCKED_REFUND = "blocked_refund"
    """Stripe won't give a charge back now."""
    RECHECK = "recheck"
    """A charge that was given back is being looked at again."""
    EVENT = "event"
    """An event of ours is not out yet."""
    INTENT = "intent"
    """An intent is made ahead, or one that no attempt needs any more is watched, looked at or cancelled."""


class Wait(Struct, frozen=True):
    """One matter that is not settled. `name` tells those of one order apart; `charge_id` and `text` are a refund's.

    `idle_from` is there where the matter waits for a time: the customer has until then, nothing is late before it.
    """

    order_id: str
    payment_id: str
    matter: Matter
    name: str
    since: datetime
    task: Task
    idle_from: datetime | None = None
    attempt: int | None = None
    charge_id: str | None = None
    text: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Its name among those of all orders."""
        return self.order_id, f"{self.matter.value} {self.name}"

    def is_stuck(self, since: datetime, at: datetime) -> bool:
        """Whether it is late. `since` is `self.since`, or an earlier time at which it was seen to wait already."""
        return at - (self.idle_from or since) >= STUCK_AFTER


def waits(order: Order) -> tuple[Wait, ...]:
    """Everything that is not settled of an order."""
    if order.payment is None:
        return ()
    return tuple(_waits(order, order.payment))


def unpublished(order: Order) -> int:
    """How many of an order's events are not out yet. They go out one after the other, so only the first is a `Wait`."""
    return sum(event.published is None for event in order.outbox)


def _waits(order: Order, payment: Payment) -> Iterator[Wait]:
    intent_task = payment.intent.task if payment.intent else None
    unsettled = order.unsettled
    if unsettled is None and intent_task is not None:
        idle = _idle_from(intent_task)
        yield Wait(order.id, payment.id, Matter.INTENT, "intent", intent_task.issued, intent_task, idle_from=idle)
    for attempt in payment.attempts:
        task = (attempt.task or intent_task) if attempt is unsettled else attempt.task
        if task is None:
            continue
        if attempt is unsettled:
            yield _outcome(order, payment, attempt, task)
        else:
            yield _refund(order, payment, attempt, task)
    event = next((event for event in order.outbox if event.task is not None), None)
    if event is not None and event.task is not None:
        since = _announced_since(payment, event, event.task)
        yield Wait(order.id, payment.id, Matter.EVENT, event.subject, since, event.task)


def _outcome(order: Order, payment: Payment, attempt: Attempt, task: Task) -> Wait:
    """An attempt that may still charge. One that awaits its customer is late only when its look is."""
    awaiting = attempt.state is AttemptState.AWAITING
    # It may have waited for its customer for hours before its intent was cancelled, which was no fault.
    was_awaiting = attempt.state is AttemptState.CANCELLING and attempt.cancel_reason is not CancelReason.UNCLEAR
    return Wait(
        order.id,
        payment.id,
        Matter.CUSTOMER if awaiting else Matter.OUTCOME,
        f"attempt {attempt.number}",
        task.issued if was_awaiting else attempt.first_sent,
        task,
        idle_from=_idle_from(task) if awaiting else None,
        attempt=attempt.number,
    )


def _idle_from(task: Task) -> datetime:
    """From when on a task is late, if it is: a watch from its time on, a call from its release on."""
    return task.due if task.kind is TaskKind.RECHECK_LATER else task.issued


def _refund(order: Order, payment: Payment, attempt: Attempt, task: Task) -> Wait:
    matter = Matter.RECHECK if attempt.state in GIVEN_BACK else Matter.REFUND
    return Wait(
        order.id,
        payment.id,
        Matter.BLOCKED_REFUND if attempt.state is AttemptState.BLOCKED else matter,
        f"attempt {attempt.number}",
        task.issued,
        task,
        attempt=attempt.number,
        charge_id=attempt.charge_id,
        text=attempt.refund.text if attempt.refund else None,
    )


def _announced_since(payment: Payment, event: OutboxEvent, task: Task) -> datetime:
    """A payment waits to be announced since its attempt was settled; a refund since its event was last taken up."""
    charged = next((each for each in payment.attempts if each.charge_id == event.stripe_id), None)
    settled = charged.settled if charged is not None and event.subject == PAYMENT_CREATED else None
    return settled or task.issued
