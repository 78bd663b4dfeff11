"""The fixtures of flows and faults: servers for a module, a stack and a bus for a test. Imported by both conftests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.e2e.bus import Bus
from tests.e2e.stack import Servers, ServiceStack


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """NATS, nx-27017 and the Stripe sandbox."""
    started = Servers(tmp_path_factory.mktemp("servers"))
    started.start()
    yield started
    started.stop()


@pytest.fixture
def stack(servers: Servers, tmp_path: Path) -> Iterator[ServiceStack]:
    """A new stack in front of the module's servers, whose faults are cleared at its start and at its end."""
    servers.start()
    stack = ServiceStack(servers, tmp_path)
    yield stack
    stack.stop()
    servers.start()
    servers.stripe.well()


@pytest.fixture
async def bus(servers: Servers) -> AsyncIterator[Bus]:
    async with Bus(servers.nats.url) as bus:
        yield bus
