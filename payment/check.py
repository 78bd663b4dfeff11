"""`python run.py --check`: are the settings valid, and does each server answer? For a person, or a release phase.

It changes nothing: no index, no stream, no charge. It never prints a secret.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TextIO

from payment.core.account import StripeAccount, mismatch
from payment.ports.cards import CardProcessor, NotYet, Obstacle, Permission
from payment.ports.store import OrderStore, StoreUnavailable
from payment.ports.transport import EventTransport, TransportUnavailable
from payment.service import Ports, real_ports
from payment.settings import Settings

REACH_TIMEOUT_S = 10.0
"""For one server: whoever waits for a release should not wait long for a host that isn't there."""


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
        "stripe": lambda: _cards(cards, ports.store),
    }
    try:
        found = await asyncio.gather(*(_look(look) for look in looks.values()))
    finally:
        await asyncio.gather(ports.store.close(), transport.close(), cards.close())
    for name, (well, words) in zip(looks, found, strict=True):
        print(f"{name:8} {'ok' if well else 'FAILED':7} {words}", file=out)
    return os.EX_OK if all(well for well, _ in found) else os.EX_UNAVAILABLE


async def _look(look: Callable[[], Awaitable[str]]) -> tuple[bool, str]:
    try:
        async with asyncio.timeout(REACH_TIMEOUT_S):
            return True, await look()
    except TimeoutError:
        return False, f"no answer within {REACH_TIMEOUT_S:.0f} s"
    except (StoreUnavailable, TransportUnavailable, Unreachable) as error:
        return False, str(error)


async def _store(store: OrderStore) -> str:
    return await store.ping()


async def _transport(transport: EventTransport) -> str:
    return await transport.check()


async def _cards(cards: CardProcessor, store: OrderStore) -> str:
    """What a charge rests on: Stripe answers, the database is the key's account's, and the key may do all we need."""
    account = await cards.check()
    if not isinstance(account, StripeAccount):
        raise Unreachable(account.text)
    bound = await store.accounts.read()
    problem = None if bound is None else mismatch(bound.account, account)
    if problem is not None:
        raise Unreachable(problem)
    outcomes = await asyncio.gather(*(cards.check_permission(permission) for permission in Permission))
    for permission, outcome in zip(Permission, outcomes, strict=True):
        if isinstance(outcome, NotYet) and outcome.obstacle is Obstacle.KEY_REFUSED:
            raise Unreachable(f"STRIPE_KEY may not {permission.value}: {outcome.text}")
        if outcome is not None:
            raise Unreachable(f"whether STRIPE_KEY may {permission.value} is not known: {outcome.text}")
    whose = "the database belongs to no account yet" if bound is None else "the database belongs to it"
    return f"Stripe answers and takes our key, which is for {account} and may do all that we need; {whose}"
