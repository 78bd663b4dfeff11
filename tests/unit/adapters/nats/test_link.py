"""The bytes that a connection to NATS sends before it is encrypted, to a minimal server that records every byte."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from payment.adapters.nats.jetstream.transport import JetStreamTransport
from payment.adapters.nats.link import Link, ServerAddress
from payment.adapters.nats.login import NatsLogin
from payment.adapters.system import RandomIds, SystemClock
from payment.ops.secret import Secret
from payment.ports.transport import TransportUnavailable
from tests.support.servers.nats_identities import Certificates

TLS_HANDSHAKE = b"\x16\x03"


class Greeter:
    """Sends a given greeting, and refuses the client's next message. `got` has the received bytes."""

    def __init__(self, **greeting: object) -> None:
        self.got: list[bytes] = []
        self.port = 0
        self._greeting = {"server_id": "x", "version": "2.10.0", "max_payload": 1_048_576, **greeting}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(self._greeting).encode() + b"\r\n")
        self.got.append(await reader.read(65_536))
        if self.got[-1].startswith(TLS_HANDSHAKE):
            writer.transport.abort()
        else:
            writer.write(b"-ERR 'enough'\r\n")
            writer.close()


@asynccontextmanager
async def greeter(**greeting: object) -> AsyncIterator[Greeter]:
    made = Greeter(**greeting)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


async def refusal(greets: Greeter, scheme: str, login: NatsLogin | None = None) -> str:
    """Returns the reason why the link could not be opened."""
    url = f"{scheme}://pay:secret@127.0.0.1:{greets.port}"
    with pytest.raises(TransportUnavailable) as refused:
        await Link(ServerAddress(url), "payment-service", login or NatsLogin()).open()
    return str(refused.value)


async def test_where_the_url_says_tls_a_server_without_tls_gets_nothing() -> None:
    """Above all not the password; and the reason names the setting."""
    async with greeter() as server:
        reason = await refusal(server, "tls")
        assert reason == f"NATS at 127.0.0.1:{server.port}: the server offers no TLS, and NATS_URL asks for it"
    assert not any(server.got)


async def test_where_the_url_says_tls_and_the_server_only_offers_it_nothing_goes_before_the_handshake() -> None:
    """The server would accept a connection without TLS."""
    async with greeter(tls_available=True) as server:
        await refusal(server, "tls")
    assert server.got
    assert all(sent.startswith(TLS_HANDSHAKE) for sent in server.got)


async def test_where_the_url_says_nats_a_server_that_only_offers_tls_is_taken_without() -> None:
    """The URL decides."""
    async with greeter(tls_available=True) as server:
        await refusal(server, "nats")
    assert server.got[0].startswith(b"CONNECT {")


async def test_where_a_ca_is_named_a_server_without_tls_gets_nothing(tmp_path: Path) -> None:
    """Regardless of the URL: a configured CA means that the server's certificate is checked."""
    login = NatsLogin(tls_ca=Secret(str(Certificates(tmp_path).ca)))
    async with greeter() as server:
        reason = await refusal(server, "nats", login)
        assert reason.endswith("the server offers no TLS, and the NATS_TLS_… variables ask for it")
    assert not any(server.got)


async def test_a_received_message_is_decoded() -> None:
    """nats-py itself sends the URL's text undecoded."""
    async with greeter(auth_required=True) as server:
        link = Link(ServerAddress(f"nats://u%2Fs:p%40w@127.0.0.1:{server.port}"), "payment-service", NatsLogin())
        with pytest.raises(TransportUnavailable):
            await link.open()
    sent = json.loads(server.got[0].partition(b" ")[2].partition(b"\r\n")[0])
    assert (sent["user"], sent["pass"]) == ("u/s", "p@w")


async def test_a_check_fails_where_the_server_has_no_tls() -> None:
    """`--check` then exits with 69."""
    async with greeter() as server:
        url = f"tls://pay:secret@127.0.0.1:{server.port}"
        transport = JetStreamTransport([url], "payment-service", "payment", "ticketing", RandomIds(), SystemClock())
        with pytest.raises(TransportUnavailable, match="offers no TLS"):
            await transport.check()
    assert not any(server.got)
