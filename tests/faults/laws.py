"""The four laws, checked against Stripe's audit, the bus, and the answers that clients got.

Owns: the judgement, once all is at rest. Must never query the service, nor use the service's own statements as
evidence, except for L4: its documents show the result of each event. Change together with: faults.md.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.bus import PAID, REFUNDED, Published
from tests.e2e.client import Answer

NOTHING_CHARGED = "nothing was charged"
UNRESOLVED = ("confirming", "awaiting", "cancelling", "charging")
"""States of an attempt that may still charge: at rest no attempt has one."""
Document = dict[str, Any]


@dataclass
class OrderRecord:
    """One order: the events that were published about it, and the answers that its customer got."""

    created: bool = False
    cancelled: bool = False
    answers: list[Answer] = field(default_factory=list)
    broken: int = 0
    """Requests whose connection ended without an answer."""
    walked_away: bool = False
    """Whether its customer has left the bank's page for good: an attempt may await them while the order is open."""


@dataclass(frozen=True)
class Evidence:
    """The evidence at rest: Stripe's audit, the stream's events, the documents, and the clients' answers, by order
    id.
    """

    audit: Document
    events: list[Published]
    orders: dict[str, Document]
    records: dict[str, OrderRecord]

    def charges(self, order: str) -> list[Document]:
        """The order's succeeded charges."""
        charges: list[Document] = self.audit["charges"]
        return [each for each in charges if each["transfer_group"] == order and each["status"] == "succeeded"]

    def events_of(self, order: str) -> list[Published]:
        return [event for event in self.events if event.payload["orderId"] == order]


def broken_laws(evidence: Evidence) -> list[str]:
    """Returns every breach of a law as a sentence. An empty list means that all laws held."""
    breaches = _key_breaches(evidence.audit)
    for order, record in evidence.records.items():
        for law in (_charged_once, _announced, _cancelled_keeps_nothing, _nothing_lost):
            breaches += [f"{law.__name__}: order {order}: {words}" for words in law(order, record, evidence)]
    return breaches


def _key_breaches(audit: Document) -> list[str]:
    """No key was sent with two sets of parameters, nor after its life."""
    keys = audit["keys"]
    breaches = [f"key {key} has {sets} parameter sets" for key, sets in keys["parameter_sets"].items()]
    return breaches + ([f"{keys['reused_late']} keys were sent after their life"] if keys["reused_late"] else [])


def _charged_once(order: str, _: OrderRecord, evidence: Evidence) -> list[str]:
    """L1: no second charge of an order, ever, but after a full refund; and no refund of more than was charged."""
    charges = evidence.charges(order)
    too_much = [charge for charge in charges if charge["amount_refunded"] > charge["amount"]]
    return ([f"{len(charges)} charges were made"] if len(charges) > 1 else []) + [
        f"refunded too much: {each}" for each in too_much
    ]


def _announced(order: str, _: OrderRecord, evidence: Evidence) -> list[str]:
    """L2: a kept charge has its PaymentCreated; a PaymentCreated has its charge; repeats are the same event."""
    ids = {charge["id"] for charge in evidence.charges(order)}
    created = [event for event in evidence.events_of(order) if event.subject == PAID]
    breaches = [
        f"announced without a charge: {event.payload}" for event in created if event.payload["stripeId"] not in ids
    ]
    kept = {charge["id"] for charge in evidence.charges(order) if not charge["refunded"]}
    silent = kept - {event.payload["stripeId"] for event in created}
    breaches += [f"charged and never announced: {charge}" for charge in silent]
    if len({event.data for event in created}) > 1:
        breaches.append("announced as two different payments")
    return breaches


def _cancelled_keeps_nothing(order: str, record: OrderRecord, evidence: Evidence) -> list[str]:
    """L3: a cancelled order keeps no money; its refund is announced, after its payment and never before."""
    events = evidence.events_of(order)
    subjects = [event.subject for event in events]
    charges = evidence.charges(order)
    if not record.cancelled:
        return ["a refund is announced of an order that was not cancelled"] if REFUNDED in subjects else []
    breaches = [f"kept by a cancelled order: {charge['id']}" for charge in charges if not charge["refunded"]]
    if charges and REFUNDED not in subjects:
        breaches.append("given back and not announced")
    if PAID in subjects and REFUNDED in subjects and subjects.index(REFUNDED) < subjects.index(PAID):
        breaches.append("the refund is announced before the payment")
    refunds = {refund["id"] for refund in evidence.audit["refunds"]}
    done = [event.payload["refundId"] for event in events if event.subject == REFUNDED]
    return breaches + [f"no such refund: {refund}" for refund in done if refund not in refunds]


def _nothing_lost(order: str, record: OrderRecord, evidence: Evidence) -> list[str]:
    """L4: each event is in the documents; each 201 is true; each 202 is resolved; "nothing was charged" was true."""
    document = evidence.orders.get(order)
    if document is None:
        return ["its events are lost"] if record.created or record.cancelled else []
    breaches = ["its creation is lost"] if record.created and "userId" not in document else []
    if record.cancelled and document["status"] != "cancelled":
        breaches.append("its cancel is lost")
    ids = {charge["id"] for charge in evidence.charges(order)}
    reported = [answer.body["stripeId"] for answer in record.answers if answer.status in (200, 201)]
    breaches += [
        f"answered as paid by {charge}, which is no charge of the order" for charge in reported if charge not in ids
    ]
    awaited = record.walked_away and not record.cancelled
    resolved = {"awaiting"} if awaited else set()
    unresolved = [
        each["number"] for each in attempts(document) if each["state"] in UNRESOLVED and each["state"] not in resolved
    ]
    breaches += [f"attempt {number} never resolved" for number in unresolved]
    if ids and record.answers and not record.broken and all(_denies(answer) for answer in record.answers):
        breaches.append("charged, though every answer claimed that nothing was")
    errors = [answer.status for answer in record.answers if answer.status == 500]
    return breaches + [f"answered {status}" for status in errors]


def _denies(answer: Answer) -> bool:
    return answer.status == 503 and NOTHING_CHARGED in answer.message


def attempts(document: Document) -> list[Document]:
    found: list[Document] = document.get("payment", {}).get("attempts", [])
    return found


def tally(evidence: Evidence) -> str:
    """Returns the size of the evidence, for the test's output."""
    statuses = Counter(answer.status for record in evidence.records.values() for answer in record.answers)
    states = Counter(each["state"] for document in evidence.orders.values() for each in attempts(document))
    requests = evidence.audit["requests"].get("payment_intents.confirm", {})
    broken = sum(record.broken for record in evidence.records.values())
    return f"answers {dict(statuses)}, broken off {broken}, attempts {dict(states)}, payment_intents.confirm {requests}"
