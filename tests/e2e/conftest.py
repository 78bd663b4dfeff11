"""One stack for a module, on each of the two servers with MongoDB's protocol; a client and a bus for a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.client import Client
from tests.e2e.fixtures import bus
from tests.e2e.stack import Servers, ServiceProcess, ServiceStack
from tests.support.servers.mongo import MongoJavaServer, MongoServer, NxServer

CHARGE_WAIT_S = "2"  # how long a POST waits for its outcome: a test of the 202 should not take 20 s

__all__ = ["bus"]


@pytest.fixture(scope="module", params=[NxServer, MongoJavaServer], ids=["nx-27017", "mongo-java-server"])
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    kind: Callable[[Path], MongoServer] = request.param
    started = Servers(tmp_path_factory.mktemp("servers"), kind)
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceStack]:
    """One process of the service for all tests of a module, each with its own orders."""
    stack = ServiceStack(servers, tmp_path_factory.mktemp("stack"))
    stack.service(CHARGE_WAIT_S=CHARGE_WAIT_S, LOG_LEVEL="debug").start()
    yield stack
    stack.stop()


@pytest.fixture
def service(stack: ServiceStack) -> Iterator[ServiceProcess]:
    """The process; a test's faults at Stripe end with the test."""
    yield stack.processes[0]
    stack.stripe.well()


@pytest.fixture
async def client(service: ServiceProcess) -> AsyncIterator[Client]:
    async with Client(service.port) as client:
        yield client
