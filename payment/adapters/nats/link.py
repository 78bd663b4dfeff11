"""One connection to one NATS server, over TCP or a websocket, from its opening to its end, and its trouble in words.

Owns: dialling once, the pings that find a dead peer, and ending what waits on a connection that is over. Must never:
put credentials into a message, send them unencrypted where TLS is asked for, or be opened twice. Change together with:
`payment.adapters.nats.connection` and `payment.adapters.nats.login`.

nats-py's own reconnecting is left unused. It keeps unsent commands for the next connection, waits without a bound for a
stopped peer's socket to close, and ends for ever on an authorization error. Here each connection is a new client, so
that nothing can outlive the one it was sent on, and the first connection is made like every other.
"""

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Coroutine
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import nats.errors
from aiohttp import ClientError
from nats.aio.client import Client

from payment.adapters.nats.error_texts import describe
from payment.adapters.nats.login import NatsLogin, Signer
from payment.ports.transport import TransportUnavailable

CONNECT_TIMEOUT_S = 2
"""For each step of a connection (TCP, greeting, TLS, first ping): a server that is there answers in milliseconds."""
OPEN_TIMEOUT_S = 6.0
"""For all steps together, twice over: nats-py dials a server a second time before it says no."""
CLOSE_TIMEOUT_S = 2.0
"""A stopped peer's socket can't be flushed; its connection is then dropped as it is."""
PING_EVERY_S = 3.0
PING_TIMEOUT_S = 4.0
"""Together 7 s until a peer that keeps its socket open but answers nothing counts as gone."""
LIBRARY_FLUSH_S = 60
"""nats-py's own limit, out of reach: ours decides."""
LIBRARY_PING_S = 3600
"""nats-py's own pings, in effect off: ours are bounded even where the socket takes no more bytes."""
DENIALS_MAX = 200
"""Subjects that are remembered as denied: above those we use at a time. Inboxes have a new name each."""
INBOX = "_INBOX."
PUBLISH, SUBSCRIPTION = "publish", "subscription"
"""What may be denied, in the server's words."""
_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')


class ServerAddress(NamedTuple):
    """Where to connect to. `tls_name` is the name that its certificate must have, where that is not the URL's host."""

    url: str
    tls_name: str | None = None


class CautiousClient(Client):
    """nats-py's client, which by itself takes `tls://` for `nats://`: it encrypts where the server says that it must,
    and else sends the password in the clear. Here TLS is our word, not the server's. So is who we are: nats-py sends no
    signature to a server that takes connections without one, and would be another user there than is meant.

    It leans on inner names of nats-py: a method that gets the server's greeting before anything is sent, what says that
    there are credentials, and the public nkey. Tests with servers that insist on each say so if a new version of the
    library does not look at them any more.
    """

    def __init__(self, *, wants_tls: bool, signer: Signer | None) -> None:
        super().__init__()
        self._wants_tls = wants_tls
        if signer is not None:
            self._auth_configured = True
            self._public_nkey = signer.public_key

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        url = self._current_server.uri if self._current_server else None
        scheme = url.scheme if initial_connection and url is not None else ""
        if scheme == "tls" or (scheme == "nats" and self._wants_tls):
            if not (info.get("tls_required") or info.get("tls_available")):
                asks = "NATS_URL asks" if scheme == "tls" else "the NATS_TLS_… variables ask"
                raise nats.errors.Error(f"the server offers no TLS, and {asks} for it")
            info["tls_required"] = True  # by us: a server that only offers it says that it need not be
        await super()._process_info(info, initial_connection)

    async def drop(self) -> None:
        """Close what a failed connect has left open: a websocket's session, which nats-py forgets."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()  # type: ignore[no-untyped-call]
            await transport.wait_closed()  # type: ignore[no-untyped-call]


class PendingRequest:
    """A request under way: it can be ended early, with a reason."""

    def __init__(self, subject: str, scope: asyncio.Timeout) -> None:
        self.subject = subject
        self.reason: str | None = None
        self.denied = False
        self._scope = scope

    def end(self, reason: str, *, denied: bool = False) -> None:
        if not self._scope.expired():
            self.reason, self.denied = reason, denied
            self._scope.reschedule(asyncio.get_running_loop().time())


class Link:
    """One connection from its opening to its end. It is never opened twice.

    `client` is a client without credentials until `open` has read those of `login`.
    """

    def __init__(self, server: ServerAddress, client_name: str, login: NatsLogin) -> None:
        self.client = CautiousClient(wants_tls=login.wants_tls, signer=None)
        self.address = address_of(server.url)
        self.lost = asyncio.Event()
        self.reason = f"NATS at {self.address}: the connection was closed"
        self.pending_requests: set[PendingRequest] = set()
        self.denials: dict[tuple[str, str], float] = {}
        """When the server last denied us a `publish` or `subscription`, and its subject in lower case: loop time."""
        self._server = server
        self._client_name = client_name
        self._login = login
        self._error: Exception | None = None

    async def open(self) -> None:
        """Raises TransportUnavailable, with the address and without credentials."""
        opened = False
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._connect()
            opened = True
        except (nats.errors.Error, OSError, ValueError, ClientError) as error:
            # `from None`: what nats-py or a URL parser says may quote the URL.
            raise TransportUnavailable(f"NATS at {self.address}: {describe(self._error or error)}") from None
        finally:
            if not opened:
                await self.close()

    async def _connect(self) -> None:
        self.client, options = prepared(self._server, self._login)
        await self.client.connect(
            **options,
            name=self._client_name,
            error_cb=self._on_error,
            closed_cb=self._on_closed,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=LIBRARY_PING_S,
            pending_size=0,
        )

    def discovered_servers(self) -> list[ServerAddress]:
        """The other servers of the cluster, with the credentials that this one took, and its name in their certificates
        where they are known by their IP addresses alone."""
        own = urlsplit(self._server.url)
        userinfo = f"{own.netloc.rpartition('@')[0]}@" if "@" in own.netloc else ""
        name = self._server.tls_name or own.hostname
        return [
            ServerAddress(f"{own.scheme}://{userinfo}{found.netloc}", name if _is_ip(found.hostname or "") else None)
            for found in self.client.discovered_servers
        ]

    async def until_lost(self) -> None:
        """Return when the connection is lost; it is asked for a sign of life every PING_EVERY_S."""
        while not self.lost.is_set():
            try:
                async with asyncio.timeout(PING_EVERY_S):
                    await self.lost.wait()
            except TimeoutError:
                # Its failure ends the link, and with it this loop.
                with contextlib.suppress(TransportUnavailable):
                    await self.round_trip(self.client.flush(LIBRARY_FLUSH_S), PING_TIMEOUT_S)

    async def round_trip(self, work: Coroutine[Any, Any, None], timeout_s: float) -> None:
        """Await one of nats-py's calls that end with a ping's answer; raises TransportUnavailable and ends the link.

        A cancellation of the caller doesn't reach it: nats-py's reader dies, without a word, of the answer to a ping
        that was given up. For the same reason a link whose ping was not answered in time is not used any more.
        """
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # its caller may be gone
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(task)
        except TimeoutError:
            self._end(f"NATS at {self.address}: no answer to a ping within {timeout_s:g} s")
            raise TransportUnavailable(self.reason) from None
        except (nats.errors.Error, OSError) as error:
            self._end(f"NATS at {self.address}: {describe(error)}")
            raise TransportUnavailable(self.reason) from error

    async def close(self) -> None:
        """Flush what is pending and close the socket, within CLOSE_TIMEOUT_S."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                # nats-py fails an assertion when a client is closed that never came as far as a socket.
                if self.client.is_connected or self.client.is_connecting:
                    await self.client.close()
                else:
                    await self.client.drop()
        except (nats.errors.Error, OSError, ClientError) as error:
            self._error = error  # the connection is over either way: nobody waits for it any more
        self._end(self.reason)

    async def _on_error(self, error: Exception) -> None:
        """What nats-py meets in the background. A denied request gets no answer, only this."""
        text = str(error).lower()
        if "permissions violation" not in text:
            self._error = error
            self.reason = f"NATS at {self.address}: {describe(error)}"
            return
        # nats-py hands the server's text over in lower case.
        denied = _DENIED.search(text)
        if denied is None:
            return
        what, subject = denied[1], denied[2]
        self.denials.pop((what, subject), None)
        self.denials[what, subject] = asyncio.get_running_loop().time()
        if len(self.denials) > DENIALS_MAX:
            del self.denials[next(iter(self.denials))]
        for pending in tuple(self.pending_requests):
            if pending.subject.lower() == subject:
                pending.end(f"NATS at {self.address}: permission denied for {pending.subject}", denied=True)

    def denied(self, what: str, beginning: str, within_s: float | None = None) -> str | None:
        """A subject of this beginning whose `publish` or `subscription` the server denied us; of late, or ever."""
        not_before = 0.0 if within_s is None else asyncio.get_running_loop().time() - within_s
        found = (each for (kind, each), at_s in self.denials.items() if kind == what and at_s >= not_before)
        return next((each for each in found if each.startswith(beginning.lower())), None)

    async def _on_closed(self) -> None:
        self._end(self.reason)

    def _end(self, reason: str) -> None:
        if not self.lost.is_set():
            self.reason = reason
            self.lost.set()
        for pending in tuple(self.pending_requests):
            pending.end(self.reason)


def prepared(server: ServerAddress, login: NatsLogin) -> tuple[CautiousClient, dict[str, Any]]:
    """A client for one connection to a server, and what its `connect` takes to be known there.

    Raises:
        LoginError: a credential can't be used.
    """
    url, credentials = split_credentials(server.url)
    options: dict[str, Any] = {"servers": [url], **credentials}
    signer, tls = login.signer(), login.tls()
    if signer is not None:
        options["signature_cb"] = signer.sign
        if signer.jwt is not None:
            options["user_jwt_cb"] = signer.user_jwt
    if tls is not None:
        options["tls"] = tls
    if server.tls_name is not None:
        options["tls_hostname"] = server.tls_name
    return CautiousClient(wants_tls=login.wants_tls, signer=signer), options


def address_of(server: str) -> str:
    """Host and port of a server's URL, and nothing else of it."""
    try:
        parts = urlsplit(server if "://" in server else f"nats://{server}")
        host, port = parts.hostname or "", parts.port or 4222
    except ValueError:
        return "an address that can't be read"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_credentials(url: str) -> tuple[str, dict[str, str]]:
    """A server's URL without its credentials, and these as options of nats-py, percent-decoded as every URL's are.

    nats-py sends what stands in a URL as it stands there: no password could then have a slash in it. A user without a
    password is a token.

    Raises:
        ValueError: what is percent-encoded is no UTF-8.
    """
    parts = urlsplit(url)
    userinfo, at, place = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    user, colon, password = (unquote(part, errors="strict") for part in userinfo.partition(":"))
    plain = parts._replace(netloc=place).geturl()
    return plain, {"user": user, "password": password} if colon else {"token": user}


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
