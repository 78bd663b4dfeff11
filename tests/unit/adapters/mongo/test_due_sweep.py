"""The sweep, past however many documents that are no orders (F50)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from bson.datetime_ms import DatetimeMS

from payment.adapters.mongo.documents import order_of
from payment.adapters.mongo.due_sweep import LATE_WRITES, READ_PAGES_LIMIT, DueSweep, Read
from payment.core.order import Order
from payment.ports.store import CorruptDocument

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMIT = 50


class Documents:
    """What is stored, read as a server reads it. `read` counts documents."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self.read = 0

    def put(self, name: str, due: datetime | DatetimeMS, *, good: bool = True, **other: Any) -> None:
        status = {"status": "cancelled"} if good else {"status": "perhaps"}
        fields = {"_id": name, "version": 1, "rev": 1, "format": 2, "due": due}
        self.all.append(fields | status | other)

    def take(self, name: str) -> None:
        """It was taken up, and is due no more."""
        self.all = [each for each in self.all if each["_id"] != name]

    async def find(self, query: dict[str, Any], limit: int, sort: str, skip: int) -> list[Read]:
        found = [each for each in self.all if all(_matches(each.get(name), what) for name, what in query.items())]
        found = sorted(found, key=lambda each: _ms(each[sort]))[skip : skip + limit]
        self.read += len(found)
        return [(order_of(bson.encode(each)), each[sort]) for each in found]


def _ms(date: datetime | DatetimeMS) -> int:
    return int(date if isinstance(date, DatetimeMS) else DatetimeMS(date))


def _matches(value: Any, what: Any) -> bool:
    if not isinstance(what, dict):
        return bool(value == what)
    return value is not None and all(
        _ms(value) <= _ms(bound) if how == "$lte" else _ms(value) > _ms(bound) for how, bound in what.items()
    )


def orders(found: list[Any]) -> list[str]:
    return [each.id for each in found if isinstance(each, Order)]


async def test_without_corrupt_documents_each_sweep_begins_at_the_earliest() -> None:
    """F31: and reads no more than it is asked for."""
    documents = Documents()
    sweep = DueSweep(documents.find)
    for number in range(3 * LIMIT):
        documents.put(f"o{number}", T0 + timedelta(seconds=number))
    now = T0 + timedelta(hours=1)
    for _ in range(2):
        assert orders(await sweep.due(now, LIMIT))[:LIMIT] == [f"o{number}" for number in range(LIMIT)]
    documents.read = 0
    await sweep.due(now, LIMIT)
    assert documents.read == LIMIT


async def test_ten_thousand_corrupt_documents_hide_no_order() -> None:
    """F50: those between them are found on the way, and what becomes due afterwards in the very next sweep."""
    documents = Documents()
    sweep = DueSweep(documents.find)
    count = 2 * READ_PAGES_LIMIT * LIMIT
    for number in range(count):
        documents.put(f"bad{number}", T0 + timedelta(milliseconds=number), good=False)
    documents.put("between", T0 + timedelta(milliseconds=count // 2))
    documents.put("last", T0 + timedelta(seconds=10))
    now, found = T0 + timedelta(minutes=1), []
    for _ in range(4):
        found += orders(await sweep.due(now, LIMIT))
        now += timedelta(seconds=1)
    assert set(found) == {"between", "last"}
    documents.take("between")
    documents.take("last")
    documents.put("new", now)
    documents.read = 0
    assert orders(await sweep.due(now, LIMIT)) == ["new"]
    assert documents.read <= 3 * LIMIT, "a page of what is older, and no more"


async def test_what_is_older_has_its_turn() -> None:
    """F50: an order that could not be taken up, or a document that was corrected, among a thousand corrupt ones."""
    documents = Documents()
    sweep = DueSweep(documents.find)
    for number in range(20 * LIMIT):
        documents.put(f"bad{number}", T0 + timedelta(milliseconds=number), good=False)
    now = T0 + timedelta(minutes=1)
    for _ in range(5):
        await sweep.due(now, LIMIT)
    documents.all[700] |= {"status": "cancelled"}
    found: list[str] = []
    for _ in range(2 * 20 + 2):
        found += orders(await sweep.due(now, LIMIT))
    assert set(found) == {"bad700"}
    documents.all = [each | {"status": "cancelled"} for each in documents.all]
    for _ in range(3 * 20 + 3):
        await sweep.due(now, LIMIT)
    assert orders(await sweep.due(now, LIMIT))[0] == "bad0", "they are all corrected: from the earliest on, as ever"


async def test_a_deadline_that_is_written_late_is_found_at_once() -> None:
    """F50: a slow process writes one that lies behind a corrupt document's."""
    documents = Documents()
    sweep = DueSweep(documents.find)
    documents.put("bad", T0, good=False)
    now = T0 + timedelta(seconds=1)
    await sweep.due(now, LIMIT)
    documents.put("late", now - LATE_WRITES + timedelta(milliseconds=1))
    assert orders(await sweep.due(now, LIMIT)) == ["late"]


async def test_a_clock_that_is_put_back_hides_nothing() -> None:
    """F38: what is due by the right clock lies before what the wrong one looked at."""
    documents = Documents()
    sweep = DueSweep(documents.find)
    for number in range(READ_PAGES_LIMIT * LIMIT):
        documents.put(f"bad{number}", T0 + timedelta(days=30, milliseconds=number), good=False)
    await sweep.due(T0 + timedelta(days=60), LIMIT)
    documents.put("good", T0)
    assert orders(await sweep.due(T0 + timedelta(seconds=1), LIMIT)) == ["good"]


async def test_absurd_deadlines_are_read_in_turn() -> None:
    """F38, F50: also where more corrupt documents than a sweep reads are due in a thousand years."""
    documents = Documents()
    sweep = DueSweep(documents.find)
    far = T0 + timedelta(days=365_000)
    for number in range(2 * READ_PAGES_LIMIT * LIMIT):
        documents.put(f"bad{number}", far + timedelta(seconds=number), good=False)
    documents.put("good", far + timedelta(days=1_000))
    found: list[str] = []
    for _ in range(4):
        found += orders(await sweep.due(T0, LIMIT))
    assert "good" in found


async def test_dates_that_python_has_no_type_for_stop_no_sweep() -> None:
    """F50: MongoDB's dates reach further than Python's, in both directions; and all that is due may be such."""
    documents = Documents()
    sweep = DueSweep(documents.find)
    for number, due in enumerate((DatetimeMS(-(2**62)), DatetimeMS(2**62))):
        documents.put(f"bad{number}", due)
    now = T0 + timedelta(minutes=1)
    for _ in range(2):
        found = await sweep.due(now, LIMIT)
        assert {each.order_id for each in found if isinstance(each, CorruptDocument)} == {"bad0", "bad1"}
    documents.put("good", T0)
    for _ in range(2):
        assert orders(await sweep.due(now, LIMIT)) == ["good"]


async def test_what_release_0_2_0_wrote_is_found_by_its_date() -> None:
    """F34: it has its deadline once more as a number, which says nothing here."""
    documents = Documents()
    sweep = DueSweep(documents.find)
    documents.put("overdue", T0, dueMs=2**52)
    documents.put("not yet", T0 + timedelta(minutes=2), dueMs=5)
    for _ in range(2):
        assert orders(await sweep.due(T0 + timedelta(minutes=1), LIMIT)) == ["overdue"]


async def test_a_holder_finds_its_own_past_corrupt_documents() -> None:
    """F04, F50: all that it has, due or not."""
    documents = Documents()
    sweep = DueSweep(documents.find)
    for number in range(2 * LIMIT):
        documents.put(f"bad{number}", T0, good=False, holder="web-1")
    documents.put("mine", T0 + timedelta(minutes=1), holder="web-1")
    documents.put("theirs", T0, holder="web-2")
    assert orders(await sweep.held(T0, "web-1", LIMIT)) == ["mine"]
