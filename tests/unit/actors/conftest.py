"""On which event loops these tests run: those of connections on the service's own too."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

OF_CONNECTIONS = frozenset({"test_http_door.py", "test_http_hostile.py", "test_http_wire.py"})
"""Loops differ in when they listen and what they say of who has left. All else asks a loop for tasks and queues."""


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in OF_CONNECTIONS:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
