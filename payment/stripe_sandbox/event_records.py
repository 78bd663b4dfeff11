"""The tables of events, of webhook endpoints, and of pending deliveries."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from payment.stripe_sandbox.pages import ObjectPage, read_page

ALL_EVENTS = "*"
EVENT_SCHEMA = """
CREATE TABLE events (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, delivered INTEGER NOT NULL,
    object BLOB NOT NULL);
CREATE INDEX events_by_type ON events (type, seq);
CREATE TABLE webhook_endpoints (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, secret TEXT NOT NULL, object BLOB NOT NULL);
CREATE TABLE deliveries (
    event TEXT NOT NULL, endpoint TEXT NOT NULL, attempts INTEGER NOT NULL, due_at REAL NOT NULL,
    first_at REAL NOT NULL, PRIMARY KEY (event, endpoint)) WITHOUT ROWID;
CREATE INDEX deliveries_by_time ON deliveries (due_at);
"""


class StripeEvent(Struct, kw_only=True):
    """A change of an object, with the object as it was then. `created` is in seconds since 1970."""

    id: str
    object: Literal["event"] = "event"
    api_version: str
    created: int
    data: dict[str, Any]
    livemode: Literal[False] = False
    pending_webhooks: int = 0
    request: dict[str, str | None]
    type: str


class WebhookEndpoint(Struct, kw_only=True):
    """An address that events are delivered to. `secret` is shown once, when the endpoint is created."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    api_version: str | None = None
    application: None = None
    created: int
    description: str | None
    enabled_events: list[str]
    livemode: Literal[False] = False
    metadata: dict[str, str]
    secret: str | UnsetType = UNSET
    status: Literal["enabled", "disabled"] = "enabled"
    url: str

    def wants(self, kind: str) -> bool:
        """Whether the endpoint gets events of this type."""
        return self.status == "enabled" and (kind in self.enabled_events or ALL_EVENTS in self.enabled_events)


class WebhookDelivery(Struct, frozen=True):
    """An event that an endpoint has not acknowledged after `attempts` attempts, the first at `first_at`."""

    event: str
    endpoint: str
    attempts: int
    first_at: float


class EventRecords:
    """Every method that writes must run inside a transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, event: StripeEvent, now: float) -> bool:
        """Add an event, and a delivery to each endpoint that wants it. Returns whether there is a delivery."""
        wanting = [endpoint for endpoint in self.endpoints() if endpoint.wants(event.type)]
        event.pending_webhooks = len(wanting)
        self._db.execute(
            "INSERT INTO events (id, type, delivered, object) VALUES (?, ?, ?, ?)",
            [event.id, event.type, not wanting, msgspec.json.encode(event)],
        )
        for endpoint in wanting:
            self._db.execute("INSERT INTO deliveries VALUES (?, ?, 0, ?, ?)", [event.id, endpoint.id, now, now])
        return bool(wanting)

    def get(self, event_id: str) -> StripeEvent | None:
        row = self._db.execute("SELECT object FROM events WHERE id = ?", [event_id]).fetchone()
        return msgspec.json.decode(row[0], type=StripeEvent) if row else None

    def page(
        self, page: ObjectPage, kinds: Sequence[str] = (), delivered: bool | None = None
    ) -> tuple[list[StripeEvent], bool]:
        """Returns one page, newest first, and whether there is more; filtered by types, or by whether events are
        delivered.
        """
        selected: dict[str, str | int | Sequence[str]] = {}
        if kinds:
            selected["type"] = kinds
        if delivered is not None:
            selected["delivered"] = int(delivered)
        return read_page(self._db, "events", selected, page, StripeEvent)

    # Endpoints

    def add_endpoint(self, endpoint: WebhookEndpoint, secret: str) -> None:
        self._db.execute(
            "INSERT INTO webhook_endpoints (id, secret, object) VALUES (?, ?, ?)",
            [endpoint.id, secret, msgspec.json.encode(endpoint)],
        )

    def change_endpoint(self, endpoint: WebhookEndpoint) -> None:
        self._db.execute(
            "UPDATE webhook_endpoints SET object = ? WHERE id = ?", [msgspec.json.encode(endpoint), endpoint.id]
        )

    def endpoint(self, endpoint_id: str) -> WebhookEndpoint | None:
        row = self._db.execute("SELECT object FROM webhook_endpoints WHERE id = ?", [endpoint_id]).fetchone()
        return msgspec.json.decode(row[0], type=WebhookEndpoint) if row else None

    def secret(self, endpoint_id: str) -> str:
        """Returns the signing secret of an existing endpoint."""
        row = self._db.execute("SELECT secret FROM webhook_endpoints WHERE id = ?", [endpoint_id]).fetchone()
        return str(row[0])

    def endpoints(self) -> list[WebhookEndpoint]:
        rows = self._db.execute("SELECT object FROM webhook_endpoints ORDER BY seq")
        return [msgspec.json.decode(row[0], type=WebhookEndpoint) for row in rows]

    def endpoint_page(self, page: ObjectPage) -> tuple[list[WebhookEndpoint], bool]:
        return read_page(self._db, "webhook_endpoints", {}, page, WebhookEndpoint)

    def delete_endpoint(self, endpoint_id: str) -> None:
        """Delete an endpoint and its pending deliveries."""
        self._db.execute("DELETE FROM deliveries WHERE endpoint = ?", [endpoint_id])
        self._db.execute("DELETE FROM webhook_endpoints WHERE id = ?", [endpoint_id])

    # Deliveries

    def deliveries_due(self, now: float, limit: int) -> list[WebhookDelivery]:
        query = "SELECT event, endpoint, attempts, first_at FROM deliveries WHERE due_at <= ? ORDER BY due_at LIMIT ?"
        return [WebhookDelivery(*row) for row in self._db.execute(query, [now, limit])]

    def next_delivery_at(self) -> float | None:
        """Returns when the next delivery is due, in seconds since 1970."""
        (due_at,) = self._db.execute("SELECT MIN(due_at) FROM deliveries").fetchone()
        return None if due_at is None else float(due_at)

    def end_delivery(self, delivery: WebhookDelivery) -> None:
        """Delete a delivery that was acknowledged or given up."""
        key = [delivery.event, delivery.endpoint]
        if self._db.execute("DELETE FROM deliveries WHERE event = ? AND endpoint = ?", key).rowcount == 0:
            return
        event = self.get(delivery.event)
        assert event is not None, "events are never deleted"
        event.pending_webhooks -= 1
        self._db.execute(
            "UPDATE events SET delivered = ?, object = ? WHERE id = ?",
            [event.pending_webhooks == 0, msgspec.json.encode(event), event.id],
        )

    def put_off(self, delivery: WebhookDelivery, due_at: float) -> None:
        """Note a failed attempt, and when the next one is due."""
        self._db.execute(
            "UPDATE deliveries SET attempts = attempts + 1, due_at = ? WHERE event = ? AND endpoint = ?",
            [due_at, delivery.event, delivery.endpoint],
        )
