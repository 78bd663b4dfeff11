"""The checks of our key, made again and again: its account, its permissions, and whether Stripe is there at all.

Three rules need them. Nothing is sent before the ledger has answered that the database belongs to the key's account
(F48). The service calls itself ready only where the key may create and confirm (F36). And a Stripe that is lost while
nothing is paid is noticed within ten seconds.

It must never conclude anything about an order. Change together: `payment.actors.stripe.telemetry`, which keeps what was
found, and `payment.ports.cards.Permission`, whose values are the kinds of the queues.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from payment.actors.messages import AccountCheck, AccountRead, LedgerMessage
from payment.actors.runtime.deadlines import DeadlineExceeded, within
from payment.actors.runtime.mailbox import Mailbox
from payment.actors.stripe.telemetry import CHECK, StripeTelemetry
from payment.core.account import StripeAccount
from payment.ports.cards import CardProcessor, Permission, Unclear
from payment.ports.clock import Clock

R = TypeVar("R")

CHECK_EVERY_S = 3.0
"""Between checks while our key is refused, or the database another account's: how late a cure is noticed at most."""

IDLE_CHECK_AFTER_S = 5.0
"""Without an answer from Stripe, a check is made: with its deadline, a loss is noticed within the contract's 10 s. At
most one light request in 5 s and process: the limit of one endpoint is 25 a second for all of them."""

CHECK_DEADLINE_S = 4.0
"""For a check. It takes half a second; with `IDLE_CHECK_AFTER_S` it has to end within 10 s after the last answer."""

SHORTEST_SLEEP_S = 0.1
"""Between two times at which the monitor asks itself whether a check is due."""

DOUBT_CHECK_EVERY_S = 1.0
"""Between checks after a call had no answer: how late the return of a Stripe that was away is noticed at most."""

ACCOUNT_CHECK_EVERY_S = 30.0
"""Between checks under any load: an operator may have moved the database to another account."""

PERMISSION_AGAIN_S = 10.0
"""Between checks of a permission that is missing, while charges go on: an operator grants it in the dashboard."""

PERMISSION_CHECKS_APART_S = 1.0
"""Between two checks of one permission, at least: a hundred charges that are refused alone ask for one check, not for
a hundred."""


class Checked(Protocol):
    """Receives the results: the actor."""

    def allow(self, allowed: bool) -> None:
        """From now on calls may leave, or may not."""

    def permission_checked(self, permission: Permission, answered: bool) -> None:
        """A check of a permission has ended. `answered`: Stripe dealt with it, so it refuses not all such calls."""


class KeyMonitor:
    """The checks of one Stripe actor, whose child tasks they run in."""

    def __init__(
        self,
        cards: CardProcessor,
        ledger: Mailbox[LedgerMessage],
        telemetry: StripeTelemetry,
        clock: Clock,
        checked: Checked,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        """`spawn(work, name)` starts a child task of the actor."""
        self._cards = cards
        self._ledger = ledger
        self._telemetry = telemetry
        self._clock = clock
        self._checked = checked
        self._spawn = spawn
        self._asks_ledger = False
        self._rechecking = False
        self._permissions_known = False
        self._being_checked: set[Permission] = set()
        self._checked_at = float("-inf")
        self._permission_checked_at: dict[Permission, float] = {}
        self.closed = False
        """The actor drains: no check begins any more."""

    async def run(self) -> None:
        """Check at once, and then each time a check is due, for ever."""
        while True:
            if self._due() and not self.closed:
                await self._check()
            await self._clock.sleep(self._next_s())

    def want(self, permission: Permission) -> None:
        """A call of this kind was refused: find out whether all are. Nothing if that is being checked already."""
        if permission not in self._being_checked and not self.closed:
            self._being_checked.add(permission)
            self._spawn(self._check_permission(permission), f"{permission.value} permission")

    def doubt(self) -> None:
        """No connection could be made: what answers next at this address may be another account's (F48).

        Nothing leaves until a check has shown that it is not. One is made at once, in a child task of its own.
        """
        self._checked.allow(False)
        self.check_now()

    def check_now(self) -> None:
        """Check now, in a child task of its own, unless such a check is running."""
        if not (self._rechecking or self.closed):
            self._rechecking = True
            self._spawn(self._recheck(), "check again")

    async def _recheck(self) -> None:
        try:
            await self._check()
        finally:
            self._rechecking = False

    # -------------------------------------------------------------------------------------------------------- the time

    def _due(self) -> bool:
        telemetry, now = self._telemetry, self._clock.monotonic()
        if not telemetry.well or telemetry.in_doubt or now - self._checked_at >= ACCOUNT_CHECK_EVERY_S:
            return True
        self._check_missing_permissions(now)
        return now - telemetry.answered_at >= IDLE_CHECK_AFTER_S

    def _check_missing_permissions(self, now: float) -> None:
        for kind in self._telemetry.refused_kinds:
            if now - self._permission_checked_at.get(Permission(kind), 0.0) >= PERMISSION_AGAIN_S:
                self.want(Permission(kind))

    def _next_s(self) -> float:
        telemetry = self._telemetry
        if telemetry.in_doubt:
            return DOUBT_CHECK_EVERY_S
        if not telemetry.well:
            return CHECK_EVERY_S
        idle_s = telemetry.answered_at + IDLE_CHECK_AFTER_S - self._clock.monotonic()
        return min(CHECK_EVERY_S, max(SHORTEST_SLEEP_S, idle_s))

    # ------------------------------------------------------------------------------------------------------ the account

    async def _check(self) -> None:
        """Ask for the key's account. Silence counts from the last answer, unless that is too long ago to prove much."""
        began = self._clock.monotonic()
        outcome = await self._in_time(self._cards.check())
        self._checked_at = self._clock.monotonic()
        if isinstance(outcome, StripeAccount):
            self._telemetry.observe(None, CHECK)
            if not self._asks_ledger:
                self._asks_ledger = True
                self._spawn(self._ask_ledger(outcome), "account")
            if not self._telemetry.well:
                for kind in self._telemetry.refused_kinds:
                    self.want(Permission(kind))
        else:
            asked_since = max(self._telemetry.answered_at, began - IDLE_CHECK_AFTER_S - CHECK_EVERY_S)
            silent_s = self._checked_at - asked_since
            self._telemetry.observe(outcome, CHECK, silent_s)

    async def _ask_ledger(self, account: StripeAccount) -> None:
        answer: asyncio.Future[AccountCheck] = asyncio.get_running_loop().create_future()
        try:
            await self._ledger.put(AccountRead(account, answer))
            verdict = await answer
        finally:
            self._asks_ledger = False
        if verdict.same is not None:
            self._checked.allow(verdict.same)
        if verdict.same and not self._permissions_known:
            await self._check_permissions()
        self._telemetry.account(verdict)

    # -------------------------------------------------------------------------------------------------- the permissions

    async def _check_permissions(self) -> None:
        """Once, before the service calls itself ready."""
        async with asyncio.TaskGroup() as group:
            for permission in Permission:
                self._being_checked.add(permission)
                group.create_task(self._check_permission(permission))
        self._permissions_known = True

    async def _check_permission(self, permission: Permission) -> None:
        last_at = self._permission_checked_at.get(permission, float("-inf"))
        await self._clock.sleep(max(0.0, last_at + PERMISSION_CHECKS_APART_S - self._clock.monotonic()))
        self._permission_checked_at[permission] = self._clock.monotonic()
        try:
            outcome = await self._in_time(self._cards.check_permission(permission))
        finally:
            self._being_checked.discard(permission)
        self._telemetry.permission(permission.value, outcome)
        self._checked.permission_checked(permission, outcome is None)

    async def _in_time(self, call: Coroutine[Any, Any, R]) -> R | Unclear:
        try:
            return await within(self._clock, CHECK_DEADLINE_S, call, name="check")
        except DeadlineExceeded:
            return Unclear("no answer to a check in time")
