"""What every actor is: a mailbox, a loop that reads it, and child tasks for whatever takes long.

An actor lives through `setup`, `run`, `drain` and `close`, called by its supervisor
(`payment.actors.runtime.supervisor`). It bounds each of them, and makes a new actor for each restart. Here an error
that nobody expected is never answered and lived on with: it comes out of `run`, whether `receive` raised it or a child
task. `close` then fails whoever waits. Change the order of these calls together with `supervisor.SupervisedActor`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from payment.actors.runtime.deadlines import CANCEL_GRACE_S, Lingering, cancel_and_wait
from payment.actors.runtime.mailbox import Mailbox
from payment.ports.clock import Clock

T = TypeVar("T")
R = TypeVar("R")

BURST_ITEMS = 64
"""Items received in a row before the loop lets others run: reading a mailbox that is never empty does not wait."""


class TaskCancelled(Exception):
    """A bug: a task of an actor ended as cancelled though nobody had cancelled it."""


class Actor(ABC, Generic[T]):
    """Reads one mailbox, one item at a time. Subclasses override `receive`, and what else of the hooks they need."""

    def __init__(self, name: str, mailbox: Mailbox[T], clock: Clock) -> None:
        self.name = name
        self.mailbox = mailbox
        self.clock = clock
        self._busy_since: float | None = None
        self._in_hand: T | None = None
        self._ending = False
        self._children: set[asyncio.Task[Any]] = set()
        self._child_failed = asyncio.Event()
        self._child_errors: list[BaseException] = []

    async def setup(self) -> None:
        """Open what the actor works with. Quick: a peer that is away is waited for in a child task, not here."""
        return

    @abstractmethod
    async def receive(self, item: T) -> None:
        """Handle one item. Quick: what takes long is spawned. An error raised here ends the actor."""

    async def drain(self) -> None:
        """Take on no new work, finish what is under way, return. `receive` is still called meanwhile, and after."""
        return

    async def teardown(self) -> None:
        """Answer every waiting caller, that of `in_hand` too, and give back all resources.

        Always called last and once, also after a crash or half a `setup`, when nothing of the actor runs any more.
        """
        return

    def stuck_for_s(self) -> float:
        """For how many seconds `receive` has been at one item; 0 between items. An actor may add its own notion."""
        return 0.0 if self._busy_since is None else self.clock.monotonic() - self._busy_since

    @property
    def in_hand(self) -> T | None:
        """The item whose `receive` has not returned: after a crash the only one that the mailbox no longer holds."""
        return self._in_hand

    def spawn(self, work: Coroutine[Any, Any, R], *, name: str) -> asyncio.Task[R]:
        """Start a child task. Its error ends the actor; it may be cancelled through the task, and is by `close`."""
        child = asyncio.create_task(work, name=f"{self.name}: {name}")
        self._children.add(child)
        child.add_done_callback(self._child_ended)
        return child

    @property
    def children(self) -> int:
        """How many child tasks are under way."""
        return len(self._children)

    async def run(self) -> None:
        """Receive until cancelled. Returns never; raises what `receive` or a child task raised.

        Raises:
            Lingering: `receive` has not ended `CANCEL_GRACE_S` after it was cancelled.
            BaseExceptionGroup: several of them failed at once.
        """
        loop = asyncio.create_task(self._receive_all(), name=f"{self.name}: mailbox")
        failure = asyncio.create_task(self._child_failed.wait(), name=f"{self.name}: children")
        try:
            await asyncio.wait((loop, failure), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ending = True
            if not await cancel_and_wait(self.clock, CANCEL_GRACE_S, loop, failure):
                raise Lingering(f"{self.name}: receive goes on after it was cancelled")
        errors = self._take_errors()
        if (own := _error_of(loop)) is not None:
            errors.insert(0, own)
        _raise_all(self.name, errors)

    async def close(self) -> None:
        """End the children, then tear down, in any case. The supervisor has ended `run` before.

        Raises:
            Lingering: a child has not ended `CANCEL_GRACE_S` after it was cancelled.
            Exception: what teardown raised, or what a child raised that nobody has seen yet.
        """
        try:
            ended = await cancel_and_wait(self.clock, CANCEL_GRACE_S, *self._children)
            await asyncio.sleep(0)  # a child that ended by itself in this very turn is still to be noted
        finally:
            await self.teardown()
        if not ended:
            raise Lingering(f"{self.name}: {self.children} child tasks go on after they were cancelled")
        _raise_all(self.name, self._take_errors())

    async def _receive_all(self) -> None:
        received = 0
        while not self._ending:  # a `receive` that swallowed its cancellation must not read on
            item = await self.mailbox.get()
            self._in_hand, self._busy_since = item, self.clock.monotonic()
            await self.receive(item)
            self._in_hand = self._busy_since = None
            received += 1
            if received % BURST_ITEMS == 0:
                await asyncio.sleep(0)

    def _child_ended(self, child: asyncio.Task[Any]) -> None:
        self._children.discard(child)
        error = _error_of(child)
        if error is not None:
            self._child_errors.append(error)
            self._child_failed.set()

    def _take_errors(self) -> list[BaseException]:
        errors, self._child_errors = self._child_errors, []
        return errors


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """What a finished task raised. Being cancelled is no error, unless nobody asked for it."""
    if not task.cancelled():
        return task.exception()
    return None if task.cancelling() else TaskCancelled(f"{task.get_name()}: cancelled from within")


def _raise_all(name: str, errors: list[BaseException]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup(f"{name}: several tasks failed", errors)
