"""A process's way to the one store: `payment.ports.store.OrderStore` over a `FakeDatabase`, by calls that travel.

Reads and writes act at the instant of their arrival. While the store is away nothing is applied: reads raise, writes
end unknown. What the store applies it tells the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from bson.errors import BSONError

from payment.core.account import BoundAccount
from payment.core.order import Order
from payment.ports.store import Committed, DeadLetter, StoreUnavailable
from tests.fakes.store import due_orders, encoded
from tests.simulation.calls import Call, Reply
from tests.simulation.journal import Buried, Wrote

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

R = TypeVar("R")

STORE_TIMEOUT_S = 5.0
"""How long the adapter waits for an answer of the store, in seconds."""


class SimAccounts:
    """The account of the store, for one process."""

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
        self.unreadable: dict[str, str] = {}
        """Nobody edits documents here."""

    async def prepare(self) -> None:
        await self.read("store.prepare", lambda: None)

    async def ping(self) -> str:
        return await self.read("store.ping", lambda: "a simulated store")

    async def load(self, order_ids: Sequence[str]) -> dict[str, Order]:
        def find() -> dict[str, Order]:
            found = (self.database.get(order_id) for order_id in dict.fromkeys(order_ids))
            return {order.id: order for order in found if order is not None}

        return await self.read("store.load", find)

    async def load_by_payment(self, payment_ids: Sequence[str]) -> dict[str, Order]:
        def find() -> dict[str, Order]:
            by_payment = {order.payment.id: order for order in self.database.orders() if order.payment}
            return {each: by_payment[each] for each in dict.fromkeys(payment_ids) if each in by_payment}

        return await self.read("store.load_by_payment", find)

    async def due(self, now: datetime, holder: str | None, limit: int) -> list[Order]:
        return await self.read("store.due", lambda: due_orders(self.database, now, holder, limit))

    async def bury(self, letter: DeadLetter) -> bool:
        def keep() -> bool:
            if (name := self.database.keep(letter)) is not None:
                told = (name, letter.subject, letter.data, letter.error)
                self._world.journal.add(Buried(self._world.now_s, self._process.name, *told))
            return True

        return await self.read("store.bury", keep)

    async def commit(self, orders: Sequence[Order]) -> list[Committed]:
        call = self._world.happens("store.commit", self._process)

        def lost() -> list[Committed]:
            return [Committed.UNKNOWN for _ in orders]

        restores = self._world.restores

        def act(reply: Reply[list[Committed]]) -> None:
            if restores != self._world.restores:
                return None
            if self._world.is_on("store away") or self._world.is_on("store writes away"):
                return reply(lost())
            return reply([self._write(call, order, first=order is orders[0]) for order in orders])

        return await self._world.carrier.travel(call, act, lost, STORE_TIMEOUT_S)

    async def close(self) -> None:
        return

    def _write(self, call: Call, order: Order, *, first: bool) -> Committed:
        try:
            document = encoded(order)
        except (BSONError, OverflowError, UnicodeEncodeError):
            return Committed.UNWRITABLE
        if call.unwritable and first:
            return Committed.UNWRITABLE
        if not self.database.replace(order, document):
            return Committed.CONFLICT
        self._world.wrote(Wrote(self._world.now_s, self._process.name, order, call.loses_answer))
        return Committed.WRITTEN

    async def read(self, hook: str, find: Callable[[], R]) -> R:
        call = self._world.happens(hook, self._process)

        def act(reply: Reply[R]) -> None:
            away = self._world.is_on("store away")
            reply(StoreUnavailable("the store is away") if away else find())  # type: ignore[arg-type]

        def lost() -> Exception:
            return StoreUnavailable("no answer in time")

        return await self._world.carrier.travel(call, act, lost, STORE_TIMEOUT_S)
