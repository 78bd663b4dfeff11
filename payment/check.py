"""`python run.py --check`: are the settings valid, and does each server answer? For a person, or a release phase.

It changes nothing: no index, no stream, no charge; but for one small document in `probes`, by which it finds out
whether MongoDB takes writes. It never prints a secret.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TextIO

from payment.ports.cards import CardProcessor
from payment.ports.store import OrderStore, StoreUnavailable
from payment.ports.transport import EventTransport, TransportDegraded, TransportUnavailable
from payment.service import Ports, real_ports
from payment.settings import Settings

REACH_TIMEOUT_S = 10.0
"""For one server: whoever waits for a release should not wait long for a host that isn't there."""

OK, DEGRADED, FAILED = "ok", "DEGRADED", "FAILED"
"""What a line says of a server. Degraded: it works, and a setting there weakens a promise; the exit code stays 0."""


class Unreachable(Exception):
    """A server did not answer as it should. The text says how."""


async def check(settings: Settings, out: TextIO) -> int:
    """Reach MongoDB, NATS and Stripe at once, and print a line for each. Returns the exit code."""
    return await check_ports(real_ports(settings), out)


async def check_ports(ports: Ports, out: TextIO) -> int:
    """As `check`, of these ports. They are closed at the end, whatever the end is."""
    transport, cards = ports.transport(), ports.cards()
    looks = {
        "mongodb": lambda: _store(ports.store),
        "nats": lambda: _transport(transport),
        "stripe": lambda: _cards(cards),
    }
    try:
        found = await asyncio.gather(*(_look(look) for look in looks.values()))
    finally:
        await asyncio.gather(ports.store.close(), transport.close(), cards.close())
    for name, (outcome, words) in zip(looks, found, strict=True):
        print(f"{name:8} {outcome:8} {words}", file=out)
    return os.EX_UNAVAILABLE if any(outcome == FAILED for outcome, _ in found) else os.EX_OK


async def _look(look: Callable[[], Awaitable[str]]) -> tuple[str, str]:
    try:
        async with asyncio.timeout(REACH_TIMEOUT_S):
            return OK, await look()
    except TimeoutError:
        return FAILED, f"no answer within {REACH_TIMEOUT_S:.0f} s"
    except TransportDegraded as error:
        return DEGRADED, str(error)
    except (StoreUnavailable, TransportUnavailable, Unreachable) as error:
        return FAILED, str(error)


async def _store(store: OrderStore) -> str:
    found = await store.ping()
    await store.probe()
    missing = await store.missing_indexes()
    to_do = (
        f"; indexes to be made or dropped at the next start, beside charges: {', '.join(missing)}" if missing else ""
    )
    return f"{found}, takes writes{to_do}"


async def _transport(transport: EventTransport) -> str:
    return await transport.check()


async def _cards(cards: CardProcessor) -> str:
    problem = await cards.check()
    if problem is not None:
        raise Unreachable(problem.text)
    return "Stripe answers and takes our key"
