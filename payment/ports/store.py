"""The order store port: `payment.adapters.mongo.store` is the real one.

Whatever it raises is one of two: `StoreUnavailable`, or our bug. What becomes of each document of a commit is a value.
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
"""128 bits: no two events of one name have the same by chance."""


class StoreUnavailable(Exception):
    """The store can't be read now, or whether it can be written is unknown. Never holds a credential."""


class Committed(enum.Enum):
    """What became of one document of a commit."""

    WRITTEN = "written"
    """Confirmed by a majority, and journaled."""
    CONFLICT = "conflict"
    """Somebody else wrote a revision first, or this very write had been applied before and its answer lost."""
    REJECTED_DOCUMENT = "unwritable"
    """This document can't be encoded or is refused by the store for good; the others of its commit are not touched."""
    REFUSED = "refused"
    """The store takes no write of it now (a full disk, a missing right, no primary): it was certainly not written."""
    UNKNOWN = "unknown"
    """It may have been written, or may yet be."""


class CorruptDocument(Struct, frozen=True):
    """A stored document that is no order, or none that this release knows: a value, for it is one order's trouble.

    `order_id` is its `_id`, as text. `reason` names a field and what belongs there, and quotes no value. `newer`: a
    later release wrote it, whose processes may run beside this one. `payment_id` is what stands as its payment's id.
    """

    order_id: str
    reason: str
    newer: bool = False
    payment_id: str | None = None


class DeadLetter(Struct, frozen=True):
    """An event that can't be read, whole. `identity` is the broker's own name for it: it is kept once.

    Two events may have one name all the same (a broker that lost its data, another one over this database): then the
    second is kept under `distinct_identity`, which it has again at each delivery.
    """

    identity: str
    subject: str
    data: bytes
    error: str
    at: datetime

    @property
    def distinct_identity(self) -> str:
        """Where it is kept if its identity is another event's: with a digest of what it says."""
        said = hashlib.sha256(b"%b\0%b" % (self.subject.encode(), self.data))
        return f"{self.identity}#{said.hexdigest()[:DIGEST_CHARS]}"


class AccountStore(Protocol):
    """Where it is kept which Stripe account the orders belong to (F48). Each method raises StoreUnavailable."""

    async def read(self) -> BoundAccount | None:
        """The account that the database belongs to. None: it belongs to none yet."""

    async def bind(self, bound: BoundAccount) -> BoundAccount:
        """Keep the account, unless one is kept already. Returns the one that stands, of whichever process."""

    async def replace(self, old: BoundAccount, new: BoundAccount) -> bool:
        """Put another account in place of this one. False: it is not, or no longer, the one that stands."""


class OrderStore(Protocol):
    """Where orders are kept, one document each. Reads go to the primary, and see only what a majority has.

    A stored document that is no order (it was edited) is never guessed at: each read brings it as what it is, and no
    other one fails for it. It is written over by nothing that was decided on an earlier revision.
    """

    @property
    def accounts(self) -> AccountStore:
        """Where the Stripe account of the orders is kept, in the same database."""

    @property
    def trouble(self) -> str:
        """Why a document of the last commit that had one was `UNKNOWN` or `REFUSED`, in the store's own words."""

    async def probe(self) -> None:
        """Read what a charge reads, and write what a charge needs to write: evidence that the store can be used.

        It changes nothing but one small document of this process's. Ends within a few seconds. Raises StoreUnavailable.
        """

    async def missing_indexes(self) -> tuple[str, ...]:
        """What `prepare` has to do, a few words for each index. Raises StoreUnavailable."""

    async def prepare(self) -> None:
        """Make the indexes that are missing. It may take minutes; no charge needs them. Raises StoreUnavailable."""

    async def load(self, order_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
        """What is stored under these ids, as far as there is anything. Raises StoreUnavailable."""

    async def load_by_payment(self, payment_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
        """The documents whose payments have these ids, by payment id. Raises StoreUnavailable."""

    async def commit(self, orders: Sequence[Order]) -> list[Committed]:
        """Write each order if the stored one has the revision before its own (none, for revision 1).

        Never raises StoreUnavailable: what is not known is `UNKNOWN`, document by document, in the order given. Where
        one is `UNKNOWN` or `REFUSED`, `trouble` says why.
        """

    async def due(self, now: datetime, holder: str | None, limit: int) -> list[Order | CorruptDocument]:
        """About `limit` orders at which somebody must look: overdue at `now`, or due absurdly late.

        Corrupt documents that are met on the way come with them. However many there are, no order stays behind them:
        what has become due since the last call is read, and some of what is older, in turn. With a `holder` (a client
        id): all that this holder has in its hands, due or not. Raises StoreUnavailable.
        """

    async def rechecks(self, now: datetime, limit: int) -> list[Order | CorruptDocument]:
        """Orders with a charge that was given back and is to be looked at again: overdue at `now`, or absurdly late.

        Raises StoreUnavailable.
        """

    def backlog(self, limit: int) -> AsyncIterator[list[Order]]:
        """The orders with something pending, at most `limit`, a few at a time: for gauges and logs.

        They may lack their history, so none of them may be written. One may come twice, for it may change meanwhile.
        Raises StoreUnavailable.
        """

    async def dead_letters_kept(self) -> int:
        """How many dead letters there are, as the store counts them cheaply. Raises StoreUnavailable."""

    async def add_dead_letter(self, letter: DeadLetter) -> bool:
        """Keep a dead letter. True once it is kept, now or before; never because another has its identity.

        Raises StoreUnavailable.
        """

    async def ping(self) -> str:
        """Reach the store once and say in a few words what was found. Raises StoreUnavailable."""

    async def close(self) -> None:
        """Give back the connections."""
