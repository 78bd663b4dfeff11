"""The ledger's rule: nothing leaves before the store has confirmed the document that says so."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from payment.actors.ledger.commit import READ_FIRST_S
from payment.actors.messages import (
    ActorRestarted,
    CancelEffect,
    EffectCompleted,
    Handling,
)
from payment.core.effects import ConfirmIntent, PublishEvent, RefundCharge, RetrieveIntent
from payment.core.messages import (
    EventPublished,
    OrderCancelled,
    OrderCreated,
)
from payment.core.order import AttemptState, OrderStatus
from payment.core.replies import CardWasDeclined, Conflict, Denied, Paid, Unavailability, Unavailable
from tests.unit.actors.ledger.ledger_world import (
    USER,
    Ledger,
    World,
    charged,
    declined,
    payment_of,
    reply,
    seen,
    unclear,
    waits,
    withheld,
    world,
)


@pytest.fixture
async def stack() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def ledger(stack: World) -> Ledger:
    return await stack.ledger()


def unavailable(message: object) -> Unavailability:
    answer = reply(message)  # type: ignore[arg-type]
    assert isinstance(answer, Unavailable), answer
    return answer.reason


class TestOrder:
    """Confirmed first, released then: replies, acknowledgements, effects."""

    async def test_a_charge_from_the_order_to_the_published_event(self, ledger: Ledger) -> None:
        """Every step goes out after its write, and the request is answered once the charge is written."""
        await ledger.order()
        message = await ledger.ask()
        charge = ledger.one_to_stripe()
        assert (charge.send, charge.intent.amount, charge.instrument.value) == (1, 1999, "tok_1")
        assert waits(message)
        await ledger.ended(charge, charged("o1", "ch_1"))
        assert reply(message) == Paid(payment_of("o1"), "o1", "ch_1")
        (event,) = ledger.to_nats()
        message_id = f"payment:created:{payment_of('o1')}"
        assert event == PublishEvent("o1", "payment:created", payment_of("o1"), "ch_1", None, message_id)
        await ledger.ended(event, EventPublished("o1", event.message_id))
        assert ledger.doc().due is None
        assert len(ledger.in_flight) == 0

    @pytest.mark.parametrize("where", ["commit", "answer"])
    async def test_nothing_leaves_before_a_write_is_confirmed(self, ledger: Ledger, where: str) -> None:
        """F03, F43: neither on its way to the store nor on its way back does a write release anything."""
        await ledger.order()
        ledger.store.stall(where)
        message = await ledger.ask()
        await ledger.send(ledger.arrived(ledger.created("o2")))
        assert (ledger.to_stripe(), ledger.settled, waits(message)) == ([], [], True)
        ledger.store.go_on()
        await ledger.clock.settle()
        assert isinstance(ledger.one_to_stripe(), ConfirmIntent)
        assert ledger.settled == [("order:created o2", Handling.APPLIED)]

    @pytest.mark.parametrize("where", ["commit", "answer"])
    async def test_an_outcome_is_replied_and_published_only_once_it_is_written(
        self, ledger: Ledger, where: str
    ) -> None:
        """F06: no 201 and no payment:created before the document says paid."""
        await ledger.order()
        message = await ledger.ask()
        charge = ledger.one_to_stripe()
        ledger.store.stall(where)
        await ledger.ended(charge, charged("o1", "ch_1"))
        assert (ledger.to_nats(), waits(message)) == ([], True)
        ledger.store.go_on()
        await ledger.clock.settle()
        assert len(ledger.to_nats()) == 1
        assert isinstance(reply(message), Paid)

    async def test_a_refusal_is_replied_only_once_an_earlier_write_can_land_no_more(self, ledger: Ledger) -> None:
        """F26: its write is delayed until the order has expired; what got 409 must not begin an attempt later."""
        await ledger.send(ledger.arrived(ledger.created(days=3 / 86_400)))
        ledger.store.hold_writes = 1
        ledger.store.stall("probe")
        message = await ledger.ask()
        await ledger.clock.advance(5.0)
        ledger.store.go_on()
        await ledger.clock.settle()
        assert reply(message) is Conflict.EXPIRED
        assert ledger.store.land() == [False]
        assert ledger.doc().payment is None

    async def test_an_outcome_that_can_t_be_written_is_not_released_again(self, ledger: Ledger) -> None:
        """F41: the card was charged; a second release of that send could end as "never sent": its lease runs out."""
        await ledger.order()
        await ledger.ask()
        charge = ledger.one_to_stripe()
        ledger.store.rejected_document = lambda _order: True
        await ledger.ended(charge, charged("o1", "ch_1"))
        ledger.store.rejected_document = lambda _order: False
        await ledger.ask()
        assert ledger.to_stripe() == []
        await ledger.clock.advance(62.0)
        again = ledger.one_to_stripe()
        assert isinstance(again, RetrieveIntent)
        await ledger.ended(again, seen(charge_id="ch_1"))
        assert ledger.doc().attempts[0].state is AttemptState.PAID

    async def test_an_answer_that_writes_nothing_is_read_afresh(self, stack: World, ledger: Ledger) -> None:
        """A cached document is good for a write that `rev` fences, not for a 403 or a 409."""
        await ledger.order()
        other = await stack.ledger("web-2", own_store=True)
        await other.cancel()
        assert reply(await ledger.ask(user="somebody")) is Denied.NOT_YOURS
        assert reply(await ledger.ask()) is Conflict.CANCELLED

    async def test_a_paid_order_that_another_process_cancelled_is_paid_no_more(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F21: the request that was answered with 201 comes again; the document that said so is still cached."""
        await ledger.order()
        await ledger.ask()
        await ledger.ended(ledger.one_to_stripe(), charged("o1", "ch_1"))
        other = await stack.ledger("web-2", own_store=True)
        await other.cancel()
        assert reply(await ledger.ask()) is Conflict.CANCELLED

    async def test_a_request_that_meets_its_cancel_in_one_write_is_replied_cancelled(self, ledger: Ledger) -> None:
        """Paid a moment ago, cancelled in this very write: 409, and the money goes back."""
        await ledger.order()
        await ledger.ask()
        await ledger.ended(ledger.one_to_stripe(), charged("o1", "ch_1"))
        repeated = ledger.asked()
        await ledger.send(repeated, ledger.arrived(OrderCancelled("o1", 1)))
        assert reply(repeated) is Conflict.CANCELLED
        assert isinstance(ledger.one_to_stripe(), RefundCharge)

    async def test_a_hundred_orders_are_one_write(self, ledger: Ledger) -> None:
        """Messages that wait in the mailbox are committed together."""
        before = ledger.store.calls["commit"]
        await ledger.order(*(f"o{number}" for number in range(100)))
        assert ledger.store.calls["commit"] - before <= 2

    async def test_a_cancelled_order_withdraws_its_charge(self, ledger: Ledger) -> None:
        """F20: what was not sent yet never is; the request gets 409."""
        await ledger.order()
        message = await ledger.ask()
        charge = ledger.one_to_stripe()
        await ledger.cancel()
        assert ledger.to_stripe() == [CancelEffect(charge.id)]
        assert reply(message) is Conflict.CANCELLED
        await ledger.ended(charge, withheld("o1", 1, 1))
        assert ledger.doc().attempts[0].state is AttemptState.REFUSED
        assert len(ledger.in_flight) == 0


class TestNew:
    """An order that is announced for the first time is written without a read; the fence finds out if it was known."""

    async def test_a_new_order_is_not_read_first(self, ledger: Ledger) -> None:
        await ledger.order(*(f"o{number}" for number in range(10)))
        assert (ledger.store.calls["load"], ledger.store.calls["commit"]) == (0, 1)

    async def test_one_that_was_known_is_read_and_left_as_it_is(self, stack: World, ledger: Ledger) -> None:
        """F01, F29: another queue group's events, or a broker that has forgotten what it delivered."""
        other = await stack.ledger("web-2", own_store=True)
        await other.cancel()
        await ledger.send(ledger.arrived(ledger.created()))
        assert ledger.settled == [("order:created o1", Handling.APPLIED)]
        assert ledger.doc().status is OrderStatus.CANCELLED
        assert (ledger.doc().amount, ledger.doc().rev) == (1999, 2)

    async def test_while_there_are_known_ones_all_are_read(self, stack: World, ledger: Ledger) -> None:
        """F39: a new queue group receives all events that there ever were, and a collision costs more than a read."""
        other = await stack.ledger("web-2", own_store=True)
        await other.order("o1", "o2")
        await ledger.order("o1")
        commits, reads = ledger.store.calls["commit"], ledger.store.calls["load"]
        await ledger.order("o2")
        assert (ledger.store.calls["commit"], ledger.store.calls["load"]) == (commits, reads + 1)
        await ledger.clock.advance(READ_FIRST_S)
        reads = ledger.store.calls["load"]
        await ledger.order("o3")
        assert ledger.store.calls["load"] == reads

    async def test_a_redelivered_one_is_read_first(self, ledger: Ledger) -> None:
        """F08: most likely it was written, and its acknowledgement lost."""
        await ledger.send(ledger.arrived(ledger.created(), redelivered=True))
        assert ledger.store.calls["load"] == 1
        assert ledger.settled == [("order:created o1", Handling.APPLIED)]

    async def test_a_new_order_whose_answer_is_lost_is_recognised(self, ledger: Ledger) -> None:
        """F26: it was written, and the confirmation was lost."""
        ledger.store.lose_answers = 1
        await ledger.send(ledger.arrived(ledger.created()))
        await ledger.clock.advance(1.0)
        assert ledger.settled == [("order:created o1", Handling.APPLIED)]
        assert (ledger.doc().rev, ledger.store.calls["commit"]) == (1, 1)


class TestTwice:
    async def test_an_event_delivered_twice_is_applied_once(self, ledger: Ledger) -> None:
        """F01, F08, F29: one order; the second delivery is stale and changes nothing, in one write or in two."""
        created = ledger.created()
        await ledger.send(ledger.arrived(created, "a"), ledger.arrived(created, "a again"))
        await ledger.send(ledger.arrived(created, "b"))
        assert ledger.doc().rev == 1
        assert ledger.settled == [("a", Handling.APPLIED), ("a again", Handling.STALE), ("b", Handling.STALE)]

    async def test_two_processes_get_the_same_event_at_once(self, stack: World, ledger: Ledger) -> None:
        """F01: the insert of one collides, is read again, and is stale."""
        other = await stack.ledger("web-2", own_store=True)
        created = ledger.created()
        for each in (ledger, other):
            each.store.stall("commit")
            await each.send(each.arrived(created))
        for each in (ledger, other):
            each.store.go_on()
        await stack.clock.settle()
        assert [each.settled[0][1] for each in (ledger, other)] == [Handling.APPLIED, Handling.STALE]
        assert ledger.doc().rev == 1

    async def test_two_requests_in_one_process_are_one_charge(self, ledger: Ledger) -> None:
        """F02: the second joins, and both get the same reply; another token gets 409."""
        await ledger.order()
        first, second, third = ledger.asked(), ledger.asked(), ledger.asked(token="tok_2")
        await ledger.send(first, second, third)
        charge = ledger.one_to_stripe()
        assert reply(third) is Conflict.UNDER_WAY
        await ledger.ended(charge, charged("o1", "ch_1"))
        assert reply(first) == reply(second) == Paid(payment_of("o1"), "o1", "ch_1")
        assert reply(await ledger.ask()) == Paid(payment_of("o1"), "o1", "ch_1", replayed=True)

    async def test_two_processes_are_asked_at_once(self, stack: World, ledger: Ledger) -> None:
        """F02: one write wins and charges; the other process joins, reads about once a second, and replies the same."""
        await ledger.order()
        other = await stack.ledger("web-2", own_store=True)
        messages = []
        for each in (ledger, other):
            each.store.stall("commit")
            messages.append(await each.ask())
        for each in (ledger, other):
            each.store.go_on()
        await stack.clock.settle()
        charge = ledger.one_to_stripe()
        assert other.to_stripe() == []
        await ledger.ended(charge, charged("o1", "ch_1"))
        assert waits(messages[1])
        reads = other.store.calls["load"]
        await stack.clock.advance(2.0)
        assert reply(messages[0]) == reply(messages[1]) == Paid(payment_of("o1"), "o1", "ch_1")
        assert other.store.calls["load"] - reads <= 3

    async def test_a_hot_order_does_not_hold_up_others(self, ledger: Ledger) -> None:
        """F31: thousands of requests for one order; one for another is answered by the next write."""
        await ledger.order("hot", "cool")
        requests = [ledger.asked("hot") for _ in range(3_000)]
        for message in requests:
            assert ledger.mailbox.offer(message)
        cool = ledger.asked("cool", "tok_2")
        assert ledger.mailbox.offer(cool)
        before = ledger.store.calls["commit"]
        await ledger.clock.settle()
        charges = {effect.order_id: effect for effect in ledger.to_stripe()}
        assert set(charges) == {"hot", "cool"}
        assert ledger.store.calls["commit"] - before <= 3
        await ledger.ended(charges["hot"], charged("hot", "ch_1"))
        assert {type(reply(message)) for message in requests} == {Paid}


class TestOutcomes:
    async def test_a_late_outcome_is_decided_on_the_newer_document(self, stack: World, ledger: Ledger) -> None:
        """F34: a process paused with a confirm in flight wakes: its write is refused, and the charge is known."""
        await ledger.order()
        await ledger.ask()
        charge = ledger.one_to_stripe()
        other = await stack.ledger("web-2", own_store=True)
        await ledger.end()
        await stack.clock.advance(62)
        found = other.one_to_stripe()
        assert isinstance(found, RetrieveIntent)
        await other.ended(found, seen(charge_id="ch_1"))
        paid_rev = ledger.doc().rev
        await ledger.start()
        await ledger.ended(charge, charged("o1", "ch_1"))
        assert ledger.doc().rev == paid_rev
        assert ledger.doc().attempts[0].state is AttemptState.PAID
        assert ledger.to_stripe() == []

    async def test_a_stale_write_is_refused_and_decided_again(self, ledger: Ledger) -> None:
        """F34: another process writes between our decision and our write: the cancel is seen, no charge leaves."""
        await ledger.order()
        doc = ledger.doc()

        def cancelled_first(_: object) -> None:
            ledger.store.before_write = lambda _: None
            ledger.store.database.put(replace(doc, rev=doc.rev + 1, status=OrderStatus.CANCELLED))

        ledger.store.before_write = cancelled_first
        message = await ledger.ask()
        assert reply(message) is Conflict.CANCELLED
        assert ledger.to_stripe() == []

    async def test_an_unclear_send_is_sent_again_under_the_same_key(self, ledger: Ledger) -> None:
        """F09, F10: counted in the document first; the request waits on."""
        await ledger.order()
        message = await ledger.ask()
        first = ledger.one_to_stripe()
        await ledger.ended(first, unclear("o1", 1, 1))
        second = ledger.one_to_stripe()
        assert (second.id, second.intent.key, second.send) == (first.id, first.intent.key, 2)
        assert waits(message)

    async def test_a_declined_request_gets_402_and_the_next_token_charges(self, ledger: Ledger) -> None:
        """F15: 402, then a new attempt with a new key."""
        await ledger.order()
        message = await ledger.ask()
        first = ledger.one_to_stripe()
        await ledger.ended(first, declined())
        assert isinstance(reply(message), CardWasDeclined)
        await ledger.ask(token="tok_2")
        assert ledger.one_to_stripe().id != first.id

    async def test_the_fates_of_a_dead_actor_s_effects_are_unknown(self, ledger: Ledger) -> None:
        """F32: a charge counts as unclear and is sent again; an event is published again."""
        await ledger.order("o1", "o2")
        await ledger.ask("o1")
        charge = ledger.one_to_stripe()
        await ledger.send(ActorRestarted("nats"))
        assert ledger.to_stripe() == []
        await ledger.send(ActorRestarted("stripe"))
        again = ledger.one_to_stripe()
        assert (again.id, again.send) == (charge.id, 2)
        await ledger.ended(again, charged("o1", "ch_1"))
        (event,) = ledger.to_nats()
        await ledger.send(ActorRestarted("nats"))
        await ledger.clock.advance(2)
        assert ledger.to_nats() == [event]
        await ledger.ended(event, EventPublished("o1", event.message_id))
        assert len(ledger.in_flight) == 0


class TestRestart:
    async def test_a_new_incarnation_retrieves_first_then_sends_the_same_key(self, ledger: Ledger) -> None:
        """F04: crashed after the intent: found nothing, so the same key and parameters again."""
        await ledger.order()
        message = await ledger.ask()
        charge = ledger.one_to_stripe()
        await ledger.restart()
        assert unavailable(message) is Unavailability.WRITE_UNKNOWN
        found = ledger.one_to_stripe()
        assert isinstance(found, RetrieveIntent)
        await ledger.ended(found, seen())
        again = ledger.one_to_stripe()
        assert (again.id, again.instrument, again.send) == (charge.id, charge.instrument, 2)
        assert again.intent == replace(charge.intent, id="pi_o1")

    async def test_a_charge_that_was_made_is_found_and_not_repeated(self, ledger: Ledger) -> None:
        """F05, F06, F07: paid as retrieved; its event goes out, again after a crash until it is marked."""
        await ledger.order()
        await ledger.ask()
        ledger.to_stripe()
        await ledger.restart()
        found = ledger.one_to_stripe()
        await ledger.ended(found, seen(charge_id="ch_1"))
        assert ledger.doc().attempts[0].state is AttemptState.PAID
        (event,) = ledger.to_nats()
        await ledger.restart()
        assert ledger.to_nats() == [event]
        assert ledger.to_stripe() == []

    async def test_another_process_waits_for_the_lease(self, stack: World, ledger: Ledger) -> None:
        """F04: another process's charge is taken up when its lease has run out, not before."""
        await ledger.order()
        await ledger.ask()
        await ledger.end()
        other = await stack.ledger("web-2", own_store=True)
        await stack.clock.advance(58)
        assert other.to_stripe() == []
        await stack.clock.advance(4)
        assert isinstance(other.one_to_stripe(), RetrieveIntent)

    async def test_an_event_in_a_crash_is_handed_back_once(self, stack: World, ledger: Ledger) -> None:
        """F08, F32: not settled yet: to be delivered again; what was settled is not settled twice."""
        await ledger.send(ledger.arrived(ledger.created("o1")))
        ledger.store.stall("commit")
        await ledger.send(ledger.arrived(ledger.created("o2")))
        await ledger.restart()
        assert ledger.settled == [("order:created o1", Handling.APPLIED), ("order:created o2", Handling.NOT_NOW)]

    async def test_a_crash_answers_every_caller_once(self, ledger: Ledger) -> None:
        """F32: in an order queue, under way to the store, waiting for an outcome, reading a payment."""
        await ledger.order("o1", "o2", "o3", "o4")
        waiting = await ledger.ask("o1")
        ledger.store.stall("commit", "load_by_payment")
        under_way = await ledger.ask("o2")
        order_queue = await ledger.ask("o2", "tok_2")
        view = ledger.view(payment_of("o1"))
        await ledger.send(view, ledger.arrived(OrderCreated("o5", 0, USER, ledger.clock.now(), 1, "usd")))
        await ledger.send(ledger.invalid())
        await ledger.end()
        assert unavailable(waiting) is Unavailability.WRITE_UNKNOWN
        assert unavailable(under_way) is Unavailability.WRITE_UNKNOWN
        assert unavailable(order_queue) is Unavailability.CRASHED
        assert view.answer.result() == Unavailable(Unavailability.CRASHED)
        assert [name for name, _ in ledger.settled].count("order:created o5") == 1
        await ledger.start()

    async def test_outcomes_reach_the_next_incarnation(self, ledger: Ledger) -> None:
        """F32: what Stripe's actor brings while no ledger runs waits in the mailbox."""
        await ledger.order()
        await ledger.ask()
        charge = ledger.one_to_stripe()
        await ledger.end()
        ledger.mailbox.offer(EffectCompleted(charge.id, charged("o1", "ch_1")))
        await ledger.start()
        await ledger.clock.advance(2)
        assert ledger.doc().attempts[0].state is AttemptState.PAID
