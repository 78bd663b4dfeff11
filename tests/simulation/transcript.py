"""A schedule as people read it: who said what to whom, in virtual time, one line for each entry of its journal.

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
    Awake,
    BankDecided,
    ConfirmedInBrowser,
    DeadLetterKept,
    Delivered,
    Edited,
    Exited,
    IntentMoved,
    Killed,
    Looked,
    Met,
    OperatorActed,
    Paused,
    Postponed,
    Pressed,
    Readiness,
    Refused,
    Replied,
    Restored,
    Rests,
    Said,
    Saw,
    Started,
    Stopping,
    Stored,
    StripeAnswered,
    StripeAsked,
    StripeCharged,
    StripeRefunded,
    StripeSent,
    Struck,
    Unanswered,
    WentToBank,
    Woken,
    Wrote,
)
from tests.simulation.plan import Plan, encoded

RULE = "-" * 100
SHORT_CHARS = 400
"""Longest value of a log field that is shown: a traceback's end says more than its beginning."""


def transcript(plan: Plan, journal: Iterable[AnyEntry], violation: Violation | None) -> str:
    """The whole schedule: its plan, its lines, and what is wrong with it."""
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
        if isinstance(entry, Met):
            continue
        yield f"{entry.at_s:14.6f}  {entry.who:<7} {_said(entry)}"
        if violation is not None and violation.index == index:
            yield f"{'':14}  ======> {violation}"


def _said(entry: AnyEntry) -> str:  # one line for each type: longer than a function should be, and flat
    match entry:
        case Wrote():
            return f"the store holds {_order(entry.order)}" + (", its answer is lost" if entry.lost_answer else "")
        case Restored():
            return "THE STORE IS PUT BACK: " + (" | ".join(_order(order) for order in entry.orders) or "it is empty")
        case Edited():
            return f"EDITS the document of {entry.order_id}: it is no order any more"
        case DeadLetterKept():
            return f"the store keeps the dead letter {entry.identity}: {entry.error}"
        case StripeSent():
            return f"sends to Stripe: {entry.kind} {entry.order_id} {entry.key or ''}".rstrip()
        case StripeAsked():
            return f"arrives at Stripe: {entry.kind} {entry.order_id} {entry.key or ''} {entry.fingerprint}".rstrip()
        case StripeAnswered():
            return f"hears of {entry.kind} {entry.order_id} {entry.key or ''}: {entry.outcome}"
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
            return f"does by hand: {entry.what} {entry.id} of {entry.order_id}"
        case WentToBank():
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
        case Refused():
            return f"publishes; the bus refuses: {entry.subject}"
        case Postponed():
            return f"wants {entry.subject} {entry.sequence} again in {entry.delay_s:g} s"
        case Pressed():
            return (
                f"POST {entry.request_no} to {entry.process}: pay {entry.order_id} with {entry.token} as {entry.user}"
                + (", who can authenticate" if entry.authenticates else "")
            )
        case Replied():
            later = f", Retry-After {entry.retry_after_s}" if entry.retry_after_s is not None else ""
            return f"is told on POST {entry.request_no}: {entry.status}{later} {_text(entry.body)}"
        case Unanswered():
            return f"hears nothing on request {entry.request_no}: {entry.reason}"
        case Looked():
            by = entry.payment_id or f"of {entry.order_id}"
            return f"GET {entry.request_no} to {entry.process}: payment {by} as {entry.user}"
        case Saw():
            return f"sees on GET {entry.request_no}: {entry.status} {_text(entry.body)}"
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
        case Said():
            return f"log {entry.level} {entry.event} {_fields(entry.fields)}".rstrip()
        case Readiness():
            return f"says that the store is {'up' if entry.up else 'down'}: {entry.condition}"
        case Met():
            return f"decides: {entry.state.value} + {entry.trigger.value}"
        case Struck():
            return f"*** {entry.fault} ({', '.join(entry.rows)}): {entry.detail}"
        case Rests():
            return "all is at rest" if entry.done else "faults are off; things come to rest"
        case Awake():
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
    return f" [{task.kind.value} of {task.holder or 'nobody'}, due {task.due:%d. %H:%M:%S}]" if task else ""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _fields(fields: dict[str, str | int | float | bool | None]) -> str:
    short = {
        name: "…" + value[-SHORT_CHARS:] if isinstance(value, str) and len(value) > SHORT_CHARS else value
        for name, value in fields.items()
    }
    return msgspec.json.encode(short).decode() if short else ""
