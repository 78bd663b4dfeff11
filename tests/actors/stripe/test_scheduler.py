"""Nothing handed to the Stripe actor is lost or ended twice, and the forecast counts each charge once."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from payment.actors.forecast import Forecast
from payment.actors.pace import Pace
from payment.actors.stripe_desk import StripeDesk
from payment.actors.stripe_lines import Entry, Line

from payment.actors.letters import EffectEnded
from payment.core.effects import ChargeCard
from payment.core.messages import CardCharged, ChargeUnclear, ChargeWithheld
from payment.ports.cards import NotYet, Obstacle
from tests.actors.stripe_world import StripeWorld, finding, refunding
from tests.fakes.cards import AnyFate, Fate, Late, Stall, Wish
from tests.fakes.clock import FakeClock

FATES: list[AnyFate | None] = [
    None,
    Fate.LOSE_REQUEST,
    Fate.LOSE_ANSWER,
    Fate.UNREACHABLE,
    Fate.RATE_LIMITED,
    Fate.LOCKED,
    Fate.KEY_REFUSED,
    Fate.ERROR_BEFORE,
    Fate.ERROR_AFTER,
    Late(3.0, holds_key=True),
    Wish(1.5),
]
STEPS = st.one_of(
    st.tuples(st.just("charge"), st.integers(1, 4)),
    st.tuples(st.just("later"), st.integers(1, 4)),
    st.tuples(st.just("find"), st.integers(1, 2)),
    st.tuples(st.just("refund"), st.integers(1, 2)),
    st.tuples(st.just("withdraw"), st.integers(1, 4)),
    st.tuples(st.just("pass"), st.integers(1, 40)),
)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(STEPS, max_size=25),
    fates=st.lists(st.sampled_from(FATES), max_size=25),
    drained=st.booleans(),
    ledger_limit=st.sampled_from([1, 1_000]),
)
def test_everything_handed_over_ends_once(
    steps: list[tuple[str, int]], fates: list[AnyFate | None], drained: bool, ledger_limit: int
) -> None:
    """Whatever is asked, asked again, withdrawn and drained, and whatever Stripe does to it."""
    asyncio.run(played(steps, fates, drained, ledger_limit))


async def played(steps: list[tuple[str, int]], fates: list[AnyFate | None], drained: bool, ledger_limit: int) -> None:
    world = await StripeWorld(ledger_limit=ledger_limit).start()
    world.stripe.latency_s = 0.2
    for kind in ("charge", "find", "refund"):
        world.stripe.script(kind, *fates)
    asked: Counter[str] = Counter()
    last_asked: dict[str, int] = {}
    for what, number in steps:
        effect = world.charge(str(number), send=asked[f"charge:k{number}"] + 1)
        match what:
            case "pass":
                await world.clock.advance(number / 10)
                continue
            case "withdraw":
                world.withdraw(effect)
                continue
            case "later":
                at = world.clock.now() + timedelta(seconds=1)
                world.ask(later := world.charge(str(number), send=effect.send, not_before=at))
                effect_id = later.id
            case "charge":
                world.ask(effect)
                effect_id = effect.id
            case "find":
                world.ask(looking := finding(str(number)))
                effect_id = looking.id
            case _:
                world.ask(refund := refunding("ch_1", f"r{number}", str(number)))
                effect_id = refund.id
        asked[effect_id] += 1
        last_asked[effect_id] = len(world.ended)
    if drained:
        drain = asyncio.create_task(world.actor.drain())
        await world.clock.until(lambda: world.now_ended() is not None and drain.done())
    await world.clock.until(lambda: len(world.actor._desk) == 0)
    for _ in range(len(asked) * 4):
        world.now_ended()
        await world.clock.settle()
    ended = Counter(each.effect_id for each in world.ended)
    for effect_id, times in asked.items():
        assert 1 <= ended[effect_id] <= times
        assert effect_id in [each.effect_id for each in world.ended[last_asked[effect_id] :]]
    assert set(ended) == set(asked)
    assert world.forecast_queue == 0
    assert all(len(world.stripe.kept_charges(f"o{n}")) <= 1 for n in range(1, 5))
    await world.stop()
    await world.stripe.close()


async def test_asked_again_while_it_waits_is_one_request_with_the_newer_word() -> None:
    """The queue holds one entry a key; its end counts for both, and the forecast drifts by none."""
    world = await StripeWorld().start()
    world.ask(world.charge(not_before=world.clock.now() + timedelta(seconds=2)), world.charge(send=2))
    await world.clock.settle()
    world.ask(world.charge("2"))
    assert await world.until_ended(2) == [CardCharged("o1", 1, "ch_1"), CardCharged("o2", 1, "ch_2")]
    await world.clock.advance(10)
    assert ([each.send for each in world.stripe.sent], world.forecast_queue) == ([2, 1], 0)
    await world.stop()


async def test_asked_again_on_the_wire_is_done_after_it_unless_that_settles_it() -> None:
    """A replay would bring nothing new; after an unclear end the newer send is made, unless it was withdrawn."""
    for fate, withdrawn, told, sends in (
        (None, False, [CardCharged("o1", 1, "ch_1")], [1]),
        (Fate.LOSE_REQUEST, False, [ChargeUnclear("o1", 1, 1), CardCharged("o1", 1, "ch_1")], [1, 3]),
        (Fate.LOSE_REQUEST, True, [ChargeUnclear("o1", 1, 1), ChargeWithheld("o1", 1, 3)], [1]),
    ):
        world = await StripeWorld().start()
        world.stripe.latency_s = 0.5
        world.stripe.script("charge", fate)
        world.ask(world.charge())
        await world.clock.settle()
        world.ask(world.charge(send=2), world.charge(send=3))
        if withdrawn:
            world.withdraw(world.charge())
        await world.clock.advance(30)
        assert world.now_ended() == told
        assert ([each.send for each in world.stripe.sent], world.forecast_queue) == (sends, 0)
        await world.stop()


async def test_the_forecast_survives_a_restart() -> None:
    """What died with the actor is never passed, what lay in the mailbox is, looks and withdrawals don't count."""
    world = await StripeWorld().start()
    world.stripe.script("charge", Stall(asyncio.Event()))
    world.ask(*(world.charge(str(n)) for n in range(30)))
    await world.clock.settle()
    await world.stop()
    gone: ChargeCard = world.charge("1")
    world.ask(finding("7"), world.charge("100"), finding("8"))
    world.withdraw(gone)
    await world.start()
    assert world.forecast_queue == 0
    await world.clock.advance(60)
    assert world.forecast_queue == 0
    await world.stop()
    await world.stripe.close()


class Books:
    """A desk by itself: what it told, and what it wants woken when."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[EffectEnded] = []
        self.delays_s: list[float] = []
        lines = [Line(kind, Pace(100.0, 0.0), 10) for kind in ("charge", "find", "refund")]
        self.charges = lines[0]
        self.desk = StripeDesk(
            *lines, Forecast(25.0), self.clock, lambda _entry, _effect, delay_s: self.delays_s.append(delay_s),
            self.told.append,
        )  # fmt: skip

    def having_its_turn(self) -> tuple[ChargeCard, Entry]:
        now = self.clock.now()
        effect = ChargeCard("o1", "p1", 1, 1, "k1", 1999, "usd", "t", "v", now, now, now + timedelta(hours=1))
        self.desk.asked(effect)
        entry = self.charges.take(0.0)
        self.desk.took(entry, 0.0)
        return effect, entry


def test_what_is_withdrawn_between_its_turn_and_its_request_does_not_leave() -> None:
    """F20: the last look is immediately before the send; so it is when the house drains (F33)."""
    books = Books()
    effect, entry = books.having_its_turn()
    assert books.desk.may_leave(entry)
    books.desk.withdrawn(effect.id)
    assert not books.desk.may_leave(entry)
    books = Books()
    _, entry = books.having_its_turn()
    books.desk.close()
    assert (books.desk.may_leave(entry), books.told) == (False, [])


@pytest.mark.parametrize("drained", [True, False])
def test_what_did_nothing_is_not_made_again_once_nobody_wants_it(drained: bool) -> None:
    """F20, F33: given back as never sent; but not if Stripe spoke of an earlier request with its key."""
    for obstacle, told in (
        (Obstacle.RATE_LIMITED, ChargeWithheld("o1", 1, 1)),
        (Obstacle.KEY_IN_USE, ChargeUnclear("o1", 1, 1)),
    ):
        books = Books()
        effect, entry = books.having_its_turn()
        if drained:
            books.desk.close()
        else:
            books.desk.withdrawn(effect.id)
        entry.sent_at = None
        books.desk.again(entry, NotYet(obstacle, "t"))
        assert [each.message for each in books.told] == [told]
        assert (len(books.desk), len(books.charges)) == (0, 0)


def test_a_repetition_waits_as_long_as_stripe_wishes() -> None:
    """Retry-After beside an obstacle that holds up this request alone; without it the wait doubles up to 5 s."""
    books = Books()
    _, entry = books.having_its_turn()
    entry.sent_at = None
    books.desk.again(entry, NotYet(Obstacle.LOCKED, "t", retry_after_s=9.0))
    for _ in range(6):
        books.desk.again(entry, NotYet(Obstacle.LOCKED, "t"))
    assert books.delays_s == [9.0, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


async def test_a_drain_waits_until_the_ledger_has_every_end() -> None:
    """F33: what is handed back and never heard of would be nobody's until its lease runs out."""
    world = await StripeWorld(ledger_limit=1).start()
    world.ask(*(finding(str(n)) for n in range(3)))
    world.stripe.go_away()
    await world.clock.settle()
    drain = asyncio.create_task(world.actor.drain())
    await world.clock.advance(5)
    assert not drain.done()
    await world.clock.until(lambda: world.now_ended() is not None and drain.done())
    world.now_ended()
    assert len(world.ended) == 3
    await world.stop()
