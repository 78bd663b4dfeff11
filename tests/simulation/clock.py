"""A process's clock, its ids, and the small draws of a world.

Each process reads the one virtual time; its wall clock differs from the true time by `offset`, which a clock jump
changes (F38). A small draw (a latency, a jitter) is a function of the seed and of its purpose: a plan with one fault
less leaves all other draws as they were.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from payment.adapters.system import whole_milliseconds
from tests.simulation.loop import START_S, VirtualLoop, nap

BEGINNING = datetime(2030, 1, 1, 12, tzinfo=UTC)
"""The true time when a world begins."""


DRAWS_IN_A_HASH = 16
"""The numbers of one hash, of four bytes each: as many as the longest digest of blake2b holds."""


class Chances:
    """The small draws of one world: each purpose has a sequence of its own, so that none shifts another."""

    def __init__(self, seed: int) -> None:
        self._key = (seed % 2**64).to_bytes(8, "big")
        self._blocks: dict[str, int] = {}
        self._left: dict[str, list[int]] = {}

    def next(self, what: str) -> float:
        """The next number for a purpose, from 0 up to but not including 1."""
        left = self._left.get(what)
        if not left:
            left = self._left[what] = self._more(what)
        return left.pop() / 2**32

    def _more(self, what: str) -> list[int]:
        """Many numbers from one hash: the hash costs more than everything else here."""
        block = self._blocks[what] = self._blocks.get(what, 0) + 1
        digest = blake2b(f"{what} {block}".encode(), digest_size=DRAWS_IN_A_HASH * 4, key=self._key).digest()
        return list(memoryview(digest).cast("I"))

    def latency_s(self, what: str) -> float:
        """How long the next message of a kind travels, in seconds: milliseconds, sometimes a good part of a second."""
        drawn = self.next(what)
        return 0.001 + 0.02 * drawn if drawn < 0.9 else 0.02 + 4.0 * (drawn - 0.9)


class SimClock:
    """`payment.ports.clock.Clock` over the loop's virtual time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset = timedelta()

    def now(self) -> datetime:
        return whole_milliseconds(BEGINNING + timedelta(seconds=self._loop.time() - START_S) + self.offset)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            await nap(self._loop, seconds)
        else:
            await asyncio.sleep(0)


class SimIds:
    """`payment.ports.ids.Ids` of one run of a process."""

    def __init__(self, chances: Chances, process: str, incarnation: int) -> None:
        self._chances = chances
        self._prefix = f"{process[1:]:0>2}{incarnation:04d}"
        self._jitter = f"jitter {process} {incarnation}"
        self._made = 0

    def new(self) -> str:
        self._made += 1
        return f"{self._prefix}{self._made:026d}"

    def jitter(self) -> float:
        return self._chances.next(self._jitter)
