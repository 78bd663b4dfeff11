"""One call of a process to the world outside: a request that travels and arrives, and an answer that travels back.

Once a request has left, it goes on in the world's own context: to kill or cancel its caller does not stop it. A fault
changes a call through `Call`; `travel` carries the call out, for the store, Stripe and the bus alike.
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
"""Of two copies of a request, the second arrives at most this much later, in seconds."""


class Surprise(Exception):
    """An unexpected exception, raised by a port: a bug of the port."""


@dataclass
class Call:
    """The fate of one call. Faults change it before the request leaves."""

    hook: str
    process: Process
    nth: int
    surprises: bool = False
    """The call raises `Surprise`."""
    hangs: bool = False
    """The call never returns, and no request leaves."""
    late_s: float = 0.0
    """How much later the request arrives, in seconds."""
    answer_late_s: float = 0.0
    loses_request: bool = False
    loses_answer: bool = False
    copies: int = 1
    """The number of copies that arrive."""
    error_before: bool = False
    error_after: bool = False
    """Stripe: a 500 that is stored for the key, before or after it acted."""
    refused: bool = False
    """Bus: it rejects this event."""
    rejected_document: bool = False
    """Store: it rejects the first document of the commit for good."""
    refuses_later: bool = False
    """Stripe: it refuses later requests with this key, as if their token were used, and stores nothing for the key."""
    turned_away: bool = False
    """Stripe: a copy of the request got a 429, and so do all others: a 429 means that nothing happens."""
    answer: object = None
    """The answer of a proxy in front of the other side; the request doesn't arrive."""


class Carrier:
    """Carries calls to the other side, and their answers back."""

    def __init__(self, loop: VirtualLoop, latency_s: Callable[[str], float]) -> None:
        self._loop = loop
        self._latency_s = latency_s
        self.in_flight: dict[int, float] = {}
        """When each late request lands, in the loop's time."""
        self.hanging: list[tuple[Owner, asyncio.Future[Any]]] = []
        """Calls that never return, with their processes."""
        self._flights = 0

    @property
    def hung(self) -> bool:
        """Whether a process waits for an answer that never comes."""
        return any(owner.alive and not answer.done() for owner, answer in self.hanging)

    async def travel(
        self, call: Call, act: Callable[[Reply[R]], None], lost: Callable[[], R | Exception], timeout_s: float
    ) -> R:
        """`act` is what the other side does with the request. `lost` makes what the caller gets after `timeout_s`."""
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
            self.in_flight[flight] = self._loop.time() + after_s

        def reply(result: R) -> None:
            if not call.loses_answer:
                self._later(self._latency_s(call.hook) + call.answer_late_s, _settle, answer, result)

        def arrive() -> None:
            self.in_flight.pop(flight, None)
            act(reply)

        self._later(after_s, arrive)

    def _later(self, seconds: float, act: Callable[..., None], *args: object) -> None:
        self._loop.call_later(seconds, act, *args, context=self._loop.world.context)


def _settle(answer: asyncio.Future[R], result: R | Exception) -> None:
    """The first answer counts; a caller that has gone receives none."""
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
