"""Requests that wait for an outcome: each is answered once, by a document, or by the deadline."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from payment.actors.ledger.in_flight import InFlightEffects
from payment.actors.ledger.pending_replies import UNKNOWN_RETRY_AFTER_S, PendingReplies, reject, send_reply
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
        self.again: list[ChargeOrder] = []
        self.pending_replies = PendingReplies(self.clock, self.in_flight, self.again.append)

    def message(self, token: str = "tok_1", wait_s: float = 20.0) -> ChargeOrder:
        now = self.clock.monotonic()
        answer: asyncio.Future[ChargeReply] = asyncio.get_running_loop().create_future()
        return ChargeOrder(request(token, authentication=Authentication()), now + wait_s, now, "req", answer)

    def add(self, story: Story, rev: int = 1, **kwargs: Any) -> ChargeOrder:
        message = self.message(**kwargs)
        self.pending_replies.add(at_rev(story, rev), message)
        return message


def at_rev(story: Story, rev: int) -> Order:
    return replace(story.doc, rev=rev)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def told(message: ChargeOrder) -> Any:
    return message.answer.result().reply if message.answer.done() else None


class TestOutcomes:
    async def test_all_who_wait_hear_the_outcome(self, bench: Bench) -> None:
        """F02: everybody, once; then nobody waits."""
        story = confirming()
        messages = [bench.add(story) for _ in range(3)]
        assert [told(message) for message in messages] == [None, None, None]
        bench.pending_replies.written(at_rev(story.tell(succeeded()), 2))
        assert [told(message) for message in messages] == [Paid(PAYMENT, ORDER, "ch_1")] * 3
        assert (len(bench.pending_replies), bench.pending_replies.expired(), bench.pending_replies.elsewhere()) == (
            0,
            [],
            [],
        )

    async def test_an_outcome_that_is_there_already_is_told_at_once(self, bench: Bench) -> None:
        """Between the decision and the reading the other process wrote it."""
        assert isinstance(told(bench.add(confirming().tell(succeeded()))), Paid)
        assert len(bench.pending_replies) == 0

    async def test_a_document_of_an_order_that_nobody_waits_for_is_ignored(self, bench: Bench) -> None:
        """Most writes are of that kind."""
        bench.pending_replies.written(confirming().doc)
        bench.pending_replies.give_up([ORDER])
        assert (len(bench.pending_replies), bench.pending_replies.elsewhere()) == (0, []), "nor is it read for any more"

    async def test_a_read_that_a_write_has_overtaken_says_nothing(self, bench: Bench) -> None:
        """The old document knows nothing of the new token: neither 409 nor "unknown" may come of it."""
        story = confirming()
        before = at_rev(story, 2)
        story.tell(declined(), request("tok_2"))
        message = bench.add(story, rev=4, token="tok_2")
        bench.pending_replies.written(before)
        assert told(message) is None
        bench.pending_replies.written(at_rev(story.tell(succeeded("ch_1")), 5))
        assert isinstance(told(message), Paid)

    async def test_what_a_read_shows_is_overtaken_by_the_writes_since_they_began_to_wait(self, bench: Bench) -> None:
        """Not only by the one that they came with."""
        message = bench.add(confirming(), rev=2)
        bench.pending_replies.written(at_rev(sent_twice(), 4))
        bench.pending_replies.written(at_rev(open_order(), 3))
        assert told(message) is None

    async def test_nor_does_it_to_those_whose_time_is_up(self, bench: Bench) -> None:
        """Their last look was overtaken by a write: what is newer answers them, and is known already."""
        story = confirming()
        before = at_rev(story, 2)
        story.tell(declined(), request("tok_2"))
        message = bench.add(story, rev=4, token="tok_2", wait_s=5)
        await bench.clock.advance(6)
        bench.pending_replies.written(before)
        assert told(message) is None
        bench.pending_replies.written(at_rev(story, 4))
        assert isinstance(told(message), OutcomePending)

    async def test_each_hears_of_its_own_token(self, bench: Bench) -> None:
        """A joiner of a declined token hears 402, whoever waits for the next one waits on."""
        story = confirming()
        first = bench.add(story)
        story.tell(declined(), request("tok_2"))
        second = bench.add(story, rev=3, token="tok_2")
        bench.pending_replies.written(at_rev(story, 3))
        bench.pending_replies.written(at_rev(story, 4))
        assert isinstance(told(first), CardWasDeclined)
        assert told(second) is None

    async def test_an_intent_that_is_gone_from_the_paper_is_unknown(self, bench: Bench) -> None:
        """A store that lost a confirmed write: nobody may guess."""
        message = bench.add(confirming())
        bench.pending_replies.written(at_rev(Story(created()), 2))
        assert told(message) == Unavailable(Unavailability.WRITE_UNKNOWN)


class TestDeadline:
    async def test_pending_is_told_at_the_deadline_and_not_before(self, bench: Bench) -> None:
        """202 by one more look at the document, even of the same revision."""
        story = sent_twice()
        message = bench.add(story, wait_s=5)
        await bench.clock.advance(4.9)
        bench.pending_replies.written(at_rev(story, 1))
        assert (bench.pending_replies.expired(), told(message)) == ([], None)
        await bench.clock.advance(0.1)
        assert bench.pending_replies.expired() == [ORDER]
        bench.pending_replies.written(at_rev(story, 1))
        assert told(message) == OutcomePending(PAYMENT, ORDER)
        assert message.answer.result().retry_after_s == 1

    async def test_only_those_whose_time_is_up_are_told(self, bench: Bench) -> None:
        """The others go on waiting."""
        story = confirming()
        short, long = bench.add(story, wait_s=1), bench.add(story, wait_s=9)
        await bench.clock.advance(2)
        assert bench.pending_replies.expired() == [ORDER], "one of them is enough"
        bench.pending_replies.written(at_rev(story, 1))
        assert (told(short), told(long)) == (OutcomePending(PAYMENT, ORDER), None)

    async def test_a_long_watch_is_told_at_once_with_its_time(self, bench: Bench) -> None:
        """An attempt of 0.1.0: its charges are listed again in an hour, and nothing is known before."""
        story = of_0_1_0("charging").later(hours=20).tell(DUE, listed())
        bench.clock.jump(story.now - bench.clock.now())
        message = bench.add(story)
        assert told(message) == OutcomePending("payment-1", ORDER)
        assert message.answer.result().retry_after_s == 3_600

    async def test_no_reading_at_the_deadline_is_unknown(self, bench: Bench) -> None:
        """F25: the intent is on paper, so never "nothing was charged"."""
        story = confirming()
        short, long = bench.add(story, wait_s=1), bench.add(story, wait_s=9)
        await bench.clock.advance(2)
        bench.pending_replies.give_up([ORDER])
        assert told(short) == Unavailable(Unavailability.WRITE_UNKNOWN, UNKNOWN_RETRY_AFTER_S)
        assert (told(long), len(bench.pending_replies)) == (None, 1)
        await bench.clock.advance(8)
        bench.pending_replies.give_up([ORDER])
        assert (len(bench.pending_replies), bench.pending_replies.elsewhere()) == (0, []), "nor is it read for any more"

    async def test_the_end_of_the_ledger_is_unknown_to_all(self, bench: Bench) -> None:
        """F32."""
        messages = [bench.add(confirming()) for _ in range(2)]
        bench.pending_replies.fail()
        assert {told(message) for message in messages} == {Unavailable(Unavailability.WRITE_UNKNOWN)}
        assert len(bench.pending_replies) == 0


class TestElsewhere:
    async def test_what_is_in_our_hands_is_not_asked_for(self, bench: Bench) -> None:
        """Only what another process works on is read again each second."""
        story = confirming()
        bench.add(story)
        assert bench.pending_replies.elsewhere() == [ORDER]
        bench.in_flight.release(story.doc)
        assert bench.pending_replies.elsewhere() == []


class TestTell:
    async def test_an_answer_is_given_once(self, bench: Bench) -> None:
        """The first stands."""
        message = bench.message()
        reject(message, Unavailability.BUSY)
        send_reply(message, OutcomePending(PAYMENT, ORDER))
        assert told(message) == Unavailable(Unavailability.BUSY)

    async def test_whoever_entered_a_write_is_never_told_that_nothing_happened(self, bench: Bench) -> None:
        """F26."""
        message = bench.message()
        message.write_sent = True
        reject(message, Unavailability.STORE_AWAY)
        assert told(message) == Unavailable(Unavailability.WRITE_UNKNOWN)

    async def test_thousands_who_wait_for_one_order_cost_no_more_than_their_number(self, bench: Bench) -> None:
        """F31: each further one, and each write that brings nothing new, judges nobody again."""
        story = confirming()
        judged = 0
        reply = bench.pending_replies._answered

        def counting(order: Order, message: ChargeOrder, handover: Handover | None) -> bool:
            nonlocal judged
            judged += 1
            return reply(order, message, handover)

        bench.pending_replies._answered = counting  # type: ignore[method-assign]
        for _ in range(500):
            bench.add(story)
            bench.pending_replies.written(at_rev(story, 1))
        assert judged == 500
