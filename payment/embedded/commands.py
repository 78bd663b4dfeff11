"""The neighbours' commands: order, cancel, token, events, status. Each gives an exit code.

What a script wants goes to stdout (ids, commands, one JSON object a line), what is only for a person to stderr. Where
things are is read from the home folder's state; `NATS_URL` and `JWT_KEY`, where they are set, go first, and so does
`NATS_CLUSTER_ID` beside the former.
"""

import asyncio
import math
import os
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from payment.edge.answers import PAYMENTS_PATH
from payment.edge.events import INCOMING_SUBJECTS, ORDER_CREATED, OUTGOING_SUBJECTS, BadEvent, parse_event
from payment.embedded import probe
from payment.embedded.bus import AGAIN_S, Bus, Held, NeighbourError, Order, Stored
from payment.embedded.guide import DIM, GOOD_CARD, Shell, Voice, pay_line, payment_line
from payment.embedded.home import Home
from payment.embedded.neighbours import connected, new_order_id, signed_token
from payment.embedded.plan import NAME, SERVICE, given, nats_login
from payment.embedded.servers import Server
from payment.listening import where
from payment.ports.nats_login import NatsLogin

TAKEN_IN_S = 5.0
"""How long to wait for the service to take an event in: milliseconds, or it is not up."""
REFUND_S = 10.0
"""How long to wait for a refund to be announced. Stripe needs a second or two."""
CURRENCY = "usd"
"""What the service takes a price to be in, where neither the order nor `CURRENCY` says so."""
KNOWN_SHOWN = 5
"""How many of the latest orders are named where an id is none's: a typo is of one just seen."""
UNKNOWN = 404
EXIT_TIMED_OUT = 1
"""`events --count N --timeout-s S` saw fewer than N."""


class Access(Struct, frozen=True):
    """Where the run of a home folder is reached, and the key it believes."""

    nats_url: str
    cluster_id: str
    key: str
    host: str
    port: int
    queue_group: str
    login: NatsLogin = NatsLogin()

    @classmethod
    def of(cls, home: Home, environ: Mapping[str, str]) -> "Access":
        """Raise NeighbourError where something is not known."""
        state = home.read_state()
        nats_url, key = given(environ, "NATS_URL"), given(environ, "JWT_KEY")
        cluster_id = (given(environ, "NATS_CLUSTER_ID") if nats_url else None) or (state.cluster_id if state else "")
        if state is not None and state.own_nats and nats_url is None:
            nats_url = f"nats://{probe.LOOPBACK}:{state.ports[Server.NATS]}"
        if key is None and (state is None or state.own_key):
            key = home.read_key()
        if nats_url is None or key is None:
            raise NeighbourError(_unknown("NATS_URL" if nats_url is None else "JWT_KEY", home, known=state is not None))
        host = state.host if state else probe.LOOPBACK
        try:
            port = state.ports[SERVICE] if state else where({"PORT": environ.get("PORT", "")})[1]
        except ValueError:
            raise NeighbourError("PORT wants a whole number from 0 to 65535") from None
        group = state.queue_group if state else (given(environ, "QUEUE_GROUP_NAME") or NAME)
        return cls(nats_url, cluster_id, key, host, port, group, nats_login(environ))

    @property
    def base_url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


async def order(options: Namespace, home: Home, environ: Mapping[str, str]) -> int:
    """Publish order:created; print the order's id, and the command that pays it, where there is something to pay."""
    access, voice = Access.of(home, environ), Voice(sys.stderr, environ)
    what = Order(
        order_id=options.id or new_order_id(),
        user_id=options.user,
        price=options.price,
        currency=options.currency,
        expires_in_s=options.expires_in_s,
    )
    async with connected(access.nats_url, access.cluster_id, access.login) as bus:
        stored = await bus.create(what)
        if not await bus.taken_in(stored, access.queue_group, TAKEN_IN_S):
            voice.complain("the bus has the order; the service has not taken it in yet")
    if (wrong := refusal(stored, given(environ, "CURRENCY") or CURRENCY)) is not None:
        voice.complain(f"a bad event, which goes to dead_letters: {wrong}. There is no order to pay")
        return os.EX_DATAERR
    print(what.order_id)
    print(pay_line(access.base_url, signed_token(access.key, options.user), what.order_id, GOOD_CARD), flush=True)
    return 0


async def cancel(options: Namespace, home: Home, environ: Mapping[str, str]) -> int:
    """Publish order:cancelled; where the order had been paid, wait for its refund and show it.

    An id that no order has is refused: cancelled is final, also for an order that comes later.
    """
    access, voice = Access.of(home, environ), Voice(sys.stderr, environ)
    async with connected(access.nats_url, access.cluster_id, access.login) as bus:
        if not options.force and (wrong := await _unknown_order(bus, options.id)) is not None:
            voice.complain(f"{wrong}. Nothing was published; --force cancels it all the same")
            return os.EX_DATAERR
        stored = await bus.cancel(options.id)
        _print(stored.subject, msgspec.json.encode(stored.event))
        if not await bus.taken_in(stored, access.queue_group, TAKEN_IN_S):
            voice.complain("the bus has the event; the service has not taken it in yet")
        paid = await _about(bus, OUTGOING_SUBJECTS[0], options.id)
        if not paid:
            voice.say("the order was not paid: nothing to give back")
            return 0
        refunds = await _wait_for(bus, OUTGOING_SUBJECTS[1], options.id)
        if not refunds:
            voice.complain(
                f"no refund was announced within {REFUND_S:g} s; see {Shell.here(home.path).python} … status"
            )
        await _show(bus, access, options.id, voice)
    return 0


def refusal(stored: Stored, currency: str) -> str | None:
    """Why the service takes an event for a bad one, if it does: it acknowledges those too, once they are kept."""
    try:
        parse_event(stored.subject, msgspec.json.encode(stored.event), currency.lower())
    except BadEvent as error:
        return str(error)
    return None


def token(options: Namespace, home: Home, environ: Mapping[str, str]) -> int:
    """Print a signed token of a user."""
    key = given(environ, "JWT_KEY") or home.read_key()
    if key is None:
        raise NeighbourError(_unknown("JWT_KEY", home, known=False))
    print(signed_token(key, options.user))
    return 0


async def events(options: Namespace, home: Home, environ: Mapping[str, str]) -> int:
    """Print our events as they are published, one JSON object a line, until interrupted or enough."""
    access, told = Access.of(home, environ), 0
    deadline = math.inf if options.timeout_s is None else time.monotonic() + options.timeout_s
    async with connected(access.nats_url, access.cluster_id, access.login) as bus:
        read = {subject: 0 if options.all else await bus.last(subject) for subject in OUTGOING_SUBJECTS}
        while time.monotonic() < deadline:
            for subject in OUTGOING_SUBJECTS:
                async for event in bus.past(subject, read[subject]):
                    _print(subject, event.payload)
                    read[subject], told = event.seq, told + 1
                    if told == options.count:
                        return 0
            await asyncio.sleep(AGAIN_S)
    return 0 if options.count is None else EXIT_TIMED_OUT


async def status(options: Namespace, home: Home, environ: Mapping[str, str]) -> int:
    """Print an order's events in the order in which they were stored, then its payment as its owner sees it."""
    access, voice = Access.of(home, environ), Voice(sys.stderr, environ)
    async with connected(access.nats_url, access.cluster_id, access.login) as bus:
        found = []
        for subject in (*INCOMING_SUBJECTS, *OUTGOING_SUBJECTS):
            found += [(event.rank, subject, event.payload) for event in await _about(bus, subject, options.id)]
        for _, subject, payload in sorted(found):
            _print(subject, payload)
        if not found:
            raise NeighbourError(await _unknown_order(bus, options.id) or "no event of this order is known")
        await _show(bus, access, options.id, voice)
    return 0


async def _unknown_order(bus: Bus, order_id: str) -> str | None:
    """Why an id is no order's, with the latest ids that are; None where it is one's."""
    ids = [str(_fields(event.payload).get("id")) async for event in bus.past(ORDER_CREATED)]
    if order_id in ids:
        return None
    known = ", ".join(dict.fromkeys(reversed(ids[-KNOWN_SHOWN:]))) or "none"
    return f"no order {order_id!r} was created; the latest are: {known}"


async def _show(bus: Bus, access: Access, order_id: str, voice: Voice) -> None:
    """Show the payment of an order as its owner sees it, and the command that asks so, or the one that pays it."""
    created = await _about(bus, ORDER_CREATED, order_id)
    if not created:
        voice.say("no payment is known of this order")
        return
    signed = signed_token(access.key, str(_fields(created[0].payload).get("userId")))
    path = f"{PAYMENTS_PATH}?{urlencode({'orderId': order_id})}"
    answer = await probe.get(access.host, access.port, path, (("Authorization", f"Bearer {signed}"),))
    if answer is None:
        voice.complain(f"no answer at {access.base_url}: is `make run` running?")
        return
    found = _fields(answer[1].encode())
    paying = pay_line(access.base_url, signed, order_id, GOOD_CARD)
    if answer[0] == UNKNOWN:
        voice.say("nobody tried to pay this order yet")
        voice.show(f"{voice.paint('pay it:', DIM)} {paying}")
        return
    print(answer[1], flush=True)
    if found.get("status") == "declined":
        voice.say("the card was declined; the order can be paid with another one")
        voice.show(f"{voice.paint('pay it:', DIM)} {paying}")
    elif "id" in found:
        voice.show(f"{voice.paint('again:', DIM)} {payment_line(access.base_url, signed, str(found['id']))}")


async def _wait_for(bus: Bus, subject: str, order_id: str) -> list[Held]:
    """The events of an order on a subject, once there is one; none when patience ends."""
    found, deadline = await _about(bus, subject, order_id), time.monotonic() + REFUND_S
    while not found and time.monotonic() < deadline:
        await asyncio.sleep(AGAIN_S)
        found = await _about(bus, subject, order_id)
    for event in found:
        _print(subject, event.payload)
    return found


async def _about(bus: Bus, subject: str, order_id: str) -> list[Held]:
    """The events on a subject that are about an order."""
    name = "orderId" if subject in OUTGOING_SUBJECTS else "id"
    return [event async for event in bus.past(subject) if _fields(event.payload).get(name) == order_id]


def _fields(payload: bytes) -> dict[str, object]:
    """An event's fields; none where it is no object (the bus takes anything)."""
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
