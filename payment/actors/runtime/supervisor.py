"""The supervisor: starts the actors in order, replaces those that crash or hang, and stops them in reverse.

Owns the life of every actor, and knows no message of theirs. It reads no clock but the one that was passed in, has no
state outside its instances and installs no signal handler, so a simulation can run several in one loop. `except
Exception` is right here: an unexpected error ends the actor, is logged with its traceback, and a new actor reads the
same mailbox. Change the order of an actor's hooks together with `actor.py`.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from payment.actors.runtime.actor import Actor
from payment.actors.runtime.deadlines import CANCEL_GRACE_S, Lingering, cancel_and_wait, done_within, first_of, within
from payment.actors.runtime.lifecycle import ActorContext, ActorHung, ChildSpec, GaveUp, LifecycleLog, RunEnded
from payment.actors.runtime.restarts import RESTART_BACKOFF, RESTARTS_MAX, RestartWindow
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ports.clock import Clock
from payment.ports.ids import Ids

EX_OK = 0
EX_SOFTWARE = 70
"""The exit code after the supervisor gave up: sysexits' "internal software error"."""

HANG_CHECK_EVERY_S = 1.0
"""Between checks whether an actor hangs: short against any `hang_s`, and cheap against its messages."""
OVERSLEEP_S = 1.0
"""A check that is this late slept with the whole process (F34): the actor did not hang."""
TEARDOWN_DEADLINE_S = 2.0
"""Teardown fails pending requests and closes sockets. It waits for no server."""
RUN_GRACE_S = 2 * CANCEL_GRACE_S
"""`Actor.run` itself gives `receive` one grace period after a cancellation."""

DRAIN_TOTAL_S = 15.0
"""For all drains together, so that the whole stop takes at most the promised 25 s (platforms kill after 30 s)."""
CLOSE_TOTAL_S = 3.0
"""For closing the actors one after another; then the rest is closed at once, within one grace period."""
STOP_TOTAL_S = DRAIN_TOTAL_S + CANCEL_GRACE_S + CLOSE_TOTAL_S + CANCEL_GRACE_S
"""The longest stop, from the request to the exit code."""


DRAINED, CUT_OFF = "drained", "cut_off"
"""How an actor ended: with all of its work done, or with some left to the stored `due`."""


class SupervisedActor:
    """One of the supervisor's actors, with its successors: after a crash a new actor runs in its place."""

    def __init__(self, spec: ChildSpec, context: ActorContext) -> None:
        self.spec = spec
        self.name = spec.name
        self.up = asyncio.Event()
        self.stuck = False
        self.lingering = False
        self.actor: Actor[Any] | None = None
        self.supervision: asyncio.Task[None] | None = None
        self._context = context
        self._clock = context.clock
        self._log = context.log
        self._end_requested = asyncio.Event()
        self._retiring = False
        self._ending = CUT_OFF
        self._restarts = 0

    async def supervise(self) -> None:
        """Run one actor after another until this one is ended, or crashes after its drain.

        Raises:
            GaveUp: too many restarts, or an actor that does not end.
        """
        while not self._retiring:
            try:
                await self._run_one_actor()
            except Exception as error:
                self._report(error)
            if self.lingering:
                self._log.error(Event.ACTOR_GAVE_UP, actor=self.name, reason="it goes on after it was cancelled")
                raise GaveUp(f"the {self.name} actor can't be ended")
            if not self._retiring:
                await self._back_off()

    async def drain(self) -> None:
        """Let the actor finish its pending work. It still receives afterwards, and is not replaced any more."""
        self._retiring = True
        if self.actor is None or self.supervision is None:
            self._end_requested.set()
            return
        began_s = self._clock.monotonic()
        work = asyncio.create_task(self.actor.drain(), name=f"{self.name}: drain")
        timer = asyncio.create_task(self._clock.sleep(self.spec.drain_deadline_s))
        try:
            await asyncio.wait((work, timer, self.supervision), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            if not await cancel_and_wait(self._clock, CANCEL_GRACE_S, work):
                self.lingering = True
            self._report_drain(work, began_s)

    def request_end(self) -> None:
        """End the actor, tear it down, and start no other. `supervision` is done when that is done."""
        self._retiring = True
        self._end_requested.set()

    async def _run_one_actor(self) -> None:
        """Run one actor. Returns when its end was requested; raises the error that ended it."""
        actor = self.spec.start()
        try:
            await first_of(self._end_requested.wait(), self._bring_up(actor))
            if not self._end_requested.is_set():
                await self._run(actor)
        except Lingering:
            self.lingering = True
            raise
        finally:
            self.actor = None
            self.up.clear()
            await self._close(actor)

    async def _bring_up(self, actor: Actor[Any]) -> None:
        began_s = self._clock.monotonic()
        await within(self._clock, self.spec.setup_deadline_s, actor.setup(), name=f"{self.name}: setup")
        took_ms = self._ms_since(began_s)
        if self._restarts:
            self._context.on_restart(self.name)
            self._log.info(Event.ACTOR_RESTARTED, actor=self.name, restarts=self._restarts, took_ms=took_ms)
        else:
            self._log.info(Event.ACTOR_STARTED, actor=self.name, took_ms=took_ms)
        self.actor = actor
        self.stuck = False
        self.up.set()

    async def _run(self, actor: Actor[Any]) -> None:
        running = asyncio.create_task(actor.run(), name=f"{self.name}: run")
        checking = asyncio.create_task(self._check_hang(actor), name=f"{self.name}: hang check")
        ending = asyncio.create_task(self._end_requested.wait())
        try:
            await asyncio.wait((running, checking, ending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            checking.cancel()
            ending.cancel()
            if not await cancel_and_wait(self._clock, RUN_GRACE_S, running):
                raise Lingering(f"{self.name}: run goes on after it was cancelled")
            if not running.cancelled():
                running.result()
        if not checking.cancelled():
            checking.result()
        if not self._end_requested.is_set():
            raise RunEnded(f"the {self.name} actor's run ended by itself")

    async def _check_hang(self, actor: Actor[Any]) -> None:
        """Raise ActorHung once the actor has been stuck for too long. A pause of the whole process does not count."""
        checked_s = self._clock.monotonic()
        judge_from_s = checked_s
        while True:
            await self._clock.sleep(HANG_CHECK_EVERY_S)
            now_s = self._clock.monotonic()
            if now_s - checked_s > HANG_CHECK_EVERY_S + OVERSLEEP_S:
                judge_from_s = now_s + self.spec.hang_s
            checked_s = now_s
            silent_s = actor.stuck_for_s()
            if silent_s > self.spec.hang_s and now_s >= judge_from_s:
                self.stuck = True
                raise ActorHung(self.name, silent_s)

    async def _close(self, actor: Actor[Any]) -> None:
        began_s = self._clock.monotonic()
        try:
            await within(self._clock, TEARDOWN_DEADLINE_S, actor.close(), name=f"{self.name}: teardown")
        except Lingering:
            self.lingering = True
            raise
        if self._end_requested.is_set():
            took_ms = self._ms_since(began_s)
            self._log.info(Event.ACTOR_STOPPED, actor=self.name, outcome=self._ending, took_ms=took_ms)

    async def _back_off(self) -> None:
        self._restarts = self._context.window.count(self._clock.monotonic())
        if self._restarts > RESTARTS_MAX:
            self._log.error(Event.ACTOR_GAVE_UP, actor=self.name, restarts=self._restarts, reason="too many restarts")
            raise GaveUp(f"the {self.name} actor: restart number {self._restarts} within the window")
        delay_s = RESTART_BACKOFF.spread_s(self._restarts, self._context.ids.jitter())
        await first_of(self._clock.sleep(delay_s), self._end_requested.wait())

    def _report(self, error: Exception) -> None:
        if isinstance(error, ActorHung):
            silent_ms = round(error.silent_s * 1_000)
            self._log.error(Event.ACTOR_HUNG, actor=self.name, silent_ms=silent_ms, exc_info=error)
        else:
            self._log.error(Event.ACTOR_CRASHED, actor=self.name, exc_info=error)

    def _report_drain(self, work: asyncio.Task[None], began_s: float) -> None:
        if not work.done() or work.cancelled():
            took_ms, deadline_ms = self._ms_since(began_s), round(self.spec.drain_deadline_s * 1_000)
            self._log.warning(Event.ACTOR_OVERRAN, actor=self.name, deadline_ms=deadline_ms, took_ms=took_ms)
        elif (error := work.exception()) is not None:
            self._log.error(Event.ACTOR_CRASHED, actor=self.name, exc_info=error)
        else:
            self._ending = DRAINED

    def _ms_since(self, began_s: float) -> int:
        return round((self._clock.monotonic() - began_s) * 1_000)


class Supervisor:
    """Runs its actors from their start to an exit code. One supervisor runs once."""

    def __init__(
        self,
        children: Sequence[ChildSpec],
        clock: Clock,
        ids: Ids,
        on_restart: Callable[[str], None] = lambda _name: None,
        log: LifecycleLog | None = None,
        on_stopping: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_restart` is called with an actor's name when its successor is up, before that receives anything;
        `on_stopping` is called once, before the actors are stopped, after a request or after the supervisor gave up.

        Raises:
            ValueError: the drain deadlines together exceed DRAIN_TOTAL_S, so that the last would be cut short.
        """
        drains_s = sum(spec.drain_deadline_s for spec in children)
        if drains_s > DRAIN_TOTAL_S:
            raise ValueError(f"the drain deadlines sum up to {drains_s:g} s, more than {DRAIN_TOTAL_S:g} s")
        context = ActorContext(clock, ids, get_logger() if log is None else log, on_restart, RestartWindow())
        self._clock = clock
        self._children = tuple(SupervisedActor(spec, context) for spec in children)
        self._child_ended = asyncio.Event()
        self._on_stopping = on_stopping

    async def run(self, stop: asyncio.Event, abort: asyncio.Event | None = None) -> int:
        """Start and supervise the actors; after `stop` drain and close them all.

        `abort`, the second request, ends the drains. Returns the exit code: 0 after `stop`, 70 when it gave up or a
        task is `lingering`. Cancelled, or after an error of its own, it closes the actors without draining them and
        raises.
        """
        try:
            await first_of(stop.wait(), self._child_ended.wait(), self._start_in_order())
            await first_of(stop.wait(), self._child_ended.wait())
            self._on_stopping()
            cut = asyncio.Event() if abort is None else abort
            await first_of(cut.wait(), self._clock.sleep(DRAIN_TOTAL_S), self._drain_in_reverse())
        finally:
            await self._close_in_reverse()
        return self._exit_code()

    @property
    def lingering(self) -> bool:
        """Whether a task goes on after it was cancelled: only the end of the process can end it."""
        return any(child.lingering for child in self._children)

    @property
    def ready(self) -> bool:
        """Whether every actor is up."""
        return all(child.up.is_set() for child in self._children)

    def alive(self) -> dict[str, float]:
        """Returns by name, for each actor that is up, for how many seconds it has been stuck; 0 for most."""
        return {child.name: child.actor.stuck_for_s() for child in self._children if child.actor is not None}

    def stuck(self) -> list[str]:
        """Returns the actors that hang and have no working successor yet."""
        return [child.name for child in self._children if child.stuck or child.lingering]

    async def _start_in_order(self) -> None:
        for child in self._children:
            child.supervision = asyncio.create_task(child.supervise(), name=f"{child.name}: supervision")
            child.supervision.add_done_callback(lambda _supervision: self._child_ended.set())
            await child.up.wait()

    async def _drain_in_reverse(self) -> None:
        """One after another: those that drain later still work for those that drain now."""
        for child in reversed(self._children):
            await child.drain()

    async def _close_in_reverse(self) -> None:
        supervisions = [
            (child, child.supervision) for child in reversed(self._children) if child.supervision is not None
        ]
        ends_s = self._clock.monotonic() + CLOSE_TOTAL_S
        for child, supervision in supervisions:
            child.request_end()
            await done_within(self._clock, max(0.0, ends_s - self._clock.monotonic()), supervision)
        await done_within(self._clock, CANCEL_GRACE_S, *(supervision for _, supervision in supervisions))
        for child, supervision in supervisions:
            child.lingering |= not supervision.done()
            supervision.cancel()

    def _exit_code(self) -> int:
        code = EX_SOFTWARE if self.lingering else EX_OK
        for child in self._children:
            if child.supervision is None or not child.supervision.done() or child.supervision.cancelled():
                continue
            error = child.supervision.exception()
            if isinstance(error, GaveUp):
                code = EX_SOFTWARE
            elif error is not None:
                raise error
        return code
