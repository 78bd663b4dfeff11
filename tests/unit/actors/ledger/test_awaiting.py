"""The ledger while a bank wants the customer: which request gets the client secret; and the card that gives way."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from payment.actors.ledger.payment_views import Views
from payment.actors.ledger.set_aside import SetAside
from payment.actors.ledger.telemetry import LedgerTelemetry
from payment.actors.messages import ChargeOrder, PaymentReply
from payment.core.effects import CancelIntent, ConfirmIntent, RetrieveIntent
from payment.core.messages import (
    ActionRequired,
    Authentication,
    ChargeFacts,
    IntentStatus,
    IntentSucceeded,
    RetrieveReason,
)
from payment.core.order import AttemptState
from payment.core.replies import (
    CardWasDeclined,
    Conflict,
    OutcomePending,
    Paid,
    PaymentStatus,
    RequiresAction,
    Unavailability,
    Unavailable,
)
from payment.ports.cards import Handover, NextAction
from tests.support.fakes.clock import FakeClock
from tests.unit.actors.ledger.ledger_world import Ledger, World, payment_of, reply, seen, waits, world

SDK = Authentication(use_stripe_sdk=True)
HANDOVER = Handover("pi_o1_secret_1", NextAction())
ACTION = ActionRequired("o1", 1, 1, "pi_o1")
REQUIRES_ACTION = IntentStatus.REQUIRES_ACTION


@pytest.fixture
async def stack() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def ledger(stack: World) -> Ledger:
    return await stack.ledger()


async def awaiting(ledger: Ledger) -> ChargeOrder:
    """An order whose first attempt awaits its customer; its request has been answered with the secret."""
    await ledger.order()
    message = await ledger.ask(authentication=SDK)
    await ledger.ended(ledger.one_to_stripe(), ACTION, handover=HANDOVER)
    return message


class TestSecret:
    """It goes to the owner alone, with the document that says that the customer is awaited, and is kept nowhere."""

    async def test_the_write_that_makes_it_awaiting_brings_the_secret(self, ledger: Ledger) -> None:
        message = await awaiting(ledger)
        answer = message.answer.result()
        assert (answer.reply, answer.handover) == (RequiresAction(payment_of("o1"), "o1"), HANDOVER)
        assert "secret" not in repr(answer)
        assert "secret" not in str(ledger.doc())
        assert ledger.doc().attempts[0].state is AttemptState.AWAITING

    async def test_a_replayed_answer_brings_none_and_the_intent_is_retrieved(self, ledger: Ledger) -> None:
        """The stored answer is the past: the request waits until the intent is retrieved, which follows at once."""
        await ledger.order()
        message = await ledger.ask(authentication=SDK)
        replayed = ActionRequired("o1", 1, 1, "pi_o1", replayed=True)
        await ledger.ended(ledger.one_to_stripe(), replayed)
        assert waits(message)
        look = ledger.one_to_stripe()
        assert isinstance(look, RetrieveIntent)
        await ledger.ended(look, seen(status=REQUIRES_ACTION), handover=HANDOVER)
        assert message.answer.result().handover == HANDOVER

    async def test_the_same_request_again_retrieves_the_intent_and_gets_it(self, ledger: Ledger) -> None:
        """F45: a customer who comes back from the bank gets the present state at once."""
        await awaiting(ledger)
        await ledger.clock.advance(3)
        again = await ledger.ask(authentication=SDK)
        assert waits(again)
        await ledger.ended(ledger.one_to_stripe(), seen(status=REQUIRES_ACTION), handover=HANDOVER)
        assert again.answer.result().handover == HANDOVER

    async def test_an_intent_is_retrieved_at_most_every_two_seconds(self, ledger: Ledger) -> None:
        """A client that repeats its request all the time costs Stripe one call every 2 s."""
        await awaiting(ledger)
        message = await ledger.ask(authentication=SDK)
        assert ledger.to_stripe() == []
        await ledger.clock.advance(3)
        assert [type(effect) for effect in ledger.to_stripe()] == [RetrieveIntent]
        assert waits(message)

    async def test_a_client_that_cant_authenticate_gets_no_secret(self, ledger: Ledger) -> None:
        await awaiting(ledger)
        await ledger.clock.advance(3)
        again = await ledger.ask()
        await ledger.ended(ledger.one_to_stripe(), seen(status=REQUIRES_ACTION), handover=HANDOVER)
        answer = again.answer.result()
        assert (answer.reply, answer.handover) == (OutcomePending(payment_of("o1"), "o1"), None)

    async def test_a_client_that_cant_authenticate_is_answered_at_once(self, ledger: Ledger) -> None:
        """F45: it can bring its customer no further, and waits for no one."""
        await awaiting(ledger)
        again = await ledger.ask()
        assert reply(again) == OutcomePending(payment_of("o1"), "o1")

    async def test_an_order_cancelled_meanwhile_brings_no_secret(self, ledger: Ledger) -> None:
        """F46: the intent awaited the customer, and the document read after that is cancelled."""
        await awaiting(ledger)
        await ledger.clock.advance(3)
        again = await ledger.ask(authentication=SDK)
        look = ledger.one_to_stripe()
        await ledger.cancel()
        await ledger.ended(look, seen(status=REQUIRES_ACTION), handover=HANDOVER)
        assert reply(again) is Conflict.CANCELLED
        assert again.answer.result().handover is None
        assert isinstance(ledger.one_to_stripe(), CancelIntent)

    async def test_without_the_intent_in_time_it_is_pending(self, ledger: Ledger) -> None:
        """Stripe can't be reached: 202, and no secret."""
        await awaiting(ledger)
        await ledger.clock.advance(3)
        again = await ledger.ask(authentication=SDK, wait_s=4)
        await ledger.clock.advance(5)
        assert reply(again) == OutcomePending(payment_of("o1"), "o1")

    async def test_the_customer_has_authenticated(self, ledger: Ledger) -> None:
        await awaiting(ledger)
        await ledger.clock.advance(3)
        again = await ledger.ask(authentication=SDK)
        await ledger.ended(ledger.one_to_stripe(), seen(charge_id="ch_1"))
        assert reply(again) == Paid(payment_of("o1"), "o1", "ch_1")

    async def test_a_late_answer_about_an_earlier_intent_brings_no_secret(self, ledger: Ledger) -> None:
        """F46: its secret is of an intent that is canceled by now."""
        await awaiting(ledger)
        second = await ledger.ask(token="tok_2", authentication=SDK)
        cancel = ledger.one_to_stripe()
        await ledger.ended(cancel, seen(status=IntentStatus.CANCELED, reason=RetrieveReason.CANCEL))
        confirm = ledger.one_to_stripe()
        await ledger.ended(confirm, ActionRequired("o1", 2, 2, "pi_2", replayed=True))
        look = ledger.one_to_stripe()
        await ledger.ended(look, seen(status=REQUIRES_ACTION), handover=HANDOVER)
        assert waits(second)


class TestViews:
    """GET makes the ledger retrieve the intent as well, for the owner."""

    async def test_the_owner_gets_the_secret_once_the_intent_is_retrieved(self, ledger: Ledger) -> None:
        await awaiting(ledger)
        await ledger.clock.advance(3)
        by_payment, by_order = ledger.view(payment_of("o1")), ledger.view(order_id="o1")
        await ledger.send(by_payment, by_order)
        await ledger.ended(ledger.one_to_stripe(), seen(status=REQUIRES_ACTION), handover=HANDOVER)
        for view in (by_payment, by_order):
            answer = view.answer.result()
            assert isinstance(answer, PaymentReply)
            assert (answer.view.status, answer.handover) == (PaymentStatus.REQUIRES_ACTION, HANDOVER)

    async def test_another_user_makes_the_ledger_retrieve_nothing(self, ledger: Ledger) -> None:
        await awaiting(ledger)
        await ledger.clock.advance(3)
        view = ledger.view(payment_of("o1"), user="user-2")
        await ledger.send(view)
        answer = view.answer.result()
        assert isinstance(answer, PaymentReply)
        assert answer.handover is None
        assert ledger.to_stripe() == []

    async def test_without_the_intent_in_time_it_is_answered_without_the_secret(self, ledger: Ledger) -> None:
        await awaiting(ledger)
        await ledger.clock.advance(3)
        view = ledger.view(payment_of("o1"))
        await ledger.send(view)
        assert not view.answer.done()
        await ledger.clock.advance(6)
        answer = view.answer.result()
        assert isinstance(answer, PaymentReply)
        assert (answer.view.status, answer.handover) == (PaymentStatus.REQUIRES_ACTION, None)

    async def test_an_order_that_expired_meanwhile_brings_no_secret(self, ledger: Ledger) -> None:
        """F46: the document says that the customer is awaited, and the order has expired since it was written."""
        await awaiting(ledger)
        rechecks: list[str] = []
        clock = FakeClock()
        aside = SetAside(LedgerTelemetry(ledger.health, ledger.metrics, clock), clock)
        views = Views(ledger.store, clock, away=lambda reason: None, recheck=rechecks.append, set_aside=aside)
        answering = asyncio.create_task(views.answer_all())
        view = ledger.view(payment_of("o1"))
        views.add(view)
        await ledger.clock.settle()
        assert rechecks == ["o1"]
        written = ledger.doc()
        await clock.advance(timedelta(days=11).total_seconds())
        views.written(written, HANDOVER, retrieved=True)
        answer = view.answer.result()
        assert isinstance(answer, PaymentReply)
        assert answer.handover is None
        answering.cancel()
        await asyncio.wait([answering])

    async def test_a_bank_that_has_yet_to_decide_is_answered_at_once(self, ledger: Ledger) -> None:
        """The intent was retrieved, and there is nothing for the customer to do."""
        await awaiting(ledger)
        await ledger.clock.advance(3)
        view = ledger.view(payment_of("o1"))
        await ledger.send(view)
        await ledger.ended(ledger.one_to_stripe(), seen(status=IntentStatus.PROCESSING))
        answer = view.answer.result()
        assert isinstance(answer, PaymentReply)
        assert (answer.view.status, answer.handover) == (PaymentStatus.REQUIRES_ACTION, None)

    async def test_the_truth_after_the_bank(self, ledger: Ledger) -> None:
        await awaiting(ledger)
        await ledger.clock.advance(3)
        view = ledger.view(payment_of("o1"))
        await ledger.send(view)
        await ledger.ended(ledger.one_to_stripe(), seen(charge_id="ch_1"))
        answer = view.answer.result()
        assert isinstance(answer, PaymentReply)
        assert (answer.view.status, answer.view.stripe_id) == (PaymentStatus.PAID, "ch_1")

    async def test_a_ledger_that_ends_answers_them(self, ledger: Ledger) -> None:
        """F32."""
        await awaiting(ledger)
        await ledger.clock.advance(3)
        view = ledger.view(payment_of("o1"))
        await ledger.send(view)
        await ledger.end()
        assert view.answer.result() == Unavailable(Unavailability.CRASHED)
        await ledger.start()

    async def test_a_payment_without_an_attempt_is_not_found(self, ledger: Ledger) -> None:
        await ledger.order()
        view = ledger.view(order_id="o1")
        await ledger.send(view)
        assert view.answer.result() is None


class TestAnotherCard:
    """It supersedes the one that awaits its customer: cancelled first, then charged, in one request."""

    async def test_the_intent_is_cancelled_and_the_next_one_confirmed(self, ledger: Ledger) -> None:
        await awaiting(ledger)
        second = await ledger.ask(token="tok_2")
        cancel = ledger.one_to_stripe()
        assert isinstance(cancel, CancelIntent)
        assert waits(second)
        await ledger.ended(cancel, seen(status=IntentStatus.CANCELED, reason=RetrieveReason.CANCEL))
        confirm = ledger.one_to_stripe()
        assert isinstance(confirm, ConfirmIntent)
        assert (confirm.intent.number, confirm.intent.id, confirm.instrument.value) == (2, None, "tok_2")
        assert waits(second)
        first_again = await ledger.ask(authentication=SDK)
        answer = reply(first_again)
        assert isinstance(answer, CardWasDeclined)
        assert answer.decline_code == "superseded"

    async def test_the_customer_was_faster(self, ledger: Ledger) -> None:
        """The old intent has succeeded: 409, paid."""
        await awaiting(ledger)
        second = await ledger.ask(token="tok_2")
        await ledger.ended(ledger.one_to_stripe(), seen(charge_id="ch_1", reason=RetrieveReason.CANCEL))
        assert reply(second) is Conflict.PAID
        assert ledger.to_stripe() == []

    async def test_two_tabs_with_two_cards(self, ledger: Ledger) -> None:
        """One of them is charged, the other is under way."""
        await awaiting(ledger)
        second = await ledger.ask(token="tok_2")
        third = await ledger.ask(token="tok_3")
        cancel = ledger.one_to_stripe()
        await ledger.ended(cancel, seen(status=IntentStatus.CANCELED, reason=RetrieveReason.CANCEL))
        confirm = ledger.one_to_stripe()
        assert (waits(second), reply(third)) == (True, Conflict.UNDER_WAY)
        await ledger.ended(confirm, IntentSucceeded("o1", 2, "pi_2", ChargeFacts("ch_2")))
        assert reply(second) == Paid(payment_of("o1"), "o1", "ch_2")

    async def test_a_cancel_that_lasts_too_long_is_under_way(self, ledger: Ledger) -> None:
        """Never 202: nothing of this card is in the document."""
        await awaiting(ledger)
        second = await ledger.ask(token="tok_2", wait_s=3)
        await ledger.clock.advance(4)
        assert reply(second) is Conflict.UNDER_WAY
