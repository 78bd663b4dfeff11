"""Executes the strikes of a plan at their times, and counts them.

Owns: the strikes. Must never strike a target that another strike holds: each target is struck by one at a time, so that
a kill waits for the end of a pause. Change together with: `plan.Strike`, `site.Site`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack

from tests.chaos.plan import Strike, Way
from tests.chaos.site import STOP_DEADLINE_S, Site, Victim
from tests.support.servers.process import ServerProcess

KILLED = -9
BLOW = "final blow"


class Chaos:
    """`run` once, then `blow` if the plan has a final one. `done` counts the strikes, `unexplained` are failures that
    no strike explains.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.done: Counter[str] = Counter()
        self.unexplained: list[str] = []
        self.diary: list[tuple[float, str]] = []
        self._locks = {name: asyncio.Lock() for name in site.all}

    async def run(self) -> None:
        """Execute every strike of the plan; returns when all targets are back."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for strike in self.site.plan.strikes:
                group.create_task(self._later(strike, began))

    async def blow(self) -> None:
        """Kill every process of the service at once with SIGKILL, and start all again."""
        names = tuple(name for name, target in self.site.all.items() if isinstance(target, Victim))
        await self._strike(Strike(0.0, names, Way.KILL, 0.0), BLOW)

    async def _later(self, strike: Strike, began: float) -> None:
        await asyncio.sleep(strike.at_s - (time.monotonic() - began))
        await self._strike(strike, strike.way.value)

    async def _strike(self, strike: Strike, what: str) -> None:
        async with AsyncExitStack() as held:
            for name in strike.targets:  # always in the same order, or two pairs would deadlock
                await held.enter_async_context(self._locks[name])
            for name in strike.targets:
                self._note_death(name)
            self.diary.append((time.time(), f"{what} of {' and '.join(strike.targets)}, for {strike.for_s:.1f} s"))
            self.done[f"{what} {kinds(strike.targets)}"] += 1
            if strike.way is Way.PAUSE:
                await self._pause([self.site.all[name] for name in strike.targets], strike.for_s)
            else:
                await self._end(strike)
            self.diary.append((time.time(), f"{' and '.join(strike.targets)} again"))

    async def _pause(self, targets: list[ServerProcess], for_s: float) -> None:
        paused = [target for target in targets if target.running]
        for target in paused:
            target.pause()
        await asyncio.sleep(for_s)
        for target in paused:
            target.resume()

    async def _end(self, strike: Strike) -> None:
        if strike.way is Way.KILL:
            for name in strike.targets:
                self.site.all[name].kill()
        else:
            await asyncio.gather(*(self._terminate(name) for name in strike.targets))
        await asyncio.sleep(strike.for_s)
        for name in strike.targets:
            await self.site.start_again(name)

    async def _terminate(self, name: str) -> None:
        code = await asyncio.to_thread(self.site.all[name].stop, STOP_DEADLINE_S)
        if code == KILLED:
            self.unexplained.append(f"{name} did not end within {STOP_DEADLINE_S:g} s of SIGTERM")

    def _note_death(self, name: str) -> None:
        """Note a process that had ended by itself before its strike."""
        target = self.site.all[name]
        if not target.running:
            self.unexplained.append(f"{name} had ended by itself\n{target.log_tail()}")


def kinds(targets: tuple[str, ...]) -> str:
    """Returns the kinds of targets without their numbers: `service`, `2 services`, `nats`."""
    services = [name for name in targets if name.startswith("service")]
    return f"{len(services)} services" if len(services) > 1 else targets[0].split("-")[0]
