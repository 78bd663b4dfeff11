"""The events of the orders service: created, cancelled, and events that can never be applied (F30)."""

import json
from datetime import timedelta

from payment.actors.nats.event_payloads import ORDER_CANCELLED, ORDER_CREATED
from tests.simulation.clock import BEGINNING
from tests.simulation.plan import EventPlan, OrderPlan


def _priced(ticket: str) -> bytes:
    """An order:created that is valid but for its ticket."""
    head = '{"id": "o1", "version": 0, "status": "created", "userId": "u1", "expiresAt": "2030-01-01T13:00:00Z"'
    return f'{head}, "ticket": {{"id": "t1", {ticket}}}}}'.encode()


POISONS: dict[str, bytes] = {
    "not json": b"{",
    "no price": b'{"id": "o1", "version": 0, "status": "created", "userId": "u1", "expiresAt": "2030-01-01T13:00:00Z"}',
    "no such currency": _priced('"price": 20, "currency": "zzz"'),
    "price below zero": _priced('"price": -1'),
    "price beyond measure": _priced('"price": 1e40'),
    "price of billions": _priced('"price": 99999999999999'),
    "price between two cents": _priced('"price": 19.999'),
    "bad time": b'{"id": "o1", "version": 0, "status": "created", "userId": "u1", "expiresAt": "soon", "price": 1}',
}
"""Names of events that become dead letters, and their bytes."""


def subject_of(event: EventPlan) -> str:
    return ORDER_CANCELLED if event.what == "cancelled" else ORDER_CREATED


def payload(order: OrderPlan, event: EventPlan) -> bytes:
    if event.what in POISONS:
        return POISONS[event.what]
    if event.what == "cancelled":
        return json.dumps({"id": order.id, "version": 3, "ticket": {"id": f"ticket of {order.id}"}}).encode()
    expires_at = BEGINNING + timedelta(seconds=order.expires_in_s)
    return json.dumps(
        {
            "id": order.id,
            "version": 0,
            "status": "created",
            "userId": order.user,
            "expiresAt": expires_at.isoformat(),
            "ticket": {"id": f"ticket of {order.id}", "price": order.price, "currency": order.currency},
        }
    ).encode()
