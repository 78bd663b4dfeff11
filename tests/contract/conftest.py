"""Which event loop the tests of a module run on."""

import asyncio
from collections.abc import Callable

import pytest


def pytest_asyncio_loop_factories(item: pytest.Function) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The one that the module's own `new_loop` makes; asyncio's, where it has none."""
    return {"loop": getattr(item.module, "new_loop", asyncio.new_event_loop)}
