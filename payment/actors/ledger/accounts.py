"""Which Stripe account the database belongs to: asked by the Stripe actor, kept and answered by the ledger (F48).

Owns the questions from their arrival until they are answered. The account of the first process that knows its own is
kept; from then on every other account's key is refused. While the store is away a question waits, and nothing is sent.
"""

import asyncio

from payment.actors.messages import AccountCheck, AccountRead
from payment.actors.runtime.work_queue import WorkQueue
from payment.core.account import BoundAccount, StripeAccount, learned, mismatch
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ports.clock import Clock
from payment.ports.store import AccountStore, StoreUnavailable


class Accounts:
    """The questions that wait. `store_up` is set while the store answers; `by` is this process's client id."""

    def __init__(self, store: AccountStore, clock: Clock, store_up: asyncio.Event, by: str) -> None:
        self._store = store
        self._clock = clock
        self._store_up = store_up
        self._by = by
        self._waiting: WorkQueue[AccountRead] = WorkQueue()

    def add(self, message: AccountRead) -> None:
        self._waiting.add(message)

    async def answer_all(self) -> None:
        """Answer questions as they come, for ever."""
        while True:
            message = await self._waiting.first()
            await self._store_up.wait()
            _answer(message, await self._verdict(message.account))
            self._waiting.done()

    def fail(self) -> None:
        """The ledger ends: the questions come again."""
        for message in self._waiting.take_all():
            _answer(message, AccountCheck(None))

    async def _verdict(self, seen: StripeAccount) -> AccountCheck:
        try:
            bound = await self._bound(seen)
        except StoreUnavailable as error:
            text = f"MongoDB does not say which Stripe account the database belongs to, so nothing is sent: {error}"
            return AccountCheck(None, text)
        why = mismatch(bound.account, seen)
        return AccountCheck(True) if why is None else AccountCheck(False, why)

    async def _bound(self, seen: StripeAccount) -> BoundAccount:
        """The account that stands, which is the one seen where none was kept; with what is new about it."""
        bound = await self._store.read()
        mine = BoundAccount(seen, self._clock.now(), self._by)
        if bound is None:
            bound = await self._store.bind(mine)
            if bound == mine:
                get_logger().info(Event.ACCOUNT_BOUND, account_id=seen.id, reason=str(seen))
        elif learned(bound.account, seen) is not None and await self._store.replace(bound, mine):
            return mine
        return bound


def _answer(message: AccountRead, verdict: AccountCheck) -> None:
    if not message.answer.done():
        message.answer.set_result(verdict)
