"""An event loop in virtual time, in which every handle belongs to an owner that can be killed or paused.

Time stands still while any handle can run, and then jumps to the next timer: there is no selector, no thread, no
socket. A handle's owner is in its context (`OWNER`), which tasks inherit, so that everything a process starts belongs
to that process. Handles of one owner run in asyncio's own order; the loop draws which owner is next, and for how many
handles.

The loop keeps a dead owner's handles and never runs them: that is kill -9 between any two awaits, without one
`finally`. It keeps a paused owner's handles until the owner wakes. It must never read a wall clock, nor depend on the
order of a set.
"""

from __future__ import annotations

import asyncio
import math
import threading
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from functools import partial
from heapq import heappop, heappush
from types import coroutine
from typing import Any, TypeVar
from weakref import WeakSet

from msgspec import Struct

START_S = 1_000.0
"""The virtual clock's reading when a world begins, in seconds."""

BURST_HANDLES = 6
"""The most handles of one owner that run before another's turn may come. Small: races need adjacent handles."""

HANDLES_AT_ONCE_LIMIT = 20_000
"""The most handles in one turn, and the most turns at one instant: a schedule has a few thousand in all. Code that
loops without ever waiting for time would hang the whole run otherwise."""

R = TypeVar("R")


class Spinning(Exception):
    """An owner loops at one instant: time can't pass any more."""


class Ready(Struct):
    """A handle without asyncio's fields for debugging: half of a simulation's time goes into handles."""

    _callback: Callable[..., object]
    _args: tuple[Any, ...]
    _context: Context
    _cancelled: bool = False

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = _nothing
        self._args = ()

    def cancelled(self) -> bool:
        return self._cancelled


def _nothing(*_: object) -> None:
    """The callback of a cancelled handle."""


class _Nap:
    """The awaitable of a sleeping task. Its timer runs the task itself: no future and no second handle lie between
    them.

    It has as much of a future's interface as `asyncio.Task` needs, and is awaited once.
    """

    __slots__ = ("_asyncio_future_blocking", "_cancelled", "_loop", "_seconds", "_timer")

    def __init__(self, loop: VirtualLoop, seconds: float) -> None:
        self._asyncio_future_blocking = True
        self._cancelled = False
        self._loop = loop
        self._seconds = seconds

    def get_loop(self) -> VirtualLoop:
        return self._loop

    def add_done_callback(self, wake: Callable[..., object], *, context: Context) -> None:
        self._timer = self._loop.call_later(self._seconds, wake, self, context=context)

    def cancel(self, msg: object = None) -> bool:
        if self._cancelled:
            return False
        self._cancelled = True
        timer = self._timer
        self._loop.call_soon(timer._callback, self, context=timer._context)
        timer.cancel()
        return True

    def result(self) -> None:
        if self._cancelled:
            raise asyncio.CancelledError


@coroutine
def nap(loop: VirtualLoop, seconds: float) -> Iterator[_Nap]:
    """Sleep, as `asyncio.sleep` does, in fewer steps: no operation is more frequent."""
    yield _Nap(loop, seconds)


class Owner:
    """An owner of handles: a run of a process, or the world itself."""

    __slots__ = ("alive", "at_handle", "context", "listed", "name", "paused", "ran", "ready")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        self.ready: deque[Ready] = deque()
        self.listed = False
        self.ran = 0
        """The number of its handles that have run."""
        self.at_handle: tuple[int, Callable[[], None]] | None = None
        """The count of handles after which the world acts on the owner, and that act."""
        self.context: Context = copy_context()
        self.context.run(OWNER.set, self)

    def after_handles(self, count: int, act: Callable[[], None]) -> None:
        """Call `act` once `count` more of its handles have run; 0: before the next one."""
        self.at_handle = (self.ran + max(count, 1), act)


OWNER: ContextVar[Owner] = ContextVar("owner")


@contextmanager
def _unlisted_tasks() -> Iterator[None]:
    """Until Python 3.13 asyncio notes each task in a weak set for `all_tasks`, which a world never calls: a third of a
    short task's cost."""
    listed = getattr(asyncio.tasks, "_scheduled_tasks", None)
    if not isinstance(listed, WeakSet):
        yield
        return
    listed.add = id  # type: ignore[method-assign,assignment]  # any fast function of one argument
    try:
        yield
    finally:
        del listed.add


class VirtualLoop(asyncio.BaseEventLoop):
    """`draw` returns numbers from 0 up to but not including 1. `uncaught` receives what asyncio would print."""

    def __init__(self, draw: Callable[[], float], uncaught: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        # asyncio calls these for every future and task: in C they cost half. `bool()` is False: no debugging.
        self.get_debug = bool  # type: ignore[method-assign]
        self.create_future = partial(asyncio.Future, loop=self)  # type: ignore[method-assign]
        self._now_s = START_S
        self._draw = draw
        self._uncaught = uncaught
        self._timers: list[tuple[float, int, Ready]] = []
        self._timers_made = 0
        self._runnable: list[Owner] = []
        self._turns_at_once = 0
        self._over = False
        self.world = Owner("world")
        self.current = self.world
        self.crash: BaseException | None = None
        """The exception of the world's own code: a bug of the simulation."""

    # ------------------------------------------------------------------------------------------------ asyncio's own API

    def time(self) -> float:
        return self._now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Ready:
        if context is None:
            context = copy_context()
        handle = Ready(callback, args, context)
        owner = context.get(OWNER) or self.world
        owner.ready.append(handle)
        if not owner.listed:
            self._list(owner)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:  # type: ignore[override]
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Ready:
        handle = Ready(callback, args, copy_context() if context is None else context)
        self._timers_made = number = self._timers_made + 1
        heappush(self._timers, (when, number, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Ready:
        # As `call_at`, but not through it: most handles are timers.
        handle = Ready(callback, args, copy_context() if context is None else context)
        self._timers_made = number = self._timers_made + 1
        heappush(self._timers, (self._now_s + delay, number, handle))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.current is self.world and not self._over and "never retrieved" not in context.get("message", ""):
            self.crash = error or RuntimeError(str(context.get("message")))
            self._over = True
        elif not self._over:
            self._uncaught(context)

    # --------------------------------------------------------------------------------------------------------- running

    def run_world(self, main: Callable[[], None], limit_s: float) -> bool:
        """Call `main`, and run until `end` is called (True), nothing can run any more, or `limit_s` have passed.

        Raises:
            Spinning: an owner never waits.
            BaseException: the exception of the world's own code.
        """
        self.call_soon(main, context=self.world.context)
        self._thread_id = threading.get_ident()
        events._set_running_loop(self)
        try:
            with _unlisted_tasks():
                while not self._over:
                    if self._runnable:
                        self._turn()
                    elif not self._advance(START_S + limit_s):
                        return False
        finally:
            self._over = True
            events._set_running_loop(None)
            self._thread_id = None  # type: ignore[assignment]
        if self.crash is not None:
            raise self.crash
        return True

    def _run_once(self) -> None:
        """A step of asyncio's own `run_forever` and `run_until_complete`, for a test that is itself a coroutine.

        Raises:
            RuntimeError: a task waits for something that can no longer come.
            BaseException: the exception of the world's own code.
        """
        if self._runnable:
            self._turn()
        elif not self._advance(math.inf):
            raise RuntimeError("nothing can run any more, and a task still waits")
        if self.crash is not None:
            raise self.crash

    def end(self) -> None:
        """End the world: nothing runs after the present handle."""
        self._over = True

    def start(self, owner: Owner, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """Start a task that belongs to an owner."""
        return asyncio.Task(work, loop=self, context=owner.context)

    def kill(self, owner: Owner) -> None:
        """Run no handle of an owner any more. All of it is kept, so that not even its finalisers run."""
        owner.alive = False

    def pause(self, owner: Owner) -> None:
        owner.paused = True

    def wake(self, owner: Owner) -> None:
        owner.paused = False
        self._list(owner)

    def _list(self, owner: Owner) -> None:
        if owner.alive and not owner.paused and not owner.listed and owner.ready:
            owner.listed = True
            self._runnable.append(owner)

    def _turn(self) -> None:
        """Let one owner run some of its handles: all, where no other owner has any."""
        owners = self._runnable
        self._turns_at_once += 1
        if self._turns_at_once > HANDLES_AT_ONCE_LIMIT:
            raise Spinning(f"{', '.join(owner.name for owner in owners)}: no end of turns at one instant")
        if len(owners) == 1:
            owner, burst = owners[0], HANDLES_AT_ONCE_LIMIT
        else:
            owner = owners[int(self._draw() * len(owners))]
            burst = 1 + int(self._draw() * BURST_HANDLES)
        self.current = owner
        self._run_handles(owner, burst, len(owners))
        self.current = self.world
        if not owner.ready or not owner.alive or owner.paused:
            owners.remove(owner)
            owner.listed = False

    def _run_handles(self, owner: Owner, burst: int, owners: int) -> None:
        """Run at most `burst` handles of an owner. An owner that is alone ends early where another has become
        runnable."""
        ready, runnable, alone = owner.ready, self._runnable, owners == 1
        for ran in range(burst):
            if not ready or (alone and ran and len(runnable) > 1):
                return
            handle = ready.popleft()
            if not handle._cancelled:
                try:
                    handle._context.run(handle._callback, *handle._args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:
                    self.call_exception_handler({"message": "a callback raised", "exception": error})
                owner.ran += 1
                if owner.at_handle is not None and owner.ran >= owner.at_handle[0]:
                    self._strike(owner)
                if not owner.alive or owner.paused or self._over:
                    return
        if alone:
            raise Spinning(f"{owner.name}: no end of handles at one instant")

    def _strike(self, owner: Owner) -> None:
        assert owner.at_handle is not None
        _, act = owner.at_handle
        owner.at_handle = None
        self.call_soon(act, context=self.world.context)
        # The world's act comes before every other handle.
        self._run_world_first()

    def _run_world_first(self) -> None:
        self.current, before = self.world, self.current
        act = self.world.ready.pop()
        act._context.run(act._callback, *act._args)
        self.current = before

    def _advance(self, limit_s: float) -> bool:
        """Jump to the next timer, and make all that are due then ready. False: no timer comes before the limit."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
        if not timers or timers[0][0] > limit_s:
            return False
        if timers[0][0] > self._now_s:
            self._now_s = timers[0][0]
            self._turns_at_once = 0
        now_s = self._now_s
        while timers and timers[0][0] <= now_s:
            handle = heappop(timers)[2]
            if not handle._cancelled:
                owner = handle._context.get(OWNER) or self.world
                owner.ready.append(handle)
                if not owner.listed:
                    self._list(owner)
        return True
