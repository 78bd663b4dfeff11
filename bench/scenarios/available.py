"""The contenders that can run on this machine."""

from __future__ import annotations

import os

from bench.contender import INTENTS, LIMIT, OBVIOUS, OURS, PREPARED, STREAMING
from tests.support.servers.nats_streaming import PLACES, PROGRAM
from tests.support.servers.requirements import find_program


def has_streaming() -> bool:
    """Whether nats-streaming-server is installed."""
    return bool(find_program(PROGRAM)) or any(os.access(place / PROGRAM, os.X_OK) for place in PLACES)


def contenders() -> list[str]:
    return [LIMIT, OBVIOUS, INTENTS, OURS, PREPARED, *([STREAMING] if has_streaming() else [])]
