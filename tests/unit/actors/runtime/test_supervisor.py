"""The supervisor's guarantees, as transcripts: the actors' hooks, the log, and the exit code."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from payment.actors.runtime.lifecycle import ChildSpec
from payment.actors.runtime.mailbox import Mailbox
from payment.actors.runtime.restarts import RESTART_WINDOW_S, RESTARTS_MAX
from payment.actors.runtime.supervisor import DRAIN_TOTAL_S, HANG_CHECK_EVERY_S, STOP_TOTAL_S, Supervisor
from payment.ops.log_schema import FIELDS, Event
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.ids import FakeIds
from tests.unit.actors.runtime.scripted import ActorCrashed, Ask, Boom, Script, ScriptedActor, deaf_until, for_ever

NAMES = ("ledger", "stripe", "http")
SETUP_S, DRAIN_S, HANG_S = 3.0, 4.0, 5.0


class FakeLog:
    """Records the lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def _log(self, event: str, **fields: Any) -> None:
        assert set(fields) - {"exc_info"} <= set(FIELDS)
        self.lines.append((event, fields))

    info = warning = error = _log

    def logged(self, event: Event) -> list[dict[str, Any]]:
        return [fields for name, fields in self.lines if name == event]


class Scene:
    """Three scripted actors under a running supervisor."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = FakeLog()
        self.journal: list[str] = []
        self.scripts = {name: Script() for name in NAMES}
        self.mailboxes: dict[str, Mailbox[Ask]] = {name: Mailbox(name, 10) for name in NAMES}
        self.lives: dict[str, list[ScriptedActor]] = {name: [] for name in NAMES}
        self.stop, self.abort = asyncio.Event(), asyncio.Event()
        self.jitters = FakeIds()
        self.running: asyncio.Task[int] | None = None

    def spec(self, name: str) -> ChildSpec:
        def start() -> ScriptedActor:
            actor = ScriptedActor(name, self.mailboxes[name], self.clock, self.journal, self.scripts[name])
            self.lives[name].append(actor)
            return actor

        return ChildSpec(name, start, setup_deadline_s=SETUP_S, drain_deadline_s=DRAIN_S, hang_s=HANG_S)

    async def start(self) -> None:
        specs = [self.spec(name) for name in NAMES]
        self.supervisor = Supervisor(specs, self.clock, self.jitters, self._restarted, self.log)
        self.running = asyncio.create_task(self.supervisor.run(self.stop, self.abort))
        await self.clock.settle()

    def has_lived(self, name: str, lives: int) -> bool:
        """Whether this is the actor's n-th life."""
        return len(self.lives[name]) == lives

    def _restarted(self, name: str) -> None:
        self.journal.append(f"{name} restarted")

    async def ask(self, name: str, what: str = "answer") -> Ask:
        sent = Ask(what)
        assert self.mailboxes[name].offer(sent)
        await self.clock.settle()
        return sent

    async def exit_code(self, limit_s: float = 60.0) -> int:
        assert self.running is not None
        await self.clock.until(self.running.done, limit_s)
        return self.running.result()

    async def stopped(self) -> int:
        self.stop.set()
        return await self.exit_code(STOP_TOTAL_S)

    def since(self, mark: str) -> list[str]:
        return self.journal[self.journal.index(mark) :]

    async def end(self) -> None:
        for actor in (actor for lives in self.lives.values() for actor in lives):
            actor.release.set()
        if self.running is not None and not self.running.done():
            self.running.cancel()
            await self.clock.until(self.running.done)
        await self.clock.advance(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.end()


# Start and stop


async def test_it_starts_in_order_and_stops_in_reverse(scene: Scene) -> None:
    """F33: all drain in reverse while all still run; then all are torn down in reverse."""
    await scene.start()
    assert scene.supervisor.ready
    assert await scene.stopped() == 0
    drains = ["http drain", "http drained", "stripe drain", "stripe drained", "ledger drain", "ledger drained"]
    teardowns = ["http teardown", "stripe teardown", "ledger teardown"]
    assert scene.journal == ["ledger setup", "stripe setup", "http setup", *drains, *teardowns]
    assert [fields["actor"] for fields in scene.log.logged(Event.ACTOR_STARTED)] == list(NAMES)
    stopped = [(fields["actor"], fields["outcome"]) for fields in scene.log.logged(Event.ACTOR_STOPPED)]
    assert stopped == [("http", "drained"), ("stripe", "drained"), ("ledger", "drained")]


async def test_each_waits_for_the_one_before_to_be_up(scene: Scene) -> None:
    """No actor starts before those that it sends to, and `ready` is false meanwhile."""
    scene.scripts["ledger"].setups = [lambda: scene.clock.sleep(2)]
    await scene.start()
    await scene.clock.advance(1.9)
    assert (scene.journal, scene.supervisor.ready) == (["ledger setup"], False)
    await scene.clock.advance(0.2)
    assert scene.supervisor.ready
    assert scene.supervisor.alive() == dict.fromkeys(NAMES, 0.0)


async def test_a_stop_during_the_start_starts_no_further_actor(scene: Scene) -> None:
    """F33: half a setup is torn down, and later actors are not started."""
    scene.scripts["stripe"].setups = [for_ever]
    await scene.start()
    assert await scene.stopped() == 0
    assert sorted(scene.since("stripe setup")[1:3]) == ["ledger drain", "ledger drained"]
    assert scene.journal[-2:] == ["stripe teardown", "ledger teardown"]
    assert "http setup" not in scene.journal


async def test_actors_that_drain_later_work_for_those_that_drain_now(scene: Scene) -> None:
    """F33: HTTP can wait for its pending replies, and a drained actor still receives."""
    answers: list[str] = []

    async def wait_for_ledger() -> None:
        asked = await scene.ask("ledger", "later")
        answers.append(await asked.reply)

    async def call_http() -> None:
        answers.append(await (await scene.ask("http")).reply)

    scene.scripts["http"].drain = wait_for_ledger
    scene.scripts["ledger"].drain = call_http
    await scene.start()
    assert await scene.stopped() == 0
    assert answers == ["from ledger", "from http"]


async def test_a_drain_that_never_ends_is_cut_at_its_deadline(scene: Scene) -> None:
    """F33: it costs only its own time, the others still drain, and the exit code is 0."""
    scene.scripts["stripe"].drain = for_ever
    await scene.start()
    began_s = scene.clock.monotonic()
    assert await scene.stopped() == 0
    assert scene.clock.monotonic() - began_s == pytest.approx(DRAIN_S)
    assert "stripe drained" not in scene.journal
    assert "ledger drained" in scene.journal
    (overran,) = scene.log.logged(Event.ACTOR_OVERRAN)
    assert overran == {"actor": "stripe", "deadline_ms": 4000, "took_ms": 4000}
    stopped = {fields["actor"]: fields["outcome"] for fields in scene.log.logged(Event.ACTOR_STOPPED)}
    assert stopped == {"http": "drained", "stripe": "cut_off", "ledger": "drained"}


async def test_a_second_request_cuts_the_drains_short(scene: Scene) -> None:
    """F33: after a second signal drains are cut; teardown is not skipped."""
    scene.scripts["http"].drain = for_ever
    await scene.start()
    scene.stop.set()
    await scene.clock.advance(1)
    began_s = scene.clock.monotonic()
    scene.abort.set()
    assert await scene.exit_code() == 0
    assert scene.clock.monotonic() == began_s
    assert scene.journal[-3:] == ["http teardown", "stripe teardown", "ledger teardown"]
    assert "stripe drain" not in scene.journal


async def test_the_worst_stop_there_is_keeps_to_its_total(scene: Scene) -> None:
    """F33: every hook hangs, and the process still ends before it is killed, with a non-zero code."""
    released = asyncio.Event()
    for script in scene.scripts.values():
        script.drain = script.teardown = lambda: deaf_until(released)
    await scene.start()
    began_s = scene.clock.monotonic()
    assert await scene.stopped() == 70
    assert scene.clock.monotonic() - began_s <= STOP_TOTAL_S < 25
    assert scene.supervisor.lingering
    released.set()
    await scene.clock.settle()


def test_drain_deadlines_that_cannot_all_be_kept_are_refused() -> None:
    """The ledger drains last: the others must leave it time."""
    half = ChildSpec("x", lambda: pytest.fail("started"), 1, DRAIN_TOTAL_S / 2, 1)
    with pytest.raises(ValueError, match=r"22\.5"):
        Supervisor([half, half, half], FakeClock(), FakeIds())


# Crashes


async def test_a_crashed_actor_is_replaced_and_its_pending_requests_fail(scene: Scene) -> None:
    """F32: pending requests fail, queued items are kept, and the other actors run on."""
    await scene.start()
    waiting = await scene.ask("ledger", "later")
    scene.mailboxes["ledger"].offer(Ask("crash"))
    queued = await scene.ask("ledger")
    assert isinstance(waiting.reply.exception(), ActorCrashed)
    assert (queued.reply.done(), scene.supervisor.ready) == (False, False)
    await scene.clock.advance(0.1)
    assert queued.reply.result() == "from ledger"
    assert scene.supervisor.ready
    steps = ["ledger receives crash", "ledger teardown", "ledger setup", "ledger restarted", "ledger receives answer"]
    assert scene.since("ledger receives crash") == steps
    assert [len(scene.lives[name]) for name in NAMES] == [2, 1, 1]
    (crash,) = scene.log.logged(Event.ACTOR_CRASHED)
    assert isinstance(crash["exc_info"], Boom)
    assert crash["exc_info"].__traceback__ is not None
    assert scene.log.logged(Event.ACTOR_RESTARTED) == [{"actor": "ledger", "restarts": 1, "took_ms": 0}]


@pytest.mark.parametrize("what", ["crash in child", "cancelled", "cancelled in child"])
async def test_an_actor_is_replaced_after_any_error(scene: Scene, what: str) -> None:
    """F32: a child task's error and a stray cancellation are crashes too."""
    await scene.start()
    caller = await scene.ask("stripe", what)
    await scene.clock.advance(0.1)
    assert isinstance(caller.reply.exception(), ActorCrashed)
    assert (await scene.ask("stripe")).reply.result() == "from stripe"


@pytest.mark.parametrize("first", [Boom("setup"), for_ever, asyncio.CancelledError()])
async def test_a_setup_that_fails_is_tried_again(scene: Scene, first: Any) -> None:
    """F32: an error, a hang, a stray cancellation. The next actor in the order waits for the setup that succeeds."""
    scene.scripts["stripe"].setups = [first]
    await scene.start()
    assert scene.journal[:3] == ["ledger setup", "stripe setup", "stripe teardown"][: len(scene.journal)]
    await scene.clock.until(lambda: scene.supervisor.ready, SETUP_S + 1)
    setups = ["ledger setup", "stripe setup", "stripe teardown", "stripe setup", "stripe restarted", "http setup"]
    assert scene.journal == setups
    assert len(scene.log.logged(Event.ACTOR_CRASHED)) == 1


async def test_an_error_in_teardown_does_not_hide_the_error_that_ended_the_actor(scene: Scene) -> None:
    """F32: one traceback has both errors, and the actor is replaced."""
    scene.scripts["ledger"].teardown = Boom("teardown")
    await scene.start()
    await scene.ask("ledger", "crash")
    (crash,) = scene.log.logged(Event.ACTOR_CRASHED)
    assert str(crash["exc_info"]) == "teardown"
    assert str(crash["exc_info"].__context__) == "receive"
    await scene.clock.advance(0.1)
    assert scene.supervisor.ready


async def test_restarts_wait_longer_and_longer(scene: Scene) -> None:
    """F32: exponential backoff with jitter, so that the cause can pass and processes do not restart together."""
    scene.jitters = FakeIds([0.0, 0.5])
    await scene.start()
    waits_ms = []
    for life in range(RESTARTS_MAX):
        began_s = scene.clock.monotonic()
        await scene.ask("ledger", "crash")
        await scene.clock.until(partial(scene.has_lived, "ledger", life + 2))
        waits_ms.append(round((scene.clock.monotonic() - began_s) * 1_000))
    assert waits_ms == [50, 225, 450, 2025, 2500]


async def test_too_many_restarts_end_the_process_with_a_code_above_0(scene: Scene) -> None:
    """F32: past the window's limit the others are drained and closed, and the exit code is not 0."""
    await scene.start()
    for name in ("ledger", "stripe") * (RESTARTS_MAX // 2) + ("ledger",):
        await scene.ask(name, "crash")
        await scene.clock.until(lambda: scene.supervisor.ready)
    assert not scene.stop.is_set()
    await scene.ask("stripe", "crash")
    assert await scene.exit_code() == 70
    assert "http drained" in scene.journal
    assert scene.journal[-1] == "ledger teardown"
    assert [fields["actor"] for fields in scene.log.logged(Event.ACTOR_GAVE_UP)] == ["stripe"]


async def test_a_setup_that_never_succeeds_ends_the_process(scene: Scene) -> None:
    """F32: the first start is under the same limit."""
    scene.scripts["ledger"].setups = [Boom("setup")] * 100
    await scene.start()
    assert await scene.exit_code() == 70
    assert len(scene.lives["ledger"]) == RESTARTS_MAX + 1
    assert "stripe setup" not in scene.journal


async def test_restarts_that_are_far_apart_go_on_for_ever(scene: Scene) -> None:
    """F32: the limit counts what happens within the window."""
    await scene.start()
    for _ in range(2 * RESTARTS_MAX):
        await scene.ask("ledger", "crash")
        await scene.clock.advance(RESTART_WINDOW_S / RESTARTS_MAX + 1)
    assert scene.supervisor.ready
    assert await scene.stopped() == 0


# Crashes while stopping


async def test_an_actor_that_crashes_while_another_drains_is_replaced(scene: Scene) -> None:
    """F33: the drain of HTTP needs a ledger until its end."""
    scene.scripts["http"].drain = lambda: scene.clock.sleep(2)
    await scene.start()
    scene.stop.set()
    await scene.ask("ledger", "crash")
    await scene.clock.advance(0.5)
    assert (await scene.ask("ledger")).reply.result() == "from ledger"
    assert await scene.exit_code() == 0


async def test_an_actor_that_crashes_during_its_own_drain_is_not_replaced(scene: Scene) -> None:
    """F33: a new one would accept new work. Its pending requests fail, and the stop goes on at once."""
    scene.scripts["http"].drain = for_ever
    await scene.start()
    scene.stop.set()
    caller = await scene.ask("http", "crash")
    assert await scene.exit_code(0.1) == 0
    assert isinstance(caller.reply.exception(), ActorCrashed)
    assert len(scene.lives["http"]) == 1
    assert scene.journal.index("http teardown") < scene.journal.index("stripe drain")
    assert len(scene.log.logged(Event.ACTOR_CRASHED)) == 1


async def test_an_error_in_drain_is_logged_and_the_stop_goes_on(scene: Scene) -> None:
    """F33: the others are drained all the same."""
    scene.scripts["http"].drain = Boom("drain")
    await scene.start()
    assert await scene.stopped() == 0
    assert [str(fields["exc_info"]) for fields in scene.log.logged(Event.ACTOR_CRASHED)] == ["drain"]
    assert "stripe drained" in scene.journal


async def test_an_actor_in_its_backoff_is_not_brought_back_to_be_stopped(scene: Scene) -> None:
    """F33: a stop does not wait for restarts."""
    await scene.start()
    await scene.ask("http", "crash")
    assert await scene.stopped() == 0
    assert len(scene.lives["http"]) == 1
    assert "http drain" not in scene.journal
    assert "ledger drained" in scene.journal


# Hangs


async def test_a_hung_actor_is_noticed_and_replaced(scene: Scene) -> None:
    """F32: not only one that raises. Its pending requests fail, and queued items are received."""
    await scene.start()
    caller, queued = await scene.ask("stripe", "hang"), await scene.ask("stripe")
    await scene.clock.advance(HANG_S)
    assert scene.supervisor.alive()["stripe"] == HANG_S
    assert scene.log.logged(Event.ACTOR_HUNG) == []
    await scene.clock.advance(2 * HANG_CHECK_EVERY_S)
    assert isinstance(caller.reply.exception(), ActorCrashed)
    assert queued.reply.result() == "from stripe"
    assert scene.supervisor.stuck() == []
    (hung,) = scene.log.logged(Event.ACTOR_HUNG)
    assert (hung["actor"], hung["silent_ms"]) == ("stripe", 6000)


async def test_a_hung_actor_that_cannot_be_ended_ends_the_process(scene: Scene) -> None:
    """F32: two actors on one mailbox would be worse than none. Health and the exit code show it."""
    await scene.start()
    await scene.ask("stripe", "deaf")
    await scene.clock.until(lambda: scene.supervisor.stuck() == ["stripe"], HANG_S + 1)
    assert await scene.exit_code() == 70
    assert scene.supervisor.lingering
    assert scene.supervisor.stuck() == ["stripe"]
    assert len(scene.lives["stripe"]) == 1
    assert "ledger drained" in scene.journal


async def test_a_child_task_that_cannot_be_ended_ends_the_process(scene: Scene) -> None:
    """F32: the same for a task that an actor has spawned."""
    await scene.start()
    await scene.ask("stripe", "deaf child")
    await scene.ask("stripe", "crash")
    assert await scene.exit_code() == 70
    assert len(scene.lives["stripe"]) == 1


async def test_a_setup_that_cannot_be_ended_ends_the_process(scene: Scene) -> None:
    """F32, F33: whether its deadline or a stop cancels it."""
    released = asyncio.Event()
    scene.scripts["stripe"].setups = [lambda: deaf_until(released)]
    await scene.start()
    assert await scene.stopped() == 70
    assert scene.supervisor.lingering
    released.set()
    await scene.clock.settle()


async def test_a_process_that_stood_still_does_not_replace_its_actors(scene: Scene) -> None:
    """F34: after a pause each actor has its whole time again, and a real hang is still noticed then."""
    await scene.start()
    await scene.ask("stripe", "hang")
    scene.clock.oversleep(600)
    await scene.clock.advance(HANG_S - HANG_CHECK_EVERY_S)
    assert scene.log.logged(Event.ACTOR_HUNG) == []
    assert scene.supervisor.stuck() == []
    await scene.clock.advance(3 * HANG_CHECK_EVERY_S)
    assert len(scene.log.logged(Event.ACTOR_HUNG)) == 1


# The supervisor itself


async def test_cancelling_it_closes_every_actor(scene: Scene) -> None:
    """No drain, but pending requests fail and no task is left."""
    await scene.start()
    caller = await scene.ask("ledger", "child for ever")
    assert scene.running is not None
    scene.running.cancel()
    await scene.clock.until(scene.running.done)
    assert scene.running.cancelled()
    assert scene.journal[-3:] == ["http teardown", "stripe teardown", "ledger teardown"]
    assert isinstance(caller.reply.exception(), ActorCrashed)


async def test_its_own_error_is_raised_once_the_others_are_closed(scene: Scene) -> None:
    """A bug of the supervisor causes no restart: it closes the actors in order and ends the process."""

    class BrokenIds(FakeIds):
        def jitter(self) -> float:
            raise ZeroDivisionError("ids")

    scene.jitters = BrokenIds()
    await scene.start()
    await scene.ask("stripe", "crash")
    with pytest.raises(ZeroDivisionError):
        await scene.exit_code()
    assert scene.journal[-2:] == ["http teardown", "ledger teardown"]


async def test_two_supervisors_share_a_loop_and_nothing_else(scene: Scene) -> None:
    """The simulation runs several processes in one: one gives up, and the other runs on."""
    other = Scene()
    await scene.start()
    await other.start()
    scene.scripts["ledger"].setups = [Boom("setup")] * 100
    await scene.ask("ledger", "crash")
    assert await scene.exit_code() == 70
    assert other.supervisor.ready
    assert await other.stopped() == 0
