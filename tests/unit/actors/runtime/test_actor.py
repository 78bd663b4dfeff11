"""The actor's loop: one item at a time, and an unexpected error is raised by `run`."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from payment.actors.runtime.actor import BURST_ITEMS, TaskCancelled
from payment.actors.runtime.deadlines import Lingering
from payment.actors.runtime.mailbox import Mailbox
from tests.support.fakes.clock import FakeClock
from tests.unit.actors.runtime.scripted import ActorCrashed, Ask, Boom, Script, ScriptedActor


class Scene:
    """One actor, its clock, its mailbox, its running loop."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.mailbox: Mailbox[Ask] = Mailbox("scripted", 200)
        self.journal: list[str] = []
        self.script = Script()
        self.actor = ScriptedActor("scripted", self.mailbox, self.clock, self.journal, self.script)
        self.running = asyncio.create_task(self.actor.run())

    async def ask(self, what: str) -> Ask:
        sent = Ask(what)
        assert self.mailbox.offer(sent)
        await self.clock.settle()
        return sent

    async def end(self) -> None:
        self.actor.release.set()
        self.running.cancel()
        await asyncio.wait({self.running})


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.end()


async def test_it_receives_what_is_sent(scene: Scene) -> None:
    """Items are received in turn, and between them there is no current item."""
    first, second = await scene.ask("answer"), await scene.ask("answer")
    assert [first.reply.result(), second.reply.result()] == ["from scripted"] * 2
    assert scene.actor.current_item is None
    assert scene.actor.stuck_for_s() == 0


async def test_an_error_in_receive_comes_out_of_run_with_the_current_item(scene: Scene) -> None:
    """F32: the error ends the actor, which keeps the current item and leaves the rest of the mailbox alone."""
    bad = Ask("crash")
    for item in (bad, Ask("answer")):
        scene.mailbox.offer(item)
    await scene.clock.settle()
    with pytest.raises(Boom, match="receive"):
        await scene.running
    assert scene.actor.current_item is bad
    assert scene.mailbox.depth == 1


async def test_teardown_fails_the_pending_requests(scene: Scene) -> None:
    """F32: pending requests of a crashed actor fail with a named error at once."""
    waiting = await scene.ask("later")
    crashing = await scene.ask("crash")
    await asyncio.wait({scene.running})
    await scene.actor.close()
    for caller in (waiting, crashing):
        with pytest.raises(ActorCrashed, match="scripted"):
            await caller.reply
    assert scene.actor.children == 0
    with pytest.raises(Boom):
        scene.running.result()


async def test_an_error_in_a_child_task_ends_the_actor(scene: Scene) -> None:
    """F32: a child task belongs to its actor, and so does its bug."""
    await scene.ask("crash in child")
    with pytest.raises(Boom, match="child"):
        await scene.running


async def test_several_errors_at_once_are_all_raised(scene: Scene) -> None:
    """The exception group holds every one of them."""
    for what in ("crash in child", "crash in child", "crash"):
        scene.mailbox.offer(Ask(what))
    await scene.clock.settle()
    with pytest.raises(ExceptionGroup) as caught:
        await scene.running
    assert sorted(str(error) for error in caught.value.exceptions) == ["child", "child", "receive"]


@pytest.mark.parametrize("what", ["cancelled", "cancelled in child"])
async def test_a_cancellation_from_within_is_a_crash(scene: Scene, what: str) -> None:
    """F32: otherwise a loop would end without a log line."""
    await scene.ask(what)
    with pytest.raises(TaskCancelled, match="scripted"):
        await scene.running


async def test_a_child_cancelled_through_its_task_is_no_crash(scene: Scene) -> None:
    """An actor may cancel a task that it started."""
    child = scene.actor.spawn(asyncio.Event().wait(), name="watch")
    await scene.clock.settle()
    child.cancel()
    await scene.clock.settle()
    assert not scene.running.done()
    assert scene.actor.children == 0


async def test_a_receive_that_does_not_return_is_measured(scene: Scene) -> None:
    """F32: `stuck_for_s` returns how long it has been at one item."""
    hanging = await scene.ask("hang")
    await scene.clock.advance(7)
    assert scene.actor.stuck_for_s() == 7
    assert scene.actor.current_item is hanging


async def test_cancelling_run_leaves_no_task(scene: Scene) -> None:
    """The loop and its helper tasks end with it."""
    await scene.ask("hang")
    scene.running.cancel()
    await scene.clock.settle()
    assert scene.running.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_receive_that_ignores_its_cancellation_is_named(scene: Scene) -> None:
    """F32: run ends within a grace period and raises Lingering."""
    await scene.ask("deaf")
    scene.running.cancel()
    await scene.clock.until(scene.running.done)
    with pytest.raises(Lingering, match="receive"):
        scene.running.result()


async def test_a_child_that_ignores_its_cancellation_is_named_after_teardown(scene: Scene) -> None:
    """F32: pending requests fail all the same."""
    caller = await scene.ask("deaf child")
    with pytest.raises(Lingering, match="1 child tasks"):
        await scene.clock.drive(scene.actor.close())
    assert isinstance(caller.reply.exception(), ActorCrashed)


async def test_an_error_of_a_child_that_run_has_not_raised_comes_out_of_close(scene: Scene) -> None:
    """An error that is raised while the actor ends is not lost either."""
    await scene.end()
    scene.actor.spawn(scene.actor.receive(Ask("crash")), name="late")
    await asyncio.sleep(0)
    with pytest.raises(Boom):
        await scene.actor.close()
    assert scene.journal[-1] == "scripted teardown"


async def test_a_long_queue_does_not_starve_the_others(scene: Scene) -> None:
    """F31: other tasks run between two bursts."""
    for _ in range(2 * BURST_ITEMS):
        scene.mailbox.offer(Ask("answer"))
    depths: set[int] = set()
    while scene.mailbox.depth:
        await asyncio.sleep(0)
        depths.add(scene.mailbox.depth)
    assert BURST_ITEMS in depths
