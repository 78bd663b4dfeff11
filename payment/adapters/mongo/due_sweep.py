"""The sweep over what is due, past documents that are no orders, however many there are.

Nobody writes to a document that is none, so it stays due for ever. Read from the earliest on, as many of them as one
sweep may read would hide every order behind them. So what was read stays behind: each sweep reads what has become due
since, and one page of what came before, in turn. That is how an order is found again that could not be taken up, and a
document that an operator has corrected.

Owns how far each of its queries has come. Where no document is corrupt each sweep begins at the earliest, as ever.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from payment.core.order import Order
from payment.core.schedule import LONGEST_DELAY, LONGEST_RECHECK
from payment.ports.store import CorruptDocument

Found = Order | CorruptDocument

READ_PAGES_LIMIT = 10
"""Pages that one sweep reads of one query. With 500 documents a page that is a quarter of a second of work, once; from
then on they are read one page a sweep, 10,000 of them within half a minute."""

LATE_WRITES = timedelta(seconds=10)
"""So late, at most, a deadline in the past is written by a process that is slow or has a wrong clock (it is found all
the same, when its page has its turn)."""

EARLIEST = datetime.min.replace(tzinfo=UTC)
"""Stands for a stored date that is earlier than Python's first."""

Read = tuple[Found, object]
"""What a document is, and what stands in the field that it was sorted by."""

Find = Callable[[dict[str, Any], int, str, int], Awaitable[list[Read]]]
"""Reads documents: the filter, how many at most, the field that they are sorted by, how many to pass over."""


class DueSweep:
    """Finds what is due. A document is found once in a sweep, however many of its queries meet it."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._looked_to: datetime | None = None
        """Everything due until then was read in a sweep before, corrupt documents among it. None: there are none."""
        self._behind = _InTurn(find, "due")
        self._absurd = _InTurn(find, "due")
        self._rechecks = _InTurn(find, "recheck")
        self._absurd_rechecks = _InTurn(find, "recheck")

    async def due(self, now: datetime, limit: int) -> list[Found]:
        """Orders that are overdue at `now` or due absurdly late, and the corrupt documents met on the way.

        About `limit` orders of each kind, the earliest first.
        """
        horizon = now + LONGEST_DELAY
        return _once([*await self._overdue(now, limit), *await self._absurd.pages({"due": {"$gt": horizon}}, limit)])

    async def rechecks(self, now: datetime, limit: int) -> list[Found]:
        """About `limit` orders with a charge that is to be rechecked at `now`, and as many that are absurdly late."""
        horizon = now + LONGEST_RECHECK
        return _once(
            [
                *await self._rechecks.pages({"recheck": {"$lte": now}}, limit),
                *await self._absurd_rechecks.pages({"recheck": {"$gt": horizon}}, limit),
            ]
        )

    async def held(self, now: datetime, holder: str, limit: int) -> list[Found]:
        """About `limit` orders that a holder (a client id) has in flight, due or not, and corrupt ones among them."""
        query = {"due": {"$lte": now + LONGEST_DELAY}, "holder": holder}
        return _once(await _InTurn(self._find, "due").pages(query, limit))

    async def _overdue(self, now: datetime, limit: int) -> list[Found]:
        if self._looked_to is not None and self._looked_to > now:
            self._looked_to = None  # the clock was put back
        behind = [] if self._looked_to is None else await self._read_again(self._looked_to, limit)
        since = {} if self._looked_to is None else {"$gt": self._looked_to}
        return [*await self._read_since({"due": {**since, "$lte": now}}, now, limit), *behind]

    async def _read_since(self, query: dict[str, Any], now: datetime, limit: int) -> list[Found]:
        """What has become due since the last sweep, page after page until there are orders enough."""
        found: list[Found] = []
        at_end, reached = True, EARLIEST
        for page in range(READ_PAGES_LIMIT):
            documents = await self._find(query, limit, "due", page * limit)
            found += [each for each, _ in documents]
            at_end = len(documents) < limit
            reached = max((due for _, due in documents if isinstance(due, datetime)), default=reached)
            if at_end or sum(isinstance(each, Order) for each in found) >= limit:
                break
        if any(isinstance(each, CorruptDocument) for each in found):
            if at_end:
                reached = min(reached, now - LATE_WRITES)
            self._looked_to = max(reached, self._looked_to or reached)
        return found

    async def _read_again(self, until: datetime, limit: int) -> list[Found]:
        found = await self._behind.pages({"due": {"$lte": until}}, limit, pages=1)
        if self._behind.all_were_orders:
            self._looked_to = None
        return found


class _InTurn:
    """One query whose documents are read a few pages at a time, each in its turn, and then from the first on again."""

    def __init__(self, find: Find, sort: str) -> None:
        self._find = find
        self._sort = sort
        self._passed = 0
        self._corrupt = 0
        self.all_were_orders = False
        """The last page ended a turn in which no corrupt document was met."""

    async def pages(self, query: dict[str, Any], limit: int, pages: int = READ_PAGES_LIMIT) -> list[Found]:
        found: list[Found] = []
        self.all_were_orders = False
        for _ in range(pages):
            documents = await self._find(query, limit, self._sort, self._passed)
            page = [each for each, _ in documents]
            found += page
            self._passed += len(documents)
            self._corrupt += sum(isinstance(each, CorruptDocument) for each in page)
            if len(documents) < limit:
                self.all_were_orders = self._corrupt == 0
                self._passed = self._corrupt = 0
                break
            if sum(isinstance(each, Order) for each in found) >= limit:
                if not self._corrupt:
                    self._passed = 0  # they are taken up, and then no longer found
                break
        return found


def _once(found: Sequence[Found]) -> list[Found]:
    return list({(each.id if isinstance(each, Order) else each.order_id): each for each in found}.values())
