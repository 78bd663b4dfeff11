"""The MongoDB store on nx-27017 (SQLite)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.mongo_faults import MongoBench, MongoFaults, MongoStoreContract
from tests.support.servers.mongo import MongoServer, NxServer

pytestmark = pytest.mark.servers

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    folder: Path = tmp_path_factory.mktemp("nx")
    server = NxServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bench(server: MongoServer) -> MongoBench:
    return MongoBench(server, f"contract{next(numbers)}").emptied()


class TestNxServer(MongoStoreContract):
    """F27: a standalone server, without transactions."""


@pytest.mark.slow
class TestNxServerFaults(MongoFaults):
    """The fault tests on this server."""
