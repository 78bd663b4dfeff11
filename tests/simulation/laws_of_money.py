"""What is sent to Stripe and what Stripe does: keys, times, charges, refunds, at every step.

Read off Stripe's own books; a document counts only for what it had to say before a request left. Change together with:
`checks`, `payment.core.schedule`.
"""

from collections.abc import Iterator

from payment.core.order import GIVING_BACK, Attempt, Order, TaskKind
from payment.core.schedule import KEY_LIFE
from tests.simulation.books import Books, seconds_of
from tests.simulation.checks import Breach, step
from tests.simulation.journal import StripeAnswered, StripeAsked, StripeCharged, StripeRefunded, StripeSent

LATE_LANDINGS = frozenset(
    {
        "request to Stripe lands late",
        "request lands after a later one was refused",
        "request to Stripe slow",
        "request to Stripe arrives twice",
        "answer of Stripe stalls",
        "nobody runs for hours",
        "process paused",
    }
)
"""Faults after which a request may be executed when nobody counts on it any more (F18, F34)."""

WATCH_TICK_S = 0.002
"""Wall clocks are read in whole milliseconds: so much later than its last instant a request may seem to leave."""


@step(StripeSent, law="no request to Stripe before its intent stands in the store (F03)")
def requests_are_on_paper(entry: StripeSent, books: Books) -> Iterator[Breach]:
    if entry.kind == "charge" and entry.key is not None and books.with_key(entry.order_id, entry.key) is None:
        yield entry.order_id, f"{entry.who} sent {entry.key}, and the store holds no such attempt"
    if entry.kind == "refund" and entry.key is not None and not _refund_on_paper(entry, books):
        yield entry.order_id, f"{entry.who} sent {entry.key}, and the store holds no such refund"


def _refund_on_paper(entry: StripeSent, books: Books) -> bool:
    """The key that is held now, or one that came before it: the document keeps the last one only."""
    prefix = str(entry.key).rpartition("-")[0]
    order = books.orders.get(entry.order_id)
    owed: tuple[Attempt, ...] = (*order.attempts, *order.strays) if order else ()
    return any(each.refund is not None and each.refund.key.rpartition("-")[0] == prefix for each in owed)


@step(StripeSent, law="who takes a charge over looks for it before sending it again (F34)")
def take_overs_look_first(entry: StripeSent, books: Books) -> Iterator[Breach]:
    if entry.kind != "charge" or entry.key is None:
        return
    attempt = books.with_key(entry.order_id, entry.key)
    task = attempt.task if attempt is not None else None
    # What is sent while the document says that somebody looks, or that another holds it, was in hand before.
    if task is None or task.kind is not TaskKind.CHARGE or task.holder is None:
        return
    holder = task.holder
    if holder.partition("#")[0] != entry.who:
        return
    held = [each for each in books.revisions[entry.order_id] if _holder(each.order, entry.key)]
    if _holder(held[0].order, entry.key) == holder:
        return
    taken_at = next(each.came_at for each in held if _holder(each.order, entry.key) == holder)
    if books.looked_at.get((entry.who, entry.order_id), -1) < taken_at:
        yield entry.order_id, f"{entry.who} took {entry.key} over as {holder}, and sent it without a look"


def _holder(order: Order, key: str) -> str | None:
    """Who holds the attempt with this key, by a document."""
    task = next((each.task for each in order.attempts if each.key == key), None)
    return task.holder if task is not None else None


@step(StripeAsked, law="no key with two parameter sets (F16)")
def keys_have_one_meaning(entry: StripeAsked, books: Books) -> Iterator[Breach]:
    if entry.key is None:
        return
    known = books.fingerprints.get(entry.key, entry.fingerprint)
    if known != entry.fingerprint:
        yield entry.order_id, f"{entry.key} was sent with {known}, and now with {entry.fingerprint}"


@step(StripeAsked, law="a charge is asked for with the parameters on paper (F04)")
def parameters_are_the_frozen_ones(entry: StripeAsked, books: Books) -> Iterator[Breach]:
    if entry.kind != "charge" or entry.key is None:
        return
    order, attempt = books.orders.get(entry.order_id), books.with_key(entry.order_id, entry.key)
    if order is None or order.payment is None or attempt is None:
        return
    head = f"({attempt.amount}, {attempt.currency!r}, "
    tail = f", {order.payment.id!r}, {attempt.number})"
    if not (entry.fingerprint.startswith(head) and entry.fingerprint.endswith(tail)):
        yield entry.order_id, f"{entry.key} asks for {entry.fingerprint}; on paper stands {head}…{tail}"


@step(StripeAnswered, law="Stripe never says that a key came with other parameters (F16)")
def stripe_has_no_complaint(entry: StripeAnswered, _books: Books) -> Iterator[Breach]:
    if "other parameters" in entry.outcome:
        yield entry.order_id, f"{entry.key}: {entry.outcome}"


@step(StripeSent, law="no key is sent after its time (F17), no charge after its order expired (F36)")
def keys_are_young(entry: StripeSent, books: Books) -> Iterator[Breach]:
    if entry.kind != "charge" or entry.key is None or books.clock_jumped:
        return
    age_s = entry.at_s - books.born_s.get(entry.key, entry.at_s)
    if age_s > KEY_LIFE.total_seconds() + WATCH_TICK_S:
        yield entry.order_id, f"{entry.who} sent {entry.key} {age_s:.0f} s after it came to be"
    order = books.orders.get(entry.order_id)
    if order is not None and order.expires_at is not None:
        late_s = entry.at_s - seconds_of(order.expires_at)
        if late_s > WATCH_TICK_S:
            yield entry.order_id, f"{entry.who} sent {entry.key} {late_s:.3f} s after its order expired"


@step(StripeCharged, law="a key charges once (F05, F17)")
def keys_charge_once(entry: StripeCharged, books: Books) -> Iterator[Breach]:
    # Past Stripe's memory of a key a late request is executed anew: what no sender can prevent is given back at rest.
    if any(fault in books.struck for fault in LATE_LANDINGS) or books.clock_jumped:
        return
    if entry.succeeded and any(each.key == entry.key and each.succeeded for each in books.charges.values()):
        yield entry.order_id, f"{entry.key} has charged a second time"


@step(StripeCharged, law="L1: never two kept charges, but for a late landing or a paused process (F18, F34)")
def one_charge_at_a_time(entry: StripeCharged, books: Books) -> Iterator[Breach]:
    excused = books.ever_paused or books.clock_jumped or any(fault in books.struck for fault in LATE_LANDINGS)
    if excused or not entry.succeeded:
        return
    kept = [each.charge_id for each in books.charges_of(entry.order_id) if not books.on_its_way_back(each.charge_id)]
    if kept:
        yield entry.order_id, f"{entry.charge_id} was charged while {', '.join(kept)} is kept"


@step(StripeCharged, law="what is charged is what the order costs (F35)")
def amounts_are_right(entry: StripeCharged, books: Books) -> Iterator[Breach]:
    order = books.orders.get(entry.order_id)
    if order is None or (order.amount, order.currency) != (entry.amount, entry.currency):
        owed = (order.amount, order.currency) if order else None
        yield entry.order_id, f"charged {entry.amount} {entry.currency}, it costs {owed}"


@step(StripeRefunded, law="a refund only for a charge that exists and is not kept (F20, F21, F23)")
def refunds_have_a_reason(entry: StripeRefunded, books: Books) -> Iterator[Breach]:
    charge = books.charges.get(entry.charge_id)
    if charge is None or not charge.succeeded:
        yield "", f"{entry.refund_id} gives back {entry.charge_id}, which was never charged"
        return
    if entry.refund_id in books.refunds[entry.charge_id]:
        return
    if books.on_its_way_back(charge.charge_id):
        yield charge.order_id, f"{entry.charge_id} is given back a second time, by {entry.refund_id}"
    order = books.orders.get(charge.order_id)
    owed: tuple[Attempt, ...] = (*order.attempts, *order.strays) if order else ()
    if not any(each.charge_id == entry.charge_id and each.state in GIVING_BACK for each in owed):
        yield charge.order_id, f"{entry.charge_id} was given back, and the store does not say that it should be"
