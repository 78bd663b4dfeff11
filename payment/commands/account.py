"""`python -m payment account`: shows the Stripe accounts of the database and of the key, and moves the database.

It reaches MongoDB and Stripe, and not NATS. It never prints a secret: account ids are none.
"""

import asyncio
import os
from datetime import timedelta
from typing import TextIO

from payment.core.account import MOVE_COMMAND, BoundAccount, StripeAccount, mismatch
from payment.core.order import Order
from payment.core.schedule import LONGEST_RECHECK
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ports.cards import CardProcessor
from payment.ports.clock import Clock
from payment.ports.store import CorruptDocument, OrderStore, StoreUnavailable
from payment.process.standard_streams import show

REACH_TIMEOUT_S = 15.0
"""For all calls of one command to MongoDB and Stripe together: their own deadlines are shorter."""

UNSETTLED_SHOWN_LIMIT = 500
"""Orders that are counted. A higher number would not change what an operator does."""

UNSETTLED_NAMED_LIMIT = 5
"""Orders that are named."""

AHEAD = timedelta(days=400)
"""Every deadline of an order is nearer than this."""

EX_DIFFERS = 1
"""The key is for another account, or a move was refused."""


class AccountCommand:
    """One run of the command. The ports are closed at its end."""

    def __init__(self, store: OrderStore, cards: CardProcessor, clock: Clock, by: str, out: TextIO) -> None:
        """`by` is stored with the account as the author of the move."""
        self._store = store
        self._cards = cards
        self._clock = clock
        self._by = by
        self._out = out

    async def run(self, *, move: bool = False, force: bool = False) -> int:
        """Show both accounts, or (`move`) make the key's account the database's. `force`: also with unsettled orders.

        Returns the exit code.
        """
        try:
            async with asyncio.timeout(REACH_TIMEOUT_S):
                return await self._run(move=move, force=force)
        except TimeoutError:
            self._print(f"no answer within {REACH_TIMEOUT_S:.0f} s")
        except StoreUnavailable as error:
            self._print(f"MongoDB: {error}")
        finally:
            await asyncio.gather(self._store.close(), self._cards.close())
        return os.EX_UNAVAILABLE

    async def _run(self, *, move: bool, force: bool) -> int:
        bound, of_key = await self._store.accounts.read(), await self._cards.check()
        if bound is None:
            self._print(
                "database:   belongs to no Stripe account yet; the first process that starts binds it to its own"
            )
        else:
            self._print(f"database:   belongs to the Stripe account {bound.account}")
            self._print(f"            since {bound.since:%Y-%m-%d %H:%M:%S} UTC, kept by {bound.by}")
        if not isinstance(of_key, StripeAccount):
            self._print(f"STRIPE_KEY: {of_key.text}")
            return os.EX_UNAVAILABLE
        self._print(f"STRIPE_KEY: is for the Stripe account {of_key}")
        if move:
            return await self._move(bound, of_key, force=force)
        if bound is None or mismatch(bound.account, of_key) is None:
            return os.EX_OK
        self._print(
            f"They differ: with this key nothing is sent to Stripe. To move the database to its account: {MOVE_COMMAND}"
        )
        return EX_DIFFERS

    async def _move(self, bound: BoundAccount | None, of_key: StripeAccount, *, force: bool) -> int:
        mine = BoundAccount(of_key, self._clock.now(), self._by)
        if bound is None:
            return self._moved(bound, of_key, await self._store.accounts.bind(mine) == mine)
        if mismatch(bound.account, of_key) is None:
            self._print("Nothing to move: the accounts are the same.")
            return os.EX_OK
        now = self._clock.now()
        unsettled = await self._store.due(now + AHEAD, None, UNSETTLED_SHOWN_LIMIT)
        unsettled += await self._store.rechecks(now + LONGEST_RECHECK, UNSETTLED_SHOWN_LIMIT)
        if unsettled:
            names = ", ".join(map(_name_of, unsettled[:UNSETTLED_NAMED_LIMIT]))
            self._print(
                f"{len(unsettled)} orders or more still wait for something at Stripe or NATS, or had a refund that may "
                f"yet fail: {names}"
            )
        if unsettled and not force:
            self._print(
                f"Nothing was moved. Their charges at {bound.account} would be neither found nor refunded: run the "
                "service with that account's key until none is left, or repeat this with --force."
            )
            return EX_DIFFERS
        return self._moved(bound, of_key, await self._store.accounts.replace(bound, mine))

    def _moved(self, bound: BoundAccount | None, of_key: StripeAccount, done: bool) -> int:
        if not done:
            self._print("Nothing was moved: another process changed the account just now. Run the command again.")
            return EX_DIFFERS
        before = "no account" if bound is None else str(bound.account)
        get_logger().warning(Event.ACCOUNT_MOVED, account_id=of_key.id, reason=f"from {before} to {of_key}")
        self._print(f"Moved from {before} to {of_key}. Processes with this key go on within seconds.")
        return os.EX_OK

    def _print(self, line: str) -> None:
        show(line, self._out)


def _name_of(found: Order | CorruptDocument) -> str:
    return found.id if isinstance(found, Order) else found.order_id
