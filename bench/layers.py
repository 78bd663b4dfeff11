"""Assigns sampled time to a layer of the service, by file. Pure functions.

A sample belongs to the innermost function of its stack whose file is in `LAYERS`: time in the standard library (json,
re, urllib) counts for its caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

LAYERS = (
    ("our logging", ("payment/ops/log", "payment/ops/redaction", "structlog/")),
    ("our metrics, health", ("payment/ops/", "prometheus_client/")),
    ("our core", ("payment/core/",)),
    ("our store port (documents)", ("payment/adapters/mongo", "payment/ports/store")),
    ("our Stripe port", ("payment/adapters/stripe", "payment/ports/cards")),
    ("our NATS actor and port", ("payment/ports/", "payment/adapters/nats", "actors/nats")),
    ("our Stripe actor", ("actors/stripe",)),
    ("our identity (JWT)", ("actors/http/auth",)),
    ("our HTTP actor", ("actors/http",)),
    ("our ledger and actors", ("payment/",)),
    ("PyJWT", ("/jwt/",)),
    ("stripe library", ("/stripe/",)),
    ("aiohttp client", ("aiohttp/client", "aiohttp/connector", "aiohttp/resolver", "aiohttp/tracing", "/yarl/")),
    ("aiohttp server", ("aiohttp/web",)),
    ("aiohttp, both sides", ("/aiohttp/", "/multidict/", "/propcache/", "/aiosignal/")),
    ("motor and pymongo", ("/motor/", "/pymongo/", "/bson/")),
    ("nats-py", ("/nats/",)),
    ("asyncio", ("asyncio/", "selectors.py")),
)
REST = "the rest"
IDLE = "idle"
Stack = tuple[str, ...]


def layer_of(stack: Stack) -> str:
    """Returns the layer of a stack, whose last entry is the innermost function."""
    for function in reversed(stack):
        for name, marks in LAYERS:
            if any(mark in function for mark in marks):
                return f"{name}, driver's threads" if stack[0] == "other" else name
    return IDLE if stack == (IDLE,) else REST


def parsed(lines: Iterable[str]) -> dict[Stack, int]:
    """Returns the stacks of a profile and their number of samples."""
    found: dict[Stack, int] = {}
    for line in lines:
        stack, _, count = line.rpartition(" ")
        found[tuple(stack.split(";"))] = int(count)
    return found


def shares(stacks: dict[Stack, int]) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Returns samples by layer, by innermost function, and by function including its callees."""
    layers: Counter[str] = Counter()
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack, count in stacks.items():
        layers[layer_of(stack)] += count
        own[stack[-1]] += count
        for function in set(stack[1:]):
            whole[function] += count
    return layers, own, whole
