"""`python run.py --check`: are the settings valid, can the service listen, and does each server answer?

For an operator, or a release phase. It makes no index, stream or charge. It writes one small document in `probes`, to
find out whether MongoDB takes writes. It never prints a secret.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TextIO

from payment import healthcheck
from payment.core.account import StripeAccount, mismatch
from payment.ops.redaction import Redactor
from payment.ports.cards import CardProcessor, NotYet, Obstacle, Permission
from payment.ports.store import OrderStore, StoreUnavailable
from payment.ports.transport import EventTransport, TransportDegraded, TransportUnavailable
from payment.process.listening import CannotListen, address_text, listen
from payment.service import Ports, real_ports, secrets_of
from payment.settings.doubts import doubts
from payment.settings.environment import Settings

REACH_TIMEOUT_S = 10.0
"""For one server: a release must not wait long for a host that is not there."""

OK, DEGRADED, FAILED = "ok", "DEGRADED", "FAILED"
"""The results on a line. Degraded: the server works, and a setting there weakens a guarantee; the exit code stays 0."""


class DependencyUnreachable(Exception):
    """A server did not answer as it should. The text says what it answered."""


async def check(settings: Settings, out: TextIO) -> int:
    """Listen for an instant, reach MongoDB, NATS and Stripe at the same time, and print a line for each.

    A line for each setting that is valid and probably a mistake precedes them. Returns the exit code.
    """
    for doubt in doubts(settings):
        print(f"warning  {doubt}", file=out)
    redactor = Redactor(secrets_of(settings))
    http_code, text = await asyncio.to_thread(check_address, settings.host, settings.port)
    print(_line("http", OK if http_code == os.EX_OK else FAILED, text), file=out)
    return max(http_code, await check_ports(real_ports(settings), out, redactor.scrub))


def check_address(host: str | None, port: int) -> tuple[int, str]:
    """Returns whether the service could listen there, as an exit code and a text.

    A port at which this service already answers is no failure: the check then runs beside it.
    """
    try:
        sockets = listen(host, port)
    except CannotListen as error:
        answer = healthcheck.ask(host, port) if error.taken else None
        if answer is not None and answer.ours:
            return os.EX_OK, f"port {port}: a payment service runs there already; a second one would not start"
        return error.exit_code, str(error)
    for each in sockets:
        each.close()
    return os.EX_OK, f"can listen on {address_text(host, port)}"


async def check_ports(ports: Ports, out: TextIO, scrub: Callable[[str], str] = str) -> int:
    """Reach the servers of these ports, print a line for each, and close the ports. Returns the exit code.

    `scrub` makes a text fit to be printed.
    """
    transport, cards = ports.transport(), ports.cards()
    checks = {
        "mongodb": lambda: _store(ports.store),
        "nats": lambda: _transport(transport),
        "stripe": lambda: _cards(cards, ports.store),
    }
    try:
        found = await asyncio.gather(*(_bounded(check_one) for check_one in checks.values()))
    finally:
        await asyncio.gather(ports.store.close(), transport.close(), cards.close())
    for name, (outcome, text) in zip(checks, found, strict=True):
        print(_line(name, outcome, scrub(text)), file=out)
    return os.EX_UNAVAILABLE if any(outcome == FAILED for outcome, _ in found) else os.EX_OK


def _line(name: str, outcome: str, text: str) -> str:
    return f"{name:8} {outcome:8} {text}"


async def _bounded(check_one: Callable[[], Awaitable[str]]) -> tuple[str, str]:
    try:
        async with asyncio.timeout(REACH_TIMEOUT_S):
            return OK, await check_one()
    except TimeoutError:
        return FAILED, f"no answer within {REACH_TIMEOUT_S:.0f} s"
    except TransportDegraded as error:
        return DEGRADED, str(error)
    except (StoreUnavailable, TransportUnavailable, DependencyUnreachable) as error:
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


async def _cards(cards: CardProcessor, store: OrderStore) -> str:
    """Check that Stripe answers, the database is the key's account's, and the key may make all our calls."""
    account = await cards.check()
    if not isinstance(account, StripeAccount):
        raise DependencyUnreachable(account.text)
    bound = await store.accounts.read()
    problem = None if bound is None else mismatch(bound.account, account)
    if problem is not None:
        raise DependencyUnreachable(problem)
    outcomes = await asyncio.gather(*(cards.check_permission(permission) for permission in Permission))
    for permission, outcome in zip(Permission, outcomes, strict=True):
        if isinstance(outcome, NotYet) and outcome.obstacle is Obstacle.KEY_REFUSED:
            raise DependencyUnreachable(f"STRIPE_KEY may not {permission.value}: {outcome.text}")
        if outcome is not None:
            raise DependencyUnreachable(f"whether STRIPE_KEY may {permission.value} is not known: {outcome.text}")
    binding = "the database belongs to no account yet" if bound is None else "the database belongs to it"
    return f"Stripe answers and takes our key, which is for {account} and may do all that we need; {binding}"
