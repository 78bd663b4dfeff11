"""No effect released to the Stripe actor is lost or ended twice, and the estimate counts each charge once."""

import asyncio
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from payment.actors.messages import EffectCompleted
from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate
from payment.actors.stripe.rate_limiter import ACCOUNT_START_PER_S, RateLimiter
from payment.actors.stripe.scheduler import (
    CONFIRM_IN_FLIGHT_LIMIT,
    CONNECTIONS_LIMIT,
    CREATE_IN_FLIGHT_LIMIT,
    GONE_PRIORITIES_KEPT,
    OPERATOR_AGAIN_AFTER_S,
    AwayTime,
    Entry,
    Queue,
    StripeScheduler,
)
from payment.core.effects import ConfirmIntent, StripeEffect
from payment.core.messages import ConfirmUnclear, ConfirmWithheld, IntentStatus, Message
from payment.ports.cards import Charges, IntentAnswer, NotYet, Obstacle, UnexpectedState
from tests.support.fakes.clock import FakeClock
from tests.unit.actors.stripe.scripted_cards import (
    KEY_IN_USE,
    KEY_REFUSED,
    LOCKED,
    RATE_LIMITED,
    STORED,
    UNCLEAR,
    UNREACHABLE,
    Stall,
    created,
)
from tests.unit.actors.stripe.stripe_world import LONG_AGO, StripeWorld, intent, listing, paid, refunding, retrieving

ANSWERS: list[Any] = [
    None,
    UNCLEAR,
    STORED,
    UNREACHABLE,
    RATE_LIMITED,
    NotYet(Obstacle.RATE_LIMITED, "t", retry_after_s=1.5),
    NotYet(Obstacle.RATE_LIMITED, "t", account=True),
    LOCKED,
    KEY_REFUSED,
    KEY_IN_USE,
]
LISTS = [None, UNCLEAR, LOCKED, Charges((), pending=True)]
STATES = [UnexpectedState("t"), IntentAnswer("pi_1_1", IntentStatus.REQUIRES_ACTION)]
STEPS = st.one_of(
    st.tuples(st.sampled_from(["confirm", "known", "old", "later"]), st.integers(1, 4)),
    st.tuples(st.sampled_from(["prepare", "retrieve", "cancel", "list", "refund"]), st.integers(1, 2)),
    st.tuples(st.just("cancelled"), st.integers(1, 4)),
    st.tuples(st.just("pass"), st.integers(1, 40)),
)


def effect_of(world: StripeWorld, what: str, name: str, send: int) -> StripeEffect:
    """An effect that a step of the test releases."""
    match what:
        case "confirm" | "cancelled":
            return world.confirm(name, send=send)
        case "known":
            return world.known(name, send=send)
        case "old":
            return world.confirm(name, send=send, intent=intent(name, list_after=LONG_AGO))
        case "later":
            return world.confirm(name, send=send, not_before=world.clock.now() + timedelta(seconds=1))
        case "prepare":
            return world.prepare(name)
        case "retrieve":
            return retrieving(name, intent_id=None)
        case "cancel":
            return world.cancel_intent(name)
        case "list":
            return listing(name)
        case _:
            return refunding("ch_1", f"r{name}", name)


@settings(max_examples=80, deadline=None)
@given(
    steps=st.lists(STEPS, max_size=25),
    answers=st.lists(st.sampled_from(ANSWERS), max_size=25),
    lists=st.lists(st.sampled_from(LISTS), max_size=5),
    states=st.lists(st.sampled_from([*ANSWERS, *STATES]), max_size=10),
    drained=st.booleans(),
    ledger_limit=st.sampled_from([1, 1_000]),
)
def test_everything_released_ends_once(
    steps: list[tuple[str, int]],
    answers: list[Any],
    lists: list[Any],
    states: list[Any],
    drained: bool,
    ledger_limit: int,
) -> None:
    """For any releases, repeated releases, cancels and drains, and for any answers of Stripe."""
    asyncio.run(played(steps, (answers, lists, states), drained, ledger_limit))


async def played(
    steps: list[tuple[str, int]], scripts: tuple[list[Any], list[Any], list[Any]], drained: bool, ledger_limit: int
) -> None:
    world = await StripeWorld(ledger_limit=ledger_limit).start()
    world.cards.latency_s = 0.2
    answers, lists, states = scripts
    for kind in ("create", "retrieve", "refund"):
        world.cards.script(kind, *answers)
    for kind in ("confirm", "cancel"):
        world.cards.script(kind, *states)
    world.cards.script("list", *lists)
    released: Counter[str] = Counter()
    last_released: dict[str, int] = {}
    for what, number in steps:
        if what == "pass":
            await world.clock.advance(number / 10)
            continue
        effect = effect_of(world, what, str(number), released[f"confirm:o{number}:1"] + 1)
        if what == "cancelled":
            world.cancel(effect)
            continue
        world.release(effect)
        released[effect.id] += 1
        last_released[effect.id] = len(world.ended)
    if drained:
        drain = asyncio.create_task(world.actor.drain())
        await world.clock.until(lambda: world.now_ended() is not None and drain.done())
    await world.clock.until(lambda: world.now_ended() is not None and len(world.actor._scheduler) == 0)
    for _ in range(len(released) * 4):
        world.now_ended()
        await world.clock.settle()
    ended = Counter(each.effect_id for each in world.ended)
    for effect_id, times in released.items():
        assert 1 <= ended[effect_id] <= times
        assert effect_id in [each.effect_id for each in world.ended[last_released[effect_id] :]]
    assert set(ended) == set(released)
    assert world.counts == (0, 0)
    assert not any(world.actor._scheduler.queues)
    await world.stop()


async def test_released_again_while_it_waits_is_one_request_with_the_newer_send() -> None:
    """The queue holds one entry for each id; its end counts for both, and the estimate is off by none."""
    world = await StripeWorld().start()
    world.release(world.confirm(not_before=world.clock.now() + timedelta(seconds=2)), world.confirm(send=2))
    await world.clock.settle()
    world.release(world.confirm("2"))
    assert await world.until_ended(2) == [paid("1"), paid("2")]
    await world.clock.advance(10)
    assert (world.cards.called("confirm"), world.counts) == (["pi_1_1 1.2", "pi_2_1 1.1"], (0, 0))
    await world.stop()


async def test_released_again_between_its_steps_it_goes_on_where_it_is() -> None:
    """The answer of the create is kept, and the confirm has the newer send."""
    world = await StripeWorld().start()
    world.cards.script("confirm", *[LOCKED] * 3)
    world.release(world.confirm())
    await world.clock.advance(0.6)
    world.release(world.confirm(send=2))
    assert await world.until_ended(1) == [paid()]
    assert (world.cards.kinds.count("create"), world.cards.called("confirm")[-1]) == (1, "pi_1_1 1.2")
    await world.stop()


@pytest.mark.parametrize(
    ("answer", "cancelled", "ends", "sends"),
    [
        (None, False, [paid()], [1]),
        (UNCLEAR, False, [ConfirmUnclear("o1", 1, 1, 1, "pi_1_1"), paid()], [1, 3]),
        (UNCLEAR, True, [ConfirmUnclear("o1", 1, 1, 1, "pi_1_1"), ConfirmWithheld("o1", 1, 3, 1, "pi_1_1")], [1]),
        (LOCKED, True, [ConfirmWithheld("o1", 1, 3, 1, "pi_1_1")], [1]),
    ],
)
async def test_released_again_in_flight_it_is_sent_after_that_unless_that_settles_it(
    answer: Any, cancelled: bool, ends: list[Message], sends: list[int]
) -> None:
    """A replay would bring nothing new; after an unclear end the newer send is made, unless it was cancelled."""
    world = await StripeWorld().start()
    world.cards.latency_s = 0.5
    world.cards.script("confirm", answer)
    world.release(world.known())
    await world.clock.settle()
    world.release(world.known(send=2), world.known(send=3))
    if cancelled:
        world.cancel(world.known())
    await world.clock.advance(30)
    assert world.now_ended() == ends
    assert world.cards.called("confirm") == [f"pi_1_1 1.{send}" for send in sends]
    assert world.counts == (0, 0)
    await world.stop()


async def test_the_estimate_survives_a_restart() -> None:
    """Entries of the dead actor never pass, messages in the mailbox do; retrieves and cancels don't count."""
    world = await StripeWorld().start()
    world.cards.script("create", Stall(asyncio.Event()))
    world.release(*(world.confirm(str(n)) for n in range(30)))
    await world.clock.settle()
    await world.stop()
    world.release(retrieving("7"), world.confirm("100"), world.prepare("8"))
    world.cancel(world.confirm("1"))
    await world.start()
    await world.clock.advance(60)
    assert world.counts == (0, 0)
    await world.stop()


class Bench:
    """A scheduler by itself: what it ended, and which delays it wants."""

    def __init__(self, rate_ceiling_per_s: float = 100.0) -> None:
        self.clock = FakeClock()
        self.ends: list[EffectCompleted] = []
        self.delays_s: list[float] = []
        self.estimate = PublishedEstimate(QueueEstimate(25.0, 25.0))
        self.checks_wanted: list[str] = []
        self.away = AwayTime(self.clock.monotonic())
        self.away.end(self.clock.monotonic())
        self.scheduler = StripeScheduler(
            rate_ceiling_per_s,
            self.estimate,
            0,
            self.clock,
            lambda _entry, _sleep, delay_s: self.delays_s.append(delay_s),
            self.ends.append,
            lambda entry: self.checks_wanted.append(entry.step.value),
            self.away,
        )
        self.scheduler.held = False

    @property
    def messages(self) -> list[Message]:
        return [each.message for each in self.ends]

    def release(self, name: str, **fields: Any) -> ConfirmIntent:
        """Release a confirm, by default one whose intent is known."""
        now = self.clock.now()
        known = StripeWorld().known(name, issued_at=now, not_before=now, not_after=now + timedelta(hours=1))
        effect = structs.replace(known, **fields)
        self.scheduler.release(effect)
        return effect

    def take(self, queue: Queue | None = None) -> Entry:
        """The first entry of a queue, of confirms by default, has its turn."""
        return self.scheduler.take(queue or self.scheduler.confirm, self.clock.monotonic())

    def put_back(self, entry: Entry) -> None:
        """At its turn it may not be sent."""
        self.scheduler.put_back(self.scheduler.queue_of[entry.step], entry)

    def ended(self, entry: Entry, outcome: Any) -> None:
        """Its call has ended at once."""
        self.scheduler.call_ended(self.scheduler.queue_of[entry.step], entry, outcome, 0.0)


def test_an_effect_cancelled_between_its_turn_and_its_call_is_not_sent() -> None:
    """F20: the last check is immediately before the call; so it is in a drain (F33)."""
    bench = Bench()
    effect = bench.release("1")
    entry = bench.take()
    assert bench.scheduler.may_send(entry)
    bench.scheduler.cancel(effect.id)
    assert not bench.scheduler.may_send(entry)
    bench = Bench()
    bench.release("1")
    entry = bench.take()
    bench.scheduler.close()
    assert (bench.scheduler.may_send(entry), bench.ends) == (False, [])


def test_nothing_leaves_while_the_database_is_not_known_to_be_the_keys_account() -> None:
    """F48: it keeps its priority, and has its turn again later."""
    bench = Bench()
    bench.release("1")
    entry = bench.take()
    bench.scheduler.held = True
    assert not bench.scheduler.may_send(entry)
    bench.put_back(entry)
    assert (len(bench.scheduler.confirm), bench.ends) == (1, [])


def test_an_effect_too_early_at_its_turn_goes_back_to_wait() -> None:
    """F38: the clock went back after it had entered its queue."""
    bench = Bench()
    bench.release("1")
    entry = bench.take()
    bench.clock.jump(timedelta(seconds=-3))
    assert not bench.scheduler.may_send(entry)
    bench.put_back(entry)
    assert (bench.delays_s, bench.ends) == ([3.0], [])


@pytest.mark.parametrize("drained", [True, False])
@pytest.mark.parametrize(
    ("obstacle", "message"),
    [
        (Obstacle.RATE_LIMITED, ConfirmWithheld("o1", 1, 1, 1, "pi_1_1")),
        (Obstacle.KEY_IN_USE, ConfirmUnclear("o1", 1, 1, 1, "pi_1_1")),
    ],
)
def test_a_call_without_effect_is_not_repeated_once_it_is_not_pending(
    drained: bool, obstacle: Obstacle, message: Message
) -> None:
    """F20, F33: given back as never sent; but not if Stripe spoke of an earlier request with its key."""
    bench = Bench()
    effect = bench.release("1")
    entry = bench.take()
    if drained:
        bench.scheduler.close()
    else:
        bench.scheduler.cancel(effect.id)
    bench.ended(entry, NotYet(obstacle, "t"))
    assert bench.messages == [message]
    assert (len(bench.scheduler), len(bench.scheduler.confirm)) == (0, 0)


def test_a_repetition_waits_as_long_as_stripe_wishes() -> None:
    """Retry-After beside an obstacle of this request alone; without it the wait doubles up to 5 s."""
    bench = Bench()
    bench.release("1")
    entry = bench.take()
    bench.ended(entry, NotYet(Obstacle.LOCKED, "t", retry_after_s=9.0))
    for _ in range(6):
        bench.scheduler.wake(entry, entry.sleeps)
        bench.ended(bench.take(), LOCKED)
    bench.scheduler.wake(entry, entry.sleeps)
    bench.ended(bench.take(), NotYet(Obstacle.KEY_REFUSED, "t", alarm=True))
    assert bench.delays_s == [9.0, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, OPERATOR_AGAIN_AFTER_S]


def test_only_the_last_sleep_of_an_entry_wakes_it() -> None:
    """It was released again meanwhile, and sleeps, waits or is in flight by that: not twice in a queue."""
    bench = Bench()
    effect = bench.release("1")
    entry = bench.take()
    bench.ended(entry, LOCKED)
    first_sleep = entry.sleeps
    bench.scheduler.release(structs.replace(effect, send=2))
    bench.take()
    bench.scheduler.wake(entry, first_sleep)
    assert len(bench.scheduler.confirm) == 0


def refused_twice(bench: Bench) -> Entry:
    """The first of two entries is refused twice: it has stepped aside."""
    bench.release("1")
    bench.release("2")
    for _ in range(2):
        bench.ended(entry := bench.take(), KEY_REFUSED)
        assert entry.effect.order_id == "o1"
    assert len(bench.scheduler.confirm) == 1
    return entry


def test_a_refusal_of_another_entry_decides_nothing_about_one_aside() -> None:
    """F31, F36: half of the orders may be refused alone. A check that is refused too shows that all are: in order."""
    bench = Bench()
    one = refused_twice(bench)
    for _ in range(2):
        bench.ended(two := bench.take(), KEY_REFUSED)
        assert two is not one
    assert (len(bench.scheduler.confirm), bench.checks_wanted) == (0, ["confirm"])
    bench.scheduler.checked("confirm", answered=False)
    assert (bench.take(), bench.take(), one.alone, bench.delays_s) == (one, two, False, [])


def test_an_entry_aside_is_refused_alone_once_another_was_answered_and_backs_off() -> None:
    """F31, F36: 1, 4, 16 and 60 s; no other entry waits because of it."""
    bench = Bench()
    one = refused_twice(bench)
    bench.ended(bench.take(), created("2"))
    assert one.alone
    for _ in range(4):
        bench.scheduler.wake(one, one.sleeps)
        bench.ended(bench.take(), KEY_REFUSED)
    bench.release("3")
    assert bench.take().effect.order_id == "o3"
    assert bench.delays_s == [1.0, 4.0, 16.0, 60.0, 60.0]


def test_an_entry_aside_waits_for_a_check_where_no_other_is_left_to_be_tried() -> None:
    """The next one was cancelled meanwhile. If Stripe answers the check, the entry is refused alone."""
    bench = Bench()
    one = refused_twice(bench)
    bench.scheduler.cancel("confirm:o2:1")
    bench.scheduler.tick()
    assert bench.checks_wanted == ["confirm"]
    bench.scheduler.checked("confirm", answered=True)
    assert (one.alone, bench.delays_s, len(bench.scheduler.confirm)) == (True, [1.0], 0)


def test_an_entry_that_was_released_again_meanwhile_is_no_longer_aside() -> None:
    """Its newer release has its own way in."""
    bench = Bench()
    one = refused_twice(bench)
    bench.scheduler.release(structs.replace(one.effect, send=2))
    bench.scheduler.checked("confirm", answered=True)
    assert (one.alone, len(bench.scheduler.confirm)) == (False, 2)


def test_a_fall_of_the_rate_is_taken_back_if_all_that_it_stands_for_are_refused_alone() -> None:
    """F14, F31: no other order is slower for one that Stripe answers 429 always."""
    bench = Bench()
    limiter = bench.scheduler.confirm.limiter
    bench.release("1")
    bench.release("2")
    for _ in range(2):
        one = bench.take()
        bench.scheduler.slow_down(bench.scheduler.confirm, one, bench.clock.monotonic(), RATE_LIMITED)
        bench.ended(one, RATE_LIMITED)
    assert limiter.per_s < 25.0
    bench.ended(bench.take(), created("2"))
    assert (one.alone, limiter.per_s) == (True, 25.0)


def test_a_fall_of_the_rate_stands_where_what_was_refused_is_answered_later() -> None:
    """F14: then the rate was too high."""
    bench = Bench()
    limiter = bench.scheduler.confirm.limiter
    bench.release("1")
    one = bench.take()
    bench.scheduler.slow_down(bench.scheduler.confirm, one, bench.clock.monotonic(), RATE_LIMITED)
    bench.ended(one, RATE_LIMITED)
    bench.ended(bench.take(), created("1"))
    assert limiter.per_s == pytest.approx(25.0 * 2 / 3)


def test_time_while_stripe_is_away_and_sleep_that_it_caused_are_its_own() -> None:
    """They are kept apart from the time in our queue; what a call takes is in neither."""
    bench = Bench()
    bench.release("1")
    bench.away.since = bench.clock.monotonic() - 2.0
    bench.away.end(bench.clock.monotonic())
    entry = bench.take()
    bench.away.since = bench.clock.monotonic() - 8.0
    bench.away.end(bench.clock.monotonic())  # during its call
    bench.ended(entry, LOCKED)
    bench.clock.oversleep(0.25)
    bench.scheduler.wake(entry, entry.sleeps)
    bench.ended(bench.take(), created("1"))
    assert bench.ends[0].away_ms == pytest.approx(2_250.0)


def test_an_entry_aside_is_given_back_like_any_other() -> None:
    """F20: and it is in no queue after that."""
    bench = Bench()
    one = refused_twice(bench)
    bench.scheduler.cancel(one.effect.id)
    assert bench.messages == [ConfirmWithheld("o1", 1, 1, 1, "pi_1_1")]
    bench.ended(bench.take(), UNCLEAR)
    assert len(bench.scheduler.confirm) == 0


async def test_a_drain_waits_until_the_ledger_has_every_end() -> None:
    """F33: an effect given back without the ledger's knowledge would be pending until its lease runs out."""
    world = await StripeWorld(ledger_limit=1).start()
    world.cards.away = UNREACHABLE
    world.release(*(listing(str(n)) for n in range(3)))
    await world.clock.settle()
    drain = asyncio.create_task(world.actor.drain())
    await world.clock.advance(5)
    assert not drain.done()
    await world.clock.until(lambda: world.now_ended() is not None and drain.done())
    world.now_ended()
    assert len(world.ended) == 3
    await world.stop()


# ------------------------------------------------------------------------------------------------- queues and estimate


def a_queue(limit: int = 100) -> Queue:
    return Queue("list", RateLimiter(100.0, 0.0), limit)


def an_entry(number: int) -> Entry:
    return Entry(listing(str(number)), (0.0, number), 0.0)


def test_first_come_first_served_also_for_those_that_have_to_go_again() -> None:
    """F14: an entry that was refused for the rate keeps its priority."""
    queue = a_queue()
    for number in (3, 1, 2, 4):
        queue.add(an_entry(number))
    first = queue.take()
    assert (first.priority[1], len(queue)) == (1, 3)
    queue.add(first)
    assert [queue.take().priority[1] for _ in range(4)] == [1, 2, 3, 4]
    assert not queue.may_go.is_set()


def test_a_removed_entry_has_no_turn_unless_it_comes_again() -> None:
    """Taken out and put in again it has one turn, by its own priority."""
    queue = a_queue()
    one, two = an_entry(1), an_entry(2)
    queue.add(one)
    queue.add(two)
    queue.remove(one)
    queue.remove(one)
    assert len(queue) == 1
    queue.add(one)
    assert [queue.take().priority[1], queue.take().priority[1]] == [1, 2]
    queue.remove(two)
    assert (queue.may_go.is_set(), len(queue)) == (False, 0)


def test_no_more_than_the_limit_are_in_flight() -> None:
    """F39: a Stripe that hangs holds a bounded number of connections."""
    bench = Bench()
    bench.scheduler.confirm.in_flight_limit = 2
    for number in range(3):
        bench.release(str(number))
    one = bench.take()
    bench.take()
    assert not bench.scheduler.confirm.may_go.is_set()
    bench.ended(one, created("0"))
    assert bench.scheduler.confirm.may_go.is_set()


def test_thousands_may_leave_a_queue_at_once() -> None:
    """F33: a drain of a full queue takes little time, and what is gone takes no room."""
    queue, entries = a_queue(), [an_entry(number) for number in range(12_000)]
    for each in entries:
        queue.add(each)
    began = time.process_time()
    for each in reversed(entries):
        queue.remove(each)
    assert time.process_time() - began < 1.0
    assert len(queue) == 0
    assert len(queue._heap) <= GONE_PRIORITIES_KEPT


def test_the_connections_are_enough_for_every_queue_at_its_limit() -> None:
    """And for the check: a call never waits for a connection behind its rate limiter."""
    scheduler = Bench().scheduler
    assert sum(queue.in_flight_limit for queue in scheduler.queues) + 1 == CONNECTIONS_LIMIT
    assert (scheduler.create.in_flight_limit, scheduler.confirm.in_flight_limit) == (
        CREATE_IN_FLIGHT_LIMIT,
        CONFIRM_IN_FLIGHT_LIMIT,
    )
    assert [queue.kind for queue in scheduler.queues] == ["create", "confirm", "retrieve", "cancel", "list", "refund"]


@pytest.mark.parametrize(("ceiling_per_s", "account_ceiling_per_s"), [(25.0, 100.0), (100.0, 100.0), (400.0, 400.0)])
def test_the_account_starts_at_what_every_live_account_has(ceiling_per_s: float, account_ceiling_per_s: float) -> None:
    """It may rise above that only where the operator's setting allows it to the endpoints."""
    scheduler = Bench(ceiling_per_s).scheduler
    assert (scheduler.account.per_s, scheduler.account.ceiling_per_s) == (ACCOUNT_START_PER_S, account_ceiling_per_s)
    assert {queue.limiter.per_s for queue in scheduler.queues} == {25.0}


def test_creates_and_confirms_share_the_accounts_rate_while_both_wait() -> None:
    """With no create waiting, confirms have it to themselves."""
    bench = Bench()
    bench.scheduler.create.limiter.per_s = bench.scheduler.confirm.limiter.per_s = 80.0
    for name, per_s in (("1", 80.0), ("2", 80.0), ("3", 50.0)):
        bench.release(name, **({} if name == "1" else {"intent": intent(name)}))
        assert (bench.estimate.latest.creates_per_s, bench.estimate.latest.confirms_per_s) == (per_s, per_s)


def test_a_turn_counts_for_the_endpoint_and_for_the_account() -> None:
    """While anything waits the account's rate may rise."""
    bench = Bench(400.0)
    queue, account = bench.scheduler.create, bench.scheduler.account
    for number in range(100):
        bench.release(str(number), intent=intent(str(number)))
    began = now = bench.clock.monotonic()
    for _ in range(60):
        now += max(queue.limiter.wait_s(now), account.wait_s(now))
        bench.scheduler.take(queue, now)
    assert account.per_s == pytest.approx(100.0 * 1.2 ** (now - began), rel=0.01)
    for _ in range(40):
        bench.scheduler.take(queue, now)
    assert account.wait_s(now) > 0
