"""One call of a process to the world outside: a request that travels, arrives, and an answer that travels back.

Once a request has left, it goes on in the world's own context: killing or cancelling its caller changes nothing of
that. What a fault does to a call stands in `Call`; `travel` carries it out, for the store, Stripe and the bus alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tests.simulation.loop import Owner, VirtualLoop

if TYPE_CHECKING:
    from tests.simulation.process import Process

R = TypeVar("R")
Reply = Callable[[R], None]

DUPLICATE_AFTER_S = 0.8
"""How much later than the first the second of two copies of a request arrives, in seconds."""


class Surprise(Exception):
    """What nobody expected, raised by a port: a bug somewhere."""


@dataclass
class Call:
    """What becomes of one call. Faults change it before it leaves."""

    hook: str
    process: Process
    nth: int
    surprises: bool = False
    """It raises what nobody expects."""
    hangs: bool = False
    """It never returns, and nothing leaves."""
    late_s: float = 0.0
    """The request arrives so much later."""
    answer_late_s: float = 0.0
    loses_request: bool = False
    loses_answer: bool = False
    copies: int = 1
    """How often the request arrives."""
    error_before: bool = False
    error_after: bool = False
    """Stripe: a 500 that is stored for the key, before or after it acted."""
    refused: bool = False
    """Bus: it does not take this event, and says so."""
    rejected_document: bool = False
    """Store: the first document of the commit is refused for good."""
    refuses_later: bool = False
    """Stripe: later requests with its key are refused, as if their token were used; nothing is stored for the key."""
    turned_away: bool = False
    """Stripe: a copy of it was refused at the door, and so are all others: a 429 means that nothing happens."""
    answer: object = None
    """The answer of whoever stands before the other side; the request doesn't arrive."""


class Carrier:
    """Carries calls."""

    def __init__(self, loop: VirtualLoop, latency_s: Callable[[str], float]) -> None:
        self._loop = loop
        self._latency_s = latency_s
        self.flying: dict[int, float] = {}
        """When each late request lands, in the loop's time."""
        self.hanging: list[tuple[Owner, asyncio.Future[Any]]] = []
        """Calls that never return, and whose they are."""
        self._flights = 0

    @property
    def hung(self) -> bool:
        """Whether somebody waits for what never comes."""
        return any(owner.alive and not answer.done() for owner, answer in self.hanging)

    async def travel(
        self, call: Call, act: Callable[[Reply[R]], None], lost: Callable[[], R | Exception], timeout_s: float
    ) -> R:
        """`act` is what the other side does with the request. `lost` is what the caller gets after `timeout_s`."""
        if call.surprises:
            raise Surprise(f"{call.hook} number {call.nth}")
        loop = self._loop
        answer: asyncio.Future[R] = loop.create_future()
        if call.hangs:
            self.hanging.append((call.process.owner, answer))
            return await answer
        if call.answer is not None:
            self._later(self._latency_s(call.hook), _settle, answer, call.answer)
            return await answer
        if not call.loses_request:
            out_s = self._latency_s(call.hook) + call.late_s
            for copy in range(call.copies):
                self._launch(out_s + copy * DUPLICATE_AFTER_S, call, act, answer)
        if call.loses_request or call.loses_answer or call.late_s + call.answer_late_s > 0:
            self._later(timeout_s, lambda: _settle(answer, lost()))
        return await answer

    def _launch(self, after_s: float, call: Call, act: Callable[[Reply[R]], None], answer: asyncio.Future[R]) -> None:
        self._flights += 1
        flight = self._flights
        if call.late_s or call.copies > 1:
            self.flying[flight] = self._loop.time() + after_s

        def reply(result: R) -> None:
            if not call.loses_answer:
                self._later(self._latency_s(call.hook) + call.answer_late_s, _settle, answer, result)

        def arrive() -> None:
            self.flying.pop(flight, None)
            act(reply)

        self._later(after_s, arrive)

    def _later(self, seconds: float, act: Callable[..., None], *args: object) -> None:
        self._loop.call_later(seconds, act, *args, context=self._loop.world.context)


def _settle(answer: asyncio.Future[R], result: R | Exception) -> None:
    """The first answer counts, and a caller that has gone hears nothing."""
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
