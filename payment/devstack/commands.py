"""The commands of the peer services: order, cancel, token, events, status, guide. Each returns an exit code.

Output for scripts goes to stdout (ids, commands, one JSON object a line), text for a person to stderr. Addresses and
keys come from the home folder's state; `NATS_URL` (with `NATS_CLUSTER_ID`) and `JWT_KEY` override it where they are
set.
"""

import asyncio
import math
import os
import sys
import time
from argparse import Namespace
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from payment.actors.http.responses import PAYMENTS_PATH
from payment.actors.nats.event_payloads import INCOMING_SUBJECTS, ORDER_CREATED, BadEvent, parse_event
from payment.adapters.nats.login import NatsLogin
from payment.core.effects import OUTGOING_SUBJECTS
from payment.devstack import ready_checks
from payment.devstack.bus import POLL_EVERY_S, Bus, HeldEvent, PeerServiceError, PlacedOrder, Stored
from payment.devstack.home import Home
from payment.devstack.peer_services import connected, new_order_id, signed_token
from payment.devstack.plan import NAME, SERVICE, given, nats_login
from payment.devstack.servers import ServerProgram
from payment.devstack.tutorial import DIM, GOOD_CARD, Console, Shell, Tutorial, pay_line, payment_line
from payment.process.listening import host_and_port

TAKEN_IN_S = 5.0
"""How long to wait for the service to acknowledge an event, in seconds: it takes milliseconds unless the service is not
up.
"""
REFUND_S = 10.0
"""How long to wait for a refund's event, in seconds. Stripe needs a second or two."""
CURRENCY = "usd"
"""The currency of a price where neither the order nor `CURRENCY` names one."""
KNOWN_SHOWN = 5
"""Number of known order ids that are shown beside an unknown one."""
EXIT_TIMED_OUT = 1
"""Exit code of `events --count N --timeout-s S` with fewer than N events."""


class UnknownOrderError(Exception):
    """The bus holds no event of the order."""


class Access(Struct, frozen=True):
    """The addresses of the run of a home folder, and the key that its service accepts."""

    nats_url: str
    cluster_id: str
    key: str
    host: str
    port: int
    queue_group: str
    login: NatsLogin = NatsLogin()

    @classmethod
    def of(cls, home: Home, environ: Mapping[str, str]) -> "Access":
        """Read them from the environment and the state. Raises PeerServiceError where one is unknown."""
        state = home.read_state()
        nats_url, key = given(environ, "NATS_URL"), given(environ, "JWT_KEY")
        cluster_id = (given(environ, "NATS_CLUSTER_ID") if nats_url else None) or (state.cluster_id if state else "")
        if state is not None and state.own_nats and nats_url is None:
            nats_url = f"nats://{ready_checks.LOOPBACK}:{state.ports[ServerProgram.NATS]}"
        if key is None and (state is None or state.own_key):
            key = home.read_key()
        if nats_url is None or key is None:
            raise PeerServiceError(
                _unknown("NATS_URL" if nats_url is None else "JWT_KEY", home, known=state is not None)
            )
        host = state.host if state else ready_checks.LOOPBACK
        try:
            port = state.ports[SERVICE] if state else host_and_port({"PORT": environ.get("PORT", "")})[1]
        except ValueError:
            raise PeerServiceError("PORT wants a whole number from 0 to 65535") from None
        group = state.queue_group if state else (given(environ, "QUEUE_GROUP_NAME") or NAME)
        return cls(nats_url, cluster_id, key, host, port, group, nats_login(environ))

    @property
    def base_url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


async def order(options: Namespace, home: Home, environ: Mapping[str, str]) -> int:
    """Publish order:created; print the order's id, and the command that pays it where the order is valid."""
    access, console = Access.of(home, environ), Console(sys.stderr, environ)
    what = PlacedOrder(
        order_id=options.id or new_order_id(),
        user_id=options.user,
        price=options.price,
        currency=options.currency,
        expires_in_s=options.expires_in_s,
    )
    async with connected(access.nats_url, access.cluster_id, access.login) as bus:
        stored = await bus.create(what)
        if not await bus.taken_in(stored, access.queue_group, TAKEN_IN_S):
            console.warn("the bus has the order; the service has not received it yet")
    if (reason := refusal(stored, given(environ, "CURRENCY") or CURRENCY)) is not None:
        console.warn(f"a bad event, which goes to dead_letters: {reason}. There is no order to pay")
        return os.EX_DATAERR
    print(what.order_id)
    print(pay_line(access.base_url, signed_token(access.key, options.user), what.order_id, GOOD_CARD), flush=True)
    return 0


async def cancel(options: Namespace, home: Home, environ: Mapping[str, str]) -> int:
    """Publish order:cancelled; for a paid order, wait for its refund and show it."""
    access, console = Access.of(home, environ), Console(sys.stderr, environ)
    async with connected(access.nats_url, access.cluster_id, access.login) as bus:
        if not options.force and not await _about(bus, ORDER_CREATED, options.id):
            raise await _unknown_order(bus, options.id, " Cancel it all the same with --force.")
        stored = await bus.cancel(options.id)
        _print(stored.subject, msgspec.json.encode(stored.event))
        if not await bus.taken_in(stored, access.queue_group, TAKEN_IN_S):
            console.warn("the bus has the event; the service has not received it yet")
        paid = await _about(bus, OUTGOING_SUBJECTS[0], options.id)
        if not paid:
            console.inform("the order was not paid: nothing to give back")
            return 0
        refunds = await _wait_for(bus, OUTGOING_SUBJECTS[1], options.id)
        if not refunds:
            console.warn(f"no refund was published within {REFUND_S:g} s; see {Shell.here(home.path).python} … status")
        await _show(bus, access, options.id, console)
    return 0


def refusal(stored: Stored, currency: str) -> str | None:
    """Returns the reason why the service rejects an event, or None. It acknowledges rejected events too, once they are
    dead letters.
    """
    try:
        parse_event(stored.subject, msgspec.json.encode(stored.event), currency.lower())
    except BadEvent as error:
        return str(error)
    return None


def token(options: Namespace, home: Home, environ: Mapping[str, str]) -> int:
    """Print a signed token of a user."""
    key = given(environ, "JWT_KEY") or home.read_key()
    if key is None:
        raise PeerServiceError(_unknown("JWT_KEY", home, known=False))
    print(signed_token(key, options.user))
    return 0


async def events(options: Namespace, home: Home, environ: Mapping[str, str]) -> int:
    """Print the service's events as they are published, one JSON object a line, until interrupted or until `--count` is
    reached.
    """
    access, shown = Access.of(home, environ), 0
    deadline = math.inf if options.timeout_s is None else time.monotonic() + options.timeout_s
    async with connected(access.nats_url, access.cluster_id, access.login) as bus:
        read = {subject: 0 if options.all else await bus.last(subject) for subject in OUTGOING_SUBJECTS}
        while time.monotonic() < deadline:
            for subject in OUTGOING_SUBJECTS:
                async for event in bus.past(subject, read[subject]):
                    _print(subject, event.payload)
                    read[subject], shown = event.seq, shown + 1
                    if shown == options.count:
                        return 0
            await asyncio.sleep(POLL_EVERY_S)
    return 0 if options.count is None else EXIT_TIMED_OUT


def tutorial(home: Home, console: Console) -> int:
    """Print the whole tutorial of the current run."""
    shown = home.read_tutorial()
    if shown is None:
        raise PeerServiceError(f"no run in {home.path} has become ready yet: `make run` first")
    console.show(msgspec.json.decode(shown, type=Tutorial).text(console))
    return 0


async def status(options: Namespace, home: Home, environ: Mapping[str, str]) -> int:
    """Print an order's events in the order in which they were stored, then its payment as its owner sees it."""
    access, console = Access.of(home, environ), Console(sys.stderr, environ)
    async with connected(access.nats_url, access.cluster_id, access.login) as bus:
        found = []
        for subject in (*INCOMING_SUBJECTS, *OUTGOING_SUBJECTS):
            found += [(event.rank, subject, event.payload) for event in await _about(bus, subject, options.id)]
        for _, subject, payload in sorted(found):
            _print(subject, payload)
        if not found:
            raise await _unknown_order(bus, options.id)
        await _show(bus, access, options.id, console)
    return 0


async def _show(bus: Bus, access: Access, order_id: str, console: Console) -> None:
    """Show the payment of an order as its owner's GET returns it, and the command that repeats the GET or pays the
    order.
    """
    created = await _about(bus, ORDER_CREATED, order_id)
    if not created:
        console.inform("only a cancel of this order was published: it has no owner and can't be paid")
        return
    signed = signed_token(access.key, str(_fields(created[0].payload).get("userId")))
    path = f"{PAYMENTS_PATH}?{urlencode({'orderId': order_id})}"
    answer = await ready_checks.get(access.host, access.port, path, (("Authorization", f"Bearer {signed}"),))
    if answer is None:
        raise PeerServiceError(f"no answer at {access.base_url}: is `make run` running?")
    payment = _fields(answer[1].encode())
    pay = pay_line(access.base_url, signed, order_id, GOOD_CARD)
    if "id" not in payment:
        console.inform("no card was tried on this order yet")
        console.show(f"{console.paint('pay:', DIM)} {pay}")
        return
    print(msgspec.json.encode(payment).decode(), flush=True)
    if payment.get("status") == "declined":
        console.inform("its last card was declined; another one can pay it")
        console.show(f"{console.paint('pay:', DIM)} {pay}")
        return
    console.show(f"{console.paint('again:', DIM)} {payment_line(access.base_url, signed, str(payment['id']))}")


async def _unknown_order(bus: Bus, order_id: str, more: str = "") -> UnknownOrderError:
    """Returns the error for an order that was never published, with known ids: most likely its id was mistyped."""
    last = deque([str(_fields(event.payload).get("id")) async for event in bus.past(ORDER_CREATED)], maxlen=KNOWN_SHOWN)
    known = f"The last ones are {', '.join(last)}." if last else "None was published so far."
    return UnknownOrderError(f"no order {order_id} was published. {known}{more}")


async def _wait_for(bus: Bus, subject: str, order_id: str) -> list[HeldEvent]:
    """Wait for and return the events of an order on a subject; an empty list after REFUND_S."""
    found, deadline = await _about(bus, subject, order_id), time.monotonic() + REFUND_S
    while not found and time.monotonic() < deadline:
        await asyncio.sleep(POLL_EVERY_S)
        found = await _about(bus, subject, order_id)
    for event in found:
        _print(subject, event.payload)
    return found


async def _about(bus: Bus, subject: str, order_id: str) -> list[HeldEvent]:
    """The events on a subject that are about an order."""
    name = "orderId" if subject in OUTGOING_SUBJECTS else "id"
    return [event async for event in bus.past(subject) if _fields(event.payload).get(name) == order_id]


def _fields(payload: bytes) -> dict[str, object]:
    """Returns an event's fields; none where it is no JSON object (the bus accepts any bytes)."""
    try:
        return msgspec.json.decode(payload, type=dict[str, object])
    except msgspec.DecodeError:
        return {}


def _print(subject: str, payload: bytes) -> None:
    """Print one event as one JSON object: its subject, then its own fields."""
    print(msgspec.json.encode({"subject": subject, **_fields(payload)}).decode(), flush=True)


def _unknown(variable: str, home: Home, *, known: bool) -> str:
    if known:
        return f"the run in {home.path} took {variable} from its environment: set it here too"
    return f"there was no run in {home.path} yet: `make run` first, or set {variable}"
