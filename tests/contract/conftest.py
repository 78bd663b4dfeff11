"""Selects the event loop of a module's tests."""

import asyncio
from collections.abc import Callable

import pytest


def pytest_asyncio_loop_factories(item: pytest.Function) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Returns the loop of the module's own `new_loop`; asyncio's default where it has none."""
    return {"loop": getattr(item.module, "new_loop", asyncio.new_event_loop)}
