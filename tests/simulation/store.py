"""A process's connection to the store: `payment.ports.store.OrderStore` over a `FakeDatabase`, by calls that travel.

Reads and writes act at the instant of their arrival. While the store is away it applies nothing: reads raise, writes
end unknown. The journal gets each write that the store applies.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from bson.errors import BSONError

from payment.core.account import BoundAccount
from payment.core.order import Order
from payment.ports.store import Committed, CorruptDocument, DeadLetter, StoreUnavailable
from tests.simulation.calls import Call, Reply
from tests.simulation.journal import DeadLetterKept, Wrote
from tests.support.fakes.store import backlog_orders, by_payment, due_orders, encoded, orders_to_recheck

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

R = TypeVar("R")

STORE_TIMEOUT_S = 5.0
"""How long the adapter waits for an answer of the store, in seconds."""


FLAPS_EVERY_S = 0.3
REFUSAL = "not authorized on payment to execute command (Unauthorized, 13)"


class SimAccounts:
    """The Stripe account that the store is bound to, for one process."""

    def __init__(self, store: SimStore) -> None:
        self._store = store

    async def read(self) -> BoundAccount | None:
        return await self._store.read("store.account", lambda: self._store.database.account)

    async def bind(self, bound: BoundAccount) -> BoundAccount:
        return await self._store.read("store.account", lambda: self._store.database.bind(bound))

    async def replace(self, old: BoundAccount, new: BoundAccount) -> bool:
        return await self._store.read("store.account", lambda: self._store.database.rebind(old, new))


class SimStore:
    """One process's store."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self.database = world.database
        self.accounts = SimAccounts(self)
        self.trouble = ""

    async def probe(self) -> None:
        def prove() -> None:
            if self._world.is_on("store refuses writes"):
                raise StoreUnavailable(REFUSAL)
            if self._world.is_on("store writes away"):
                raise StoreUnavailable("no majority")

        await self.read("store.probe", prove)

    async def missing_indexes(self) -> tuple[str, ...]:
        return await self.read("store.missing_indexes", lambda: ())

    async def prepare(self) -> None:
        await self.read("store.prepare", lambda: None)

    async def ping(self) -> str:
        return await self.read("store.ping", lambda: "a simulated store")

    async def load(self, order_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
        def find() -> dict[str, Order | CorruptDocument]:
            found = ((order_id, self.database.find(order_id)) for order_id in dict.fromkeys(order_ids))
            return {order_id: each for order_id, each in found if each is not None}

        return await self.read("store.load", find)

    async def load_by_payment(self, payment_ids: Sequence[str]) -> dict[str, Order | CorruptDocument]:
        return await self.read("store.load_by_payment", lambda: by_payment(self.database, payment_ids))

    async def due(self, now: datetime, holder: str | None, limit: int) -> list[Order | CorruptDocument]:
        return await self.read("store.due", lambda: due_orders(self.database, now, holder, limit))

    async def rechecks(self, now: datetime, limit: int) -> list[Order | CorruptDocument]:
        return await self.read("store.rechecks", lambda: orders_to_recheck(self.database, now, limit))

    async def backlog(self, limit: int) -> AsyncIterator[list[Order]]:
        """At once: what telemetry reads changes no schedule."""
        self._not_away()
        yield backlog_orders(self.database)[:limit]

    async def dead_letters_kept(self) -> int:
        self._not_away()
        return len(self.database.dead_letters)

    def _not_away(self) -> None:
        if self._world.is_on("store away"):
            raise StoreUnavailable("the store is away")

    async def add_dead_letter(self, message: DeadLetter) -> bool:
        def keep() -> bool:
            if (name := self.database.keep(message)) is not None:
                reported = (name, message.subject, message.data, message.error)
                self._world.journal.add(DeadLetterKept(self._world.now_s, self._process.name, *reported))
            return True

        return await self.read("store.bury", keep)

    async def commit(self, orders: Sequence[Order]) -> list[Committed]:
        call = self._world.happens("store.commit", self._process)

        def lost() -> list[Committed]:
            return [Committed.UNKNOWN for _ in orders]

        restores, refused = self._world.restores, False

        def act(reply: Reply[list[Committed]]) -> None:
            nonlocal refused
            if restores != self._world.restores:
                return None
            # The driver sends a command once: no later packet carries out a command that was refused.
            refused = refused or self._refuses()
            if refused:
                return reply([Committed.REFUSED for _ in orders])
            if self._is_away() or self._world.is_on("store writes away"):
                return reply(lost())
            return reply([self._write(call, order, first=order is orders[0]) for order in orders])

        results = await self._world.carrier.travel(call, act, lost, STORE_TIMEOUT_S)
        if Committed.REFUSED in results or Committed.UNKNOWN in results:
            self.trouble = REFUSAL if Committed.REFUSED in results else "no answer in time"
        return results

    async def close(self) -> None:
        return

    def _write(self, call: Call, order: Order, *, first: bool) -> Committed:
        try:
            document = encoded(order)
        except (BSONError, OverflowError, UnicodeEncodeError):
            return Committed.REJECTED_DOCUMENT
        if call.rejected_document and first:
            return Committed.REJECTED_DOCUMENT
        if not self.database.replace(order, document):
            return Committed.CONFLICT
        self._world.wrote(Wrote(self._world.now_s, self._process.name, order, call.loses_answer))
        return Committed.WRITTEN

    def _refuses(self) -> bool:
        return self._world.is_on("store refuses writes") or self._world.is_on("store refuses orders")

    def _is_away(self) -> bool:
        """Whether the store is away now: a store that flaps is away in every second part of its time."""
        flaps = self._world.is_on("store flaps") and int(self._world.now_s / FLAPS_EVERY_S) % 2 == 0
        return flaps or self._world.is_on("store away") or self._world.is_on("store without data")

    async def read(self, hook: str, find: Callable[[], R]) -> R:
        call = self._world.happens(hook, self._process)

        def act(reply: Reply[R]) -> None:
            if self._is_away() or (hook == "store.bury" and self._refuses()):
                return reply(StoreUnavailable("the store is away"))  # type: ignore[arg-type]
            try:
                return reply(find())
            except StoreUnavailable as error:
                return reply(error)  # type: ignore[arg-type]

        def lost() -> Exception:
            return StoreUnavailable("no answer in time")

        return await self._world.carrier.travel(call, act, lost, STORE_TIMEOUT_S)
