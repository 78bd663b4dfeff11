"""The breaches of a round, by the records of all servers and customers.

Owns: the judgement of a round. The four laws themselves are in `tests.faults.laws`; this module checks what a round can
show beyond them: that money, events and answers fit each other one by one, that no effect is left in flight, and that
the log has no alarm and no secret. Must never query the service or wait: it is a function of `RoundRecords`. Change
together with: `planted.py`, which plants each breach that is checked here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.chaos.load import (
    ASKS_TOKEN,
    CARDS,
    DECLINED_TOKEN,
    SECRET_BRAND_TOKEN,
    UNKNOWN_TOKEN,
    OrderHistory,
    wants_customer,
)
from tests.e2e.bus import PAID, REFUNDED
from tests.e2e.client import JWT_KEY, Answer
from tests.e2e.stack import STRIPE_KEY
from tests.faults.laws import Document, Evidence, attempts, broken_laws

BRANDS = dict(zip(CARDS, ("visa", "mastercard", "amex", "discover"), strict=True)) | {ASKS_TOKEN: "visa"}
FIELDS = {PAID: {"id", "orderId", "stripeId"}, REFUNDED: {"id", "orderId", "stripeId", "refundId"}}
STATUSES = frozenset({200, 201, 202, 400, 402, 404, 409, 503})
"""All statuses that these customers can get: their tokens are valid, their orders their own, their amounts possible."""
ALARMS = frozenset(
    {"idempotency_alarm", "request_alarm", "actor_crashed", "actor_gave_up", "document_unwritable"}
    | {"document_unreadable", "uncaught_exception", "log_lines_lost"}
)
"""Log events that no strike and no fault of a round explains."""
SECRETS = (JWT_KEY, STRIPE_KEY, *CARDS, DECLINED_TOKEN, UNKNOWN_TOKEN, ASKS_TOKEN, '"eyJ', " eyJ")
CLIENT_SECRET = "_secret_"  # a line that holds none of these holds no client secret
NOT_COMPLETED = "could not be completed"  # message of a 402 where Stripe failed for good and no charge was found
UNKNOWN = frozenset({"confirming", "cancelling"})
"""States of an attempt whose outcome is not known yet: at rest no attempt has one."""
OVER = frozenset({"canceled", "succeeded"})
"""Statuses of an intent that can't charge any more."""
HANGING = frozenset({"refunding", "blocked"})


@dataclass(frozen=True)
class RoundRecords:
    """The records of one round at rest: Stripe's, the bus's, the documents', the logs' and the customers'."""

    evidence: Evidence
    histories: dict[str, OrderHistory]
    dead_letters: list[bytes] = field(default_factory=list)
    poison: list[bytes] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    """Observations of the rig itself: a process that ended by itself, a customer without an answer."""

    @cached_property
    def charges(self) -> dict[str, list[Document]]:
        """Succeeded and failed charges, by order."""
        found: dict[str, list[Document]] = {}
        for charge in self.evidence.audit["charges"]:
            found.setdefault(charge["transfer_group"], []).append(charge)
        return found

    @cached_property
    def refunds(self) -> dict[str, Document]:
        return {refund["id"]: refund for refund in self.evidence.audit["refunds"]}

    @cached_property
    def events(self) -> dict[str, list[tuple[str, Document]]]:
        """Subject and payload of each event of the service, by order, oldest first."""
        found: dict[str, list[tuple[str, Document]]] = {}
        for event in self.evidence.events:
            found.setdefault(event.payload.get("orderId", ""), []).append((event.subject, event.payload))
        return found

    @cached_property
    def intents(self) -> dict[str, list[Document]]:
        """Intents by order, oldest first."""
        found: dict[str, list[Document]] = {}
        for intent in self.evidence.audit["intents"]:
            found.setdefault(intent["transfer_group"], []).append(intent)
        return found

    @cached_property
    def client_secrets(self) -> set[str]:
        """All client secrets that customers got."""
        answers = [answer for history in self.histories.values() for answer in (*history.answers, *history.views)]
        bodies = [answer.body for answer in answers if answer.status in (200, 202)]
        return {body["clientSecret"] for body in bodies if "clientSecret" in body}

    def succeeded(self, order: str) -> list[Document]:
        return [charge for charge in self.charges.get(order, []) if charge["status"] == "succeeded"]

    def kept(self, order: str) -> list[Document]:
        return [charge for charge in self.succeeded(order) if not charge["refunded"]]


def breaches(records: RoundRecords) -> list[str]:
    """Returns every breach as a sentence, with the order's id where it is about one. An empty list means that all laws
    held.
    """
    found = [
        *records.unexplained,
        *broken_laws(records.evidence),
        *_strangers(records),
        *_dead_letters(records),
        *_log(records),
    ]
    for order, history in records.histories.items():
        for check in CHECKS:
            found += [
                f"{check.__name__.strip('_')}: order {order}: {words}" for words in check(order, history, records)
            ]
    return found


def _strangers(records: RoundRecords) -> Iterator[str]:
    """L2: there are no charges and no events about orders that were never placed."""
    for order in (records.charges.keys() | records.events.keys()) - records.histories.keys():
        yield f"strangers: {order!r} has a charge or an event, and was never placed"


def _dead_letters(records: RoundRecords) -> Iterator[str]:
    """L4, F30: each invalid event is a dead letter, whole, and nothing else is."""
    for data in set(records.poison) - set(records.dead_letters):
        yield f"dead letters: lost: {data!r}"
    for data in set(records.dead_letters) - set(records.poison):
        yield f"dead letters: a valid event: {data!r}"


def _log(records: RoundRecords) -> Iterator[str]:
    """The log has no alarm and no secret. A line that a kill -9 cut short is no JSON, and is ignored."""
    alarms: Counter[str] = Counter()
    for line in records.log:
        of_this_round = records.client_secrets if CLIENT_SECRET in line else ()
        for secret in (*SECRETS, *of_this_round):
            if secret in line:
                yield f"log: a secret is in it: {line.replace(secret, '…')[:300]}"
        entry = _decoded(line)
        if entry.get("event") in ALARMS:
            alarms[_alarm(entry)] += 1
    for alarm, times in alarms.items():
        yield f"log: {alarm} ({times} times)"


def _alarm(entry: dict[str, Any]) -> str:
    """Returns all fields of a line about its cause: the machine on which a round failed may be gone at the analysis."""
    causes = [str(entry[name]) for name in ("reason", "error", "message", "exception") if entry.get(name)]
    return ": ".join([entry["event"], *causes])


def _decoded(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _money(order: str, history: OrderHistory, records: RoundRecords) -> Iterator[str]:
    """Each charge is of the order's amount and currency; each refund is of its whole charge."""
    for charge in records.charges.get(order, []):
        if (charge["amount"], charge["currency"]) != (history.minor, "usd"):
            yield f"charged {charge['amount']} {charge['currency']}, not {history.minor} usd"
        refunds = [each for each in records.refunds.values() if each["charge"] == charge["id"]]
        if any(refund["amount"] != charge["amount"] for refund in refunds):
            yield f"given back in part: {charge['id']}"
        if len(refunds) > 1:
            yield f"given back {len(refunds)} times: {charge['id']}"


def _one_intent(order: str, history: OrderHistory, records: RoundRecords) -> Iterator[str]:
    """L1, F46: at most one confirmed intent is open; on a dead order no intent whose secret a customer has."""
    open_ones = [each for each in records.intents.get(order, []) if each["status"] not in OVER]
    confirmed = [each["id"] for each in open_ones if _was_confirmed(each)]
    if len(confirmed) > 1 or (confirmed and records.kept(order)):
        yield f"more than one intent can charge it: {confirmed}"
    out = {secret.partition(CLIENT_SECRET)[0] for secret in records.client_secrets}
    for intent in open_ones:
        if history.cancelled and (intent["id"] in out or intent["status"] == "requires_action"):
            yield (
                f"a customer has its secret, and it is left open on a cancelled order: {intent['id']} "
                f"{intent['status']}"
            )


def _was_confirmed(intent: Document) -> bool:
    """Whether an intent was confirmed. One whose create was lost is open as well, and the service doesn't know its
    id.
    """
    asked = intent["status"] in ("requires_action", "processing")
    return asked or intent["latest_charge"] is not None or intent["last_payment_error"] is not None


def _one_payment(order: str, history: OrderHistory, records: RoundRecords) -> Iterator[str]:
    """L2: all events and answers of an order name one payment; its events have the contract's fields and fit Stripe."""
    events = records.events.get(order, [])
    document = records.evidence.orders.get(order) or {}
    ids = {payload.get("id") for _, payload in events} | {document.get("payment", {}).get("id")}
    ids |= {answer.body["id"] for answer in history.answers if answer.status in (200, 201, 202, 402)}
    named = sorted(str(each) for each in ids if each is not None)
    if len(named) > 1:
        yield f"more than one payment: {named}"
    given_back = {charge["id"] for charge in records.succeeded(order) if charge["refunded"]}
    for subject, payload in events:
        if payload.keys() != FIELDS.get(subject):
            yield f"{subject} with the fields {sorted(payload)}"
        elif subject == PAID and not history.cancelled and payload["stripeId"] in given_back:
            yield f"announced, and refunded though it was not cancelled: {payload['stripeId']}"
        elif subject == REFUNDED and not _fits(payload, records):
            yield f"a refund is announced that Stripe has otherwise: {payload}"
    if len({json.dumps(payload) for subject, payload in events if subject == REFUNDED}) > 1:
        yield "announced as given back in two ways"


def _fits(payload: Document, records: RoundRecords) -> bool:
    refund = records.refunds.get(payload["refundId"])
    return refund is not None and (refund["charge"], refund["status"]) == (payload["stripeId"], "succeeded")


def _answers(order: str, history: OrderHistory, records: RoundRecords) -> Iterator[str]:
    """L4: each answer was true for its token and its order, and in the contract's form."""
    for asked in history.asked:
        if asked.answer is not None:
            for words in (*_form(asked.answer), *_truth(asked.answer, asked.token, order, history, records)):
                yield f"{asked.answer.status} for {asked.token}: {words}"
    yield from _taken_back(history)


def _form(answer: Answer) -> Iterator[str]:
    if answer.status not in STATUSES:
        yield f"not a possible answer: {answer.body}"
    if answer.status in (202, 503) and not answer.headers.get("Retry-After", "").isdigit():
        yield "no Retry-After"
    if answer.status in (201, 202, 402) and not answer.headers.get("Location", "").endswith(f"/{_named(answer)}"):
        yield "no Location of the payment"
    if answer.status == 202 and wants_customer(answer) is not ("clientSecret" in answer.body):
        yield f"status and client secret do not fit each other: {sorted(answer.body)}"
    if answer.status >= 400 and not _is_error_body(answer.body):
        yield f"not the platform's error body: {answer.body!r}"


def _named(answer: Answer) -> object:
    return answer.body.get("id") if isinstance(answer.body, dict) else None


def _is_error_body(body: Any) -> bool:
    errors = body.get("errors") if isinstance(body, dict) else None
    return (
        isinstance(errors, list)
        and bool(errors)
        and all(isinstance(each.get("message"), str) and isinstance(each.get("code"), str) for each in errors)
    )


def _truth(answer: Answer, token: str, order: str, history: OrderHistory, records: RoundRecords) -> Iterator[str]:
    brands = {BRANDS.get(token)}
    if token == ASKS_TOKEN and history.by_secret:
        brands.add(BRANDS[SECRET_BRAND_TOKEN])
    with_token = [each for each in records.charges.get(order, []) if _brand(each) in brands]
    match answer.status:
        case 200 | 201:
            yield from _paid_truly(answer, order, [charge["id"] for charge in with_token], records)
        case 402 if token == ASKS_TOKEN and not history.by_secret:
            if any(not charge["refunded"] and charge["status"] == "succeeded" for charge in with_token):
                yield "answered as failed, and the money is kept"
        case 402 if token == ASKS_TOKEN:
            return  # the browser's own confirm came after that
        case 402 if NOT_COMPLETED not in answer.message:
            if token != DECLINED_TOKEN or not _was_declined(order, records):
                yield f"Stripe has declined no such card: {answer.message}"
        case 402 if any(not charge["refunded"] and charge["status"] == "succeeded" for charge in with_token):
            yield "answered as failed, and the money is kept"
        case 400 if token != UNKNOWN_TOKEN:
            yield f"Stripe knows this token: {answer.message}"
        case 409 if "cancelled" in answer.message and not history.cancelled:
            yield "it was not cancelled"
        case 409 if "been paid" in answer.message and not records.succeeded(order):
            yield "it was not paid"


def _paid_truly(answer: Answer, order: str, with_token: list[str], records: RoundRecords) -> Iterator[str]:
    body = answer.body
    if (body["orderId"], body["status"]) != (order, "paid"):
        yield f"unexpected body {body}"
    if body["stripeId"] not in with_token:
        yield f"{body['stripeId']} is no charge with this card"
    announced = {payload["stripeId"] for subject, payload in records.events.get(order, []) if subject == PAID}
    if body["stripeId"] not in announced:
        yield f"{body['stripeId']} was never announced"


def _brand(charge: Document) -> str:
    return str(charge["payment_method_details"]["card"]["brand"])


def _was_declined(order: str, records: RoundRecords) -> bool:
    return any(charge["status"] == "failed" for charge in records.charges.get(order, []))


def _taken_back(history: OrderHistory) -> Iterator[str]:
    """A payment that was answered as paid stays paid for this token, except after a cancel; no known order becomes
    unknown.
    """
    answered = [each for each in history.asked if each.answer is not None]
    for before in answered:
        for after in answered:
            if before.answer is None or after.answer is None or after.began <= before.ended:
                continue
            paid = before.answer.status in (200, 201) and before.token == after.token
            cancelled = after.answer.status == 409 and history.cancelled
            if paid and after.answer.status not in (200, 201, 503) and not cancelled:
                yield f"{after.answer.status} for {after.token} after it was paid with it"
            if before.answer.status in (200, 201, 202, 402) and after.answer.status == 404:
                yield "404 after the order was known"


def _resolved(order: str, history: OrderHistory, records: RoundRecords) -> Iterator[str]:
    """L4: a GET at rest shows the payment's result, as Stripe has it."""
    if not history.done:
        yield "its customer has no answer that ends it"
    for view in history.views:
        expected = _statuses_of(order, history, records)
        if view.status != 200 or view.body["status"] not in expected:
            yield f"GET returns {view.status} {view.body}, and Stripe's records mean {' or '.join(sorted(expected))}"


def _statuses_of(order: str, history: OrderHistory, records: RoundRecords) -> set[str]:
    if records.kept(order):
        return {"paid"}
    if not history.cancelled:
        awaits = any(intent["status"] == "requires_action" for intent in records.intents.get(order, []))
        return {"requires_action"} if awaits and history.walked_away else {"declined"}
    return {"refunded"} if records.succeeded(order) else {"cancelled"}


def _in_flight(order: str, history: OrderHistory, records: RoundRecords) -> Iterator[str]:
    """At rest nothing is pending: no refund, no event, no recheck that could still find a charge."""
    document = records.evidence.orders.get(order) or {}
    states = [(each["number"], each["state"]) for each in attempts(document)]
    for number, state in states:
        if state in HANGING:
            yield f"attempt {number} is still {state}"
        if state in UNKNOWN:
            yield f"attempt {number} is still {state}: its outcome is not known"
    for event in document.get("outbox", []):
        if event.get("published") is None:
            yield f"{event['subject']} is still to be published"
    if document and document.get("amount") not in (None, history.minor):
        yield f"its amount is {document['amount']}, not {history.minor}"


LawCheck = Callable[[str, OrderHistory, RoundRecords], Iterator[str]]
CHECKS: tuple[LawCheck, ...] = (_money, _one_intent, _one_payment, _answers, _resolved, _in_flight)
