"""The ledger when the store is away, answers lost, or one document can't be written."""

from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from payment.actors.ledger.actor import OWN_WORK_AGAIN_S, STORE_AWAY_WAIT_S, SWEEP_EVERY_S, TICK_S
from payment.actors.messages import EffectCompleted, Handling
from payment.core.effects import ConfirmIntent, RetrieveIntent
from payment.core.messages import OrderCancelled
from payment.core.order import Attempt, AttemptState, Order
from payment.core.replies import Conflict, Denied, Paid, Unavailability, Unavailable
from tests.support.fakes.store import encoded
from tests.unit.actors.ledger.ledger_world import Ledger, World, charged, payment_of, reply, waits, world


@pytest.fixture
async def stack() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def ledger(stack: World) -> Ledger:
    return await stack.ledger()


def _pays_with(attempt: Attempt, token: str) -> bool:
    return attempt.instrument is not None and attempt.instrument.value == token


def reason(message: object) -> Unavailability:
    answer = reply(message)  # type: ignore[arg-type]
    assert isinstance(answer, Unavailable), answer
    return answer.reason


class TestAway:
    async def test_before_it_was_reached_nothing_is_taken(self, stack: World) -> None:
        """F25: at the start, too: 503 at once, events come again, and all is well when it is there."""
        stack.store.away = "not there yet"
        ledger = await stack.ledger()
        message, view = ledger.asked(), ledger.view(payment_of("o1"))
        await ledger.send(message, view, ledger.arrived(ledger.created()), ledger.invalid())
        assert reason(message) is Unavailability.STORE_AWAY
        assert view.answer.result() == Unavailable(Unavailability.STORE_AWAY)
        assert [handling for _, handling in ledger.settled] == [Handling.NOT_NOW, Handling.NOT_NOW]
        before = ledger.up
        stack.store.away = None
        await stack.clock.advance(1.0)
        assert (before, ledger.up) == (False, True)
        await ledger.order()
        assert isinstance((await ledger.ask(), ledger.one_to_stripe())[1], ConfirmIntent)

    async def test_it_goes_away_and_comes_back(self, stack: World, ledger: Ledger) -> None:
        """F25: every request gets "nothing was charged" at once; it goes on within a second."""
        await ledger.order("o1", "o2")
        ledger.actor.commits.forget("o1")
        stack.store.away = "gone"
        first = await ledger.ask("o1")
        assert (reason(first), ledger.up) == (Unavailability.STORE_AWAY, False)
        loads = stack.store.calls["load"]
        second = await ledger.ask("o2")
        assert reason(second) is Unavailability.STORE_AWAY
        await ledger.send(ledger.arrived(ledger.created("o3"), "created o3"))
        assert ledger.settled == [("created o3", Handling.NOT_NOW)]
        assert stack.store.calls["load"] == loads
        await stack.clock.advance(30)
        assert ledger.to_stripe() == []
        stack.store.away = None
        await stack.clock.advance(1.0)
        assert ledger.up
        await ledger.ask("o1")
        assert isinstance(ledger.one_to_stripe(), ConfirmIntent)

    async def test_a_request_decided_on_a_cached_document_is_rejected_too(self, stack: World, ledger: Ledger) -> None:
        """F25: a request that gets "nothing was charged" is not written later."""
        await ledger.order("o1", "o2")
        ledger.actor.commits.forget("o2")
        stack.store.away = "gone"
        messages = [ledger.asked("o1"), ledger.asked("o2")]
        await ledger.send(*messages)
        assert [reason(message) for message in messages] == [Unavailability.STORE_AWAY] * 2
        stack.store.away = None
        await stack.clock.advance(2)
        assert (ledger.crashed, ledger.to_stripe(), ledger.doc("o1").payment) == (False, [], None)
        assert stack.store.calls["commit"] == 1, "the orders'"

    async def test_an_outcome_whose_order_can_not_be_read_stays_and_the_event_beside_it_does_not(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F25: the broker brings its event again, but no actor the outcome: that is written once the store is back."""
        await ledger.order()
        await ledger.ask()
        charge = ledger.one_to_stripe()
        ledger.actor.commits.forget("o1")
        stack.store.away = "gone"
        outcome = EffectCompleted(charge.id, charged("o1", "ch_1"))
        await ledger.send(ledger.arrived(OrderCancelled("o1", 1), "cancel"), outcome)
        assert ledger.settled == [("cancel", Handling.NOT_NOW)]
        stack.store.away = None
        await stack.clock.advance(1)
        assert ledger.doc().attempts[0].state is AttemptState.PAID
        assert ledger.settled == [("cancel", Handling.NOT_NOW)]

    async def test_an_unknown_order_does_not_end_the_ledger(self, ledger: Ledger) -> None:
        """There is no document to read a revision off."""
        assert reply(await ledger.ask("nowhere")) is Denied.UNKNOWN
        assert not ledger.crashed

    async def test_outcomes_are_kept_until_it_is_back(self, stack: World, ledger: Ledger) -> None:
        """F25: what actors bring waits, in order; the request gets an unknown outcome, then it is paid."""
        await ledger.order()
        message = await ledger.ask()
        charge = ledger.one_to_stripe()
        stack.store.away = "gone"
        await ledger.ended(charge, charged("o1", "ch_1"))
        await stack.clock.advance(21)
        assert reason(message) is Unavailability.WRITE_UNKNOWN
        stack.store.away = None
        await stack.clock.advance(2)
        assert ledger.doc().attempts[0].state is AttemptState.PAID
        assert len(ledger.to_nats()) == 1

    async def test_a_long_outage_is_no_hang_and_piles_nothing_up(self, stack: World, ledger: Ledger) -> None:
        """F25, F39: an hour away: not stuck, one message for each order, and all goes on where it was."""
        await ledger.order("o1", "o2")
        await ledger.ask("o1")
        ledger.to_stripe()
        stack.store.away = "gone"
        await ledger.ask("o2")
        await stack.clock.advance(3_600)
        assert ledger.actor.stuck_for_s() <= 0
        assert len(ledger.actor._order_queues.waiting()) <= 2
        stack.store.away = None
        await stack.clock.advance(3)
        assert ledger.actor.stuck_for_s() <= 0
        assert ledger.up

    async def test_a_call_that_never_comes_back_is_a_hang(self, stack: World, ledger: Ledger) -> None:
        """F32: the driver's deadlines have failed: the supervisor sees it."""
        stack.store.stall("commit")
        await ledger.send(ledger.arrived(ledger.created()))
        await stack.clock.advance(100)
        assert ledger.actor.stuck_for_s() > 15

    async def test_a_straggler_that_never_comes_back_is_a_hang_too(self, stack: World, ledger: Ledger) -> None:
        """F32: what the store kept failing is tried again aside, and a call of that may hang like any other."""
        await ledger.order("o1")
        stack.store.unknown_ids = {"o1"}
        await ledger.send(ledger.asked("o1"))
        await stack.clock.advance(0.1)
        stack.store.stall("commit")
        await stack.clock.advance(100)
        assert ledger.actor.stuck_for_s() > 15

    async def test_an_invalid_event_is_kept_once_and_put_off_while_it_is_away(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F30: settled only once it is in `dead_letters`, whole."""
        await ledger.send(ledger.invalid("a", b"\xff\x00"), ledger.invalid("b"))
        assert ledger.settled == [("a", Handling.DEAD_LETTER), ("b", Handling.DEAD_LETTER)]
        assert stack.store.database.dead_letters["a"].data == b"\xff\x00"
        stack.store.away = "gone"
        await ledger.send(ledger.invalid("c"), ledger.invalid("d"))
        assert ledger.settled[2:] == [("c", Handling.NOT_NOW), ("d", Handling.NOT_NOW)]
        assert stack.store.calls["add_dead_letter"] == 3, "the second is not tried against a store that is away"
        assert not ledger.up

    async def test_a_flood_of_invalid_events_writes_one_at_a_time(self, stack: World, ledger: Ledger) -> None:
        """F30: the orders behind it go on meanwhile."""
        stack.store.stall("add_dead_letter")
        await ledger.send(*(ledger.invalid(f"bad {number}") for number in range(500)))
        assert stack.store.calls["add_dead_letter"] == 1
        await ledger.send(ledger.arrived(ledger.created(), "created"))
        assert ledger.settled == [("created", Handling.APPLIED)]

    async def test_an_invalid_event_that_is_not_kept_when_the_ledger_ends_comes_again(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F30, F32: each is handed back once, the one whose write was under way as well."""
        stack.store.stall("add_dead_letter")
        await ledger.send(ledger.invalid("a"), ledger.invalid("b"))
        await ledger.end()
        assert ledger.settled == [("a", Handling.NOT_NOW), ("b", Handling.NOT_NOW)]

    async def test_the_sweep_waits_and_takes_up_what_is_due_then(self, stack: World, ledger: Ledger) -> None:
        """F25: an outage at the start does not lose what an earlier run left."""
        await ledger.order()
        await ledger.ask()
        await ledger.end()
        stack.store.away = "gone"
        ledger.to_stripe()
        await ledger.start()
        await stack.clock.advance(5)
        stack.store.away = None
        await stack.clock.advance(1)
        assert isinstance(ledger.one_to_stripe(), RetrieveIntent)

    async def test_work_in_progress_when_the_store_went_away_is_taken_up_again(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F25: what an earlier run left does not wait for its lease because the first read of it failed."""
        await ledger.order()
        await ledger.ask()
        await ledger.end()
        ledger.to_stripe()
        stack.store.stall("load")
        await ledger.start()
        await stack.clock.advance(OWN_WORK_AGAIN_S + 2 * SWEEP_EVERY_S)
        stack.store.away = "gone"
        stack.store.go_on()
        await stack.clock.advance(0.1)
        stack.store.away = None
        await stack.clock.advance(5)
        assert isinstance(ledger.one_to_stripe(), RetrieveIntent)


class TestUnknown:
    async def test_a_write_whose_answer_is_lost_is_recognised(self, stack: World, ledger: Ledger) -> None:
        """F26: read again, it is this very write: one attempt, one charge, and the health is back at once."""
        await ledger.order()
        stack.store.lose_answers = 1
        message = await ledger.ask()
        await stack.clock.settle()
        charge = ledger.one_to_stripe()
        assert (charge.send, len(ledger.doc().attempts), waits(message), ledger.up) == (1, 1, True, True)

    async def test_an_event_whose_answer_is_lost_counts_as_applied(self, stack: World, ledger: Ledger) -> None:
        """F26: acknowledged as what it was."""
        stack.store.lose_answers = 1
        await ledger.send(ledger.arrived(ledger.created(), "created"))
        assert ledger.settled == [("created", Handling.APPLIED)]
        assert ledger.doc().rev == 1

    async def test_an_outcome_whose_answer_is_lost_is_replied_and_counted(self, stack: World, ledger: Ledger) -> None:
        """F26: 201, one event, one line and one count for the charge, as for any other."""
        await ledger.order()
        message = await ledger.ask()
        charge = ledger.one_to_stripe()
        stack.store.lose_answers = 1
        await ledger.ended(charge, charged("o1", "ch_1"))
        assert reply(message) == Paid(payment_of("o1"), "o1", "ch_1")
        assert len(ledger.to_nats()) == 1
        assert b'payment_charges_total{outcome="paid"} 1.0' in ledger.metrics.render()

    async def test_an_unknown_write_waits_where_it_can_not_be_read(self, stack: World, ledger: Ledger) -> None:
        """F26: of two that were written together one is unknown, and then the store is gone: only this one waits."""
        await ledger.order("o1", "o2")
        stack.store.unknown_ids = {"o1"}

        def go_away(_: Order) -> None:
            stack.store.away = "gone"

        stack.store.before_write = go_away
        first, second = ledger.asked("o1"), ledger.asked("o2")
        await ledger.send(first, second)
        assert (ledger.up, waits(first, second), ledger.one_to_stripe().order_id) == (False, True, "o2")
        stack.store.before_write, stack.store.unknown_ids, stack.store.away = lambda _: None, set(), None
        await stack.clock.advance(1)
        assert (waits(first, second), ledger.one_to_stripe().order_id) == (True, "o1")

    async def test_a_document_without_its_writer_is_no_lost_write(self, stack: World, ledger: Ledger) -> None:
        """F41: an operator who corrects an order may leave that out."""
        await ledger.order()
        corrected = structs.replace(ledger.doc(), rev=2, writer=None)
        assert stack.store.database.replace(corrected, encoded(corrected))
        ledger.actor.commits.forget("o1")
        assert waits(await ledger.ask())
        assert ledger.one_to_stripe().send == 1

    async def test_a_write_that_was_lost_is_made_again(self, stack: World, ledger: Ledger) -> None:
        """F26: not applied, so decided and written again, once."""
        await ledger.order()
        stack.store.lose_writes = 1
        await ledger.ask()
        assert ledger.one_to_stripe().send == 1
        assert ledger.doc().rev == 2

    async def test_a_write_that_lands_late_is_recognised_too(self, stack: World, ledger: Ledger) -> None:
        """F26: its repetition collides with it, and finds it."""
        await ledger.order()
        stack.store.hold_writes = 1
        landed: list[bool] = []

        def land(_: Order) -> None:
            stack.store.before_write = lambda _: None
            landed.extend(stack.store.land())

        stack.store.before_write = land
        message = await ledger.ask()
        assert landed == [True]
        assert ledger.one_to_stripe().send == 1
        assert (ledger.doc().rev, len(ledger.doc().attempts), waits(message)) == (2, 1, True)

    async def test_a_write_that_lands_after_its_repetition_is_refused(self, stack: World, ledger: Ledger) -> None:
        """F26: the revision fences our own ghost."""
        await ledger.order()
        stack.store.hold_writes = 1
        await ledger.ask()
        assert stack.store.land() == [False]
        assert len(ledger.doc().attempts) == 1
        assert ledger.one_to_stripe().send == 1

    async def test_an_unknown_write_is_never_replied_as_nothing_charged(self, stack: World, ledger: Ledger) -> None:
        """F26: the write may have been made and the store is gone: at the deadline the outcome is unknown."""
        await ledger.order("o1", "o2")
        stack.store.writes_away = stack.store.away = "gone"
        written = await ledger.ask("o1", wait_s=5.0)
        assert waits(written)
        not_sent = await ledger.ask("o2")
        assert reason(not_sent) is Unavailability.STORE_AWAY
        await stack.clock.advance(6)
        assert reason(written) is Unavailability.WRITE_UNKNOWN
        stack.store.writes_away = stack.store.away = None
        await stack.clock.advance(2)
        assert ledger.to_stripe() == [], "its request has been answered: it starts nothing any more"
        assert ledger.doc().payment is None

    async def test_a_crash_while_the_answer_is_awaited_is_unknown(self, stack: World, ledger: Ledger) -> None:
        """F26, F32: the write was on its way."""
        await ledger.order()
        stack.store.stall("answer")
        message = await ledger.ask()
        await ledger.end()
        assert reason(message) is Unavailability.WRITE_UNKNOWN
        stack.store.go_on()
        await ledger.start()
        await stack.clock.advance(2)
        assert isinstance(ledger.one_to_stripe(), RetrieveIntent)

    async def test_no_majority_for_writes_is_not_a_busy_loop(self, stack: World, ledger: Ledger) -> None:
        """F43: reads pass and no write is confirmed: tried about once a second; nothing is released."""
        await ledger.order()
        stack.store.writes_away = "no majority"
        message = await ledger.ask()
        await stack.clock.advance(10)
        assert stack.store.calls["commit"] < 50
        assert (ledger.to_stripe(), reason(message)) == ([], Unavailability.WRITE_UNKNOWN)
        stack.store.writes_away = None
        await stack.clock.advance(3)
        assert ledger.to_stripe() == [], "its caller has been answered: it starts nothing any more"
        await ledger.ask()
        assert ledger.one_to_stripe().send == 1

    async def test_a_request_whose_charge_is_at_stripe_does_not_wait_for_a_store_that_is_lost(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F52: its outcome can't be written. A store that is back soon lets it have that; it is not kept for 20 s."""
        await ledger.order()
        message = await ledger.ask(wait_s=20)
        charge = ledger.one_to_stripe()
        stack.store.away = "gone"
        await ledger.ended(charge, charged("o1", "ch_1"))
        await stack.clock.advance(STORE_AWAY_WAIT_S - 2 * TICK_S)
        assert waits(message)
        await stack.clock.advance(4 * TICK_S)
        assert reason(message) is Unavailability.WRITE_UNKNOWN
        stack.store.away = None
        await stack.clock.advance(2)
        assert ledger.doc().attempts[0].state is AttemptState.PAID


class TestRefused:
    async def test_a_refused_write_is_a_503_at_once_and_nothing_was_charged(self, stack: World, ledger: Ledger) -> None:
        """F52: the request does not wait for its deadline; its event comes again; readiness has the store's words."""
        await ledger.order("o1", "o2")
        stack.store.refuses = "not authorized (Unauthorized, 13)"
        message = await ledger.ask("o1")
        assert reason(message) is Unavailability.STORE_AWAY
        assert not ledger.up
        assert ledger.health.view().dependencies["mongodb"].why == "not authorized (Unauthorized, 13)"
        await ledger.send(ledger.arrived(OrderCancelled("o2", 1), "cancel"))
        assert ledger.settled == [("cancel", Handling.NOT_NOW)]
        stack.store.refuses = None
        await stack.clock.advance(1.0)
        assert (ledger.up, ledger.doc().payment, ledger.to_stripe()) == (True, None, [])
        assert waits(await ledger.ask("o1"))
        assert ledger.one_to_stripe().send == 1

    async def test_a_write_that_may_land_is_not_denied_because_its_repetition_is_refused(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F26, F52: the first write is unknown, and its repetition refused. The first lands: its order is charged."""
        await ledger.order()
        stack.store.hold_writes = 1
        stack.store.stall("answer")
        message = ledger.asked()
        await ledger.send(message)
        stack.store.refused_ids = {"o1"}
        stack.store.go_on()
        await stack.clock.advance(3.0)
        assert waits(message), "the reply may not be that nothing was charged"
        assert stack.store.land() == [True]
        await stack.clock.advance(6.0)
        assert (ledger.one_to_stripe().send, waits(message)) == (1, True)

    async def test_actors_messages_are_kept_while_writes_are_refused(self, stack: World, ledger: Ledger) -> None:
        """L4, F52: the card was charged; the outcome is written when the store takes writes again."""
        await ledger.order()
        message = await ledger.ask()
        charge = ledger.one_to_stripe()
        stack.store.refuses = "disk full"
        await ledger.ended(charge, charged("o1", "ch_1"))
        await stack.clock.advance(10)
        commits = stack.store.calls["commit"]
        assert (reason(message), commits < 30) == (Unavailability.WRITE_UNKNOWN, True)
        stack.store.refuses = None
        await stack.clock.advance(6)
        assert reply(await ledger.ask()) == Paid(payment_of("o1"), "o1", "ch_1", replayed=True)

    async def test_one_order_s_refusal_is_its_own(self, stack: World, ledger: Ledger) -> None:
        """F31, F52: a shard that is full: others are written, the store stays up, and the outcome waits aside."""
        await ledger.order("o1", "o2")
        await ledger.ask("o1")
        charge = ledger.one_to_stripe()
        stack.store.refused_ids = {"o1"}
        await ledger.ended(charge, charged("o1", "ch_1"))
        for number in range(5):
            await ledger.order(f"more{number}")
            await stack.clock.advance(1)
            assert ledger.up
        again = await ledger.ask("o1", "tok_2")
        await stack.clock.advance(20)
        assert (reason(again), ledger.up) == (Unavailability.STORE_AWAY, True)
        stack.store.refused_ids = set()
        await stack.clock.advance(2)
        assert ledger.doc("o1").attempts[0].state is AttemptState.PAID

    async def test_a_due_task_is_tried_again_where_others_are_written(self, stack: World, ledger: Ledger) -> None:
        """F05, F52: an earlier run's charge is taken up within seconds of the refusal's end, not after its lease."""
        await ledger.order("o1")
        await ledger.ask("o1")
        ledger.to_stripe()
        stack.store.refused_ids = {"o1"}
        await ledger.restart()
        for number in range(round(OWN_WORK_AGAIN_S) + 3):
            await ledger.order(f"more{number}")
            await stack.clock.advance(1)
        assert ledger.to_stripe() == []
        stack.store.refused_ids = set()
        await stack.clock.advance(2)
        assert isinstance(ledger.one_to_stripe(), RetrieveIntent)

    async def test_refusals_of_orders_outweigh_a_probe(self, stack: World, ledger: Ledger) -> None:
        """F52: a role that may not insert orders: two refusals with no write between them make the service unready."""
        stack.store.refused_ids = {"o1", "o2"}
        await ledger.send(ledger.arrived(ledger.created("o1"), "o1"))
        before = ledger.up
        await ledger.send(ledger.arrived(ledger.created("o2"), "o2"))
        assert (before, ledger.up) == (True, False)
        assert [handling for _, handling in ledger.settled] == [Handling.NOT_NOW] * 2


class TestOneDocument:
    async def test_a_document_that_always_fails_delays_no_other(self, stack: World, ledger: Ledger) -> None:
        """F31: three of them, more than commits may be under way; the rest is written at once, and the store is up."""
        await ledger.order("bad1", "bad2", "bad3", "good")
        since, probes = ledger.health.view().dependencies["mongodb"].since, stack.store.calls["probe"]
        stack.store.unknown_ids = {"bad1", "bad2", "bad3"}
        bad = [ledger.asked(f"bad{number}") for number in (1, 2, 3)]
        await ledger.send(*bad, ledger.arrived(ledger.created("o2"), "o2"))
        await stack.clock.advance(0.1)
        assert ledger.up
        assert stack.store.calls["probe"] == probes, "others are written: there is nothing to find out"
        for number in range(10):
            order_id = f"late{number}"
            await ledger.send(ledger.arrived(ledger.created(order_id), order_id))
        assert [name for name, _ in ledger.settled] == ["o2", *(f"late{number}" for number in range(10))]
        await ledger.ask("good")
        assert ledger.one_to_stripe().order_id == "good"
        before = stack.store.calls["commit"]
        await stack.clock.advance(10)
        assert stack.store.calls["commit"] - before < 60
        assert ledger.up
        assert waits(*bad)
        await stack.clock.advance(11)
        assert {reason(message) for message in bad} == {Unavailability.WRITE_UNKNOWN}
        shown = ledger.health.view().dependencies["mongodb"]
        assert shown.since == since, "what fails for some documents is no outage, not even briefly"
        stack.store.unknown_ids = set()
        await stack.clock.advance(2)
        assert ledger.to_stripe() == []

    async def test_an_event_that_can_not_be_stored_goes_alone_to_the_dead_letters(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F41: a 64-bit overflow fails by itself; the others of its batch are written."""
        huge = ledger.arrived(ledger.created("huge", amount=2**70), "huge")
        await ledger.send(huge, ledger.arrived(ledger.created("o1"), "o1"))
        assert sorted(ledger.settled) == [("huge", Handling.DEAD_LETTER), ("o1", Handling.APPLIED)]
        assert stack.store.database.dead_letters["huge"].data == b"{}"
        assert ledger.up

    async def test_the_bad_one_of_several_messages_is_found(self, stack: World, ledger: Ledger) -> None:
        """F41: a request whose token the store refuses is rejected; the event and the request beside it are written."""
        stack.store.rejected_document = lambda order: any(_pays_with(attempt, "tok_bad") for attempt in order.attempts)
        bad, good = ledger.asked(token="tok_bad"), ledger.asked(token="tok_2")
        await ledger.send(ledger.arrived(ledger.created(), "created"), bad, good)
        assert ledger.settled == [("created", Handling.APPLIED)]
        assert reason(bad) is Unavailability.CRASHED
        assert ledger.one_to_stripe().instrument.value == "tok_2"
        assert waits(good)

    async def test_an_outcome_that_can_not_be_stored_is_not_held_for_ever(self, stack: World, ledger: Ledger) -> None:
        """F41: the deadline that is stored brings a process to recheck it."""
        await ledger.order()
        await ledger.ask()
        charge = ledger.one_to_stripe()
        stack.store.rejected_document = lambda order: order.kept is not None
        await ledger.ended(charge, charged("o1", "ch_1"))
        assert len(ledger.in_flight) == 0
        stack.store.rejected_document = lambda _: False
        await stack.clock.advance(62)
        assert ledger.to_stripe() != []

    async def test_a_cancel_in_the_fold_of_a_refused_request_is_kept(self, stack: World, ledger: Ledger) -> None:
        """F41: nothing of what came with a bad message is lost."""
        await ledger.order()
        stack.store.rejected_document = lambda order: bool(order.attempts)
        message = ledger.asked()
        await ledger.send(message, ledger.arrived(OrderCancelled("o1", 1), "cancel"), ledger.asked(token="tok_2"))
        assert reason(message) is Unavailability.CRASHED
        assert ledger.settled == [("cancel", Handling.APPLIED)]
        assert reply(await ledger.ask()) is Conflict.CANCELLED

    async def test_of_two_messages_that_were_refused_together_each_is_settled(
        self, stack: World, ledger: Ledger
    ) -> None:
        """F41: two are several: the good one is not taken for the culprit, nor dropped beside it."""
        await ledger.order()
        stack.store.rejected_document = lambda order: bool(order.attempts)
        message = ledger.asked()
        await ledger.send(message, ledger.arrived(OrderCancelled("o1", 1), "cancel"))
        assert (reason(message), ledger.settled) == (Unavailability.CRASHED, [("cancel", Handling.APPLIED)])

    async def test_a_refusal_does_not_deny_an_earlier_write_that_may_land(self, stack: World, ledger: Ledger) -> None:
        """F26, F41: the repetition is refused for good, and the write before it begins a charge after all."""
        await ledger.order()
        stack.store.hold_writes = 1
        stack.store.rejected_document = lambda order: bool(order.attempts)
        message = await ledger.ask()
        await stack.clock.advance(1)
        assert reason(message) is Unavailability.WRITE_UNKNOWN
        assert stack.store.land() == [True]
