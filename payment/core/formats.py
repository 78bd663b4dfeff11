"""Which format a document is written in, so that release 0.2.0 may run beside this one for a while.

Release 0.1.0 wrote format 1 (`payment.core.legacy`), release 0.2.0 writes format 2 and leaves a higher one alone. It
can't read a state or a task that it does not know, and drops fields that it does not know. So a document is of format 3
exactly while it holds what would be misread or lost there: everything else stays readable for both.
"""

from payment.core.effects import PAYMENT_DISPUTED, PAYMENT_REFUND_FAILED
from payment.core.order import FORMAT, AttemptState, Order

FORMAT_OF_0_2_0 = 2

READABLE = frozenset({FORMAT_OF_0_2_0, FORMAT})
"""Formats that are read as they are. Those of format 1 are upgraded first."""

NEW_SUBJECTS = frozenset({PAYMENT_REFUND_FAILED, PAYMENT_DISPUTED})


def format_of(order: Order) -> int:
    """The format that an order is to be written in: the lowest that can say what it holds."""
    for attempt in order.attempts:
        undone = attempt.refund is not None and attempt.refund.undone > 0
        rechecked = attempt.recheck is not None or (attempt.task is not None and attempt.state is AttemptState.REFUNDED)
        if undone or rechecked or attempt.state is AttemptState.CHARGED_BACK:
            return FORMAT
    return FORMAT if any(event.subject in NEW_SUBJECTS for event in order.outbox) else FORMAT_OF_0_2_0
