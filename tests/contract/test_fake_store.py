"""The fake store keeps the stores' contract, and its faults work as documented."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import bson
import pytest

from payment.ports.store import Committed, DeadLetter, StoreUnavailable
from tests.contract.store_contract import T0, StoreContract, charging, order
from tests.support.fakes.store import FakeDatabase, FakeStore


class FakeBench:
    finds_upper_case_ids = True
    compares_dates_to = timedelta(milliseconds=1)

    def __init__(self) -> None:
        self._database = FakeDatabase()

    def store(self) -> FakeStore:
        return FakeStore(self._database)

    def insert(self, document: dict[str, Any]) -> None:
        self._database.documents[str(document["_id"])] = bson.encode(document)

    def delete(self, order_id: str) -> None:
        del self._database.documents[order_id]

    def dead_letters(self) -> list[bytes]:
        return [dead_letter.data for dead_letter in self._database.dead_letters.values()]


class TestFakeStore(StoreContract):
    @pytest.fixture
    def bench(self) -> FakeBench:
        return FakeBench()


class TestFaults:
    async def test_away(self) -> None:
        """Reads raise, writes are unknown and not applied."""
        store = FakeStore()
        store.away = "gone"
        for read in (store.load(["o1"]), store.prepare(), store.due(T0, None, 1), store.load_by_payment([])):
            with pytest.raises(StoreUnavailable, match="gone"):
                await read
        with pytest.raises(StoreUnavailable, match="gone"):
            await store.dead_letters_kept()
        with pytest.raises(StoreUnavailable, match="gone"):
            await anext(aiter(store.backlog(1)))
        with pytest.raises(StoreUnavailable):
            await store.add_dead_letter(DeadLetter("a", "s", b"", "e", T0))
        assert await store.commit([order("o1")]) == [Committed.UNKNOWN]
        assert (store.database.documents, store.database.dead_letters) == ({}, {})

    async def test_answers_and_writes_are_lost_as_often_as_asked(self) -> None:
        """F26: applied or not, the caller gets the same result."""
        store = FakeStore()
        store.lose_answers, store.lose_writes = 1, 1
        assert await store.commit([order("o1")]) == [Committed.UNKNOWN]
        assert store.database.get("o1") is None
        assert await store.commit([order("o1")]) == [Committed.UNKNOWN]
        assert store.database.get("o1") == order("o1")
        assert await store.commit([charging("o1", rev=2)]) == [Committed.WRITTEN]

    async def test_a_write_lands_late_if_its_revision_still_fits(self) -> None:
        """F26, F34: otherwise the fence refuses it."""
        store = FakeStore()
        store.hold_writes = 2
        await store.commit([order("o1")])
        await store.commit([charging("o1")])
        assert store.database.get("o1") is None
        assert store.land() == [True, False]
        assert store.database.get("o1") == order("o1")

    async def test_a_stalled_call_waits(self) -> None:
        """It waits for the test's signal, and for nothing else."""
        store = FakeStore()
        store.stall("commit")
        assert await store.load([]) == {}
        waiting = asyncio.create_task(store.commit([order("o1")]))
        await asyncio.sleep(0)
        assert not waiting.done()
        store.go_on()
        assert await waiting == [Committed.WRITTEN]
