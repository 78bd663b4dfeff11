"""The virtual loop: time that jumps, owners that are killed and paused, turns that are drawn."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.loop import START_S, Owner, Spinning, VirtualLoop
from tests.simulation.simulate import collect


class Scene:
    """A loop, and a log of what its owners did."""

    def __init__(self, seed: int = 1) -> None:
        self.uncaught: list[dict[str, Any]] = []
        self.loop = VirtualLoop(random.Random(seed).random, self.uncaught.append)
        self.log: list[str] = []

    def note(self, what: str) -> None:
        self.log.append(f"{self.loop.time() - START_S:g} {self.loop.current.name} {what}")

    async def naps(self, what: str, *seconds: float) -> None:
        try:
            for nap in seconds:
                await asyncio.sleep(nap)
                self.note(what)
        finally:
            self.log.append(f"{what} ended")

    def run(self, main: Callable[[], None], limit_s: float = 100.0) -> bool:
        try:
            return self.loop.run_world(main, limit_s)
        finally:
            self.loop.close()
            noted = list(self.log)
            collect()
            self.log[:] = noted


def test_time_jumps_to_the_next_timer_and_timers_keep_their_order() -> None:
    """Equal times run in the order in which they were set."""
    scene = Scene()

    def main() -> None:
        for seconds, what in ((3.0, "late"), (1.0, "first"), (1.0, "second")):
            scene.loop.call_later(seconds, scene.note, what)
        scene.loop.call_later(0.5, scene.note, "never").cancel()
        scene.loop.call_later(5.0, scene.loop.end)

    assert scene.run(main)
    assert scene.log == ["1 world first", "1 world second", "3 world late"]


def test_a_loop_with_nothing_to_run_ends_before_its_limit() -> None:
    """A world that can't go on is not at rest."""
    scene = Scene()
    assert not scene.run(lambda: None)


def test_a_task_and_all_that_it_starts_belong_to_its_owner() -> None:
    """Timers and child tasks inherit it through their context."""
    scene = Scene()

    async def parent() -> None:
        await asyncio.gather(scene.naps("child", 1.0), asyncio.sleep(0.5))
        asyncio.get_running_loop().call_later(1.0, scene.note, "timer")

    def main() -> None:
        scene.loop.start(Owner("p1"), parent())
        scene.loop.call_later(9.0, scene.loop.end)

    scene.run(main)
    assert scene.log == ["1 p1 child", "child ended", "2 p1 timer"]


def test_a_dead_owner_never_runs_on_not_even_its_finally_blocks() -> None:
    """kill -9 between two awaits."""
    scene = Scene()
    owner, other = Owner("p1"), Owner("p2")

    def main() -> None:
        scene.loop.start(owner, scene.naps("dead", 1.0, 1.0))
        scene.loop.start(other, scene.naps("alive", 1.0, 1.0))
        scene.loop.call_later(1.5, scene.loop.kill, owner)
        scene.loop.call_later(9.0, scene.loop.end)

    scene.run(main)
    assert sorted(scene.log) == ["1 p1 dead", "1 p2 alive", "2 p2 alive", "alive ended"]


def test_a_paused_owner_goes_on_when_it_wakes_with_its_timers_late() -> None:
    """F34: handles that were due meanwhile run then, in order."""
    scene = Scene()
    owner = Owner("p1")

    def main() -> None:
        scene.loop.start(owner, scene.naps("a", 1.0, 1.0))
        scene.loop.start(owner, scene.naps("b", 1.2))
        scene.loop.call_later(0.5, scene.loop.pause, owner)
        scene.loop.call_later(7.0, scene.loop.wake, owner)
        scene.loop.call_later(9.0, scene.loop.end)

    scene.run(main)
    assert scene.log == ["7 p1 a", "7 p1 b", "b ended", "8 p1 a", "a ended"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_strike_comes_after_its_count_of_handles_and_before_the_next(count: int) -> None:
    """A process can be killed between any two steps of its code."""
    scene = Scene()
    owner = Owner("p1")

    def main() -> None:
        for number in range(5):
            scene.loop.call_soon(scene.note, str(number), context=owner.context)
        owner.after_handles(count, lambda: scene.loop.kill(owner))
        scene.loop.call_later(1.0, scene.loop.end)

    scene.run(main)
    assert scene.log == [f"0 p1 {number}" for number in range(count)]


def test_turns_of_owners_are_drawn_and_each_keeps_its_own_order() -> None:
    """Another seed gives another interleaving; the same seed gives the same one."""

    def order(seed: int) -> list[str]:
        scene = Scene(seed)

        def main() -> None:
            for name in ("p1", "p2"):
                owner = Owner(name)
                for number in range(9):
                    scene.loop.call_soon(scene.note, f"{number}", context=owner.context)
            scene.loop.call_later(1.0, scene.loop.end)

        scene.run(main)
        return scene.log

    orders = [order(seed) for seed in range(6)]
    assert all([line for line in each if "p1" in line] == [f"0 p1 {n}" for n in range(9)] for each in orders)
    assert len({tuple(each) for each in orders}) > 1
    assert order(3) == orders[3]


def test_an_error_of_the_world_itself_ends_the_run() -> None:
    """A bug of the simulation never counts as one of the service."""
    scene = Scene()
    with pytest.raises(ZeroDivisionError):
        scene.run(lambda: scene.loop.call_soon(lambda: 1 // 0))  # type: ignore[arg-type]


def test_an_error_of_an_owner_s_callback_is_reported_and_the_world_goes_on() -> None:
    """As asyncio would log it."""
    scene = Scene()

    def main() -> None:
        scene.loop.call_soon(lambda: 1 // 0, context=Owner("p1").context)
        scene.loop.call_later(1.0, scene.loop.end)

    assert scene.run(main)
    assert [type(each["exception"]) for each in scene.uncaught] == [ZeroDivisionError]


def test_a_coroutine_runs_to_its_end_as_on_any_loop() -> None:
    """In virtual time: a test of a simulated port takes no real time."""
    loop = VirtualLoop(random.Random(1).random, lambda _: None)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(asyncio.sleep(86_400.0, "done")) == "done"
        assert loop.time() == START_S + 86_400.0


def test_a_coroutine_that_waits_for_nothing_fails_instead_of_hanging() -> None:
    """So does a coroutine beside which the world's own code raises."""

    async def beside_an_error() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1.0)

    for work, error in ((asyncio.Event().wait(), RuntimeError), (beside_an_error(), ZeroDivisionError)):
        loop = VirtualLoop(random.Random(1).random, lambda _: None)
        with pytest.raises(error):
            loop.run_until_complete(work)
        loop.close()


@pytest.mark.parametrize("spinners", [1, 2])
def test_an_owner_that_never_waits_ends_the_run_instead_of_hanging_it(spinners: int) -> None:
    """A loop without a wait would stop time for ever, alone or together with another one."""
    scene = Scene()

    async def spin() -> None:
        while True:  # noqa: ASYNC110  # that is the point
            await asyncio.sleep(0)

    def main() -> None:
        for number in range(spinners):
            scene.loop.start(Owner(f"p{number + 1}"), spin())

    with pytest.raises(Spinning, match="p1"):
        scene.run(main)
