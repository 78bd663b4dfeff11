"""The format number of a stored document, so that release 0.2.0 may run beside this one for a while.

Release 0.1.0 wrote format 1 (`payment.core.legacy`). Release 0.2.0 writes format 2 and leaves documents of a higher
format alone: it can't read a state or a task that it does not know, and drops fields that it does not know. So a
document has format 3 exactly while it holds something that 0.2.0 would misread or lose. Both releases read all others.
"""

from payment.core.effects import PAYMENT_DISPUTED, PAYMENT_REFUND_FAILED
from payment.core.order import FORMAT, AttemptState, Order

FORMAT_OF_0_2_0 = 2

READABLE = frozenset({FORMAT_OF_0_2_0, FORMAT})
"""Formats that this release reads as they are. It upgrades format 1 first."""

NEW_SUBJECTS = frozenset({PAYMENT_REFUND_FAILED, PAYMENT_DISPUTED})


def format_of(order: Order) -> int:
    """Returns the format in which an order is to be written: the lowest that can hold its content."""
    for attempt in order.attempts:
        undone = attempt.refund is not None and attempt.refund.undone > 0
        rechecked = attempt.recheck is not None or (attempt.task is not None and attempt.state is AttemptState.REFUNDED)
        if undone or rechecked or attempt.state is AttemptState.CHARGED_BACK:
            return FORMAT
    return FORMAT if any(event.subject in NEW_SUBJECTS for event in order.outbox) else FORMAT_OF_0_2_0
