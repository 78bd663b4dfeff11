"""`payment.actors.ledger.decline_limit`: a bound of declined attempts for each user, over all orders."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from payment.actors.ledger.decline_limit import IN_FLIGHT_S, DeclineLimit
from payment.actors.ledger.pending_charges import PendingCharge, PendingCharges
from payment.actors.messages import ChargeOrder, ChargeReply, EffectCompleted
from payment.core.effects import ConfirmIntent, RetrieveIntent
from payment.core.messages import ActionRequired, IntentStatus
from payment.core.replies import CardWasDeclined, Denied, Paid, Unavailability, Unavailable
from payment.ops.log_schema import Event
from tests.support.fakes.clock import FakeClock
from tests.unit.actors.ledger.ledger_world import (
    DECLINES_WINDOW_S,
    Ledger,
    World,
    charged,
    declined,
    reply,
    seen,
    waits,
    world,
)

LIMIT = 3
ORDERS = tuple(f"o{number}" for number in range(1, 11))


@pytest.fixture
async def stack() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def ledger(stack: World) -> Ledger:
    ledger = await stack.ledger(declines_limit=LIMIT)
    await ledger.order(*ORDERS)
    return ledger


async def decline(ledger: Ledger, order_id: str, token: str, attempt: int = 1) -> ChargeOrder:
    """An attempt that the bank declines."""
    asked = await ledger.ask(order_id, token)
    await ledger.ended(ledger.one_to_stripe(), declined(order_id, attempt))
    return asked


async def decline_all(ledger: Ledger, order_ids: tuple[str, ...]) -> None:
    for order_id in order_ids:
        assert isinstance(reply(await decline(ledger, order_id, f"tok_{order_id}")), CardWasDeclined)


def retry_after_s(message: ChargeOrder) -> int | None:
    answer: ChargeReply = message.answer.result()
    return answer.retry_after_s


def confirms(ledger: Ledger) -> dict[str, Any]:
    """Takes out the confirms that were released to Stripe, by order."""
    return {effect.order_id: effect for effect in ledger.to_stripe() if isinstance(effect, ConfirmIntent)}


async def test_the_limit_is_over_all_orders_of_a_user(ledger: Ledger) -> None:
    """The attempt after the last that may be declined is refused before it is written, with the time to wait."""
    await decline_all(ledger, ORDERS[:LIMIT])
    revision = ledger.doc("o4").rev
    refused = await ledger.ask("o4")
    assert reply(refused) is Denied.TOO_MANY_DECLINES
    assert retry_after_s(refused) == DECLINES_WINDOW_S
    assert (ledger.to_stripe(), ledger.doc("o4").rev, ledger.doc("o4").payment) == ([], revision, None)


async def test_an_order_of_the_user_counts_all_its_attempts(ledger: Ledger) -> None:
    """Several cards on one order, as several orders."""
    for number in range(LIMIT):
        await decline(ledger, "o1", f"tok_{number}", number + 1)
    assert reply(await ledger.ask("o1", "tok_last")) is Denied.TOO_MANY_DECLINES
    assert reply(await ledger.ask("o2")) is Denied.TOO_MANY_DECLINES


async def test_another_user_is_not_refused(stack: World, ledger: Ledger) -> None:
    """One user's declines do not limit another."""
    await decline_all(ledger, ORDERS[:LIMIT])
    assert reply(await ledger.ask("o4", user="user-2")) is Denied.NOT_YOURS
    assert len(ledger.declines._users) == 1


async def test_a_request_that_begins_no_attempt_is_answered_as_usual(ledger: Ledger) -> None:
    """A stored answer, and an order that is paid: no bank is asked for them."""
    paid = await ledger.ask("o9")
    await ledger.ended(ledger.one_to_stripe(), charged("o9"))
    await decline_all(ledger, ORDERS[:LIMIT])
    assert isinstance(reply(paid), Paid)
    assert isinstance(reply(await ledger.ask("o9")), Paid)
    for _ in range(2 * LIMIT):
        assert isinstance(reply(await ledger.ask("o1", "tok_o1")), CardWasDeclined)
    assert reply(await ledger.ask("none")) is Denied.UNKNOWN


async def test_repeated_answers_are_not_counted(ledger: Ledger) -> None:
    """A user who gets the same decline ten times was declined once."""
    await decline_all(ledger, ("o1",))
    for _ in range(10):
        await ledger.ask("o1", "tok_o1")
    await ledger.ask("o2")
    assert list(confirms(ledger)) == ["o2"]


async def test_a_decline_is_forgotten_after_the_window(stack: World, ledger: Ledger) -> None:
    """Not before: a user waits for the oldest of them, as `Retry-After` says."""
    await decline_all(ledger, ("o1",))
    await stack.clock.advance(100)
    await decline_all(ledger, ("o2", "o3"))
    refused = await ledger.ask("o4")
    assert retry_after_s(refused) == DECLINES_WINDOW_S - 100
    await stack.clock.advance(DECLINES_WINDOW_S - 101)
    assert reply(await ledger.ask("o4")) is Denied.TOO_MANY_DECLINES
    await stack.clock.advance(1)
    await ledger.ask("o4")
    assert list(confirms(ledger)) == ["o4"]


async def test_attempts_in_flight_count_as_if_declined(ledger: Ledger) -> None:
    """Many requests at once after the first decline: no more leave than may still be declined; the others wait."""
    await decline_all(ledger, ("o9",))
    asked = [ledger.asked(order_id, f"tok_{order_id}") for order_id in ORDERS[:6]]
    await ledger.send(*asked)
    sent = confirms(ledger)
    assert list(sent) == list(ORDERS[: LIMIT - 1])
    assert waits(*asked)
    for order_id, effect in sent.items():
        await ledger.ended(effect, declined(order_id))
        assert confirms(ledger) == {}
    assert [reply(each) for each in asked[LIMIT - 1 :]] == [Denied.TOO_MANY_DECLINES] * (6 - LIMIT + 1)


async def test_a_customer_with_many_orders_at_once_is_not_delayed(ledger: Ledger) -> None:
    """Of whom none was declined: a load test has one user, and so may an agency."""
    asked = [ledger.asked(order_id) for order_id in ORDERS]
    await ledger.send(*asked)
    sent = confirms(ledger)
    assert len(sent) == len(ORDERS) > LIMIT
    for order_id, effect in sent.items():
        await ledger.ended(effect, charged(order_id))
    assert all(isinstance(reply(each), Paid) for each in asked)


async def test_a_held_request_goes_on_where_another_attempt_succeeds(ledger: Ledger) -> None:
    """One begins for each that ends well: after a decline there is room for two."""
    await decline_all(ledger, ("o9",))
    asked = [ledger.asked(order_id) for order_id in ORDERS[:4]]
    await ledger.send(*asked)
    rounds = []
    while sent := confirms(ledger):
        rounds.append(len(sent))
        for order_id, effect in sent.items():
            await ledger.ended(effect, charged(order_id))
    assert rounds == [LIMIT - 1, LIMIT - 1]
    assert all(isinstance(reply(each), Paid) for each in asked)


async def test_a_card_that_comes_with_the_decline_of_the_last_is_counted_too(ledger: Ledger) -> None:
    """The end of an attempt and the next request of its order may be decided together: the end counts first."""
    await decline_all(ledger, ("o1", "o2"))
    await ledger.ask("o3", "tok_a")
    effect = ledger.one_to_stripe()
    asked = ledger.asked("o3", "tok_b")
    await ledger.send(EffectCompleted(effect.id, declined("o3")), asked)
    assert reply(asked) is Denied.TOO_MANY_DECLINES
    assert ledger.to_stripe() == []


async def test_an_attempt_that_awaits_its_customer_holds_up_no_other(ledger: Ledger) -> None:
    """That may take an hour, and the bank has declined nothing."""
    for order_id in ORDERS[:LIMIT]:
        await ledger.ask(order_id)
    for order_id, effect in confirms(ledger).items():
        await ledger.ended(effect, ActionRequired(order_id, 1, 1, f"pi_{order_id}"))
    ledger.to_stripe()
    await ledger.ask("o9")
    assert list(confirms(ledger)) == ["o9"]


async def test_a_request_that_waited_in_vain_gets_nothing_was_charged(stack: World, ledger: Ledger) -> None:
    """Its time is up before another one of its user's has ended: 503, and not as if the service were busy."""
    await decline_all(ledger, ("o8",))
    for order_id in ORDERS[: LIMIT - 1]:
        await ledger.ask(order_id)
    held = await ledger.ask("o9", wait_s=5.0)
    await stack.clock.advance(4.9)
    assert waits(held)
    await stack.clock.advance(0.5)
    assert reply(held) == Unavailable(Unavailability.OTHERS_UNDER_WAY)
    assert ledger.declines._holding == {}


async def test_held_requests_are_answered_when_the_ledger_ends(ledger: Ledger) -> None:
    """F32: nothing was charged for them, and a new ledger counts on where the last one was."""
    await decline_all(ledger, ("o1",))
    for order_id in ORDERS[1:LIMIT]:
        await ledger.ask(order_id)
    held = await ledger.ask("o9")
    assert waits(held)
    await ledger.restart()
    assert reply(held) == Unavailable(Unavailability.CRASHED)
    ledger.to_stripe()
    await ledger.ask("o8")
    await ledger.ask("o7")
    last = await ledger.ask("o6")
    assert sorted(confirms(ledger)) == ["o7", "o8"]
    assert waits(last)


async def test_an_attempt_that_was_never_written_is_not_in_flight(stack: World, ledger: Ledger) -> None:
    """F25: while the store is away nothing begins, and afterwards a user may begin as many as before."""
    await decline_all(ledger, ("o10",))
    ledger.actor.commits.forget("o9")
    stack.store.away = "gone"
    # Those of known orders are decided, and then not written, since the other one can't be read.
    asked = [ledger.asked(order_id) for order_id in (*ORDERS[:LIMIT], "o9")]
    await ledger.send(*asked)
    assert [reply(each) for each in asked] == [Unavailable(Unavailability.STORE_AWAY)] * (LIMIT + 1)
    stack.store.away = None
    await stack.clock.advance(1.0)
    for order_id in ORDERS[LIMIT : 2 * LIMIT - 1]:
        await ledger.ask(order_id)
    assert list(confirms(ledger)) == list(ORDERS[LIMIT : 2 * LIMIT - 1])


async def test_an_attempt_without_an_outcome_is_not_waited_for_without_end(stack: World, ledger: Ledger) -> None:
    """Another process may have taken it over, or Stripe is away: the next one goes on."""
    await decline_all(ledger, ("o10",))
    for order_id in ORDERS[: LIMIT - 1]:
        await ledger.ask(order_id)
    ledger.to_stripe()
    await stack.clock.advance(IN_FLIGHT_S + 1)
    ledger.to_stripe()
    await ledger.ask("o9")
    assert list(confirms(ledger)) == ["o9"]


async def test_a_refused_order_is_in_the_log_once(ledger: Ledger) -> None:
    """An operator finds why a customer can't pay by the order's id; a flood of requests leaves one line of it."""
    await decline_all(ledger, ORDERS[:LIMIT])
    with capture_logs() as lines:
        for _ in range(5):
            await ledger.ask("o4")
        await ledger.ask("o5")
    refused = [line for line in lines if line["event"] == Event.REQUEST_REFUSED]
    assert [(line["order_id"], line["status"], line["count"]) for line in refused] == [("o4", 429, 3), ("o5", 429, 3)]
    assert refused[0]["reason"] == Denied.TOO_MANY_DECLINES.value


async def test_without_a_limit_nothing_is_refused(stack: World) -> None:
    """0 turns it off."""
    ledger = await stack.ledger(declines_limit=0)
    await ledger.order(*ORDERS)
    await decline_all(ledger, ORDERS)
    assert len(ledger.declines._users) == 0


async def test_users_seen_long_ago_are_forgotten(stack: World) -> None:
    """Memory is bounded: the user after the last that there is room for takes the oldest one's place."""
    again: list[PendingCharge] = []
    ledger = await stack.ledger()
    limit = DeclineLimit(2, DECLINES_WINDOW_S, FakeClock(), users_limit=2)
    charges = PendingCharges(stack.clock, ledger.in_flight, again.append)
    limit.start(charges)
    await ledger.order("o1")
    order = ledger.doc("o1")
    first, held = (charges.add(ledger.asked(order_id, user="a")) for order_id in ("o1", "o2"))
    await ledger.ask("o1")
    before = ledger.doc("o1")
    await ledger.ended(ledger.one_to_stripe(), declined("o1"))
    limit.settled(before, structs.replace(ledger.doc("o1"), user_id="a"))
    assert limit.may_begin(order, first)
    assert not limit.may_begin(structs.replace(order, id="o2"), held)
    for user in ("b", "c"):
        asked = charges.add(ledger.asked("x", user=user))
        assert limit.may_begin(structs.replace(order, id=f"of {user}"), asked)
    assert list(limit._users) == ["b", "c"]
    assert again == [held]
    assert set(limit._begun) == {"of b", "of c"}
    limit.drop_answered()


async def test_a_payment_that_failed_at_the_bank_page_counts(ledger: Ledger) -> None:
    """A thief with cards whose banks ask learns as much of a failed authentication."""
    for order_id in ORDERS[:LIMIT]:
        await ledger.ask(order_id)
        await ledger.ended(ledger.one_to_stripe(), ActionRequired(order_id, 1, 1, f"pi_{order_id}"))
        await ledger.clock.advance(6)
        (look,) = [
            each for each in ledger.to_stripe() if isinstance(each, RetrieveIntent) and each.order_id == order_id
        ]
        await ledger.ended(look, seen(order_id, IntentStatus.REQUIRES_PAYMENT_METHOD))
    assert reply(await ledger.ask("o9")) is Denied.TOO_MANY_DECLINES
