"""Restores the log of this process after each test."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from payment.ops.logs import LibraryHandler, get_logger


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    structlog.reset_defaults()
    get_logger.cache_clear()
    root.setLevel(level)
    for handler in [handler for handler in root.handlers if isinstance(handler, LibraryHandler)]:
        root.removeHandler(handler)
