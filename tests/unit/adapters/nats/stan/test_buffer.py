"""The buffer of a subscription: transcripts of arrivals, hand-outs and acknowledgements."""

from __future__ import annotations

import asyncio

import pytest

from payment.adapters.nats.stan.buffer import Buffer
from payment.adapters.nats.stan.messages import MsgProto


def message(sequence: int, data: bytes = b"x", redeliveries: int = 0) -> MsgProto:
    return MsgProto(sequence, "c", data=data, timestamp=1, redelivered=redeliveries > 0, redelivery_count=redeliveries)


async def next_of(buffer: Buffer) -> int:
    """Returns the sequence of the message that is handed out at once."""
    async with asyncio.timeout(1):
        found = await buffer.next()
    assert found is not None
    return found.sequence


async def test_messages_are_handed_out_in_the_order_in_which_they_came() -> None:
    """Their sequences do not matter."""
    buffer = Buffer()
    for sequence in (3, 1, 2):
        buffer.arrived(message(sequence))
    assert [await next_of(buffer) for _ in range(3)] == [3, 1, 2]


async def test_a_repetition_of_what_waits_or_is_in_work_is_dropped() -> None:
    """F29: the server redelivers unacknowledged messages, and a message is never handled twice at a time."""
    buffer = Buffer()
    buffer.arrived(message(1))
    buffer.arrived(message(1, redeliveries=1))
    assert await next_of(buffer) == 1
    buffer.arrived(message(1, redeliveries=2))
    buffer.arrived(message(2))
    assert await next_of(buffer) == 2
    assert len(buffer) == 0


async def test_a_repetition_of_what_was_left_without_an_ack_is_handed_out_again() -> None:
    """F08: a redelivery replaces a lost ack or handler."""
    buffer = Buffer()
    buffer.arrived(message(1))
    await buffer.next()
    following = asyncio.create_task(buffer.next())
    await asyncio.sleep(0)
    buffer.arrived(message(1, redeliveries=1))
    again = await following
    assert again is not None
    assert buffer.redelivered(again) == 1


async def test_a_message_put_back_comes_at_its_time_with_its_count() -> None:
    """The server's redeliveries are dropped until then; its count and the buffer's add up."""
    buffer = Buffer()
    buffer.arrived(message(1))
    first = await buffer.next()
    assert first is not None
    for times in (1, 2):
        assert buffer.put_back(first)
        buffer.arrived(message(1, redeliveries=1))
        buffer.back(1)
        assert await next_of(buffer) == 1
        assert buffer.redelivered(first) == times
    buffer.done(1)
    assert buffer.redelivered(first) == 0


async def test_a_message_that_does_not_fit_is_dropped_and_counted() -> None:
    """F39: in messages and in bytes. Messages that were handed out no longer count."""
    buffer = Buffer(messages_max=3, bytes_max=10)
    for sequence in range(1, 6):
        buffer.arrived(message(sequence))
    assert (len(buffer), buffer.dropped) == (3, 2)
    await buffer.next()
    buffer.arrived(message(6, b"123456789"))
    buffer.arrived(message(7, b"12345678"))
    assert (len(buffer), buffer.dropped) == (3, 3)
    assert [await next_of(buffer) for _ in range(3)] == [2, 3, 7]


async def test_a_message_that_does_not_fit_any_more_is_not_put_back() -> None:
    """It has no ack, so the server redelivers it."""
    buffer = Buffer(messages_max=1)
    buffer.arrived(message(1))
    first = await buffer.next()
    assert first is not None
    buffer.arrived(message(2))
    assert not buffer.put_back(first)
    assert buffer.settled.is_set()


async def test_settled_is_when_nothing_handed_out_waits_for_its_ack() -> None:
    """An ack settles, and so does putting back."""
    buffer = Buffer()
    for sequence in (1, 2):
        buffer.arrived(message(sequence))
    first, second = await buffer.next(), await buffer.next()
    assert first is not None
    assert second is not None
    buffer.done(1)
    assert not buffer.settled.is_set()
    buffer.put_back(second)
    assert buffer.settled.is_set()


@pytest.mark.parametrize("waiting", [True, False])
async def test_a_closed_buffer_hands_out_nothing_more(waiting: bool) -> None:
    """Neither held messages nor new ones, nor those that were put back."""
    buffer = Buffer()
    if waiting:
        following = asyncio.create_task(buffer.next())
        await asyncio.sleep(0)
    else:
        buffer.arrived(message(1))
    buffer.close()
    buffer.arrived(message(2))
    buffer.back(1)
    assert not buffer.put_back(message(3))
    assert await (following if waiting else buffer.next()) is None
