"""Pending requests to charge: each is answered once, by a document, or at its deadline by what its state allows."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from payment.actors.ledger.in_flight import InFlightEffects
from payment.actors.ledger.pending_charges import (
    UNKNOWN_RETRY_AFTER_S,
    ChargeState,
    PendingCharge,
    PendingCharges,
    unavailable_reply,
)
from payment.actors.messages import ChargeOrder, ChargeReply
from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate
from payment.actors.runtime.mailbox import Mailbox
from payment.core.messages import Authentication
from payment.core.order import Order
from payment.core.replies import CardWasDeclined, OutcomePending, Paid, Unavailability, Unavailable
from payment.ports.cards import Handover
from tests.support.fakes.clock import FakeClock
from tests.unit.core.builders import (
    DUE,
    ORDER,
    PAYMENT,
    T0,
    A,
    Story,
    confirming,
    created,
    declined,
    listed,
    of_0_1_0,
    open_order,
    request,
    sent_twice,
    succeeded,
)


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock(T0)
        stripe: Mailbox[Any] = Mailbox("stripe", 10)
        nats: Mailbox[Any] = Mailbox("nats", 10)
        self.in_flight = InFlightEffects(A, stripe, nats, PublishedEstimate(QueueEstimate(10.0, 10.0)))
        self.queued_again: list[PendingCharge] = []
        self.charges = PendingCharges(self.clock, self.in_flight, self.queued_again.append)

    def charge(
        self, token: str = "tok_1", wait_s: float = 20.0, state: ChargeState = ChargeState.QUEUED
    ) -> PendingCharge:
        """A request that has come from the mailbox."""
        now = self.clock.monotonic()
        answer: asyncio.Future[ChargeReply] = asyncio.get_running_loop().create_future()
        message = ChargeOrder(request(token, authentication=Authentication()), now + wait_s, now, "req", answer)
        charge = self.charges.add(message)
        charge.state = state
        return charge

    def awaiting(self, story: Story, rev: int = 1, **kwargs: Any) -> PendingCharge:
        """A request whose attempt is written, or was there already."""
        charge = self.charge(**kwargs)
        self.charges.await_outcome(at_rev(story, rev), charge, ChargeState.CHARGING)
        return charge

    def overdue(self) -> list[str]:
        return self.charges.answer_overdue(store_long_away=False)


def at_rev(story: Story, rev: int) -> Order:
    return replace(story.doc, rev=rev)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def replied(charge: PendingCharge) -> Any:
    return charge.message.answer.result().reply if charge.answered else None


class TestOutcomes:
    async def test_all_requests_for_an_order_get_its_outcome(self, bench: Bench) -> None:
        """F02: each of them, once; then none is pending."""
        story = confirming()
        charges = [bench.awaiting(story) for _ in range(3)]
        assert [replied(charge) for charge in charges] == [None, None, None]
        bench.charges.written(at_rev(story.decide(succeeded()), 2))
        assert [replied(charge) for charge in charges] == [Paid(PAYMENT, ORDER, "ch_1")] * 3
        assert (len(bench.charges), bench.overdue(), bench.charges.elsewhere()) == (0, [], [])

    async def test_an_outcome_that_is_there_already_is_the_reply_at_once(self, bench: Bench) -> None:
        """Between the decision and the reading the other process wrote it."""
        assert isinstance(replied(bench.awaiting(confirming().decide(succeeded()))), Paid)
        assert len(bench.charges) == 0

    async def test_a_document_of_an_order_without_requests_is_ignored(self, bench: Bench) -> None:
        """Most writes are of that kind."""
        bench.charges.written(confirming().doc)
        bench.charges.unread([ORDER])
        assert (len(bench.charges), bench.charges.elsewhere()) == (0, []), "nor is it read for any more"

    async def test_a_read_that_a_write_has_overtaken_answers_no_request(self, bench: Bench) -> None:
        """The old document knows nothing of the new token: neither 409 nor "unknown" may come of it."""
        story = confirming()
        before = at_rev(story, 2)
        story.decide(declined(), request("tok_2"))
        charge = bench.awaiting(story, rev=4, token="tok_2")
        bench.charges.written(before)
        assert replied(charge) is None
        bench.charges.written(at_rev(story.decide(succeeded("ch_1")), 5))
        assert isinstance(replied(charge), Paid)

    async def test_a_read_is_overtaken_by_any_write_since_the_request_began_to_wait(self, bench: Bench) -> None:
        """Not only by the one that the request came with."""
        charge = bench.awaiting(confirming(), rev=2)
        bench.charges.written(at_rev(sent_twice(), 4))
        bench.charges.written(at_rev(open_order(), 3))
        assert replied(charge) is None

    async def test_an_overtaken_read_answers_no_overdue_request(self, bench: Bench) -> None:
        """Its last read was overtaken by a write: what is newer answers it, and is known already."""
        story = confirming()
        before = at_rev(story, 2)
        story.decide(declined(), request("tok_2"))
        charge = bench.awaiting(story, rev=4, token="tok_2", wait_s=5)
        await bench.clock.advance(6)
        bench.charges.written(before)
        assert replied(charge) is None
        bench.charges.written(at_rev(story, 4))
        assert isinstance(replied(charge), OutcomePending)

    async def test_each_request_gets_the_outcome_of_its_own_token(self, bench: Bench) -> None:
        """A request that joined a declined token gets 402, and the one with the next token waits on."""
        story = confirming()
        first = bench.awaiting(story)
        story.decide(declined(), request("tok_2"))
        second = bench.awaiting(story, rev=3, token="tok_2")
        bench.charges.written(at_rev(story, 3))
        bench.charges.written(at_rev(story, 4))
        assert isinstance(replied(first), CardWasDeclined)
        assert replied(second) is None

    async def test_an_attempt_that_is_gone_from_the_document_is_unknown(self, bench: Bench) -> None:
        """The store has lost a confirmed write: nothing may be guessed."""
        charge = bench.awaiting(confirming())
        bench.charges.written(at_rev(Story(created()), 2))
        assert replied(charge) == Unavailable(Unavailability.WRITE_UNKNOWN)


class TestDeadline:
    async def test_pending_is_the_reply_at_the_deadline_and_not_before(self, bench: Bench) -> None:
        """202 by one more read of the document, even of the same revision."""
        story = sent_twice()
        charge = bench.awaiting(story, wait_s=5)
        await bench.clock.advance(4.9)
        bench.charges.written(at_rev(story, 1))
        assert (bench.overdue(), replied(charge)) == ([], None)
        await bench.clock.advance(0.1)
        assert bench.overdue() == [ORDER]
        bench.charges.written(at_rev(story, 1))
        assert replied(charge) == OutcomePending(PAYMENT, ORDER)
        assert charge.message.answer.result().retry_after_s == 1

    async def test_only_overdue_requests_are_answered(self, bench: Bench) -> None:
        """The others go on waiting."""
        story = confirming()
        short, long = bench.awaiting(story, wait_s=1), bench.awaiting(story, wait_s=9)
        await bench.clock.advance(2)
        assert bench.overdue() == [ORDER], "one of them is enough"
        bench.charges.written(at_rev(story, 1))
        assert (replied(short), replied(long)) == (OutcomePending(PAYMENT, ORDER), None)

    async def test_a_recheck_after_the_deadline_is_pending_at_once_with_its_time(self, bench: Bench) -> None:
        """An attempt of 0.1.0: its charges are listed again in an hour, and nothing is known before."""
        story = of_0_1_0("charging").later(hours=20).decide(DUE, listed())
        bench.clock.jump(story.now - bench.clock.now())
        charge = bench.awaiting(story)
        assert replied(charge) == OutcomePending("payment-1", ORDER)
        assert charge.message.answer.result().retry_after_s == 3_600

    async def test_an_order_that_can_not_be_read_at_the_deadline_is_unknown(self, bench: Bench) -> None:
        """F25: the attempt is written, so never "nothing was charged"."""
        story = confirming()
        short, long = bench.awaiting(story, wait_s=1), bench.awaiting(story, wait_s=9)
        await bench.clock.advance(2)
        bench.charges.unread([ORDER])
        assert replied(short) == Unavailable(Unavailability.WRITE_UNKNOWN, UNKNOWN_RETRY_AFTER_S)
        assert (replied(long), len(bench.charges)) == (None, 1)
        await bench.clock.advance(8)
        bench.charges.unread([ORDER])
        assert (len(bench.charges), bench.charges.elsewhere()) == (0, []), "nor is it read for any more"

    async def test_the_end_of_the_ledger_makes_every_awaited_outcome_unknown(self, bench: Bench) -> None:
        """F32."""
        charges = [bench.awaiting(confirming()) for _ in range(2)]
        bench.charges.fail()
        assert {replied(charge) for charge in charges} == {Unavailable(Unavailability.WRITE_UNKNOWN)}
        assert len(bench.charges) == 0


class TestElsewhere:
    async def test_an_order_with_an_effect_in_flight_is_not_read_for(self, bench: Bench) -> None:
        """Only what another process works on is read again each second."""
        story = confirming()
        bench.awaiting(story)
        assert bench.charges.elsewhere() == [ORDER]
        bench.in_flight.release(story.doc)
        assert bench.charges.elsewhere() == []


QUEUED, HELD, DECIDING, WRITING, SUPERSEDING, CHARGING = ChargeState
NOT_WRITTEN = (QUEUED, HELD, DECIDING)
UNKNOWN_AT_DEADLINE = Unavailable(Unavailability.WRITE_UNKNOWN, UNKNOWN_RETRY_AFTER_S)
AT_DEADLINE = {
    QUEUED: Unavailable(Unavailability.BUSY),
    HELD: Unavailable(Unavailability.OTHERS_UNDER_WAY),
    DECIDING: UNKNOWN_AT_DEADLINE,
    WRITING: UNKNOWN_AT_DEADLINE,
    SUPERSEDING: UNKNOWN_AT_DEADLINE,
    CHARGING: UNKNOWN_AT_DEADLINE,
}


class TestStates:
    """The reply that each state allows if no document gives an answer."""

    @pytest.mark.parametrize("state", ChargeState)
    @pytest.mark.parametrize("why", [each for each in Unavailability if each is not Unavailability.WRITE_UNKNOWN])
    def test_nothing_charged_is_the_reply_only_before_a_write(self, state: ChargeState, why: Unavailability) -> None:
        """F26: with its reason; from a write on the outcome is unknown, whatever the reason."""
        expected = why if state in NOT_WRITTEN else Unavailability.WRITE_UNKNOWN
        assert unavailable_reply(state, why) == Unavailable(expected)

    @pytest.mark.parametrize("state", ChargeState)
    def test_each_state_has_its_reply_at_the_deadline(self, state: ChargeState) -> None:
        """A request that is being decided about may be written yet, so its outcome is unknown."""
        assert unavailable_reply(state) == AT_DEADLINE[state]

    @pytest.mark.parametrize("state", [QUEUED, HELD, DECIDING, WRITING])
    async def test_an_overdue_request_is_answered_by_its_state(self, bench: Bench, state: ChargeState) -> None:
        """At its deadline, not before; then it is pending no longer, and no order is read for it."""
        charge = bench.charge(wait_s=5, state=state)
        await bench.clock.advance(4.9)
        assert (bench.overdue(), replied(charge)) == ([], None)
        await bench.clock.advance(0.1)
        assert (bench.overdue(), replied(charge)) == ([], AT_DEADLINE[state])
        assert len(bench.charges) == 0

    async def test_orders_of_overdue_charges_are_read_once(self, bench: Bench) -> None:
        """However many requests wait for one order."""
        for _ in range(3):
            bench.awaiting(confirming(), wait_s=5)
        await bench.clock.advance(5)
        assert bench.overdue() == [ORDER]

    async def test_while_the_store_is_long_away_only_queued_requests_wait(self, bench: Bench) -> None:
        """F52: what can't be written or read soon is answered; what was not taken up waits for its deadline."""
        charges = {state: bench.charge(state=state) for state in (QUEUED, HELD, DECIDING, WRITING)}
        charges[CHARGING] = bench.awaiting(confirming())
        assert bench.charges.answer_overdue(store_long_away=True) == []
        expected = {state: None if state in (QUEUED, HELD) else UNKNOWN_AT_DEADLINE for state in charges}
        assert {state: replied(charge) for state, charge in charges.items()} == expected
        assert (len(bench.charges), bench.charges.elsewhere()) == (2, [])

    async def test_a_drain_brings_deadlines_forward(self, bench: Bench) -> None:
        """F33: to the one that HTTP names; a request whose own is earlier keeps that."""
        short, long = bench.charge(wait_s=1), bench.charge(wait_s=9)
        bench.charges.answer_by(bench.clock.monotonic() + 2)
        await bench.clock.advance(1)
        assert (bench.overdue(), replied(short), replied(long)) == ([], AT_DEADLINE[QUEUED], None)
        await bench.clock.advance(1)
        assert (bench.overdue(), replied(long)) == ([], AT_DEADLINE[QUEUED])

    @pytest.mark.parametrize(("state", "then"), [(HELD, QUEUED), (SUPERSEDING, QUEUED), (WRITING, WRITING)])
    async def test_a_request_that_is_decided_again_is_queued(
        self, bench: Bench, state: ChargeState, then: ChargeState
    ) -> None:
        """A write that may yet be applied is not forgotten by that."""
        charge = bench.charge(state=state)
        bench.charges.decide_again(charge)
        assert (bench.queued_again, charge.state) == ([charge], then)

    async def test_an_answer_is_given_once(self, bench: Bench) -> None:
        """The first stands, be it the ledger's or HTTP's."""
        charge, answered_by_http = bench.charge(), bench.charge()
        bench.charges.reject(charge, Unavailability.BUSY)
        bench.charges.answer(charge, OutcomePending(PAYMENT, ORDER))
        assert replied(charge) == Unavailable(Unavailability.BUSY)
        answered_by_http.message.answer.set_result(ChargeReply(OutcomePending(PAYMENT, ORDER)))
        bench.charges.reject(answered_by_http, Unavailability.BUSY)
        assert replied(answered_by_http) == OutcomePending(PAYMENT, ORDER)
        assert len(bench.charges) == 0

    async def test_a_request_that_was_answered_awaits_no_outcome(self, bench: Bench) -> None:
        """Its order would be read for it until its deadline."""
        charge = bench.charge(state=WRITING)
        bench.charges.answer(charge, UNKNOWN_AT_DEADLINE)
        bench.charges.await_outcome(at_rev(confirming(), 1), charge, CHARGING)
        assert bench.charges.elsewhere() == []

    async def test_thousands_of_requests_for_one_order_cost_no_more_than_their_number(self, bench: Bench) -> None:
        """F31: each further one, and each write that brings nothing new, judges no other again."""
        story = confirming()
        judged = 0
        answered = bench.charges._answered

        def counting(order: Order, charge: PendingCharge, handover: Handover | None) -> bool:
            nonlocal judged
            judged += 1
            return answered(order, charge, handover)

        bench.charges._answered = counting  # type: ignore[method-assign]
        for _ in range(500):
            bench.awaiting(story)
            bench.charges.written(at_rev(story, 1))
        assert judged == 500
