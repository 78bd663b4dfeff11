"""The base of every actor: a mailbox, a loop that reads it, and child tasks for work that takes long.

The supervisor (`payment.actors.runtime.supervisor`) calls `setup`, `run`, `drain` and `close`, each with a deadline,
and makes a new actor for each restart. An unexpected error always ends the actor: `run` raises it, whether `receive` or
a child task raised it. `close` then fails the pending requests. Change the order of these calls together with
`supervisor.SupervisedActor`.
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
"""Items received in a row before the loop yields to other tasks: a mailbox that is never empty does not yield."""


class TaskCancelled(Exception):
    """A bug: a task of an actor ended as cancelled, and no code had cancelled it."""


class Actor(ABC, Generic[T]):
    """Reads one mailbox, one item at a time. Subclasses override `receive`, and the other hooks that they need."""

    def __init__(self, name: str, mailbox: Mailbox[T], clock: Clock) -> None:
        self.name = name
        self.mailbox = mailbox
        self.clock = clock
        self._busy_since: float | None = None
        self._current_item: T | None = None
        self._ending = False
        self._children: set[asyncio.Task[Any]] = set()
        self._child_failed = asyncio.Event()
        self._child_errors: list[BaseException] = []

    async def setup(self) -> None:
        """Open the actor's resources. It must be quick: wait for a server that is down in a child task, not here."""
        return

    @abstractmethod
    async def receive(self, item: T) -> None:
        """Handle one item. It must be quick: spawn a child task for long work. An error raised here ends the actor."""

    async def drain(self) -> None:
        """Accept no new work, finish the pending work, return. `receive` is still called meanwhile, and after."""
        return

    async def teardown(self) -> None:
        """Answer every pending request, that of `current_item` too, and release all resources.

        It is called last and once, also after a crash or half a `setup`, when no task of the actor runs any more.
        """
        return

    def stuck_for_s(self) -> float:
        """Returns the seconds that `receive` has been at one item; 0 between items. Subclasses may extend it."""
        return 0.0 if self._busy_since is None else self.clock.monotonic() - self._busy_since

    @property
    def current_item(self) -> T | None:
        """The item whose `receive` has not returned. After a crash only this one is not in the mailbox."""
        return self._current_item

    def spawn(self, work: Coroutine[Any, Any, R], *, name: str) -> asyncio.Task[R]:
        """Start a child task. Its error ends the actor. Its owner may cancel the task, and `close` cancels it."""
        child = asyncio.create_task(work, name=f"{self.name}: {name}")
        self._children.add(child)
        child.add_done_callback(self._child_ended)
        return child

    @property
    def children(self) -> int:
        """The number of running child tasks."""
        return len(self._children)

    async def run(self) -> None:
        """Receive until cancelled. It never returns; it raises what `receive` or a child task raised.

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
        """Cancel the children, then tear down in any case. The supervisor has ended `run` before.

        Raises:
            Lingering: a child has not ended `CANCEL_GRACE_S` after it was cancelled.
            Exception: what teardown raised, or what a child raised that `run` has not raised.
        """
        try:
            ended = await cancel_and_wait(self.clock, CANCEL_GRACE_S, *self._children)
            await asyncio.sleep(0)  # the callback of a child that ended in this very turn has yet to run
        finally:
            await self.teardown()
        if not ended:
            raise Lingering(f"{self.name}: {self.children} child tasks go on after they were cancelled")
        _raise_all(self.name, self._take_errors())

    async def _receive_all(self) -> None:
        received = 0
        while not self._ending:  # a `receive` that swallowed its cancellation must not read on
            item = await self.mailbox.get()
            self._current_item, self._busy_since = item, self.clock.monotonic()
            await self.receive(item)
            self._current_item = self._busy_since = None
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
    """Returns what a finished task raised. A cancelled task is an error only if no code cancelled it."""
    if not task.cancelled():
        return task.exception()
    return None if task.cancelling() else TaskCancelled(f"{task.get_name()}: cancelled from within")


def _raise_all(name: str, errors: list[BaseException]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup(f"{name}: several tasks failed", errors)
