"""The sweep for due orders. Corrupt documents, however many there are, hide no order from it.

No process writes to a corrupt document, so it stays due for ever. If each sweep began at the earliest deadline, corrupt
documents that fill a sweep would hide every order behind them. Therefore each sweep reads what has become due since the
last one, and one page of what is older, in rotation: that is how it finds an order that could not be taken up before,
and a document that an operator has corrected.

Owns how far each of its queries has read. While no document is corrupt, each sweep begins at the earliest deadline.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from payment.core.order import Order
from payment.core.schedule import LONGEST_DELAY, LONGEST_RECHECK
from payment.ports.store import CorruptDocument

Found = Order | CorruptDocument

READ_PAGES_LIMIT = 10
"""Pages of one query that one sweep reads. With 500 documents a page they cost a quarter of a second, once; after that
each sweep reads one page of older documents, 10,000 of them within half a minute."""

LATE_WRITES = timedelta(seconds=10)
"""By how much, at most, a slow process or one with a wrong clock writes a deadline that has passed already. A later one
is found when its page has its turn."""

EARLIEST = datetime.min.replace(tzinfo=UTC)
"""Stands for a stored date that is earlier than Python's first."""

Read = tuple[Found, object]
"""A decoded document, and the value of the field that the documents were sorted by."""

Find = Callable[[dict[str, Any], int, str, int], Awaitable[list[Read]]]
"""Reads documents: the filter, the limit, the field that they are sorted by, how many to skip."""


class DueSweep:
    """Finds due orders. A sweep returns a document once, though several of its queries match it."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._read_until: datetime | None = None
        """Earlier sweeps have read all that is due until then, corrupt documents among it. None: none was corrupt."""
        self._older = _Rotation(find, "due")
        self._absurdly_late = _Rotation(find, "due")
        self._rechecks = _Rotation(find, "recheck")
        self._absurdly_late_rechecks = _Rotation(find, "recheck")

    async def due(self, now: datetime, limit: int) -> list[Found]:
        """Returns orders that are overdue at `now` or due absurdly late, and the corrupt documents among them.

        About `limit` orders of each kind, the earliest first.
        """
        if self._read_until is not None and self._read_until > now:
            self._read_until = None  # the clock was put back
        older = [] if self._read_until is None else await self._read_older(self._read_until, limit)
        since = {} if self._read_until is None else {"$gt": self._read_until}
        new = await self._read_new({"due": {**since, "$lte": now}}, now, limit)
        late = await self._absurdly_late.pages({"due": {"$gt": now + LONGEST_DELAY}}, limit)
        return _distinct([*new, *older, *late])

    async def rechecks(self, now: datetime, limit: int) -> list[Found]:
        """Returns about `limit` orders with a recheck that is overdue at `now`, and as many with one absurdly late."""
        horizon = now + LONGEST_RECHECK
        return _distinct(
            [
                *await self._rechecks.pages({"recheck": {"$lte": now}}, limit),
                *await self._absurdly_late_rechecks.pages({"recheck": {"$gt": horizon}}, limit),
            ]
        )

    async def held(self, now: datetime, holder: str, limit: int) -> list[Found]:
        """Returns about `limit` orders with a task that a holder (a client id) has in flight, due or not, and corrupt
        documents among them.
        """
        query = {"due": {"$lte": now + LONGEST_DELAY}, "holder": holder}
        return _distinct(await _Rotation(self._find, "due").pages(query, limit))

    async def _read_new(self, query: dict[str, Any], now: datetime, limit: int) -> list[Found]:
        """Read what has become due since the last sweep, page by page, until `limit` orders are found."""
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
            self._read_until = max(reached, self._read_until or reached)
        return found

    async def _read_older(self, until: datetime, limit: int) -> list[Found]:
        """Read the next page of what is due until `until`."""
        found = await self._older.pages({"due": {"$lte": until}}, limit, pages=1)
        if self._older.all_were_orders:
            self._read_until = None
        return found


class _Rotation:
    """One query whose documents are read a few pages at a time; after the last page the first is next."""

    def __init__(self, find: Find, sort: str) -> None:
        self._find = find
        self._sort = sort
        self._passed = 0
        self._corrupt = 0
        self.all_were_orders = False
        """The last page ended a rotation in which no document was corrupt."""

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
                    self._passed = 0  # the ledger takes these orders up, and then the query no longer matches them
                break
        return found


def _distinct(found: Sequence[Found]) -> list[Found]:
    return list({(each.id if isinstance(each, Order) else each.order_id): each for each in found}.values())
