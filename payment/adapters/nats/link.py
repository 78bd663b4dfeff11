"""One connection to one NATS server, over TCP or a websocket, from its opening to its end, with a sentence for each
failure.

Owns: dialling once, the pings that detect a dead peer, and ending the requests that wait on a lost connection. Must
never: put credentials into a message, send them unencrypted where TLS is asked for, or be opened twice. Change together
with: `payment.adapters.nats.connection` and `payment.adapters.nats.login`.

nats-py's own reconnecting is not used. It keeps unsent commands for the next connection, waits without a bound for a
stopped peer's socket to close, and ends for ever on an authorization error. Here each connection is a new client, so
that no message outlives the connection it was sent on, and the first connection is made like every other.
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
"""For each step of a connection (TCP, greeting, TLS, first ping), in seconds: a running server answers in milliseconds.
"""
OPEN_TIMEOUT_S = 6.0
"""For all steps together, twice over: nats-py dials a server a second time before it gives up."""
CLOSE_TIMEOUT_S = 2.0
"""A stopped peer's socket can't be flushed; after this time, in seconds, its connection is dropped unflushed."""
PING_EVERY_S = 3.0
PING_TIMEOUT_S = 4.0
"""Together 7 s until a peer that keeps its socket open but answers nothing counts as gone."""
LIBRARY_FLUSH_S = 60
"""nats-py's own limit, set out of reach so that ours applies."""
LIBRARY_PING_S = 3600
"""nats-py's own pings, in effect switched off: ours are bounded even where the socket accepts no more bytes."""
DENIALS_MAX = 200
"""Subjects that are remembered as denied: more than are used at a time. Each inbox has a new name."""
INBOX = "_INBOX."
PUBLISH, SUBSCRIPTION = "publish", "subscription"
"""The server's text for a denied publish or subscription."""
_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')


class ServerAddress(NamedTuple):
    """The address of a server. `tls_name` is the name that its certificate must have, where that is not the URL's
    host.
    """

    url: str
    tls_name: str | None = None


class CautiousClient(Client):
    """nats-py's client with TLS and identity decided by this service. nats-py itself treats `tls://` as `nats://`: it
    encrypts where the server requires it, and otherwise sends the password in the clear. Nor does it send a signature
    to a server that accepts connections without one, and would be another user there than intended.

    It relies on private names of nats-py: a method that gets the server's greeting before anything is sent, the flag
    that there are credentials, and the public nkey. Tests with servers that require each of them fail if a new version
    of the library no longer uses these names.
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
            info["tls_required"] = True  # required by us: a server that only offers TLS does not require it
        await super()._process_info(info, initial_connection)

    async def drop(self) -> None:
        """Close the websocket session that nats-py leaves open after a failed connect."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()  # type: ignore[no-untyped-call]
            await transport.wait_closed()  # type: ignore[no-untyped-call]


class PendingRequest:
    """A request that waits for its answer. `end` ends it early, with a reason."""

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

    `client` has no credentials until `open` has read those of `login`.
    """

    def __init__(self, server: ServerAddress, client_name: str, login: NatsLogin) -> None:
        self.client = CautiousClient(wants_tls=login.wants_tls, signer=None)
        self.address = address_of(server.url)
        self.lost = asyncio.Event()
        self.reason = f"NATS at {self.address}: the connection was closed"
        self.pending_requests: set[PendingRequest] = set()
        self.denials: dict[tuple[str, str], float] = {}
        """When the server last denied us a publish or subscription, in loop time, by kind and subject in lower case."""
        self._server = server
        self._client_name = client_name
        self._login = login
        self._error: Exception | None = None

    async def open(self) -> None:
        """Connect. Raises TransportUnavailable; its text has the address and no credentials."""
        opened = False
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._connect()
            opened = True
        except (nats.errors.Error, OSError, ValueError, ClientError) as error:
            # `from None`: the error of nats-py or of a URL parser may quote the URL.
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
        """The other servers of the cluster, with the credentials that this server accepted. Where only their IP
        addresses are known, their certificates must have this server's name.
        """
        own = urlsplit(self._server.url)
        userinfo = f"{own.netloc.rpartition('@')[0]}@" if "@" in own.netloc else ""
        name = self._server.tls_name or own.hostname
        return [
            ServerAddress(f"{own.scheme}://{userinfo}{found.netloc}", name if _is_ip(found.hostname or "") else None)
            for found in self.client.discovered_servers
        ]

    async def until_lost(self) -> None:
        """Return when the connection is lost. A ping is sent every PING_EVERY_S."""
        while not self.lost.is_set():
            try:
                async with asyncio.timeout(PING_EVERY_S):
                    await self.lost.wait()
            except TimeoutError:
                # A failed ping ends the link, and with it this loop.
                with contextlib.suppress(TransportUnavailable):
                    await self.round_trip(self.client.flush(LIBRARY_FLUSH_S), PING_TIMEOUT_S)

    async def round_trip(self, work: Coroutine[Any, Any, None], timeout_s: float) -> None:
        """Await one of nats-py's calls that end with a ping's answer; raises TransportUnavailable and ends the link.

        A cancellation of the caller doesn't reach the call: nats-py's reader would silently die of the answer to an
        abandoned ping. For the same reason a link whose ping was not answered in time is not used any more.
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
                # nats-py fails an assertion when a client is closed that never had a socket.
                if self.client.is_connected or self.client.is_connecting:
                    await self.client.close()
                else:
                    await self.client.drop()
        except (nats.errors.Error, OSError, ClientError) as error:
            self._error = error  # the connection is over either way, and nothing waits for it
        self._end(self.reason)

    async def _on_error(self, error: Exception) -> None:
        """Handle an error that nats-py reports in the background. It is the only answer to a denied request."""
        text = str(error).lower()
        if "permissions violation" not in text:
            self._error = error
            self.reason = f"NATS at {self.address}: {describe(error)}"
            return
        # nats-py passes the server's text in lower case.
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
        """A subject with this prefix whose publish or subscription (`what`) the server denied, within the last
        `within_s` seconds or ever; None if there is none.
        """
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
    """Returns a client for one connection to a server, and the arguments of its `connect`, credentials included.

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
    """Returns host and port of a server's URL, and nothing else of it."""
    try:
        parts = urlsplit(server if "://" in server else f"nats://{server}")
        host, port = parts.hostname or "", parts.port or 4222
    except ValueError:
        return "an address that can't be read"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_credentials(url: str) -> tuple[str, dict[str, str]]:
    """Returns a server's URL without its credentials, and the credentials, percent-decoded, as options of nats-py.

    nats-py does not decode a URL's credentials, so that a password could not contain a slash. A user without a password
    is a token.

    Raises:
        ValueError: the decoded bytes are not UTF-8.
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
