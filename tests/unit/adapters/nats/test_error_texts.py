"""The reasons of failed and lost connections, on which an operator can act: never the name of a Python class."""

from __future__ import annotations

import asyncio
import builtins
import re
import socket
import ssl
from pathlib import Path

import nats.errors
import pytest

from payment.adapters.nats.error_texts import describe
from payment.adapters.nats.link import Link, ServerAddress
from payment.adapters.nats.login import NatsLogin
from payment.ports.transport import TransportUnavailable
from tests.support.servers.nats import NatsServer
from tests.support.servers.process import free_port

CERTIFICATE = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
CERTIFICATE.verify_message = "self-signed certificate"
HANDSHAKE = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
HANDSHAKE.reason = "WRONG_VERSION_NUMBER"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (nats.errors.UnexpectedEOF(), "the server closed the connection without a reason"),
        (asyncio.IncompleteReadError(b"", 1), "the server closed the connection without a reason"),
        (nats.errors.StaleConnectionError(), "the server missed our answers to its pings (stale connection)"),
        (
            nats.errors.Error("nats: 'Stale Connection'"),
            "the server missed our answers to its pings (stale connection)",
        ),
        (nats.errors.AuthorizationError(), "the server does not take our user, password, token or key"),
        (nats.errors.Error("nats: 'Authorization Violation'"), "the server does not take our user, password"),
        (nats.errors.Error("nats: 'Authentication Timeout'"), "the server waited too long for our credentials"),
        (nats.errors.Error("nats: 'User Authentication Expired'"), "User Authentication Expired"),
        (nats.errors.Error("nats: server shutdown"), "the server is shutting down"),
        (nats.errors.Error("nats: 'maximum connections exceeded'"), "the server has as many connections as it takes"),
        (nats.errors.MaxPayloadError(), "the message is larger than the server takes (max_payload)"),
        (nats.errors.NoServersError(), "no server can be reached"),
        (nats.errors.ConnectionClosedError(), "the connection was closed"),
        (nats.errors.OutboundBufferLimitError(), "the connection was lost while something was being sent"),
        (nats.errors.TimeoutError(), "no answer in time"),
        (TimeoutError(), "no answer in time"),
        (ConnectionRefusedError(111, "Connect call failed"), "Connection refused"),
        (ConnectionResetError(), "the server closed the connection"),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe"),
        (socket.gaierror(-2, "Name or service not known"), "its name can't be resolved (Name or service not known)"),
        (CERTIFICATE, "TLS: the server's certificate is not accepted: self-signed certificate"),
        (HANDSHAKE, "TLS: the handshake failed (wrong version number)"),
        (OSError("multiple errors"), "an error that has no description"),
        (ValueError("nats://user:secret@host"), "its address or an option can't be used"),
        (KeyError("x"), "an error that has no description"),
    ],
    ids=repr,
)
def test_each_error_is_described(error: Exception, words: str) -> None:
    """No class, no URL, no empty text."""
    sentence = describe(error)
    assert words in sentence
    classes = {name for name in (*vars(builtins), *vars(nats.errors)) if name.endswith("Error")}
    assert not classes & set(re.findall(r"\w+", sentence))
    assert "secret" not in sentence


@pytest.mark.servers
async def test_a_killed_server_and_a_missing_one_have_different_reasons(tmp_path: Path) -> None:
    """The address precedes the reason."""
    server = NatsServer(tmp_path)
    await asyncio.to_thread(server.start)
    link = Link(ServerAddress(server.url), "one", NatsLogin())
    await link.open()
    watching = asyncio.create_task(link.until_lost())
    server.kill()
    async with asyncio.timeout(5):
        await watching
    assert link.reason == f"NATS at 127.0.0.1:{server.port}: the server closed the connection without a reason"
    port = free_port()
    with pytest.raises(TransportUnavailable) as refused:
        await Link(ServerAddress(f"nats://127.0.0.1:{port}"), "one", NatsLogin()).open()
    assert str(refused.value) == f"NATS at 127.0.0.1:{port}: Connection refused"


@pytest.mark.servers
async def test_the_reason_of_an_orderly_stop_is_the_servers_own(tmp_path: Path) -> None:
    """The server's own reason, which nats-py reports in the background."""
    server = NatsServer(tmp_path)
    await asyncio.to_thread(server.start)
    link = Link(ServerAddress(server.url), "one", NatsLogin())
    await link.open()
    watching = asyncio.create_task(link.until_lost())
    await asyncio.to_thread(server.stop)
    async with asyncio.timeout(5):
        await watching
    assert link.reason.startswith(f"NATS at 127.0.0.1:{server.port}: the server ")
    await link.close()


@pytest.mark.servers
async def test_a_name_that_can_not_be_resolved_is_reported(tmp_path: Path) -> None:
    """The reason names the host and the DNS failure."""
    with pytest.raises(TransportUnavailable, match=r"NATS at nats\.invalid:4222: its name can't be resolved"):
        await Link(ServerAddress("nats://nats.invalid:4222"), "one", NatsLogin()).open()
