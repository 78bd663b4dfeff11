"""The unsettled matters of an order, and their ages: for logs and metrics. Pure; no decision uses them.

`payment.core.pending` returns an order's effects; this module describes them to an operator: the outcome of a charge, a
refund, an event that is not published. Each task of an order is a `Wait`, and nothing else is. Times are read off the
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
    """The kind of an unsettled matter. The value is the metrics' label."""

    OUTCOME = "outcome"
    """Whether a card is charged is not known yet."""
    CUSTOMER = "customer"
    """The bank wants the customer to authenticate, or has not decided yet."""
    REFUND = "refund"
    """A charge is to be refunded."""
    BLOCKED_REFUND = "blocked_refund"
    """Stripe can't refund a charge now."""
    RECHECK = "recheck"
    """A charge that was given back is being rechecked."""
    EVENT = "event"
    """An event of ours is not published yet."""
    INTENT = "intent"
    """An intent that no attempt needs is being created, retrieved or cancelled."""


class Wait(Struct, frozen=True):
    """One unsettled matter of an order, since a time in UTC. `name` is unique among those of one order and one matter.

    `charge_id` and `text` are a refund's. `idle_from` is set where the matter waits for a time: it is not late before
    that.
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
        """Identifies it among the matters of all orders."""
        return self.order_id, f"{self.matter.value} {self.name}"

    def is_stuck(self, since: datetime, at: datetime) -> bool:
        """Whether it is late. `since` is `self.since`, or an earlier time at which this process found it waiting."""
        return at - (self.idle_from or since) >= STUCK_AFTER


def waits(order: Order) -> tuple[Wait, ...]:
    """Returns everything that is not settled about an order."""
    if order.payment is None:
        return ()
    return tuple(_waits(order, order.payment))


def unpublished(order: Order) -> int:
    """Returns how many of an order's events are not published. They go out in turn: only the first is a `Wait`."""
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
    """An attempt that may still charge. One that awaits its customer is late only when its retrieval is."""
    awaiting = attempt.state is AttemptState.AWAITING
    # The attempt may have waited for its customer for hours before its intent was cancelled: that is not late.
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
    """Returns the time from which a task may be late: RECHECK_LATER from its `due` on, a call from its release on."""
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
    """A payment waits to be published since its attempt was settled; a refund since its event was last in flight."""
    charged = next((each for each in payment.attempts if each.charge_id == event.stripe_id), None)
    settled = charged.settled if charged is not None and event.subject == PAYMENT_CREATED else None
    return settled or task.issued
