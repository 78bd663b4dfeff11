"""The rows of events, of webhook endpoints, and of the deliveries still to be made."""

import sqlite3
from typing import Any, Literal

import msgspec
from msgspec import Struct

from payment.stripe_sandbox.pages import Page, read_page

EVENT_SCHEMA = """
CREATE TABLE events (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, object BLOB NOT NULL);
CREATE INDEX events_by_type ON events (type, seq);
"""


class Event(Struct, kw_only=True):
    """Something that happened to an object, with the object as it was then. `created` in seconds since 1970."""

    id: str
    object: Literal["event"] = "event"
    account: None = None
    api_version: str
    created: int
    data: dict[str, Any]
    livemode: Literal[False] = False
    pending_webhooks: int = 0
    request: dict[str, str | None]
    type: str


class EventRecords:
    """Every method that writes must run inside a transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, event: Event) -> None:
        self._db.execute(
            "INSERT INTO events (id, type, object) VALUES (?, ?, ?)",
            [event.id, event.type, msgspec.json.encode(event)],
        )

    def get(self, event_id: str) -> Event | None:
        row = self._db.execute("SELECT object FROM events WHERE id = ?", [event_id]).fetchone()
        return msgspec.json.decode(row[0], type=Event) if row else None

    def page(self, kind: str | None, page: Page) -> tuple[list[Event], bool]:
        """One page, newest first, and whether there is more; of one type where it is named."""
        return read_page(self._db, "events", {} if kind is None else {"type": kind}, page, Event)
