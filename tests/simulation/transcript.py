"""A schedule for readers: what each actor of the world did, in virtual time, one line for each entry of its journal.

It is a function of the journal alone, so a replay prints it again to the byte. Must never cut off what a violation is
about. Change together with: `journal`.
"""

from collections.abc import Iterable, Iterator

import msgspec

from payment.core.order import Order, Task
from tests.simulation.checks import Violation
from tests.simulation.journal import (
    Acked,
    AnyEntry,
    BankDecided,
    BankPageVisited,
    ChargeAnswered,
    ChargePosted,
    ConfirmedInBrowser,
    DeadLetterKept,
    Delivered,
    DocumentCorrupted,
    EventRejected,
    Exited,
    FaultStruck,
    IntentMoved,
    Killed,
    LineLogged,
    OperatorActed,
    PairMet,
    Paused,
    PaymentRead,
    PaymentRequested,
    Postponed,
    Readiness,
    RequestFailed,
    RestChanged,
    Started,
    StayedReachable,
    Stopping,
    Stored,
    StoreRestored,
    StripeAnswered,
    StripeCharged,
    StripeReceived,
    StripeRefunded,
    StripeSent,
    Woken,
    Wrote,
)
from tests.simulation.plan import Plan, encoded

RULE = "-" * 100
SHORT_CHARS = 400
"""The longest value of a log field that is shown whole, in characters: a traceback's end says more than its
beginning."""


def transcript(plan: Plan, journal: Iterable[AnyEntry], violation: Violation | None) -> str:
    """The whole schedule: its plan, its lines, and the violation."""
    lines = [f"seed {plan.seed}, {plan.processes} processes", *_planned(plan), RULE, *_lines(journal, violation)]
    verdict = f"VIOLATION {violation}" if violation else "Every law held."
    return "\n".join([*lines, RULE, verdict, f"plan {encoded(plan).decode()}", ""])


def _planned(plan: Plan) -> Iterator[str]:
    for order in plan.orders:
        yield f"  order {order.id} of {order.user}: {order.price} {order.currency}, expires in {order.expires_in_s:g} s"
    for strike in plan.strikes:
        when = f"at {strike.on} {strike.nth}" if strike.on else f"at {strike.at_s:g} s"
        yield f"  fault {strike.fault} {when} {strike.who}".rstrip()


def _lines(journal: Iterable[AnyEntry], violation: Violation | None) -> Iterator[str]:
    for index, entry in enumerate(journal):
        if isinstance(entry, PairMet):
            continue
        yield f"{entry.at_s:14.6f}  {entry.who:<7} {_text_of(entry)}"
        if violation is not None and violation.index == index:
            yield f"{'':14}  ======> {violation}"


def _text_of(entry: AnyEntry) -> str:  # one line for each type: longer than a function should be, and flat
    match entry:
        case Wrote():
            return f"the store holds {_order(entry.order)}" + (", its answer is lost" if entry.lost_answer else "")
        case StoreRestored():
            return "THE STORE IS RESTORED: " + (" | ".join(_order(order) for order in entry.orders) or "it is empty")
        case DocumentCorrupted():
            return f"EDITS the document of {entry.order_id}: it is corrupt"
        case DeadLetterKept():
            return f"the store keeps the dead letter {entry.identity}: {entry.error}"
        case StripeSent():
            return f"sends to Stripe: {entry.kind} {entry.order_id} {entry.key or ''}".rstrip()
        case StripeReceived():
            return f"arrives at Stripe: {entry.kind} {entry.order_id} {entry.key or ''} {entry.fingerprint}".rstrip()
        case StripeAnswered():
            return f"gets the outcome of {entry.kind} {entry.order_id} {entry.key or ''}: {entry.outcome}"
        case StripeCharged():
            done = "CHARGES" if entry.succeeded else "declines"
            return f"{done} {entry.amount} {entry.currency} for {entry.order_id}: {entry.charge_id}, by {entry.by}"
        case IntentMoved():
            return (
                f"has {entry.intent_id} of {entry.order_id} at {entry.status.value}, made by {entry.key}, by {entry.by}"
            )
        case StripeRefunded():
            return f"GIVES BACK {entry.charge_id}: {entry.refund_id} {entry.status}"
        case BankDecided():
            return f"DISPUTES {entry.charge_id}: {entry.status}"
        case OperatorActed():
            return f"acts in the dashboard: {entry.what} {entry.id} of {entry.order_id}"
        case BankPageVisited():
            how = "completes" if entry.completes else "fails"
            return f"{how} the bank's page for {entry.intent_id} of {entry.order_id}: {entry.status.value}"
        case ConfirmedInBrowser():
            return f"confirms {entry.intent_id} of {entry.order_id} in the browser with {entry.token}: {entry.outcome}"
        case Stored():
            dropped = "drops the repeat" if entry.dropped else "stores"
            return f"publishes; the bus {dropped}: {entry.subject} {entry.sequence} {_text(entry.data)}"
        case Delivered():
            return f"is delivered {entry.subject} {entry.sequence}, time {entry.nth}"
        case Acked():
            return f"acknowledges {entry.subject} {entry.sequence}" + (", which is lost" if entry.lost else "")
        case EventRejected():
            return f"publishes; the bus refuses: {entry.subject}"
        case Postponed():
            return f"wants {entry.subject} {entry.sequence} again in {entry.delay_s:g} s"
        case ChargePosted():
            return (
                f"POST {entry.request_no} to {entry.process}: pay {entry.order_id} with {entry.token} as {entry.user}"
                + (", who can authenticate" if entry.authenticates else "")
            )
        case ChargeAnswered():
            later = f", Retry-After {entry.retry_after_s}" if entry.retry_after_s is not None else ""
            return f"gets on POST {entry.request_no}: {entry.status}{later} {_text(entry.body)}"
        case RequestFailed():
            return f"gets no answer to request {entry.request_no}: {entry.reason}"
        case PaymentRequested():
            by = entry.payment_id or f"of {entry.order_id}"
            return f"GET {entry.request_no} to {entry.process}: payment {by} as {entry.user}"
        case PaymentRead():
            return f"gets on GET {entry.request_no}: {entry.status} {_text(entry.body)}"
        case Started():
            return f"starts, for the {entry.incarnation}. time"
        case Killed():
            return "IS KILLED"
        case Paused():
            return "is paused"
        case Woken():
            return "wakes"
        case Stopping():
            return "gets SIGTERM"
        case Exited():
            return f"exits with {entry.code}"
        case LineLogged():
            return f"log {entry.level} {entry.event} {_fields(entry.fields)}".rstrip()
        case Readiness():
            return f"reports that the store is {'up' if entry.up else 'down'}: {entry.condition}"
        case PairMet():
            return f"decides: {entry.state.value} + {entry.trigger.value}"
        case FaultStruck():
            return f"*** {entry.fault} ({', '.join(entry.rows)}): {entry.detail}"
        case RestChanged():
            return "all is at rest" if entry.done else "faults are off; the world comes to rest"
        case StayedReachable():
            return f"all has been reachable for {entry.for_s:g} s"


def _order(order: Order) -> str:
    attempts = [
        f"{each.number} {each.state.value}"
        + (f" ({each.sends} sends)" if each.sends > 1 else "")
        + (f" {each.charge_id}" if each.charge_id else "")
        + _task(each.task)
        for each in order.attempts
    ]
    intent = order.intent
    if intent is not None:
        exposed = ", exposed" if intent.exposed else ""
        attempts.append(f"intent {intent.number} {intent.id} {intent.state.value}{exposed}{_task(intent.task)}")
    events = [f"{each.subject} {'is out' if each.published else 'is owed'}" for each in order.outbox]
    due = [f"due {order.due:%d. %H:%M:%S}"] if order.due else []
    return f"{order.id} rev {order.rev}: " + "; ".join([order.status.value, *attempts, *events, *due])


def _task(task: Task | None) -> str:
    return f" [{task.kind.value} of {task.holder or 'no process'}, due {task.due:%d. %H:%M:%S}]" if task else ""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _fields(fields: dict[str, str | int | float | bool | None]) -> str:
    short = {
        name: "…" + value[-SHORT_CHARS:] if isinstance(value, str) and len(value) > SHORT_CHARS else value
        for name, value in fields.items()
    }
    return msgspec.json.encode(short).decode() if short else ""
