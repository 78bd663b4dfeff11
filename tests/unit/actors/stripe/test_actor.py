"""The Stripe actor, as transcripts: what the ledger releases, what Stripe does, what the ledger receives."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from payment.actors.stripe.actor import CALL_STUCK_S
from payment.actors.stripe.scheduler import CONFIRM_IN_FLIGHT_LIMIT, CREATE_IN_FLIGHT_LIMIT, OTHERS_IN_FLIGHT_LIMIT
from payment.core.effects import ON_THE_WIRE, ConfirmIntent
from payment.core.messages import (
    ActionRequired,
    CardDeclined,
    ChargeFacts,
    ChargeRefunded,
    ChargesListed,
    ConfirmRefused,
    ConfirmUnclear,
    ConfirmWithheld,
    CreateErrorStored,
    EffectReturned,
    Failure,
    IntentCreated,
    IntentPrepared,
    IntentRetrieved,
    IntentStatus,
    IntentSucceeded,
    ListedCharge,
    RefusalReason,
    RetrieveReason,
)
from payment.ops.health import Status
from payment.ports.cards import (
    Charges,
    Declined,
    Handover,
    IntentAnswer,
    NextAction,
    NotYet,
    Obstacle,
    Refunded,
    Refused,
    Unclear,
    UnexpectedState,
)
from tests.unit.actors.stripe.scripted_cards import (
    KEY_IN_USE,
    KEY_REFUSED,
    LOCKED,
    RATE_LIMITED,
    STORED,
    UNCLEAR,
    UNREACHABLE,
    Answer,
    Stall,
)
from tests.unit.actors.stripe.stripe_world import (
    FAR,
    LONG_AGO,
    StripeWorld,
    finding_refund,
    intent,
    listing,
    paid,
    refunding,
    retrieving,
)

CHARGE = ChargeFacts("ch_1")


@pytest.fixture
async def world() -> AsyncIterator[StripeWorld]:
    world = await StripeWorld().start()
    yield world
    await world.stop()


# ---------------------------------------------------------------------------------------------------- one charge


async def test_a_charge_is_created_and_confirmed(world: StripeWorld) -> None:
    """The plain way: two calls, one end, with the time of both."""
    world.cards.latency_s = 0.2
    world.release(world.confirm())
    assert await world.until_ended(1) == [paid()]
    assert [(call.kind, call.about) for call in world.cards.calls] == [
        ("create", "intent-1-1"),
        ("confirm", "pi_1_1 1.1"),
    ]
    assert world.ended[0].call_ms == pytest.approx(400.0)
    assert (world.counts, world.stripe_up) == ((0, 0), True)


async def test_an_intent_that_is_known_is_confirmed_at_once(world: StripeWorld) -> None:
    """As after `STRIPE_PREPARE`, or for the next card: paying is one call."""
    world.release(world.known())
    assert await world.until_ended(1) == [paid()]
    assert world.cards.kinds == ["confirm"]


@pytest.mark.parametrize("status", list(IntentStatus))
async def test_the_status_of_a_replayed_create_is_no_evidence(world: StripeWorld, status: IntentStatus) -> None:
    """It is what was stored when the intent was created first: the confirm follows, and shows what is so now."""
    world.cards.script("create", IntentAnswer("pi_1_1", status, CHARGE, replayed=True))
    world.release(world.confirm())
    assert await world.until_ended(1) == [paid()]
    assert world.cards.kinds == ["create", "confirm"]


async def test_a_replayed_success_is_marked_as_replayed(world: StripeWorld) -> None:
    """A fact about the past: the ledger retrieves the intent before it believes that the charge is still there."""
    world.cards.script("confirm", IntentAnswer("pi_1_1", IntentStatus.SUCCEEDED, CHARGE, replayed=True))
    world.release(world.confirm(send=2))
    assert await world.until_ended(1) == [IntentSucceeded("o1", 1, "pi_1_1", CHARGE, replayed=True)]


async def test_an_intent_that_awaits_its_customer_ends_with_the_handover(world: StripeWorld) -> None:
    """It travels beside the message, and no repr shows it."""
    handover = Handover("pi_1_1_secret_x", NextAction("https://bank.example/x"))
    world.cards.script("confirm", IntentAnswer("pi_1_1", IntentStatus.REQUIRES_ACTION, handover=handover))
    world.release(world.confirm())
    assert await world.until_ended(1) == [ActionRequired("o1", 1, 1, "pi_1_1")]
    assert world.ended[0].handover == handover
    assert "secret_x" not in repr(world.ended)
    assert "bank.example" not in repr(world.ended)
    assert "tok_visa" not in repr(world.confirm())


async def test_a_charge_without_an_answer_is_unclear_and_not_sent_again(world: StripeWorld) -> None:
    """F09, F10, F11: its next send is committed first, so it goes back to the ledger."""
    world.cards.script("confirm", UNCLEAR)
    world.release(world.confirm())
    assert await world.until_ended(1) == [ConfirmUnclear("o1", 1, 1, 1, "pi_1_1")]
    await world.clock.advance(60)
    assert world.cards.kinds == ["create", "confirm"]
    world.release(world.confirm(send=2))
    assert await world.until_ended(2) == [paid()]
    assert world.cards.called("confirm") == ["pi_1_1 1.1", "pi_1_1 1.2"]


async def test_a_create_without_an_answer_goes_back_to_the_ledger_too(world: StripeWorld) -> None:
    """F09: not even the intent's id is known then."""
    world.cards.script("create", UNCLEAR)
    world.release(world.confirm())
    assert await world.until_ended(1) == [ConfirmUnclear("o1", 1, 1, 1, None)]
    assert world.cards.kinds == ["create"]


async def test_a_replayed_500_is_reported_as_stored(world: StripeWorld) -> None:
    """F12: of the create or of the confirm; Stripe is there to say so, and stays up."""
    world.cards.script("create", STORED)
    world.release(world.confirm("1"))
    assert await world.until_ended(1) == [CreateErrorStored("o1", 1)]
    world.cards.script("confirm", STORED)
    world.release(world.confirm("2"))
    assert await world.until_ended(2) == [ConfirmUnclear("o2", 1, 1, 1, "pi_2_1", stored=True)]
    assert world.stripe_up


async def test_a_key_in_use_waits_with_the_same_key(world: StripeWorld) -> None:
    """F13: asked again until the other request has ended; a refusal then proves nothing."""
    world.cards.script("create", KEY_IN_USE, KEY_IN_USE)
    world.cards.script("confirm", KEY_IN_USE)
    world.release(world.confirm())
    assert await world.until_ended(1) == [paid()]
    assert Counter(world.cards.called("create")) == {"intent-1-1": 3}
    world.cards.script("confirm", KEY_IN_USE, Refused(RefusalReason.TOKEN_USED, "used"))
    world.release(world.known("2"))
    assert await world.until_ended(2) == [ConfirmUnclear("o2", 1, 1, 1, "pi_2_1")]
    world.cards.script("create", KEY_IN_USE)
    world.cards.script("confirm", Refused(RefusalReason.TOKEN_USED, "used"))
    world.release(world.confirm("3"))
    used = ConfirmRefused("o3", 1, 1, 1, "pi_3_1", RefusalReason.TOKEN_USED, "used")
    assert await world.until_ended(3) == [used]


async def test_a_decline_is_reported_with_its_code(world: StripeWorld) -> None:
    """F15."""
    failure = Failure("card_declined", "lost_card", "lost")
    world.cards.script("confirm", Declined(failure))
    world.release(world.confirm())
    assert await world.until_ended(1) == [CardDeclined("o1", 1, 1, "pi_1_1", failure)]


@pytest.mark.parametrize("kind", ["create", "confirm"])
async def test_other_parameters_under_one_key_alarm_once(world: StripeWorld, kind: str) -> None:
    """F16: impossible by design; if it happens, an operator is called, and the key brings nothing else."""
    world.cards.script(kind, Unclear("other parameters", stored=True, alarm=True))
    world.release(world.confirm())
    (ended,) = await world.until_ended(1)
    assert type(ended) is (CreateErrorStored if kind == "create" else ConfirmUnclear)
    assert b'event="idempotency_alarm"} 1.0' in world.metrics.render()


async def test_after_an_unexpected_state_the_intent_is_retrieved(world: StripeWorld) -> None:
    """The retrieve is repeated until it is answered, and names the attempt that led to it."""
    world.cards.script("confirm", UnexpectedState("succeeded"))
    world.cards.script("retrieve", UNCLEAR, LOCKED, IntentAnswer("pi_1_1", IntentStatus.SUCCEEDED, CHARGE))
    world.release(world.confirm())
    retrieved = IntentRetrieved(
        "o1", 1, "pi_1_1", RetrieveReason.UNEXPECTED_STATE, IntentStatus.SUCCEEDED, CHARGE, attempt=1
    )
    assert await world.until_ended(1) == [retrieved]
    assert world.cards.kinds == ["create", "confirm", "retrieve", "retrieve", "retrieve"]


@pytest.mark.parametrize("drained", [True, False])
async def test_a_confirm_that_was_refused_for_the_state_is_never_called_unsent(
    world: StripeWorld, drained: bool
) -> None:
    """F33: given back while its retrieve waits, it is unclear."""
    world.cards.script("confirm", UnexpectedState("succeeded"))
    world.cards.script("retrieve", *[LOCKED] * 20)
    world.release(effect := world.confirm())
    await world.clock.advance(3)
    if drained:
        await world.clock.drive(world.actor.drain())
    else:
        world.cancel(effect)
    assert await world.until_ended(1) == [ConfirmUnclear("o1", 1, 1, 1, "pi_1_1")]


# --------------------------------------------------------------------------------------- checks before each step


async def between(world: StripeWorld, kind: str, effect: Any) -> asyncio.Event:
    """Release an effect and stop its call of this kind on its way; returns what lets it end."""
    go = asyncio.Event()
    world.cards.script(kind, Stall(go))
    world.release(effect)
    await world.clock.advance(1)
    assert world.cards.kinds[-1] == kind
    return go


async def test_a_charge_cancelled_between_create_and_confirm_is_never_confirmed(world: StripeWorld) -> None:
    """F19, F20: the ledger gets the intent's id, for it has to be cancelled."""
    go = await between(world, "create", effect := world.confirm())
    world.cancel(effect)
    await world.clock.settle()
    go.set()
    assert await world.until_ended(1) == [ConfirmWithheld("o1", 1, 1, 1, "pi_1_1")]
    await world.clock.advance(60)
    assert (world.cards.kinds, world.counts) == (["create"], (0, 0))


@pytest.mark.parametrize(
    "shift", [timedelta(hours=2), timedelta(days=366), timedelta(days=-366), timedelta(minutes=-6)]
)
@pytest.mark.parametrize(("kind", "intent_id"), [("list", None), ("create", "pi_1_1")])
async def test_too_late_between_two_steps_the_next_is_not_made(
    world: StripeWorld, kind: str, intent_id: str | None, shift: timedelta
) -> None:
    """F34, F38: checked immediately before each call, not when the first left."""
    go = await between(world, kind, world.confirm(intent=intent(list_after=LONG_AGO if kind == "list" else FAR)))
    world.clock.jump(shift)
    go.set()
    assert await world.until_ended(1) == [ConfirmWithheld("o1", 1, 1, 1, intent_id)]
    await world.clock.advance(60)
    assert world.cards.kinds == [kind]


@pytest.mark.parametrize("kind", ["list", "create"])
async def test_a_process_that_sleeps_between_two_steps_does_not_make_the_next(world: StripeWorld, kind: str) -> None:
    """F34: it wakes after its order has expired."""
    go = await between(world, kind, world.confirm(intent=intent(list_after=LONG_AGO if kind == "list" else FAR)))
    world.clock.oversleep(3_700)
    go.set()
    (ended,) = await world.until_ended(1)
    assert isinstance(ended, ConfirmWithheld)
    assert world.cards.kinds[-1] == kind


@pytest.mark.parametrize("id_first", [False, True])
async def test_a_drain_between_create_and_confirm_makes_no_confirm(world: StripeWorld, *, id_first: bool) -> None:
    """F33: nor is the ledger to release it here again, where the id would be written first."""
    go = await between(world, "create", world.confirm(not_after=FAR - ON_THE_WIRE + timedelta(seconds=id_first)))
    drain = asyncio.create_task(world.actor.drain())
    await world.clock.advance(1)
    assert not drain.done()
    go.set()
    await world.clock.until(drain.done)
    assert world.now_ended() == [ConfirmWithheld("o1", 1, 1, 1, "pi_1_1")]
    assert world.cards.kinds == ["create"]


@pytest.mark.parametrize(
    "shift", [timedelta(hours=2), timedelta(days=366), timedelta(days=-366), timedelta(minutes=-6)]
)
async def test_nothing_is_sent_when_it_is_too_late_or_the_clock_is_wrong(world: StripeWorld, shift: timedelta) -> None:
    """F34, F38: checked immediately before each send, not when it was queued."""
    world.cards.script("create", NotYet(Obstacle.RATE_LIMITED, "t", retry_after_s=5.0))
    world.release(world.confirm())
    await world.clock.advance(1)
    world.clock.jump(shift)
    assert await world.until_ended(1) == [ConfirmWithheld("o1", 1, 1, 1)]
    await world.clock.advance(60)
    assert world.cards.kinds == ["create"]


async def test_nothing_leaves_before_its_time(world: StripeWorld) -> None:
    """F38: nor when the clock goes back by a few minutes meanwhile; it is sent once its time has come."""
    at = world.clock.now() + timedelta(seconds=3)
    world.release(world.confirm(not_before=at), world.cancel_intent("2", "pi_2"))
    await world.clock.advance(2.9)
    assert world.cards.kinds == ["cancel"]
    world.clock.jump(timedelta(minutes=-1))
    await world.clock.advance(59)
    assert world.cards.kinds == ["cancel"]
    await world.clock.advance(10)
    assert world.cards.kinds == ["cancel", "create", "confirm"]


async def test_an_old_key_is_never_sent_however_long_it_waited(world: StripeWorld) -> None:
    """F17: Stripe is away for a day; the charge is given back, and it is not sent when Stripe is back."""
    world.cards.away = UNREACHABLE
    world.release(world.known(not_after=world.clock.now() + timedelta(hours=23)))
    await world.clock.advance(60)
    tried = len(world.cards.called("confirm"))
    world.clock.oversleep(24 * 3600)
    assert await world.until_ended(1) == [ConfirmWithheld("o1", 1, 1, 1, "pi_1_1")]
    world.cards.away = None
    await world.clock.advance(10)
    assert len(world.cards.called("confirm")) == tried


async def test_a_create_whose_key_grows_old_while_it_waits_is_preceded_by_a_list(world: StripeWorld) -> None:
    """F17, F47: Stripe may have forgotten the key by the time that the create may leave."""
    world.cards.away = UNREACHABLE
    soon = world.clock.now() + timedelta(minutes=30)
    world.release(world.confirm(intent=intent(list_after=soon)), retrieving("2", intent_id=None, list_after=soon))
    await world.clock.advance(1_700)
    assert "list" not in world.cards.kinds
    await world.clock.advance(200)
    tried = len(world.cards.kinds)
    world.cards.away = None
    await world.until_ended(2)
    since = world.cards.kinds[tried:]
    assert (since.count("list"), since.count("create"), since.index("list") < since.index("create")) == (2, 2, True)


async def test_a_create_whose_key_grows_old_in_its_queue_is_preceded_by_a_list(world: StripeWorld) -> None:
    """F34, F47: checked immediately before it leaves, not when it was queued."""
    world.cards.script("create", NotYet(Obstacle.RATE_LIMITED, "t", retry_after_s=5.0))
    world.release(world.confirm(intent=intent(list_after=world.clock.now() + timedelta(seconds=3))))
    await world.until_ended(1)
    assert world.cards.kinds == ["create", "list", "create"]


async def test_an_old_orders_intent_is_confirmed_once_its_id_is_written(world: StripeWorld) -> None:
    """F34: another process may get another intent from the same create, and only one of them is ever written."""
    effect = world.confirm(intent=intent(list_after=world.clock.now() + timedelta(hours=5, minutes=59)))
    world.release(effect)
    assert await world.until_ended(1) == [IntentCreated("o1", 1, 1, 1, "pi_1_1")]
    assert (world.cards.kinds, world.counts) == (["create"], (0, 0))
    written = intent(intent_id="pi_other", list_after=effect.intent.list_after)
    world.release(structs.replace(effect, intent=written))
    assert await world.until_ended(2) == [IntentSucceeded("o1", 1, "pi_other", ChargeFacts("ch_pi_other"))]
    assert world.cards.kinds == ["create", "confirm"]
    soon_over = world.confirm("2", intent=intent("2", list_after=world.clock.now() + timedelta(hours=6)))
    world.release(soon_over)
    assert await world.until_ended(3) == [paid("2")]


async def test_a_create_ahead_of_a_request_that_was_held_for_half_a_day_is_not_sent(world: StripeWorld) -> None:
    """F34, F38: the process slept, and its clock was put back meanwhile; a list would not show an unpaid intent."""
    world.cards.script("create", NotYet(Obstacle.RATE_LIMITED, "t", retry_after_s=5.0))
    world.release(world.prepare())
    await world.clock.advance(1)
    world.clock.oversleep(13 * 3_600)
    world.clock.jump(timedelta(hours=-13))
    assert await world.until_ended(1) == [EffectReturned("o1", "create:o1:1")]
    assert world.cards.kinds == ["create"]


async def test_a_confirm_that_was_held_longer_than_its_key_lives_is_not_sent_whatever_the_clock_says(
    world: StripeWorld,
) -> None:
    """F34, F38: the process slept for half a day, and its clock was put back meanwhile."""
    go = await between(world, "create", world.confirm())
    world.clock.oversleep(13 * 3_600)
    world.clock.jump(timedelta(hours=-13))
    go.set()
    assert await world.until_ended(1) == [ConfirmWithheld("o1", 1, 1, 1, "pi_1_1")]
    assert world.cards.kinds == ["create"]


async def test_an_effect_cancelled_before_its_turn_is_never_sent(world: StripeWorld) -> None:
    """F19, F20: in the queue, and while it sleeps."""
    queued, asleep = world.confirm(), world.confirm("2", not_before=world.clock.now() + timedelta(seconds=3))
    world.release(queued, asleep)
    world.cancel(queued)
    world.cancel(asleep)
    await world.clock.settle()
    assert world.now_ended() == [ConfirmWithheld("o1", 1, 1, 1), ConfirmWithheld("o2", 1, 1, 1)]
    await world.clock.advance(60)
    assert (world.cards.kinds, world.counts) == ([], (0, 0))


async def test_an_effect_cancelled_in_flight_ends_there(world: StripeWorld) -> None:
    """F20: a confirm can't be called back: charged is charged. One that did nothing is not made again."""
    go = await between(world, "confirm", effect := world.known())
    world.cancel(effect)
    await world.clock.advance(1)
    assert world.now_ended() == []
    go.set()
    assert await world.until_ended(1) == [paid()]
    world.cards.script("confirm", RATE_LIMITED)
    world.cards.latency_s = 1.0
    other = world.known("2")
    world.release(other)
    world.cancel(other)
    assert await world.until_ended(2) == [ConfirmWithheld("o2", 1, 1, 1, "pi_2_1")]


# ------------------------------------------------------------------------------------------------ the other effects


async def test_a_retrieve_reads_the_intent_and_passes_the_handover_on(world: StripeWorld) -> None:
    """Repeated until it is answered: it proves something only if it was read."""
    handover = Handover("pi_1_1_secret_x", NextAction())
    world.cards.script(
        "retrieve", UNCLEAR, UNREACHABLE, IntentAnswer("pi_1_1", IntentStatus.REQUIRES_ACTION, handover=handover)
    )
    world.release(retrieving())
    asked = IntentRetrieved("o1", 1, "pi_1_1", RetrieveReason.RECHECK, IntentStatus.REQUIRES_ACTION)
    assert await world.until_ended(1) == [asked]
    assert world.ended[0].handover == handover


async def test_an_intent_whose_id_is_not_known_is_created_before_it_is_retrieved(world: StripeWorld) -> None:
    """Its create is repeated for as long as it is not answered: it is the same intent every time."""
    world.cards.script("create", UNCLEAR, UNREACHABLE, LOCKED)
    world.release(retrieving(intent_id=None))
    retrieved = IntentRetrieved("o1", 1, "pi_1_1", RetrieveReason.RECHECK, IntentStatus.REQUIRES_PAYMENT_METHOD)
    assert await world.until_ended(1) == [retrieved]
    assert world.cards.kinds == ["create"] * 4 + ["retrieve"]


async def test_a_cancel_that_is_answered_with_canceled_needs_no_retrieve(world: StripeWorld) -> None:
    """The id comes from the create where it is not known."""
    world.release(world.cancel_intent())
    canceled = IntentRetrieved("o1", 1, "pi_1_1", RetrieveReason.CANCEL, IntentStatus.CANCELED)
    assert await world.until_ended(1) == [canceled]
    assert world.cards.kinds == ["create", "cancel"]


@pytest.mark.parametrize(
    "answer", [UnexpectedState("succeeded"), UNCLEAR, IntentAnswer("pi_1_1", IntentStatus.SUCCEEDED, CHARGE)]
)
async def test_a_cancel_with_any_other_answer_is_followed_by_a_retrieve(world: StripeWorld, answer: Any) -> None:
    """The error of a cancel is no evidence, a retrieved intent is: whatever it shows."""
    world.cards.script("cancel", LOCKED, answer)
    world.cards.script("retrieve", IntentAnswer("pi_1_1", IntentStatus.SUCCEEDED, CHARGE))
    world.release(world.cancel_intent("1", "pi_1_1"))
    retrieved = IntentRetrieved("o1", 1, "pi_1_1", RetrieveReason.CANCEL, IntentStatus.SUCCEEDED, CHARGE)
    assert await world.until_ended(1) == [retrieved]
    assert world.cards.kinds == ["cancel", "cancel", "retrieve"]


async def test_an_old_order_is_listed_before_its_create(world: StripeWorld) -> None:
    """A charge that is kept ends it, one that is processing is waited for, one that was refunded is none."""
    kept, refunded = ListedCharge(CHARGE, 1), ListedCharge(ChargeFacts("ch_0", refunded=True), 1)
    world.cards.script("list", UNCLEAR, Charges((refunded,), pending=True), Charges((kept, refunded)))
    world.release(world.confirm(intent=intent(list_after=LONG_AGO)))
    await world.clock.advance(29)
    assert world.cards.kinds == ["list", "list"]
    await world.clock.advance(5)
    assert world.now_ended() == [IntentSucceeded("o1", 1, None, CHARGE)]
    assert world.cards.kinds == ["list"] * 3
    world.cards.script("list", Charges((refunded,)))
    world.release(world.confirm("2", intent=intent("2", list_after=LONG_AGO)))
    assert await world.until_ended(2) == [IntentCreated("o2", 1, 1, 1, "pi_2_1")]
    assert world.cards.kinds[3:] == ["list", "create"]


async def test_an_intent_is_prepared_and_its_time_ends(world: StripeWorld) -> None:
    """Its create is repeated while it is unclear, and after `not_after` it is given back."""
    world.cards.script("create", UNCLEAR)
    world.release(world.prepare())
    assert await world.until_ended(1) == [IntentPrepared("o1", 1, "pi_1_1")]
    world.cards.away = LOCKED
    world.release(world.prepare("2", lasts=timedelta(seconds=20)))
    await world.clock.advance(25)
    assert world.now_ended() == [EffectReturned("o2", "create:o2:1")]
    assert set(world.cards.kinds) == {"create"}


async def test_a_refund_without_an_answer_is_repeated_with_its_own_key(world: StripeWorld) -> None:
    """F23: until it is known."""
    world.cards.script("refund", UNCLEAR, UNCLEAR, LOCKED, Refunded("re_1"))
    world.release(refunding(), finding_refund(key="r9"))
    assert await world.until_ended(2) == [ChargeRefunded("o1", "ch_1", "re_1")] * 2
    assert world.cards.called("refund") == ["r1"] * 4


async def test_the_charges_of_a_legacy_attempt_are_listed_until_that_is_answered(world: StripeWorld) -> None:
    """A list proves something only if it was read."""
    world.cards.script("list", UNCLEAR, UNREACHABLE, Charges((ListedCharge(CHARGE, 1),)))
    world.release(listing())
    assert await world.until_ended(1) == [ChargesListed("o1", 1, (ListedCharge(CHARGE, 1),))]


# ----------------------------------------------------------------------------------------------- order and estimates


async def test_turns_are_given_in_the_order_of_the_decisions(world: StripeWorld) -> None:
    """F14: of two commits in flight at once the later one may be confirmed first; it passes no charge by that."""
    world.cards.away = UNREACHABLE
    first = [world.confirm(f"first{number}") for number in range(5)]
    await world.clock.advance(0.001)
    world.release(*(world.confirm(f"second{number}") for number in range(5)))
    world.release(*first)
    await world.clock.advance(0.1)
    world.cards.away = None
    ended = await world.until_ended(10)
    assert sorted(each.order_id for each in ended[:5]) == [f"ofirst{number}" for number in range(5)]


async def test_a_charge_keeps_its_priority_from_the_create_queue_to_the_confirm_queue(world: StripeWorld) -> None:
    """F14: later charges whose intents are known go after earlier ones that are ready too."""
    hold = NotYet(Obstacle.RATE_LIMITED, "t", retry_after_s=3.0)
    world.cards.script("confirm", hold)
    early = [world.confirm(f"early{n}") for n in range(10)]
    await world.clock.advance(0.001)
    world.release(world.known("0"))
    await world.clock.advance(0.1)
    world.release(*(world.known(f"late{n}") for n in range(10)), *early)
    ended = await world.until_ended(21)
    assert [each.order_id for each in ended[:10]] == [effect.order_id for effect in early]


async def test_preparing_leaves_only_when_no_other_create_waits(world: StripeWorld) -> None:
    """Whenever it came; and charges that come meanwhile go first."""
    world.release(*(world.prepare(f"p{n}") for n in range(50)))
    await world.clock.settle()
    before = len(world.cards.called("create"))
    world.release(*(world.confirm(f"c{n}") for n in range(20)), retrieving("l", intent_id=None))
    await world.until_ended(71)
    after = world.cards.called("create")[before:]
    assert after[0] == "intent-l-1"
    assert after[1:21] == [f"intent-c{n}-1" for n in range(20)]
    assert all(key.startswith("intent-p") for key in after[21:])


async def test_the_estimate_is_of_the_slower_stage(world: StripeWorld) -> None:
    """F14: the wait estimated when a charge enters is about what it then waits."""
    await world.clock.advance(1)
    began = world.clock.monotonic()
    world.cards.latency_s = 0.1
    world.release(*(world.confirm(str(n)) for n in range(200)), *(world.known(f"k{n}") for n in range(50)))
    await world.clock.settle()
    at_once = len(world.cards.called("create"))
    assert at_once in (5, 6)
    assert world.counts == (200 - at_once, 250 - len(world.cards.called("confirm")))
    last = world.last_wait_s()
    assert last == pytest.approx(244 / 30, rel=0.05)
    await world.until_ended(250)
    assert world.counts == (0, 0)
    assert world.cards.calls[-1].at - began <= last + 1.0


async def test_orders_that_are_never_answered_hold_up_others_for_the_time_of_one_check(world: StripeWorld) -> None:
    """F31: ten of them at once; the check finds that Stripe answers, and no later silence of theirs counts."""
    await world.clock.advance(1.0)
    world.cards.script("create", *[UNCLEAR] * 10)
    world.release(*(world.confirm(f"stuck{n}") for n in range(10)))
    await world.clock.settle()
    began = world.clock.monotonic()
    world.release(world.confirm("good"))
    await world.clock.until(lambda: "pi_good_1 1.1" in world.cards.called("confirm"))
    assert world.clock.monotonic() - began < 0.5


async def test_an_order_that_backs_off_by_itself_lengthens_no_estimate(world: StripeWorld) -> None:
    """F31: it was counted as in front of each charge to come, whose client then got 202 at once for nothing."""
    world.cards.script("create", *([LOCKED, KEY_IN_USE] * 500))
    world.release(*(world.confirm(f"stuck{n}") for n in range(30)))
    await world.clock.advance(5.0)
    assert (len(world.ended), world.counts) == (0, (0, 0))
    world.release(world.confirm("good"))
    assert world.last_wait_s() == 0.0


async def test_no_endpoint_holds_more_connections_than_its_limit(world: StripeWorld) -> None:
    """F39: a Stripe that hangs, and every queue full."""
    world.cards.latency_s = 600.0
    world.release(
        *(world.confirm(f"a{n}") for n in range(300)),
        *(world.known(f"b{n}") for n in range(300)),
        *(retrieving(f"c{n}") for n in range(100)),
        *(world.cancel_intent(f"d{n}", "pi") for n in range(100)),
        *(listing(f"e{n}") for n in range(100)),
        *(refunding(key=f"r{n}") for n in range(100)),
    )
    await world.clock.advance(59)
    most = world.cards.in_flight_most
    assert (most["create"], most["confirm"]) == (CREATE_IN_FLIGHT_LIMIT, CONFIRM_IN_FLIGHT_LIMIT)
    assert {most[kind] for kind in ("retrieve", "cancel", "list", "refund")} == {OTHERS_IN_FLIGHT_LIMIT}


# ------------------------------------------------------------------------------------------------- outages and refusals


@pytest.mark.parametrize("kind", ["create", "confirm"])
async def test_a_refused_key_pauses_all_and_recovers_by_itself(world: StripeWorld, kind: str) -> None:
    """F36: readiness blocks charges, one request a second asks, no order is failed, and none is sent late."""
    world.health.ready()
    make = world.confirm if kind == "create" else world.known
    world.cards.away = KEY_REFUSED
    world.release(make("1"), make("2", not_after=world.clock.now() + timedelta(seconds=20)))
    await world.clock.advance(30)
    assert world.health.view().dependencies["stripe"].up is False
    assert world.health.status is Status.UNAVAILABLE
    assert len(world.cards.kinds) <= 35
    (late,) = world.now_ended()
    assert isinstance(late, ConfirmWithheld)
    assert late.order_id == "o2"
    world.cards.away = None
    before = world.clock.monotonic()
    assert await world.until_ended(2) == [paid()]
    assert world.clock.monotonic() - before <= 1.0
    assert world.stripe_up


async def test_a_stripe_that_is_away_gets_one_request_a_second_until_it_is_back(world: StripeWorld) -> None:
    """One request a second for each queue while it is away; it counts as away after 10 s; then all goes on."""
    world.cards.away = UNREACHABLE
    world.release(*(world.confirm(str(n)) for n in range(40)), *(retrieving(str(n)) for n in range(40)))
    await world.clock.advance(5)
    before = world.stripe_up
    sent = Counter(world.cards.kinds)
    await world.clock.advance(20)
    assert (before, world.stripe_up) == (True, False)
    assert all(count <= 21 for count in (Counter(world.cards.kinds) - sent).values())
    world.cards.away = None
    began_s = world.clock.monotonic()
    await world.until_ended(80)
    assert world.clock.monotonic() - began_s < 1.0 + 40 / 25 + 1.0


async def test_a_stripe_that_comes_back_is_noticed_without_traffic(world: StripeWorld) -> None:
    """Asked every few seconds while it is not known to be well."""
    world.cards.away = KEY_REFUSED
    world.release(effect := world.confirm())
    await world.clock.advance(1)
    assert not world.stripe_up
    world.cancel(effect)
    world.cards.away = None
    await world.clock.advance(4)
    assert world.stripe_up


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_stripe_that_is_lost_while_nothing_is_paid_is_noticed_within_ten_seconds(
    world: StripeWorld, hangs: bool
) -> None:
    """The contract's number, from any instant; and it costs one light request in five seconds."""
    await world.clock.advance(60)
    assert 10 <= len(world.cards.called("check")) <= 14
    await world.clock.advance(2.5)
    if hangs:
        world.cards.script("check", *[Stall(asyncio.Event())] * 9)
    else:
        world.cards.away = UNREACHABLE
    await world.clock.advance(10)
    assert not world.stripe_up


async def test_a_key_that_may_not_refund_stops_no_charge(world: StripeWorld) -> None:
    """F36: a restricted key lacks one permission: it is alarmed once, tried again, and charges go on."""
    world.cards.script("refund", *[KEY_REFUSED] * 3)
    world.release(refunding())
    for _ in range(10):
        await world.clock.advance(2.1)
        assert world.stripe_up
    assert len(world.cards.called("refund")) == 4
    assert world.alarms("request_alarm") == 1


async def test_a_refused_key_is_tried_once_a_second_whatever_else_is_pending(world: StripeWorld) -> None:
    """F36: refunds that are refused too do not make the charges hammer Stripe."""
    await world.clock.advance(2)
    world.cards.away = KEY_REFUSED
    world.release(*(world.confirm(str(name)) for name in range(10)), refunding())
    await world.clock.advance(12)
    assert len(world.cards.called("create")) <= 12 + 6


@pytest.mark.parametrize("refusal", [KEY_REFUSED, RATE_LIMITED])
async def test_an_entry_that_is_refused_alone_steps_aside(world: StripeWorld, refusal: NotYet) -> None:
    """F14, F36: the others go on at their rate, Stripe counts as well, and it is tried again by itself, slowly."""
    world.cards.admits = lambda kind, _now: True
    bad = NotYetFor(world, "pi_bad_1", refusal)
    world.release(world.known("bad"), *(world.known(str(n)) for n in range(40)))
    await world.until_ended(40, limit_s=8.0)
    assert world.stripe_up
    assert world.actor._scheduler.confirm.limiter.per_s >= 25.0
    tries = bad.tries
    await world.clock.advance(60)
    assert 2 <= bad.tries - tries <= 4
    assert (world.stripe_up, world.now_ended()) == (True, [])
    assert world.alarms("request_alarm") == 1
    bad.over = True
    assert await world.until_ended(41, limit_s=61.0) == [paid("bad")]


class NotYetFor:
    """Refuses the confirms of one intent until it is `over`."""

    def __init__(self, world: StripeWorld, refused_id: str, refusal: NotYet) -> None:
        self.tries = 0
        self.over = False
        plain = world.cards.confirm

        async def confirm(request: ConfirmIntent, intent_id: str) -> Answer:
            if intent_id != refused_id or self.over:
                return await plain(request, intent_id)
            self.tries += 1
            return refusal

        world.cards.confirm = confirm  # type: ignore[method-assign]


async def test_an_error_for_an_operator_is_alarmed_once_and_tried_slowly(world: StripeWorld) -> None:
    """F36: every half minute; and it holds up no other charge."""
    wrong = NotYet(Obstacle.KEY_REFUSED, "not supported here", alarm=True)
    world.cards.script("confirm", *[wrong] * 4)
    world.release(world.known("1"))
    await world.clock.advance(1)
    world.release(world.known("2"))
    world.cards._scripts["confirm"].appendleft(None)
    assert await world.until_ended(1, limit_s=2.0) == [paid("2")]
    await world.clock.advance(88)
    assert len(world.cards.called("confirm")) == 1 + 3
    assert (world.alarms("account_alarm"), world.stripe_up) == (1, True)
    assert await world.until_ended(2) == [paid("1")]


async def test_a_call_that_no_timeout_ends_is_a_hang(world: StripeWorld) -> None:
    """F32: an actor that only waits for a lost call shows no sign of life; a busy one does."""
    world.cards.script("confirm", Stall(asyncio.Event()))
    world.release(world.confirm())
    await world.clock.advance(CALL_STUCK_S)
    assert world.actor.stuck_for_s() == 0.0
    await world.clock.advance(16)
    assert world.actor.stuck_for_s() == pytest.approx(16, abs=0.1)


# -------------------------------------------------------------------------------------------------- drain and mailboxes


async def test_a_drain_ends_what_is_in_flight_and_gives_back_the_rest(world: StripeWorld) -> None:
    """F33: also what comes during the drain, what sleeps, and what would have been repeated."""
    stalls = [asyncio.Event(), asyncio.Event()]
    world.cards.script("confirm", Stall(stalls[0]))
    world.cards.script("retrieve", Stall(stalls[1], UNCLEAR))
    world.release(world.known("1"), retrieving("2"))
    await world.clock.advance(0.1)
    world.release(
        world.confirm("3"), world.confirm("4", not_before=world.clock.now() + timedelta(seconds=4)), listing("5")
    )
    world.release(refunding("ch_9", "r9", "9"))
    drain = asyncio.create_task(world.actor.drain())
    await world.clock.settle()
    world.release(world.confirm("6"))
    await world.clock.settle()
    assert not drain.done()
    for stall in stalls:
        stall.set()
    await world.clock.until(drain.done)
    ended = Counter(type(each.message) for each in world.ended)
    assert ended == {IntentSucceeded: 1, ConfirmWithheld: 3, EffectReturned: 3}
    assert len({each.effect_id for each in world.ended}) == len(world.ended) == 7
    assert world.cards.kinds == ["confirm", "retrieve"]


async def test_a_full_ledger_holds_up_ends_and_nothing_else() -> None:
    """F39: `receive` never waits for the ledger, so a cancellation is still obeyed, and every end arrives once."""
    world = await StripeWorld(ledger_limit=1).start()
    world.release(*(world.confirm(str(n)) for n in range(10)))
    await world.clock.advance(5)
    assert (len(world.cards.called("confirm")), world.actor.stuck_for_s()) == (10, 0.0)
    late = world.confirm("late", not_before=world.clock.now() + timedelta(seconds=4))
    world.release(late)
    world.cancel(late)
    await world.clock.advance(10)
    await world.until_ended(11)
    assert len({each.effect_id for each in world.ended}) == len(world.ended) == 11
    assert len(world.cards.called("confirm")) == 10
    await world.stop()
    assert world.cards.closed


async def test_the_rates_and_queues_are_shown(world: StripeWorld) -> None:
    """By endpoint, and the account's rate beside them."""
    world.release(*(world.confirm(str(n)) for n in range(100)))
    await world.clock.advance(1.1)
    shown = world.metrics.render().decode()
    assert 'payment_stripe_pace_per_s{kind="account"} 100.0' in shown
    for kind in ("create", "confirm", "retrieve", "cancel", "list", "refund"):
        assert f'payment_stripe_pace_per_s{{kind="{kind}"}}' in shown
        assert f'payment_stripe_waiting{{kind="{kind}"}}' in shown
