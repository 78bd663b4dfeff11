"""The mailbox is bounded and ordered, and loses no item to a cancellation."""

import asyncio

import pytest

from payment.actors.runtime.mailbox import Mailbox


async def test_items_come_out_in_the_order_they_went_in() -> None:
    """First in, first out, by `offer` and by `put`."""
    mailbox: Mailbox[str] = Mailbox("ledger", 3)
    assert mailbox.offer("a")
    await mailbox.put("b")
    assert mailbox.offer("c")
    assert [await mailbox.get(), mailbox.get_nowait(), await mailbox.get()] == ["a", "b", "c"]


def test_a_full_mailbox_refuses_at_once_and_stays_as_it_was() -> None:
    """F39: `offer` refuses without waiting, and memory stays bounded."""
    mailbox: Mailbox[int] = Mailbox("ledger", 2)
    assert [mailbox.offer(n) for n in range(4)] == [True, True, False, False]
    assert (mailbox.depth, mailbox.room, mailbox.limit) == (2, 0, 2)
    assert [mailbox.get_nowait() for _ in range(3)] == [0, 1, None]
    assert (mailbox.depth, mailbox.room) == (0, 2)


async def test_put_waits_until_there_is_room() -> None:
    """F39: a sender that can wait is not refused."""
    mailbox: Mailbox[int] = Mailbox("ledger", 1)
    await mailbox.put(1)
    second = asyncio.create_task(mailbox.put(2))
    await asyncio.sleep(0)
    assert not second.done()
    assert await mailbox.get() == 1
    await second
    assert await mailbox.get() == 2


async def test_a_cancelled_put_leaves_nothing_behind() -> None:
    """A sender that stopped waiting for room has not sent its item."""
    mailbox: Mailbox[int] = Mailbox("ledger", 1)
    await mailbox.put(1)
    second = asyncio.create_task(mailbox.put(2))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({second})
    assert [mailbox.get_nowait(), mailbox.get_nowait()] == [1, None]


async def test_a_reader_cancelled_as_an_item_arrives_does_not_take_it_along() -> None:
    """F32: an item that is put in the turn in which its reader is cancelled is left for the next reader."""
    mailbox: Mailbox[int] = Mailbox("ledger", 1)
    reader = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    assert mailbox.offer(7)
    reader.cancel()
    await asyncio.wait({reader})
    assert reader.cancelled()
    assert mailbox.get_nowait() == 7


@pytest.mark.parametrize("limit", [0, -1])
def test_a_mailbox_without_a_bound_is_refused(limit: int) -> None:
    """asyncio takes 0 for "no limit"; here it is an error."""
    with pytest.raises(ValueError, match="ledger"):
        Mailbox("ledger", limit)
