"""The ledger and time: deadlines of requests, leases, the sweep, and payments that are shown."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from msgspec.structs import replace

from payment.actors.ledger.actor import (
    BEHIND_LIMIT_S,
    CHARGES_IN_FLIGHT_LIMIT,
    COMMITS_UNDER_WAY_LIMIT,
    ORDERS_IN_A_COMMIT_LIMIT,
    OWN_WORK_AGAIN_S,
    SLOW_COMMIT_S,
    SWEEP_EVERY_S,
    SWEEP_JITTER_S,
    TICK_S,
)
from payment.actors.messages import AnswerBy, ChargeReply, EffectCompleted, PaymentReply
from payment.core.effects import ConfirmIntent, FindRefund, PublishEvent, RecheckRefund, RetrieveIntent
from payment.core.messages import (
    ActionRequired,
    Authentication,
    ChargeRefunded,
    EffectReturned,
    EventPublished,
    RefundBlocked,
    RefundRechecked,
)
from payment.core.order import TaskKind
from payment.core.replies import OutcomePending, Paid, PaymentStatus, PaymentView, Unavailability, Unavailable
from tests.unit.actors.ledger.ledger_world import (
    Ledger,
    World,
    charged,
    payment_of,
    reply,
    seen,
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


class TestDeadline:
    async def test_a_request_without_an_outcome_gets_202_after_one_more_read(
        self, stack: World, ledger: Ledger
    ) -> None:
        """Not before its deadline, and within a moment after it, with a time to ask again."""
        await ledger.order()
        message = await ledger.ask(wait_s=20)
        await stack.clock.advance(19.9)
        assert waits(message)
        reads = ledger.store.calls["load"]
        await stack.clock.advance(0.5)
        assert reply(message) == OutcomePending(payment_of("o1"), "o1")
        assert message.answer.result().retry_after_s == 1
        assert ledger.store.calls["load"] > reads

    async def test_the_last_read_may_bring_the_outcome(self, stack: World, ledger: Ledger) -> None:
        """Another process has written it a moment ago: 201, not 202."""
        await ledger.order()
        message = await ledger.ask(wait_s=5)
        charge = ledger.one_to_stripe()
        other = await stack.ledger("web-2", own_store=True)
        await stack.clock.advance(4.8)
        await other.ended(charge, charged("o1", "ch_1"))
        await stack.clock.advance(0.5)
        assert reply(message) == Paid(payment_of("o1"), "o1", "ch_1")

    async def test_a_request_that_would_wait_too_long_is_pending_at_once(self, ledger: Ledger) -> None:
        """F14: a queue of 600 at 25 a second: 202 at once with its true time; a shorter place waits."""
        await ledger.order("o1", "o2")
        short = await ledger.ask("o1")
        ledger.stripe.accepted += 600
        long = await ledger.ask("o2")
        assert reply(long) == OutcomePending(payment_of("o2"), "o2")
        assert long.answer.result().retry_after_s == 25
        assert waits(short)
        assert isinstance(ledger.to_stripe()[1], ConfirmIntent), "its charge is in the queue nevertheless"

    async def test_a_recheck_after_the_deadline_is_pending_at_once(self, stack: World, ledger: Ledger) -> None:
        """Nothing is rechecked before that: no use in waiting."""
        await ledger.order()
        await ledger.ask()
        ledger.to_stripe()
        doc = ledger.doc()
        assert doc.payment is not None
        assert doc.intent is not None
        assert doc.intent.task is not None
        due = stack.clock.now() + timedelta(hours=1)
        task = replace(doc.intent.task, kind=TaskKind.RECHECK_LATER, due=due, holder=None)
        intent = replace(doc.intent, task=task)
        other = await stack.ledger("web-2", own_store=True)
        stack.store.database.put(
            replace(doc, rev=doc.rev + 1, due=task.due, payment=replace(doc.payment, intent=intent))
        )
        message = await other.ask()
        assert reply(message) == OutcomePending(payment_of("o1"), "o1")
        assert message.answer.result().retry_after_s == 3_600

    async def test_a_request_that_waited_too_long_for_its_turn_starts_nothing(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F39: its reply is that nothing was charged, which stays true."""
        await ledger.order("o1")
        ledger.actor.commits.forget("o1")
        ledger.store.stall("load")
        message = await ledger.ask(wait_s=1)
        second = await ledger.ask(wait_s=1, token="tok_2")
        await stack.clock.advance(2)
        assert reply(second) == Unavailable(Unavailability.BUSY)
        ledger.store.go_on()
        await stack.clock.settle()
        assert reply(message).reason is Unavailability.WRITE_UNKNOWN
        assert (ledger.to_stripe(), ledger.doc().payment) == ([], None)

    async def test_a_drain_has_requests_answered_by_its_deadline(self, stack: World, ledger: Ledger) -> None:
        """F33: with what is known then: a charge is pending, and a payment is shown without a client secret."""
        await ledger.order("o1", "o2")
        charge = await ledger.ask("o1")
        await ledger.ask("o2", authentication=Authentication(use_stripe_sdk=True))
        confirm = next(each for each in ledger.to_stripe() if each.order_id == "o2")
        await ledger.ended(confirm, ActionRequired("o2", 1, 1, "pi_o2"))
        view = ledger.view(order_id="o2")
        await ledger.send(view)
        await ledger.send(AnswerBy(stack.clock.monotonic() + 1.0))
        assert (charge.answer.done(), view.answer.done()) == (False, False)
        await stack.clock.advance(1.0 + TICK_S)
        assert reply(charge) == OutcomePending(payment_of("o1"), "o1")
        shown = view.answer.result()
        assert isinstance(shown, PaymentReply)
        assert (shown.view.status, shown.handover) == (PaymentStatus.REQUIRES_ACTION, None)

    async def test_a_request_starts_nothing_at_its_very_deadline(self, ledger: Ledger) -> None:
        """Nor just after it, before the next tick has answered it: its turn came too late."""
        await ledger.order()
        message = await ledger.ask(wait_s=0)
        assert reply(message) == Unavailable(Unavailability.BUSY)
        assert (ledger.to_stripe(), ledger.doc().payment) == ([], None)

    async def test_a_request_that_http_has_answered_starts_nothing(self, ledger: Ledger) -> None:
        """HTTP replies "unknown" to a request that has waited too long: from then on it is left at that."""
        await ledger.order()
        message = ledger.asked()
        message.answer.set_result(ChargeReply(Unavailable(Unavailability.WRITE_UNKNOWN)))
        await ledger.send(message)
        assert (ledger.to_stripe(), ledger.doc().payment) == ([], None)

    async def test_requests_past_the_limit_of_charges_in_flight_are_rejected(self, stack: World) -> None:
        """F39: before anything of them is written."""
        ledger = await stack.ledger()
        ids = [f"o{number}" for number in range(15)]
        await ledger.order(*ids)
        ledger.in_flight._charges = CHARGES_IN_FLIGHT_LIMIT - 10  # as many as these are held already
        messages = [ledger.asked(order_id) for order_id in ids]
        await ledger.send(*messages)
        busy = [message for message in messages if message.answer.done()]
        assert [reply(message) for message in busy] == [Unavailable(Unavailability.BUSY)] * 5
        assert len(ledger.to_stripe()) == 10
        assert ledger.doc(busy[0].request.order_id).payment is None

    @pytest.mark.parametrize(("waited_s", "busy"), [(BEHIND_LIMIT_S - 0.01, False), (BEHIND_LIMIT_S, True)])
    async def test_requests_are_rejected_while_the_ledger_is_behind(
        self, stack: World, ledger: Ledger, waited_s: float, busy: bool
    ) -> None:
        """F39: requests come faster than they are decided: no more are taken, and those that wait are served."""
        ids = [f"o{number}" for number in range(COMMITS_UNDER_WAY_LIMIT + 2)]
        await ledger.order(*ids)
        ledger.store.stall("commit")
        for order_id in ids[:-2]:
            await ledger.ask(order_id)
            await stack.clock.advance(SLOW_COMMIT_S + TICK_S)
        waiting = await ledger.ask(ids[-2])
        await stack.clock.advance(waited_s)
        late = await ledger.ask(ids[-1])
        assert waits(late) is not busy
        ledger.store.go_on()
        await stack.clock.settle()
        assert waits(waiting), "its charge is at Stripe"
        assert (ledger.doc(ids[-2]).payment is not None, ledger.doc(ids[-1]).payment is None) == (True, busy)
        if busy:
            assert reply(late) == Unavailable(Unavailability.BUSY)
        assert waits(await ledger.ask(ids[-1])), "no request waits any more: it is taken"

    async def test_a_full_commit_goes_beside_another_at_once(self, stack: World, ledger: Ledger) -> None:
        """A burst and a backlog of events: one is decided while the other is written. What is less waits."""
        count = 1 + ORDERS_IN_A_COMMIT_LIMIT
        ledger.store.stall("commit")
        await ledger.send(ledger.arrived(ledger.created("first")))
        await ledger.send(*(ledger.arrived(ledger.created(f"o{number}")) for number in range(count - 2)))
        assert ledger.actor._order_queues.ready == count - 2, "one less than full"
        await ledger.send(ledger.arrived(ledger.created("last")))
        assert ledger.actor._order_queues.ready == 0
        ledger.store.go_on()
        await stack.clock.settle()
        assert len(ledger.settled) == count

    async def test_publications_that_wait_take_no_charges_place(self, stack: World) -> None:
        """F28: while NATS is away payments wait to be published, and charging goes on."""
        ledger = await stack.ledger()
        ids = [f"o{number}" for number in range(15)]
        await ledger.order(*ids)
        for order_id in ids:
            await ledger.ask(order_id)
            await ledger.ended(ledger.one_to_stripe(), charged(order_id, f"ch_{order_id}"))
        assert (len(ledger.in_flight), ledger.in_flight.charges) == (15, 0)


class TestLeases:
    async def test_leases_of_waiting_effects_are_renewed_in_groups(self, stack: World, ledger: Ledger) -> None:
        """Two processes: the lease never runs out, the other takes nothing, and fifty renewals are one write."""
        ids = [f"o{number}" for number in range(20)]
        await ledger.order(*ids)
        await ledger.send(*(ledger.asked(order_id) for order_id in ids))
        other = await stack.ledger("web-2", own_store=True)
        before = ledger.store.calls["commit"]
        await stack.clock.advance(150)
        assert other.to_stripe() == []
        assert len(ledger.to_stripe()) == 20
        assert ledger.store.calls["commit"] - before <= 10

    async def test_an_effect_that_no_mailbox_took_is_handed_over_soon(self, stack: World) -> None:
        """F39: nothing is lost by a full mailbox, and it is not sent as if it had been unclear."""
        ledger = await stack.ledger(stripe_room=2)
        await ledger.order("o1", "o2", "o3")
        await ledger.send(*(ledger.asked(f"o{number}") for number in (1, 2, 3)))
        assert len(ledger.to_stripe()) == 2
        await stack.clock.advance(1.5)
        assert [(effect.order_id, effect.send) for effect in ledger.to_stripe()] == [("o3", 1)]

    async def test_a_withdrawal_that_no_mailbox_took_is_repeated(self, stack: World) -> None:
        """F20: the charge must never be sent."""
        ledger = await stack.ledger(stripe_room=1)
        await ledger.order()
        await ledger.ask()
        await ledger.cancel()
        assert isinstance(ledger.one_to_stripe(), ConfirmIntent)
        await stack.clock.advance(1.5)
        assert type(ledger.one_to_stripe()).__name__ == "CancelEffect"

    async def test_an_effect_given_back_while_draining_is_left_for_others(self, stack: World, ledger: Ledger) -> None:
        """F33: due at once, without a holder, and this process does not take it up again."""
        await ledger.order()
        await ledger.ask()
        charge = ledger.one_to_stripe()
        draining = stack.clock.drive(ledger.actor.drain(), limit_s=5)
        ledger.mailbox.offer(EffectCompleted(charge.id, withheld("o1", 1, 1)))
        await draining
        await stack.clock.advance(3)
        assert ledger.to_stripe() == []
        assert (ledger.doc().holder, ledger.doc().due is not None) == (None, True)
        other = await stack.ledger("web-2", own_store=True)
        assert isinstance(other.one_to_stripe(), RetrieveIntent)

    async def test_a_retrieval_that_is_handed_back_is_taken_up_again(self, stack: World, ledger: Ledger) -> None:
        """By the next sweep: nothing else would."""
        await ledger.order()
        await ledger.ask()
        await ledger.restart()
        found = [effect for effect in ledger.to_stripe() if isinstance(effect, RetrieveIntent)]
        await ledger.ended(found[0], EffectReturned("o1", found[0].id))
        await stack.clock.advance(2)
        assert ledger.to_stripe() == found


class TestSweep:
    @pytest.mark.parametrize("jump", [timedelta(days=365), timedelta(days=-365)])
    async def test_a_clock_that_jumps_loses_no_due_work(self, stack: World, ledger: Ledger, jump: timedelta) -> None:
        """F38: a year ahead or back, due work is swept, and an old key is not sent again."""
        await ledger.order()
        await ledger.ask()
        await ledger.end()
        ledger.to_stripe()
        stack.clock.jump(jump)
        other = await stack.ledger("web-2", own_store=True)
        await stack.clock.advance(70)
        found = [effect for effect in other.to_stripe() if isinstance(effect, RetrieveIntent)]
        assert len(found) == 1
        await other.ended(found[0], seen())
        assert not any(isinstance(effect, ConfirmIntent) for effect in other.to_stripe())

    async def test_an_absurd_deadline_counts_as_due(self, stack: World, ledger: Ledger) -> None:
        """F38: a clock that was wrong wrote it; it is taken up at once."""
        await ledger.order()
        await ledger.ask()
        ledger.to_stripe()
        await ledger.end()
        doc = ledger.doc()
        assert doc.payment is not None
        far = stack.clock.now() + timedelta(days=300)
        assert doc.intent is not None
        assert doc.intent.task is not None
        intent = replace(doc.intent, task=replace(doc.intent.task, due=far))
        stack.store.database.put(replace(doc, rev=doc.rev + 1, due=far, payment=replace(doc.payment, intent=intent)))
        other = await stack.ledger("web-2", own_store=True)
        await stack.clock.advance(2)
        assert isinstance(other.one_to_stripe(), RetrieveIntent)

    async def test_the_sweep_leaves_effects_in_flight_alone(self, stack: World, ledger: Ledger) -> None:
        """An outage longer than the lease: renewed when the store is back, not retrieved as if it were lost."""
        await ledger.order()
        await ledger.ask()
        charge = ledger.one_to_stripe()
        stack.store.away = "gone"
        await ledger.send(ledger.invalid())
        await stack.clock.advance(120)
        stack.store.away = None
        await stack.clock.advance(3)
        assert ledger.to_stripe() == []
        await ledger.ended(charge, charged("o1", "ch_1"))
        assert len(ledger.to_nats()) == 1

    async def test_the_sweep_takes_up_what_is_due_beside_effects_in_flight(self, stack: World, ledger: Ledger) -> None:
        """F28, F44: NATS is away with one effect of an order in flight; the other is rechecked in its time."""
        await ledger.order()
        await ledger.ask()
        await ledger.ended(ledger.one_to_stripe(), charged("o1", "ch_1"))
        await ledger.cancel()
        await ledger.ended(ledger.one_to_stripe(), RefundBlocked("o1", "ch_1", "re_1", "it is pending"))
        assert ledger.to_stripe() == []
        await stack.clock.advance(90)
        assert isinstance(ledger.one_to_stripe(), FindRefund)

    async def test_a_refund_is_rechecked_by_a_sweep_of_its_own(self, stack: World, ledger: Ledger) -> None:
        """F44: an hour after it; the sweep over what is due finds nothing of it before, and the store may be away."""
        await ledger.order()
        await ledger.ask()
        await ledger.ended(ledger.one_to_stripe(), charged("o1", "ch_1"))
        await ledger.cancel()
        await ledger.ended(ledger.one_to_stripe(), ChargeRefunded("o1", "ch_1", "re_1"))
        for _ in range(2):
            (event,) = ledger.to_nats()
            assert isinstance(event, PublishEvent)
            await ledger.ended(event, EventPublished("o1", event.message_id))
        doc = stack.store.database.get("o1")
        assert doc is not None
        assert doc.due is None
        stack.store.database.put(replace(doc, rev=doc.rev + 1))  # nothing is in the ledger's memory
        await stack.clock.advance(3590)
        assert ledger.to_stripe() == []
        stack.store.away = "gone"
        await stack.clock.advance(75)
        stack.store.away = None
        await stack.clock.advance(65)
        look = ledger.one_to_stripe()
        assert isinstance(look, RecheckRefund)
        await ledger.ended(look, RefundRechecked("o1", "ch_1", "re_1", stands=False, text="it failed"))
        (event,) = ledger.to_nats()
        assert isinstance(event, PublishEvent)
        assert (event.subject, event.refund_id) == ("payment:refund_failed", "re_1")

    async def test_the_sweep_goes_on_after_an_outage(self, stack: World, ledger: Ledger) -> None:
        """F25: what another process leaves behind after it is taken up as before it."""
        other = await stack.ledger("web-2", own_store=True)
        stack.store.away = "gone"
        await stack.clock.advance(3)
        stack.store.away = None
        await stack.clock.advance(3)
        await other.order()
        await other.ask()
        other.to_stripe()
        await other.end()
        await stack.clock.advance(63)
        assert isinstance(ledger.one_to_stripe(), RetrieveIntent)

    async def test_an_event_that_was_not_published_goes_out_after_a_restart(self, stack: World, ledger: Ledger) -> None:
        """F06, F28: the outbox is in the document."""
        await ledger.order()
        await ledger.ask()
        await ledger.ended(ledger.one_to_stripe(), charged("o1", "ch_1"))
        ledger.to_nats()
        await ledger.restart()
        (event,) = ledger.to_nats()
        assert isinstance(event, PublishEvent)
        await ledger.ended(event, EventPublished("o1", event.message_id))
        await stack.clock.advance(120)
        assert ledger.to_nats() == []

    async def test_an_event_that_comes_first_does_not_hide_what_an_earlier_run_left(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F04, F08: the order's queue is under way with a redelivered event while the first sweep reads."""
        await ledger.order()
        await ledger.ask()
        ledger.to_stripe()
        await ledger.end()
        stack.store.stall("due", "load")
        await ledger.start()
        await ledger.order()
        assert ledger.to_stripe() == []
        stack.store.go_on()
        await stack.clock.settle()
        assert isinstance(ledger.one_to_stripe(), RetrieveIntent)

    async def test_a_write_that_lands_after_the_next_run_has_swept_is_found_within_seconds(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F05: kill -9 with a write on its way: the order does not wait for the dead run's lease."""
        await ledger.order()
        await ledger.ask()
        ledger.to_stripe()
        late = ledger.doc("o1")
        stack.store.database.put(replace(late, payment=None, due=None, holder=None))
        await ledger.restart()
        assert ledger.to_stripe() == []
        stack.store.database.put(late)
        await stack.clock.advance(OWN_WORK_AGAIN_S + SWEEP_EVERY_S + SWEEP_JITTER_S)
        assert isinstance(ledger.one_to_stripe(), RetrieveIntent)

    async def test_thousands_of_an_earlier_run_are_taken_up_at_once(self, stack: World) -> None:
        """F04: at the start all that this client id left, up to a bound."""
        ledger = await stack.ledger(stripe_room=5_000)
        ids = [f"o{number}" for number in range(1_200)]
        await ledger.order(*ids)
        await ledger.send(*(ledger.asked(order_id) for order_id in ids))
        ledger.to_stripe()
        await ledger.restart()
        found = ledger.to_stripe()
        assert len(found) == 1_200
        assert all(isinstance(effect, RetrieveIntent) for effect in found)


class TestViews:
    async def test_a_payment_is_shown_as_it_stands(self, ledger: Ledger) -> None:
        """OutcomePending, then paid with its charge; an unknown id is None."""
        await ledger.order()
        await ledger.ask()
        first, unknown = ledger.view(payment_of("o1")), ledger.view("nothing")
        await ledger.send(first, unknown)
        pending = PaymentView(payment_of("o1"), "o1", "user-1", PaymentStatus.PENDING, None)
        assert first.answer.result() == PaymentReply(pending)
        assert unknown.answer.result() is None
        await ledger.ended(ledger.one_to_stripe(), charged("o1", "ch_1"))
        second, by_order = ledger.view(payment_of("o1")), ledger.view(order_id="o1")
        await ledger.send(second, by_order)
        paid = PaymentReply(PaymentView(payment_of("o1"), "o1", "user-1", PaymentStatus.PAID, "ch_1"))
        assert second.answer.result() == by_order.answer.result() == paid

    async def test_many_requests_for_one_payment_are_one_read(self, ledger: Ledger) -> None:
        """300 requests to see one payment."""
        await ledger.order()
        await ledger.ask()
        views = [ledger.view(payment_of("o1")) for _ in range(300)]
        await ledger.send(*views)
        assert all(view.answer.done() for view in views)
        assert ledger.store.calls["load_by_payment"] <= 6

    async def test_it_can_not_be_read_now(self, stack: World, ledger: Ledger) -> None:
        """F25: 503, for those in the same read too."""
        stack.store.away = "gone"
        views = [ledger.view("a"), ledger.view("b")]
        await ledger.send(*views)
        assert {view.answer.result() for view in views} == {Unavailable(Unavailability.STORE_AWAY)}
        assert not ledger.up
