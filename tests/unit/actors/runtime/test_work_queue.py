"""A queue of items that one task works on, one after another."""

import asyncio

from payment.actors.runtime.work_queue import WorkQueue


async def test_items_come_in_order_and_stay_until_they_are_done() -> None:
    """If the task ends between the two, the item can still be answered."""
    queue: WorkQueue[int] = WorkQueue()
    queue.add(1)
    queue.add(2)
    assert [await queue.first(), await queue.first()] == [1, 1]
    queue.done()
    assert (await queue.first(), len(queue)) == (2, 1)


async def test_a_task_waits_while_nothing_is_there() -> None:
    """Also after a time in which there was something."""
    queue: WorkQueue[int] = WorkQueue()
    queue.add(1)
    queue.done()
    first = asyncio.create_task(queue.first())
    await asyncio.sleep(0)
    assert not first.done()
    queue.add(2)
    assert await first == 2


async def test_an_item_that_comes_meanwhile_is_not_taken_with_the_others() -> None:
    """Several may be done at once: those that were there first, and no others."""
    queue: WorkQueue[int] = WorkQueue()
    for item in (1, 2, 3):
        queue.add(item)
    batch = queue.oldest(2)
    queue.add(4)
    queue.done(len(batch))
    assert (batch, queue.oldest(9)) == ([1, 2], [3, 4])


async def test_all_can_be_taken_out_at_once() -> None:
    """The task ends: each item is answered once, and a new one is waited for."""
    queue: WorkQueue[int] = WorkQueue()
    queue.add(1)
    queue.add(2)
    assert (queue.take_all(), queue.take_all(), len(queue)) == ([1, 2], [], 0)
    first = asyncio.create_task(queue.first())
    await asyncio.sleep(0)
    assert not first.done()
    first.cancel()
