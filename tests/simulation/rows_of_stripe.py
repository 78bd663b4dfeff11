"""When the rows about Stripe, charges and refunds are met.

Each docstring says what the moment is. Change together with: `rows`, the table in ARCHITECTURE.md.
"""

from payment.core.order import AttemptState, Order, Trigger
from tests.simulation.books import Books
from tests.simulation.journal import (
    Met,
    StripeAnswered,
    StripeCharged,
    Told,
    Wrote,
)
from tests.simulation.rows import row


def _cancels(entry: Wrote, books: Books) -> Order | None:
    """The order as it was, where this write cancels it."""
    before = books.orders.get(entry.order.id)
    return before if entry.order.cancelled and before is not None and not before.cancelled else None


@row("F09", StripeAnswered)
def charged_and_unheard(entry: StripeAnswered, books: Books) -> bool:
    """A charge ends unclear, and Stripe has charged."""
    return entry.kind == "charge" and "Unclear" in entry.outcome and books.has_charged(entry.key or "")


@row("F10", StripeAnswered)
def unheard_and_not_charged(entry: StripeAnswered, books: Books) -> bool:
    """A charge ends unclear, and Stripe has not charged."""
    return entry.kind == "charge" and "Unclear" in entry.outcome and not books.has_charged(entry.key or "")


@row("F11", StripeAnswered)
def an_answer_stalled(entry: StripeAnswered, books: Books) -> bool:
    """A charge or refund ends unclear after its answer began to stall."""
    return bool(books.struck["answer of Stripe stalls"] and entry.key and "no whole answer" in entry.outcome)


@row("F12", Met)
def an_error_is_replayed(entry: Met, _books: Books) -> bool:
    """A 500 comes back for a key, as Stripe stored it."""
    return entry.trigger in (Trigger.ERROR_STORED, Trigger.REFUND_ERROR_STORED)


@row("F13", StripeAnswered)
def a_key_is_in_use(entry: StripeAnswered, _books: Books) -> bool:
    """Stripe says that a request with the key is executing."""
    return "key_in_use" in entry.outcome.lower()


@row("F14", StripeAnswered)
def too_many(entry: StripeAnswered, _books: Books) -> bool:
    """Stripe says 429 to a charge."""
    return entry.kind == "charge" and "RATE_LIMITED" in entry.outcome


@row("F15", Wrote)
def payable_after_a_decline(entry: Wrote, books: Books) -> bool:
    """An attempt begins on an order on which one was declined."""
    states = [each.state for each in entry.order.attempts]
    begins = len(states) > books.attempts_of(entry.order.id)
    return begins and AttemptState.DECLINED in states[:-1]


@row("F17", Wrote)
def a_key_is_too_old(entry: Wrote, _books: Books) -> bool:
    """An attempt is unsettled, and its key can't be sent any more."""
    return any(each.state is AttemptState.CHARGING and each.unsendable_since for each in entry.order.attempts)


@row("F18", StripeCharged)
def landed_late(entry: StripeCharged, books: Books) -> bool:
    """A request charges after its attempt was settled without it."""
    order = books.orders.get(entry.order_id)
    late = (AttemptState.ABANDONED, AttemptState.CLOSED, AttemptState.REFUSED, AttemptState.DECLINED)
    return entry.succeeded and any(
        each.number == entry.attempt and each.state in late for each in (order.attempts if order else ())
    )


@row("F20", Wrote)
def cancelled_while_charging(entry: Wrote, books: Books) -> bool:
    """The cancel is written while a charge of the order is with Stripe."""
    before = _cancels(entry, books)
    keys = {key for _, key in books.in_flight}
    return before is not None and any(each.key in keys for each in before.attempts)


@row("F23", StripeAnswered)
def a_refund_is_unclear(entry: StripeAnswered, _books: Books) -> bool:
    """A refund ends unclear."""
    return entry.kind == "refund" and "Unclear" in entry.outcome


@row("F24", Wrote)
def cancelled_while_unknown(entry: Wrote, books: Books) -> bool:
    """The cancel is written while nobody knows how an attempt ended."""
    before = _cancels(entry, books)
    attempt = before.unsettled if before else None
    return attempt is not None and (attempt.sends > 1 or attempt.token is None)


@row("F35", Told)
def an_amount_is_refused(entry: Told, _books: Books) -> bool:
    """422."""
    return entry.status == 422


@row("F36", StripeAnswered)
def our_key_is_refused(entry: StripeAnswered, _books: Books) -> bool:
    """Stripe says 401 to a charge or refund."""
    return entry.key is not None and "KEY_REFUSED" in entry.outcome


@row("F44", Met)
def a_refund_is_blocked(entry: Met, _books: Books) -> bool:
    """Stripe does not give a charge back."""
    return entry.trigger is Trigger.REFUND_BLOCKED
