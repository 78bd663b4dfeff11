"""The actor's loop: one item at a time, and an error that nobody expected comes out of `run`."""

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
    """Items are received in turn, and between them nothing is in hand."""
    first, second = await scene.ask("answer"), await scene.ask("answer")
    assert [first.reply.result(), second.reply.result()] == ["from scripted"] * 2
    assert scene.actor.in_hand is None
    assert scene.actor.stuck_for_s() == 0


async def test_an_error_in_receive_comes_out_of_run_with_the_item_in_hand(scene: Scene) -> None:
    """F32: the actor dies of it, says what it was at, and leaves the rest of the mailbox alone."""
    bad = Ask("crash")
    for item in (bad, Ask("answer")):
        scene.mailbox.offer(item)
    await scene.clock.settle()
    with pytest.raises(Boom, match="receive"):
        await scene.running
    assert scene.actor.in_hand is bad
    assert scene.mailbox.depth == 1


async def test_teardown_fails_the_waiting_callers(scene: Scene) -> None:
    """F32: callers of a dead actor get a named error at once."""
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
    """F32: long work is the actor's own; its bug is the actor's too."""
    await scene.ask("crash in child")
    with pytest.raises(Boom, match="child"):
        await scene.running


async def test_several_errors_at_once_are_all_told(scene: Scene) -> None:
    """None hides another."""
    for what in ("crash in child", "crash in child", "crash"):
        scene.mailbox.offer(Ask(what))
    await scene.clock.settle()
    with pytest.raises(ExceptionGroup) as caught:
        await scene.running
    assert sorted(str(error) for error in caught.value.exceptions) == ["child", "child", "receive"]


@pytest.mark.parametrize("what", ["cancelled", "cancelled in child"])
async def test_a_cancellation_that_nobody_asked_for_is_a_crash(scene: Scene, what: str) -> None:
    """F32: else a loop would be gone without a word."""
    await scene.ask(what)
    with pytest.raises(TaskCancelled, match="scripted"):
        await scene.running


async def test_a_child_cancelled_through_its_task_is_no_crash(scene: Scene) -> None:
    """An actor may stop what it started."""
    child = scene.actor.spawn(asyncio.Event().wait(), name="watch")
    await scene.clock.settle()
    child.cancel()
    await scene.clock.settle()
    assert not scene.running.done()
    assert scene.actor.children == 0


async def test_a_receive_that_does_not_return_is_seen(scene: Scene) -> None:
    """F32: how long it has been at one item can be asked from outside."""
    hanging = await scene.ask("hang")
    await scene.clock.advance(7)
    assert scene.actor.stuck_for_s() == 7
    assert scene.actor.in_hand is hanging


async def test_cancelling_run_leaves_no_task(scene: Scene) -> None:
    """The loop and its helpers end with it."""
    await scene.ask("hang")
    scene.running.cancel()
    await scene.clock.settle()
    assert scene.running.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_receive_that_ignores_its_cancellation_is_named(scene: Scene) -> None:
    """F32: run ends within a grace and says that something goes on."""
    await scene.ask("deaf")
    scene.running.cancel()
    await scene.clock.until(scene.running.done)
    with pytest.raises(Lingering, match="receive"):
        scene.running.result()


async def test_a_child_that_ignores_its_cancellation_is_named_after_teardown(scene: Scene) -> None:
    """F32: callers are told all the same."""
    caller = await scene.ask("deaf child")
    with pytest.raises(Lingering, match="1 child tasks"):
        await scene.clock.drive(scene.actor.close())
    assert isinstance(caller.reply.exception(), ActorCrashed)


async def test_an_error_of_a_child_that_nobody_saw_comes_out_of_close(scene: Scene) -> None:
    """An error raised while everything ends is not lost either."""
    await scene.end()
    scene.actor.spawn(scene.actor.receive(Ask("crash")), name="late")
    await asyncio.sleep(0)
    with pytest.raises(Boom):
        await scene.actor.close()
    assert scene.journal[-1] == "scripted teardown"


async def test_a_long_queue_does_not_starve_the_others(scene: Scene) -> None:
    """F31: between two bursts everybody else runs."""
    for _ in range(2 * BURST_ITEMS):
        scene.mailbox.offer(Ask("answer"))
    depths: set[int] = set()
    while scene.mailbox.depth:
        await asyncio.sleep(0)
        depths.add(scene.mailbox.depth)
    assert BURST_ITEMS in depths
