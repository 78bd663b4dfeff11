"""An order store in memory that keeps the port's promises, with faults that tests control.

Owns the documents (`FakeDatabase`, shared by the stores of several processes) and the script of faults of each store.
Documents are kept as encoded copies, so that no object of a test or an actor can change them. It uses no wall time, no
randomness and no sleep: a simulation drives it. Change together with: `payment.ports.store`, and `mongo_store`'s
filters.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any

import bson
import msgspec

from payment.adapters.mongo.documents import CODEC, order_of
from payment.core.account import BoundAccount
from payment.core.order import Order
from payment.core.schedule import LONGEST_DELAY, LONGEST_RECHECK
from payment.ports.store import Committed, CorruptDocument, DeadLetter, StoreUnavailable

QUIET = frozenset({"probe", "missing_indexes", "prepare"})
"""Operations that are no order's: they are in `calls`, and not in `log`."""


class FakeDatabase:
    """The stored data, shared by the stores of several processes."""

    def __init__(self, read: Callable[[bytes], Order | CorruptDocument] = order_of) -> None:
        """`read` decodes a document; a test may pass a function that checks less than the real one."""
        self.read = read
        self.documents: dict[str, bytes] = {}
        self.dead_letters: dict[str, DeadLetter] = {}
        self.account: BoundAccount | None = None
        self.revisions: list[Order] = []
        """Every document ever written, in order."""
        self._decoded: dict[str, tuple[bytes, Order | CorruptDocument]] = {}

    def find(self, order_id: str) -> Order | CorruptDocument | None:
        """Returns what a store reads under an id."""
        document = self.documents.get(order_id)
        return None if document is None else self._read(order_id, document)

    def get(self, order_id: str) -> Order | None:
        found = self.find(order_id)
        return found if isinstance(found, Order) else None

    def found(self) -> list[Order | CorruptDocument]:
        """Returns all stored orders, corrupt documents included."""
        return [self._read(order_id, document) for order_id, document in self.documents.items()]

    def _field(self, order_id: str, found: Order | CorruptDocument, name: str) -> Any:
        """Returns a field that the store itself uses, even of a corrupt document."""
        if isinstance(found, Order):
            return getattr(found, name)
        return bson.decode(self.documents[order_id], codec_options=CODEC).get(name)

    def dated(self) -> list[tuple[datetime, str, str | None]]:
        """Returns deadline, id and holder of every document with a deadline."""
        found = ((order_id, self._read(order_id, document)) for order_id, document in self.documents.items())
        dates = ((self._field(name, each, "due"), name, self._field(name, each, "holder")) for name, each in found)
        return [each for each in dates if isinstance(each[0], datetime)]

    def orders(self) -> list[Order]:
        return [each for each in self.found() if isinstance(each, Order)]

    def _read(self, order_id: str, document: bytes) -> Order | CorruptDocument:
        """Decode a document only once: orders are frozen."""
        kept = self._decoded.get(order_id)
        if kept is None or kept[0] is not document:
            kept = self._decoded[order_id] = (document, self.read(document))
        return kept[1]

    def edit(self, order_id: str, **fields: Any) -> bytes:
        """Set fields of a document, as an operator could with MongoDB's `$set`. Returns the document before."""
        before = self.documents[order_id]
        edited = bson.decode(before, codec_options=CODEC)
        for path, value in fields.items():
            *way, last = path.split("__")
            holder: Any = edited
            for key in way:
                holder = holder[int(key) if key.isdigit() else key]
            holder[last] = value
        self.documents[order_id] = bson.encode(edited, codec_options=CODEC)
        return before

    def put(self, order: Order) -> None:
        """Write an order with any revision, as a test or a restored backup could."""
        self.documents[order.id] = encoded(order)
        self.revisions.append(order)

    def replace(self, order: Order, document: bytes) -> bool:
        """ReplaceOne({_id, rev: n}, document of rev n+1, upsert): returns False where the upsert collides on `_id`."""
        stored = self.find(order.id)
        if stored is not None and self._field(order.id, stored, "rev") != order.rev - 1:
            return False
        self.documents[order.id] = document
        self.revisions.append(order)
        return True

    def keep(self, dead_letter: DeadLetter) -> str | None:
        """Store a dead letter and return its name; None where the same event is stored already."""
        at_its_name = self.dead_letters.setdefault(dead_letter.identity, dead_letter)
        if at_its_name is dead_letter:
            return dead_letter.identity
        if (at_its_name.subject, at_its_name.data) == (dead_letter.subject, dead_letter.data):
            return None
        return (
            dead_letter.distinct_identity
            if self.dead_letters.setdefault(dead_letter.distinct_identity, dead_letter) is dead_letter
            else None
        )

    def bind(self, bound: BoundAccount) -> BoundAccount:
        """Store an account unless there is one; returns the stored one."""
        if self.account is None:
            self.account = bound
        return self.account

    def rebind(self, old: BoundAccount, new: BoundAccount) -> bool:
        """Replace the stored account if it equals `old`."""
        if self.account != old:
            return False
        self.account = new
        return True


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
    """One process's `OrderStore` over a database. Each call uses up one fault of a list."""

    def __init__(self, database: FakeDatabase | None = None) -> None:
        self.database = FakeDatabase() if database is None else database
        self.away: str | None = None
        """The reason why the store can't be reached: reads raise, writes are unknown and not applied."""
        self.backlog_away: str | None = None
        """As `away`, for telemetry's reads."""
        self.writes_away: str | None = None
        """Whether reads pass and every write ends unknown without being applied: no majority."""
        self.refuses: str | None = None
        """The reason why every write is refused while reads pass: no permission, a full disk."""
        self.refused_ids: set[str] = set()
        """Documents whose writes are refused, while all others and a probe's pass."""
        self.probe_fails: str | None = None
        """The reason why only probes fail."""
        self.missing: tuple[str, ...] = ()
        """Missing indexes."""
        self.index_fails: str | None = None
        """The reason why no index can be created."""
        self.lose_answers = 0
        """The number of next commits that are applied with lost answers."""
        self.lose_writes = 0
        """The number of next commits that are not applied and end unknown."""
        self.hold_writes = 0
        """The number of next commits that end unknown and are applied only by `land`."""
        self.unknown_ids: set[str] = set()
        """Documents whose writes always end unknown and unapplied, while all others are written."""
        self.rejected_document: Callable[[Order], bool] = lambda _order: False
        self.before_write: Callable[[Order], None] = lambda _order: None
        """Called before a commit, so that a test can write first."""
        self.calls: Counter[str] = Counter()
        """How often each operation was called, with any result."""
        self.log: list[str] = []
        """The confirmed operations, in order: `load`, `commit id@rev`, …"""
        self.prepared = 0
        self.trouble = ""
        self.closed = False
        self._open = asyncio.Event()
        self._open.set()
        self._stalled: set[str] = set()
        self.accounts = FakeAccounts(self)
        self._held: deque[Order] = deque()

    # ------------------------------------------------------------------------------------------------------ the script

    def stall(self, *operations: str) -> None:
        """Let these operations (or all) wait until `go_on` before they begin.

        "answer" stalls the answer of a commit: its documents are written, and the caller does not know yet.
        """
        self._stalled = set(operations)
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    @property
    def held(self) -> int:
        """The number of documents whose writes were not applied yet."""
        return len(self._held)

    def land(self) -> list[bool]:
        """Apply the held writes; returns for each whether its revision still fitted."""
        landed = [self.database.replace(order, encoded(order)) for order in self._held]
        self._held.clear()
        return landed

    # -------------------------------------------------------------------------------------------------------- the port

    async def probe(self) -> None:
        await self._called("probe")
        for reason in (self.probe_fails, self.refuses, self.writes_away):
            if reason is not None:
                raise StoreUnavailable(reason)

    async def missing_indexes(self) -> tuple[str, ...]:
        await self._called("missing_indexes")
        return self.missing

    async def prepare(self) -> None:
        await self._called("prepare")
        if self.index_fails is not None:
            raise StoreUnavailable(self.index_fails)
        self.prepared += 1
        self.missing = ()

    async def load(self, order_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
        await self._called("load")
        found = ((order_id, self.database.find(order_id)) for order_id in dict.fromkeys(order_ids))
        return {order_id: each for order_id, each in found if each is not None}

    async def load_by_payment(self, payment_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
        await self._called("load_by_payment")
        return by_payment(self.database, payment_ids)

    async def commit(self, orders: Sequence[Order]) -> list[Committed]:
        self.calls["commit"] += 1
        await self._wait("commit")
        fate = self._fate()
        results = [self._write(order, fate) for order in orders]
        if Committed.UNKNOWN in results or Committed.REFUSED in results:
            self.trouble = self.refuses or self.away or self.writes_away or "no answer"
        for order, result in zip(orders, results, strict=True):
            self.log.append(f"{result.value} {order.id}@{order.rev}")
        await self._wait("answer")
        await asyncio.sleep(0)
        return results

    async def due(self, now: datetime, holder: str | None, limit: int) -> list[Order | CorruptDocument]:
        await self._called("due")
        return due_orders(self.database, now, holder, limit)

    async def rechecks(self, now: datetime, limit: int) -> list[Order | CorruptDocument]:
        await self._called("rechecks")
        return orders_to_recheck(self.database, now, limit)

    async def backlog(self, limit: int) -> AsyncIterator[list[Order]]:
        await self._counted("backlog")
        yield backlog_orders(self.database)[:limit]

    async def dead_letters_kept(self) -> int:
        await self._counted("dead_letters_kept")
        return len(self.database.dead_letters)

    async def add_dead_letter(self, dead_letter: DeadLetter) -> bool:
        await self._called("add_dead_letter")
        self.database.keep(dead_letter)
        self.log.append(f"dead letter {dead_letter.identity}")
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
        refusal = self.writes_away or self.refuses
        if refusal is not None and operation in ("add_dead_letter", "bind", "replace"):
            raise StoreUnavailable(refusal)
        if operation not in QUIET:
            self.log.append(operation)

    async def _counted(self, operation: str) -> None:
        """Count a read of telemetry. It is not in `log`, so that no test depends on its time."""
        self.calls[operation] += 1
        await self._wait(operation)
        if (away := self.away or self.backlog_away) is not None:
            raise StoreUnavailable(away)

    async def _wait(self, operation: str) -> None:
        if not self._stalled or operation in self._stalled:
            await self._open.wait()

    def _fate(self) -> str:
        """Returns the fate of this commit as a whole."""
        if self.away is not None or self.writes_away is not None:
            return "lost"
        if self.refuses is not None:
            return "refused"
        for name, fate in (("lose_writes", "lost"), ("hold_writes", "held"), ("lose_answers", "unanswered")):
            if getattr(self, name) > 0:
                setattr(self, name, getattr(self, name) - 1)
                return fate
        return "written"

    def _write(self, order: Order, fate: str) -> Committed:
        try:
            document = encoded(order)
        except (bson.errors.BSONError, OverflowError, UnicodeEncodeError):
            return Committed.REJECTED_DOCUMENT
        if fate == "refused" or order.id in self.refused_ids:
            return Committed.REFUSED
        if fate == "lost" or order.id in self.unknown_ids:
            return Committed.UNKNOWN
        if fate == "held":
            self._held.append(order)
            return Committed.UNKNOWN
        self.before_write(order)
        if self.rejected_document(order):
            written = Committed.REJECTED_DOCUMENT
        else:
            written = Committed.WRITTEN if self.database.replace(order, document) else Committed.CONFLICT
        return Committed.UNKNOWN if fate == "unanswered" else written


def by_payment(database: FakeDatabase, payment_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
    """`OrderStore.load_by_payment`, on the current content of the database."""
    found = {}
    for each in database.found():
        stored = each.payment.id if isinstance(each, Order) and each.payment else getattr(each, "payment_id", None)
        if stored in payment_ids:
            found[str(stored)] = each
    return found


def due_orders(database: FakeDatabase, now: datetime, holder: str | None, limit: int) -> list[Order | CorruptDocument]:
    """`OrderStore.due`, on the current content of the database: corrupt documents that are due included."""
    horizon = now + LONGEST_DELAY
    dated = database.dated()
    dated.sort(key=lambda each: each[:2])
    if holder is not None:
        wanted = [order_id for due, order_id, held_by in dated if held_by == holder and due <= horizon]
    else:
        wanted = [order_id for due, order_id, _ in dated if due <= now]
    found = _orders_up_to(database, wanted, limit)
    if holder is None:
        found += _orders_up_to(database, [order_id for due, order_id, _ in dated if due > horizon], limit)
    return found


def _orders_up_to(database: FakeDatabase, order_ids: Sequence[str], limit: int) -> list[Order | CorruptDocument]:
    """Returns what is stored under these ids, until there are `limit` orders."""
    found: list[Order | CorruptDocument] = []
    for order_id in order_ids:
        if sum(isinstance(each, Order) for each in found) < limit and (each := database.find(order_id)) is not None:
            found.append(each)
    return found


def orders_to_recheck(database: FakeDatabase, now: datetime, limit: int) -> list[Order | CorruptDocument]:
    """`OrderStore.rechecks`, on the current content of the database."""
    waiting = [(order.recheck, order.id, order) for order in database.orders() if order.recheck is not None]
    horizon = now + LONGEST_RECHECK
    orders = [(recheck, order) for recheck, _, order in sorted(waiting, key=lambda each: each[:2])]
    overdue = [order for recheck, order in orders if recheck <= now][:limit]
    return [*overdue, *[order for recheck, order in orders if recheck > horizon][:limit]]


def backlog_orders(database: FakeDatabase) -> list[Order]:
    """Returns every order with something pending, on the current content of the database."""
    return [order for order in database.orders() if order.due is not None]


def encoded(order: Order) -> bytes:
    """Returns a document as the store keeps it. Raises what `bson` raises for a document that it can't encode."""
    return bson.encode(msgspec.to_builtins(order, builtin_types=(datetime,)), codec_options=CODEC)
