"""The MongoDB store on mongo-java-server (H2)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from payment.adapters.mongo.store import MongoStore
from tests.contract.mongo_faults import MongoBench, MongoFaults, MongoStoreContract, indexed
from tests.support.servers.mongo import MongoJavaServer, MongoServer

pytestmark = pytest.mark.servers

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    folder: Path = tmp_path_factory.mktemp("java")
    server = MongoJavaServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bench(server: MongoServer) -> MongoBench:
    return MongoBench(server, f"contract{next(numbers)}").emptied()


class TestMongoJavaServer(MongoStoreContract):
    """F27: a standalone server, without transactions."""

    async def test_the_fence_has_an_index_of_its_own(self, bench: MongoBench, store: MongoStore) -> None:
        """This server uses an index only for exactly its keys: without one each write would read every order."""
        assert ("_id", "rev") in await indexed(bench)


@pytest.mark.slow
class TestMongoJavaServerFaults(MongoFaults):
    """The fault tests on this server."""
