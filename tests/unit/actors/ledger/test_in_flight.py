"""Effects in flight: released once, renewed, cancelled, given up for lost."""

from datetime import timedelta
from typing import Any

from payment.actors.ledger.in_flight import NATS, RENEW_WITHIN, STRIPE, InFlightEffects
from payment.actors.messages import CancelEffect
from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate
from payment.actors.runtime.mailbox import Mailbox
from payment.adapters.stripe.cards import CALL_TIMEOUT_S
from payment.core.effects import ConfirmIntent, PublishEvent, RefundCharge, RetrieveIntent
from payment.core.messages import ConfirmUnclear, EffectReturned, LeaseRenewed
from payment.core.schedule import LEASE
from tests.unit.core.builders import ORDER, T0, A, B, Story, cancelled, confirming, paid, refunded, succeeded, unclear


class Bench:
    def __init__(self, process: str = A, room: int = 10) -> None:
        self.stripe: Mailbox[Any] = Mailbox("stripe", room)
        self.nats: Mailbox[Any] = Mailbox("nats", room)
        self.estimate = PublishedEstimate(QueueEstimate(10.0, 10.0))
        self.in_flight = InFlightEffects(process, self.stripe, self.nats, self.estimate)

    def release(self, story: Story) -> bool:
        return self.in_flight.release(story.doc)


class TestRelease:
    def test_a_pending_effect_is_released_once(self) -> None:
        """However often its document is written or read while it is in flight."""
        bench = Bench()
        story = confirming()
        assert bench.release(story)
        assert bench.release(story)
        effect = bench.stripe.get_nowait()
        assert isinstance(effect, ConfirmIntent)
        assert bench.stripe.get_nowait() is None
        assert (len(bench.in_flight), bench.in_flight.holds(ORDER)) == (1, True)

    def test_an_effect_that_another_process_holds_is_not_released(self) -> None:
        """F04: not ours, not even under our client id from an earlier run."""
        for process in (B, "web-1#run2"):
            bench = Bench(process)
            assert bench.release(confirming())
            assert (bench.stripe.depth, len(bench.in_flight)) == (0, 0)

    def test_an_end_makes_room_for_the_next_send_under_the_same_key(self) -> None:
        """It is in flight until the write that its end led to."""
        bench = Bench()
        story = confirming()
        bench.release(story)
        first = bench.stripe.get_nowait()
        assert isinstance(first, ConfirmIntent)
        story.decide(unclear())
        bench.release(story)
        assert bench.stripe.get_nowait() is None
        bench.in_flight.ended(ORDER, first.id)
        bench.release(story)
        second = bench.stripe.get_nowait()
        assert isinstance(second, ConfirmIntent)
        assert (second.id, second.send, len(bench.in_flight)) == (first.id, 2, 1)

    def test_an_end_of_what_is_not_held_changes_nothing(self) -> None:
        """F32: an earlier incarnation's effects end in our mailbox too."""
        bench = Bench()
        bench.release(confirming())
        bench.in_flight.ended(ORDER, "charge:other")
        bench.in_flight.ended("other", "charge:other")
        assert len(bench.in_flight) == 1

    def test_an_end_of_one_effect_leaves_the_order_s_others_in_flight(self) -> None:
        """An event and a refund of one order: what is still held is not handed over a second time."""
        bench = Bench()
        story = paid().decide(cancelled())
        bench.release(story)
        refund = bench.stripe.get_nowait()
        assert isinstance(refund, RefundCharge)
        bench.in_flight.ended(ORDER, refund.id)
        bench.nats.get_nowait()
        bench.release(story.decide(refunded()))
        assert (bench.nats.get_nowait(), len(bench.in_flight), bench.in_flight.holds(ORDER)) == (None, 1, True)

    def test_an_order_whose_last_effect_ended_has_none_in_flight(self) -> None:
        """Else its order would not be read again for requests, as if this process were at it."""
        bench = Bench()
        story = confirming()
        bench.release(story)
        bench.in_flight.ended(ORDER, story.one(ConfirmIntent).id)
        assert (bench.in_flight.holds(ORDER), bench.in_flight.renewal(ORDER), len(bench.in_flight)) == (False, None, 0)

    def test_a_full_mailbox_is_returned_and_tried_again(self) -> None:
        """F39: not held, and no place in the queue taken."""
        bench = Bench(room=1)
        bench.stripe.offer("full")
        story = confirming()
        assert not bench.release(story)
        assert (len(bench.in_flight), bench.stripe.accepted) == (0, 1)
        bench.stripe.get_nowait()
        assert bench.release(story)
        assert len(bench.in_flight) == 1

    def test_events_go_to_the_nats_actor(self) -> None:
        """And to no other actor."""
        bench = Bench()
        bench.release(paid())
        assert isinstance(bench.nats.get_nowait(), PublishEvent)
        assert bench.stripe.depth == 0


class TestForfeit:
    """F41: an effect has ended, and the document that would say so can't be written."""

    def test_it_is_not_released_again_under_the_lease_that_it_had(self) -> None:
        """However often its document is read meanwhile: a charge was perhaps made."""
        bench = Bench()
        story = confirming()
        bench.release(story)
        charge = bench.stripe.get_nowait()
        bench.in_flight.forfeit(ORDER, story.one(ConfirmIntent).id)
        assert (len(bench.in_flight), bench.in_flight.charges) == (0, 0)
        for _ in range(3):
            assert bench.release(story)
        assert (charge is not None, bench.stripe.depth, len(bench.in_flight)) == (True, 0, 0)

    def test_it_is_released_again_under_another_lease(self) -> None:
        """A process has retrieved the intent since, or has written that it sends again."""
        bench = Bench()
        story = confirming()
        bench.release(story)
        bench.in_flight.forfeit(ORDER, story.one(ConfirmIntent).id)
        bench.stripe.get_nowait()
        bench.release(story.later(seconds=1).decide(unclear()))
        again = bench.stripe.get_nowait()
        assert isinstance(again, ConfirmIntent)
        assert again.send == 2

    def test_it_is_forgotten_once_it_is_owed_no_longer(self) -> None:
        """F39: nothing is kept for an order that is done with."""
        bench = Bench()
        story = confirming()
        bench.release(story)
        bench.in_flight.forfeit(ORDER, story.one(ConfirmIntent).id)
        assert bench.release(story.decide(succeeded()))
        assert (bench.nats.depth, bench.in_flight._forfeited) == (1, {})

    def test_an_effect_that_is_not_held_can_not_be_forfeited(self) -> None:
        """F32: an end may come twice, or to another incarnation."""
        bench = Bench()
        story = confirming()
        for _ in range(2):
            bench.in_flight.forfeit(ORDER, story.one(ConfirmIntent).id)
            assert (len(bench.in_flight), bench.in_flight._forfeited) == (0, {})
        bench.release(story)
        assert bench.stripe.depth == 1


class TestCancelEffect:
    def test_nothing_but_a_charge_is_cancelled(self) -> None:
        """A retrieval or a refund that is owed no longer does no harm: its answer is judged like any other."""
        bench = Bench(B)
        story = confirming().due(by=B)
        bench.release(story)
        assert isinstance(bench.stripe.get_nowait(), RetrieveIntent)
        assert bench.release(story.decide(succeeded()))
        assert bench.stripe.get_nowait() is None

    def test_a_charge_that_is_owed_no_longer_is_cancelled_once(self) -> None:
        """F20: and is in flight until its end arrives."""
        bench = Bench()
        story = confirming()
        bench.release(story)
        effect = bench.stripe.get_nowait()
        assert effect is not None
        story.decide(cancelled())
        bench.release(story)
        bench.release(story)
        assert bench.stripe.get_nowait() == CancelEffect(effect.id)
        assert (bench.stripe.get_nowait(), len(bench.in_flight)) == (None, 1)

    def test_a_withdrawal_that_found_no_room_is_repeated(self) -> None:
        """F20: False until it is in."""
        bench = Bench(room=1)
        story = confirming()
        bench.release(story)
        story.decide(cancelled())
        assert not bench.release(story)
        bench.stripe.get_nowait()
        assert bench.release(story)
        assert isinstance(bench.stripe.get_nowait(), CancelEffect)


class TestTime:
    def test_a_lease_outlasts_a_call_and_what_is_left_of_it_when_it_is_renewed(self) -> None:
        """F34: else a second process would take up what is still on its way to Stripe."""
        assert RENEW_WITHIN + timedelta(seconds=CALL_TIMEOUT_S) < LEASE

    def test_a_lease_is_renewed_before_it_runs_out(self) -> None:
        """Not before it is needed, and no more once the new lease is written."""
        bench = Bench()
        story = confirming()
        bench.release(story)
        soon = T0 + LEASE - RENEW_WITHIN
        assert list(bench.in_flight.renewals(soon)) == []
        (renewal,) = bench.in_flight.renewals(soon + timedelta(seconds=1))
        assert isinstance(renewal, LeaseRenewed)
        assert bench.in_flight.renewal(ORDER) == renewal
        story.later(seconds=40).decide(renewal)
        bench.release(story)
        assert list(bench.in_flight.renewals(soon + timedelta(seconds=1))) == []
        assert bench.in_flight.renewal("other") is None

    def test_a_charge_knows_how_long_its_queue_is(self) -> None:
        """F14: by its own place; what is no charge has none."""
        bench = Bench()
        bench.stripe.accepted = 50
        bench.release(confirming())
        assert bench.in_flight.wait_s(ORDER) == 5.0
        bench.estimate.publish(QueueEstimate(10.0, 10.0, 51, 50, 50))
        assert bench.in_flight.wait_s(ORDER) == 0.0
        assert bench.in_flight.wait_s("other") is None
        looking = Bench()
        looking.release(confirming().later(minutes=2).due(by=A))
        assert looking.in_flight.wait_s(ORDER) in (None, 0.0)

    def test_only_charges_have_a_position_in_the_queue_estimate(self) -> None:
        """Retrievals and refunds have queues of their own: there is no estimate for them."""
        bench = Bench(B)
        bench.release(confirming().due(by=B))
        assert (bench.in_flight.wait_s(ORDER), bench.in_flight.holds(ORDER)) == (None, True)


class TestLost:
    def test_a_dead_actor_s_charge_is_unclear_and_the_rest_is_returned(self) -> None:
        """F32: they count as held until that is written."""
        bench = Bench()
        bench.release(confirming())
        assert bench.in_flight.lost(NATS) == []
        ((effect_id, message),) = bench.in_flight.lost(STRIPE)
        assert (effect_id, message) == (f"confirm:{ORDER}:1", ConfirmUnclear(ORDER, 1, 1, 1, None))
        assert len(bench.in_flight) == 1
        published = Bench()
        published.release(paid())
        ((effect_id, message),) = published.in_flight.lost(NATS)
        assert message == EffectReturned(ORDER, effect_id)

    def test_a_retrieval_is_returned(self) -> None:
        """It is safe to repeat."""
        bench = Bench(B)
        story = confirming().due(by=B)
        bench.release(story)
        assert isinstance(bench.stripe.get_nowait(), RetrieveIntent)
        ((effect_id, message),) = bench.in_flight.lost(STRIPE)
        assert message == EffectReturned(ORDER, effect_id)
