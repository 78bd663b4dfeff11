"""The order store port: `payment.adapters.mongo.store` is the real one.

A method raises `StoreUnavailable`; any other exception is our bug. The result for each document of a commit is a value.
"""

import enum
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from payment.core.account import BoundAccount
from payment.core.order import Order

DIGEST_CHARS = 32
"""Hexadecimal digits, 128 bits: the digests of two events are not the same by chance."""


class StoreUnavailable(Exception):
    """The store can't be read now, or it is not known whether it can be written. The text holds no credential."""


class Committed(enum.Enum):
    """The result for one document of a commit."""

    WRITTEN = "written"
    """Confirmed by a majority, and journaled."""
    CONFLICT = "conflict"
    """Another process wrote a revision first, or this very write had been applied before and its answer was lost."""
    REJECTED_DOCUMENT = "unwritable"
    """This document can't be encoded or is refused by the store for good; the others of its commit are not touched."""
    REFUSED = "refused"
    """The store takes no write of it now (a full disk, a missing right, no primary): it was certainly not written."""
    UNKNOWN = "unknown"
    """It may have been written, or may yet be."""


class CorruptDocument(Struct, frozen=True):
    """A stored document that is not a valid order, or has a format that this release does not know.

    It is a value and no exception, for it concerns one order alone. `order_id` is its `_id`, as text. `reason` names a
    field and what belongs there, and quotes no value. `newer`: a later release wrote it, whose processes may run beside
    this one. `payment_id` is its payment's id, as far as that can be read.
    """

    order_id: str
    reason: str
    newer: bool = False
    payment_id: str | None = None


class DeadLetter(Struct, frozen=True):
    """An event that can't be read or applied, with all its bytes.

    It is kept once under `identity`, the broker's name for it. Two events may have one identity all the same (a broker
    lost its data and counts anew, or two brokers feed this database): the second is kept under `distinct_identity`,
    which it has again at each delivery. `at` is UTC.
    """

    identity: str
    subject: str
    data: bytes
    error: str
    at: datetime

    @property
    def distinct_identity(self) -> str:
        """The identity with a digest of the subject and the data, for an event whose identity another event has."""
        digest = hashlib.sha256(b"%b\0%b" % (self.subject.encode(), self.data))
        return f"{self.identity}#{digest.hexdigest()[:DIGEST_CHARS]}"


class AccountStore(Protocol):
    """Stores which Stripe account the orders belong to (F48). Each method raises StoreUnavailable."""

    async def read(self) -> BoundAccount | None:
        """Return the account that the database belongs to. None: it belongs to none yet."""

    async def bind(self, bound: BoundAccount) -> BoundAccount:
        """Store the account unless one is stored already. Returns the one that is stored then."""

    async def replace(self, old: BoundAccount, new: BoundAccount) -> bool:
        """Store `new` instead of `old`. False: `old` is not, or no longer, the stored one."""


class OrderStore(Protocol):
    """Stores orders, one document each. Reads go to the primary, and return only what a majority of the servers has.

    A stored document that is not a valid order (an operator edited it) is returned as a `CorruptDocument`, and makes no
    other read fail. No write that was decided on an earlier revision replaces it.
    """

    @property
    def accounts(self) -> AccountStore:
        """The Stripe account of the orders, in the same database."""

    @property
    def trouble(self) -> str:
        """The database's own reason for the last `UNKNOWN` or `REFUSED` result of a commit."""

    async def probe(self) -> None:
        """Read what a charge reads, and write what a charge needs to write: evidence that the store can be used.

        It writes only one small document of this process's, and ends within a few seconds. Raises StoreUnavailable.
        """

    async def missing_indexes(self) -> tuple[str, ...]:
        """Return what `prepare` has to do, a few words for each index. Raises StoreUnavailable."""

    async def prepare(self) -> None:
        """Make the indexes that are missing. It may take minutes; no charge needs them. Raises StoreUnavailable."""

    async def load(self, order_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
        """Return the stored documents by order id; ids without a document are missing. Raises StoreUnavailable."""

    async def load_by_payment(self, payment_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
        """Return the documents whose payments have these ids, by payment id. Raises StoreUnavailable."""

    async def commit(self, orders: Sequence[Order]) -> list[Committed]:
        """Write each order if the stored one has the revision before its own (none, for revision 1).

        Returns a result for each order, in the order given; it never raises StoreUnavailable. Where a result is
        `UNKNOWN` or `REFUSED`, `trouble` has the reason.
        """

    async def due(self, now: datetime, holder: str | None, limit: int) -> list[Order | CorruptDocument]:
        """Return about `limit` orders with a task that is overdue at `now`, or due absurdly late.

        Corrupt documents among them are returned too. However many there are, they hide no order: each call reads what
        has become due since the last one, and some of what is older, in turn. With a `holder` (a client id): all orders
        with a task that this holder has in flight, due or not. Raises StoreUnavailable.
        """

    async def rechecks(self, now: datetime, limit: int) -> list[Order | CorruptDocument]:
        """Return orders with a charge that was given back and whose recheck is overdue at `now`, or absurdly late.

        Raises StoreUnavailable.
        """

    def backlog(self, limit: int) -> AsyncIterator[list[Order]]:
        """Yield the orders with something pending, at most `limit`, a few at a time: for gauges and logs.

        They may lack their history, so none of them may be written. An order that changes meanwhile may come twice.
        Raises StoreUnavailable.
        """

    async def dead_letters_kept(self) -> int:
        """Return the number of dead letters, as the store counts them cheaply. Raises StoreUnavailable."""

    async def add_dead_letter(self, letter: DeadLetter) -> bool:
        """Keep a dead letter. True once it is kept, now or before; another event with its identity does not count.

        Raises StoreUnavailable.
        """

    async def ping(self) -> str:
        """Reach the store once, and return in a few words what answered. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Close the connections."""
