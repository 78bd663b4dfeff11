"""An actor that does what its messages say, and a journal of all that happens to it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from payment.actors.runtime.actor import Actor
from payment.actors.runtime.mailbox import Mailbox
from payment.ports.clock import Clock


class ActorCrashed(Exception):
    """Raised at a waiting caller when the actor that should have answered died."""

    def __init__(self, actor: str) -> None:
        super().__init__(f"the {actor} actor stopped before it answered")


class Boom(Exception):
    """An unexpected exception, as a bug raises it."""


async def for_ever() -> None:
    await asyncio.Event().wait()


async def deaf_until(heard: asyncio.Event) -> None:
    """Goes on through every cancellation until the event is set."""
    while not heard.is_set():
        try:
            await heard.wait()
        except asyncio.CancelledError:
            continue


@dataclass(eq=False)
class Ask:
    """A message whose sender waits: `what` is what the actor does with it."""

    what: str = "answer"
    reply: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass
class Script:
    """How the actors of one name behave, one life after another; the last behaviour stays."""

    setups: list[Any] = field(default_factory=list)
    """The script of each incarnation's setup: an exception to raise, a coroutine function to await, or None."""
    drain: Any = None
    teardown: Any = None


class ScriptedActor(Actor[Ask]):
    """Answers; or crashes, hangs, spawns, as it is asked to."""

    def __init__(self, name: str, mailbox: Mailbox[Ask], clock: Clock, journal: list[str], script: Script) -> None:
        super().__init__(name, mailbox, clock)
        self.release = asyncio.Event()
        self._journal = journal
        self._script = script
        self._waiting: set[asyncio.Future[str]] = set()

    async def setup(self) -> None:
        self._journal.append(f"{self.name} setup")
        if self._script.setups:
            await _play(self._script.setups.pop(0))

    async def receive(self, item: Ask) -> None:
        self._journal.append(f"{self.name} receives {item.what}")
        self._waiting.add(item.reply)
        match item.what:
            case "answer":
                self._answer(item.reply)
            case "later":
                self.spawn(self._later(item.reply), name="later")
            case "crash":
                raise Boom("receive")
            case "cancelled":
                raise asyncio.CancelledError
            case "crash in child":
                self.spawn(_play(Boom("child")), name="crash")
            case "cancelled in child":
                self.spawn(_play(asyncio.CancelledError()), name="cancelled")
            case "child for ever":
                self.spawn(for_ever(), name="for ever")
            case "deaf child":
                self.spawn(deaf_until(self.release), name="deaf")
            case "hang":
                await for_ever()
            case "deaf":
                await deaf_until(self.release)

    async def drain(self) -> None:
        self._journal.append(f"{self.name} drain")
        await _play(self._script.drain)
        self._journal.append(f"{self.name} drained")

    async def teardown(self) -> None:
        self._journal.append(f"{self.name} teardown")
        for reply in self._waiting:
            if not reply.done():
                reply.set_exception(ActorCrashed(self.name))
                reply.exception()  # looked at: many tests ask and never wait, and asyncio would say so in another's log
        await _play(self._script.teardown)

    async def _later(self, reply: asyncio.Future[str]) -> None:
        await self.clock.sleep(1.0)
        self._answer(reply)

    def _answer(self, reply: asyncio.Future[str]) -> None:
        if not reply.done():
            reply.set_result(f"from {self.name}")


async def _play(part: Any) -> None:
    if isinstance(part, BaseException):
        raise part
    if part is not None:
        await part()
