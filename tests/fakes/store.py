"""An order store in memory that keeps the port's promises, and breaks down exactly as a test says.

Owns the documents (`FakeDatabase`, shared by the stores of several processes) and the script of faults of each store.
Documents are kept as encoded copies, so nothing that a test or an actor holds can change them. No wall time, no
randomness, no sleep: a simulation drives it. Change together with: `payment.ports.store`, and `mongo_store`'s filters.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import bson
import msgspec
from bson.codec_options import CodecOptions

from payment.core.account import BoundAccount
from payment.core.order import Order
from payment.core.schedule import LONGEST_DELAY
from payment.ports.store import Committed, DeadLetter, StoreUnavailable

CODEC = CodecOptions[dict[str, Any]](tz_aware=True, tzinfo=UTC)


class FakeDatabase:
    """What is on disk, shared by the stores of several processes."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.dead_letters: dict[str, DeadLetter] = {}
        self.account: BoundAccount | None = None
        self.unreadable: dict[str, str] = {}
        """By order id: documents that somebody has edited, and why they are no orders. Out of here they are mended."""
        self.revisions: list[Order] = []
        """Every document ever written, in order."""
        self._decoded: dict[str, tuple[bytes, Order]] = {}

    def get(self, order_id: str) -> Order | None:
        document = None if order_id in self.unreadable else self.documents.get(order_id)
        return None if document is None else self._read(order_id, document)

    def orders(self) -> list[Order]:
        documents = self.documents.items()
        return [self._read(order_id, document) for order_id, document in documents if order_id not in self.unreadable]

    def _read(self, order_id: str, document: bytes) -> Order:
        """A document is decoded once, however often it is read: orders are frozen."""
        kept = self._decoded.get(order_id)
        if kept is None or kept[0] is not document:
            kept = self._decoded[order_id] = (document, _decoded(document))
        return kept[1]

    def put(self, order: Order) -> None:
        """Write whatever the revision: a test's own hand, or a restored backup."""
        self.documents[order.id] = encoded(order)
        self.revisions.append(order)

    def replace(self, order: Order, document: bytes) -> bool:
        """ReplaceOne({_id, rev: n}, document of rev n+1, upsert): false where the upsert collides on `_id`."""
        stored = self.get(order.id)
        if order.id in self.unreadable:
            return False
        if stored is not None and stored.rev != order.rev - 1:
            return False
        if stored is None and self._payment_is_another_s(order):
            return False
        self.documents[order.id] = document
        self.revisions.append(self._read(order.id, document))
        return True

    def keep(self, letter: DeadLetter) -> str | None:
        """Keep a dead letter and return under which name; None where this very event lies there already."""
        at_its_name = self.dead_letters.setdefault(letter.identity, letter)
        if at_its_name is letter:
            return letter.identity
        if (at_its_name.subject, at_its_name.data) == (letter.subject, letter.data):
            return None
        return letter.name_beside if self.dead_letters.setdefault(letter.name_beside, letter) is letter else None

    def bind(self, bound: BoundAccount) -> BoundAccount:
        """Keep an account, unless one is kept."""
        if self.account is None:
            self.account = bound
        return self.account

    def rebind(self, old: BoundAccount, new: BoundAccount) -> bool:
        """Put an account in place of another, if that one stands."""
        if self.account != old:
            return False
        self.account = new
        return True

    def _payment_is_another_s(self, order: Order) -> bool:
        payment = order.payment
        return payment is not None and any(other.payment and other.payment.id == payment.id for other in self.orders())


class FakeAccounts:
    """`AccountStore` of a fake store, whose faults it shares."""

    def __init__(self, store: "FakeStore") -> None:
        self._store = store

    async def read(self) -> BoundAccount | None:
        await self._store._called("account")
        return self._store.database.account

    async def bind(self, bound: BoundAccount) -> BoundAccount:
        await self._store._called("bind")
        return self._store.database.bind(bound)

    async def replace(self, old: BoundAccount, new: BoundAccount) -> bool:
        await self._store._called("replace")
        return self._store.database.rebind(old, new)


class FakeStore:
    """One process's `OrderStore` over a database. Each list of faults is used up, one call a fault."""

    def __init__(self, database: FakeDatabase | None = None) -> None:
        self.database = FakeDatabase() if database is None else database
        self.away: str | None = None
        """Why the store can't be reached: reads raise, writes are unknown and not applied."""
        self.writes_away: str | None = None
        """Reads pass, and every write ends unknown without being applied: no majority."""
        self.lose_answers = 0
        """So many commits from now on are applied, and their answers lost."""
        self.lose_writes = 0
        """So many commits from now on are not applied, and nobody is told so."""
        self.hold_writes = 0
        """So many commits from now on end unknown, and are applied only by `land`."""
        self.unknown_ids: set[str] = set()
        """Documents whose writes always end unknown, not applied, while those beside them are written."""
        self.unwritable: Callable[[Order], bool] = lambda _order: False
        self.before_write: Callable[[Order], None] = lambda _order: None
        """Somebody else's chance to write first."""
        self.calls: Counter[str] = Counter()
        """How often each operation was called, whatever came of it."""
        self.log: list[str] = []
        """What was confirmed to the caller, in order: `load`, `commit id@rev`, …"""
        self.prepared = 0
        self.closed = False
        self._open = asyncio.Event()
        self._open.set()
        self._stalled: set[str] = set()
        self.accounts = FakeAccounts(self)
        self._unreadable: dict[str, str] = {}
        self._held: deque[Order] = deque()

    # ------------------------------------------------------------------------------------------------------ the script

    def stall(self, *operations: str) -> None:
        """Let these operations (or all) wait until `go_on`, before they do anything.

        "answer" is the way back of a commit: its documents are written, and nobody knows yet.
        """
        self._stalled = set(operations)
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    @property
    def held(self) -> int:
        """How many documents are still on their way."""
        return len(self._held)

    def land(self) -> list[bool]:
        """Apply the writes that were held, now: which of them the revision let through."""
        landed = [self.database.replace(order, encoded(order)) for order in self._held]
        self._held.clear()
        return landed

    # -------------------------------------------------------------------------------------------------------- the port

    async def prepare(self) -> None:
        await self._called("prepare")
        self.prepared += 1

    @property
    def unreadable(self) -> Mapping[str, str]:
        return self._unreadable

    async def load(self, order_ids: Sequence[str]) -> dict[str, Order]:
        await self._called("load")
        for each in order_ids:
            self._unreadable.pop(each, None)
            if each in self.database.unreadable:
                self._unreadable[each] = self.database.unreadable[each]
        found = (self.database.get(order_id) for order_id in dict.fromkeys(order_ids))
        return {order.id: order for order in found if order is not None}

    async def load_by_payment(self, payment_ids: Sequence[str]) -> dict[str, Order]:
        await self._called("load_by_payment")
        wanted = set(payment_ids)
        by_payment = {order.payment.id: order for order in self.database.orders() if order.payment}
        return {payment_id: order for payment_id, order in by_payment.items() if payment_id in wanted}

    async def commit(self, orders: Sequence[Order]) -> list[Committed]:
        self.calls["commit"] += 1
        await self._wait("commit")
        fate = self._fate()
        results = [self._write(order, fate) for order in orders]
        for order, result in zip(orders, results, strict=True):
            self.log.append(f"{result.value} {order.id}@{order.rev}")
        await self._wait("answer")
        await asyncio.sleep(0)
        return results

    async def due(self, now: datetime, holder: str | None, limit: int) -> list[Order]:
        await self._called("due")
        return due_orders(self.database, now, holder, limit)

    async def bury(self, letter: DeadLetter) -> bool:
        await self._called("bury")
        self.database.keep(letter)
        self.log.append(f"buried {letter.identity}")
        return True

    async def ping(self) -> str:
        await self._called("ping")
        return "a fake store"

    async def close(self) -> None:
        self.closed = True

    # ------------------------------------------------------------------------------------------------------- the faults

    async def _called(self, operation: str) -> None:
        self.calls[operation] += 1
        await self._wait(operation)
        await asyncio.sleep(0)
        if self.away is not None:
            raise StoreUnavailable(self.away)
        if self.writes_away is not None and operation in ("bury", "bind", "replace"):
            raise StoreUnavailable(self.writes_away)
        self.log.append(operation)

    async def _wait(self, operation: str) -> None:
        if not self._stalled or operation in self._stalled:
            await self._open.wait()

    def _fate(self) -> str:
        """What becomes of this commit as a whole."""
        if self.away is not None or self.writes_away is not None:
            return "lost"
        for name, fate in (("lose_writes", "lost"), ("hold_writes", "held"), ("lose_answers", "unanswered")):
            if getattr(self, name) > 0:
                setattr(self, name, getattr(self, name) - 1)
                return fate
        return "written"

    def _write(self, order: Order, fate: str) -> Committed:
        try:
            document = encoded(order)
        except (bson.errors.BSONError, OverflowError, UnicodeEncodeError):
            return Committed.UNWRITABLE
        if fate == "lost" or order.id in self.unknown_ids:
            return Committed.UNKNOWN
        if fate == "held":
            self._held.append(order)
            return Committed.UNKNOWN
        self.before_write(order)
        if self.unwritable(order):
            written = Committed.UNWRITABLE
        else:
            written = Committed.WRITTEN if self.database.replace(order, document) else Committed.CONFLICT
        return Committed.UNKNOWN if fate == "unanswered" else written


def _due(order: Order) -> datetime:
    assert order.due is not None
    return order.due


def due_orders(database: FakeDatabase, now: datetime, holder: str | None, limit: int) -> list[Order]:
    """`OrderStore.due`, on what the database holds at this instant."""
    orders = sorted(
        (order for order in database.orders() if order.due is not None), key=lambda each: (_due(each), each.id)
    )
    horizon = now + LONGEST_DELAY
    if holder is not None:
        return [order for order in orders if order.holder == holder and _due(order) <= horizon][:limit]
    overdue = [order for order in orders if _due(order) <= now][:limit]
    return overdue + [order for order in orders if _due(order) > horizon][:limit]


def encoded(order: Order) -> bytes:
    """A document as the store keeps it. Raises what `bson` raises for what can't be kept."""
    return bson.encode(msgspec.to_builtins(order, builtin_types=(datetime,)), codec_options=CODEC)


def _decoded(encoded: bytes) -> Order:
    return msgspec.convert(bson.decode(encoded, codec_options=CODEC), Order)
