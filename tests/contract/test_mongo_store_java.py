"""The MongoDB store on mongo-java-server (H2)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.mongo_faults import MongoBench, MongoFaults, MongoStoreContract
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


@pytest.mark.slow
class TestMongoJavaServerFaults(MongoFaults):
    """The fault tests on this server."""
