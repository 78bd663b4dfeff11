"""Every kind of NATS login, against real servers that require it: over JetStream, and over NATS Streaming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from payment.adapters.nats.jetstream.transport import JetStreamTransport
from payment.adapters.nats.link import Link, ServerAddress
from payment.adapters.nats.login import NatsLogin
from payment.adapters.nats.streaming.transport import StreamingTransport
from payment.adapters.system import RandomIds, SystemClock
from payment.ops.secret import Secret
from payment.ports.transport import EventTransport, TransportUnavailable
from payment.settings.values import nats_servers
from tests.contract.transport_contract import CREATED, Member
from tests.e2e.waiting import eventually
from tests.support.servers.nats import NatsServer
from tests.support.servers.nats_identities import Certificates, NKey, Operator
from tests.support.servers.nats_streaming import CLUSTER_ID, NatsStreamingServer
from tests.support.servers.process import LOOPBACK, free_port

pytestmark = [
    pytest.mark.servers,
    # nats-py calls aiohttp's `ws_connect` as before aiohttp 3.11.
    pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float':DeprecationWarning"),
]

PASSWORD = "p/w@x:y%20#?,z"
ENCODED = "p%2Fw%40x%3Ay%2520%23%3F%2Cz"

Made = Callable[[str, NatsLogin], EventTransport]


def jetstream(url: str, login: NatsLogin) -> EventTransport:
    servers = [server.reveal() for server in nats_servers(url)]
    return JetStreamTransport(servers, "web-1", "payment", "ticketing", RandomIds(), SystemClock(), login=login)


def streaming(url: str, login: NatsLogin) -> EventTransport:
    servers = [server.reveal() for server in nats_servers(url)]
    return StreamingTransport(servers, CLUSTER_ID, "web-1", "payment", RandomIds(), SystemClock(), login=login)


@asynccontextmanager
async def running(folder: Path, config: str, *, jetstream: bool = True) -> AsyncIterator[NatsServer]:
    server = NatsServer(folder, config=config, jetstream=jetstream)
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


async def reached(url: str, login: NatsLogin | None = None, made: Made = jetstream) -> str:
    """Returns the text of `--check`."""
    transport = made(url, login or NatsLogin())
    try:
        return await transport.check()
    finally:
        await transport.close()


async def refused(url: str, login: NatsLogin | None = None, made: Made = jetstream) -> str:
    with pytest.raises(TransportUnavailable) as raised:
        await reached(url, login, made)
    return str(raised.value)


async def test_a_password_with_every_awkward_character(tmp_path: Path) -> None:
    """It is percent-decoded, as every URL's is; a token likewise; and each server of a list has its own."""
    config = f'authorization {{ user: "us/er", password: "{PASSWORD}" }}'
    token = f'authorization {{ token: "{PASSWORD}" }}'
    async with running(tmp_path / "a", config) as named, running(tmp_path / "b", token) as by_token:
        assert str(named.port) in await reached(f"nats://us%2Fer:{ENCODED}@{LOOPBACK}:{named.port}")
        assert str(by_token.port) in await reached(f"nats://{ENCODED}@{LOOPBACK}:{by_token.port}")
        both = f"nats://us%2Fer:{ENCODED}@{LOOPBACK}:1,nats://{ENCODED}@{LOOPBACK}:{by_token.port}"
        assert str(by_token.port) in await reached(both)
        wrong = await refused(f"nats://us%2Fer:wrong@{LOOPBACK}:{named.port}")
        assert "authorization violation" in wrong
        assert PASSWORD not in wrong


async def test_credentials_of_an_operators_user(tmp_path: Path) -> None:
    """From a file, which is read again for each connection, and from its text, with line breaks written as `\\n`
    too.
    """
    operator = Operator()
    file = tmp_path / "user.creds"
    file.write_text(operator.creds.replace("\n", "\r\n"))
    async with running(tmp_path, operator.config) as server:
        for value in (str(file), operator.creds, operator.creds.replace("\n", "\\n")):
            assert "JetStream" in await reached(server.url, NatsLogin(creds=Secret(value)))
        assert "authorization violation" in await refused(server.url)
        file.write_text(Operator().creds)
        assert "authorization violation" in await refused(server.url, NatsLogin(creds=Secret(str(file))))
        file.unlink()
        reason = await refused(server.url, NatsLogin(creds=Secret(str(file))))
        assert "NATS_CREDS: the file can't be read: No such file or directory" in reason


async def test_an_nkey(tmp_path: Path) -> None:
    """Also where the server accepts connections without one, as another user without JetStream."""
    key = NKey("U")
    accounts = (
        f"accounts {{ A {{ jetstream: enabled, users: [ {{ nkey: {key.public} }} ] }}\n"
        "  B { users: [ { user: nobody, password: x } ] } }\nno_auth_user: nobody\n"
    )
    file = tmp_path / "user.nk"
    file.write_text(f"{key.seed}\n")
    async with running(tmp_path, accounts) as server:
        for value in (str(file), key.seed, f" {key.seed}\n"):
            assert "JetStream" in await reached(server.url, NatsLogin(nkey_seed=Secret(value)))
        assert "JetStream" in await refused(server.url)
        await refused(server.url, NatsLogin(nkey_seed=Secret(NKey("U").seed)))


async def test_certificates_of_ones_own(tmp_path: Path) -> None:
    """A CA, and a client's certificate: as files and as texts; an error names the missing one."""
    made = Certificates(tmp_path)
    ca, cert, key = (Secret(str(file)) for file in (made.ca, made.client_cert, made.client_key))
    texts = [Secret(file.read_text()) for file in (made.client_cert, made.client_key, made.ca)]
    async with running(tmp_path, made.config(verify=True)) as server:
        for scheme in ("nats", "tls"):
            url = f"{scheme}://{LOOPBACK}:{server.port}"
            assert "JetStream" in await reached(url, NatsLogin(tls_cert=cert, tls_key=key, tls_ca=ca))
            assert "JetStream" in await reached(url, NatsLogin(None, None, *texts))
        assert "certificate is not accepted" in await refused(url, NatsLogin(tls_cert=cert, tls_key=key))
        await refused(url, NatsLogin(tls_ca=ca))
    async with running(tmp_path / "plain", "") as server:
        reason = await refused(server.url, NatsLogin(tls_ca=ca))
        assert "the server offers no TLS, and the NATS_TLS_… variables ask for it" in reason


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_websockets(tmp_path: Path, scheme: str) -> None:
    """With a user; over TLS with a private CA; and the error of a port without websocket names it."""
    made, port = Certificates(tmp_path), free_port()
    tls = (
        f"tls {{ cert_file: '{made.server_cert}', key_file: '{made.server_key}' }}"
        if scheme == "wss"
        else "no_tls: true"
    )
    websocket = f"websocket {{ host: {LOOPBACK}, port: {port}\n{tls} }}"
    config = f'authorization {{ user: u, password: "{PASSWORD}" }}\n{websocket}\n'
    login = NatsLogin(tls_ca=Secret(str(made.ca))) if scheme == "wss" else NatsLogin()
    async with running(tmp_path, config) as server:
        assert "JetStream" in await reached(f"{scheme}://u:{ENCODED}@{LOOPBACK}:{port}", login)
        assert "authorization violation" in await refused(f"{scheme}://u:wrong@{LOOPBACK}:{port}", login)
        if scheme == "wss":
            assert "certificate is not accepted" in await refused(f"wss://u:{ENCODED}@{LOOPBACK}:{port}")
        assert f"{LOOPBACK}:{server.port}" in await refused(f"{scheme}://{LOOPBACK}:{server.port}", login)
        assert f"{LOOPBACK}:1" in await refused(f"{scheme}://{LOOPBACK}:1", login)


async def test_a_websocket_carries_events_and_is_found_again(tmp_path: Path) -> None:
    """Subscribed, published, delivered; and again after the server was killed."""
    port = free_port()
    async with running(tmp_path, f"websocket {{ host: {LOOPBACK}, port: {port}, no_tls: true }}\n") as server:
        member = Member(jetstream(f"ws://{LOOPBACK}:{port}", NatsLogin()))
        try:
            await (await member.start(CREATED)).up()
            await member.publish(CREATED, b"1")
            await member.got_data(b"1")
            server.kill()
            await member.until(lambda: member.reported[-1].startswith("disconnected"))
            await asyncio.to_thread(server.start)
            await member.up()
            await member.publish(CREATED, b"2")
            await member.got_data(b"2")
        finally:
            await member.stop()


async def test_a_clusters_other_servers_are_reached_with_the_same_login(tmp_path: Path) -> None:
    """The first server announces their IP addresses: their certificates have the configured name."""
    made, routes = Certificates(tmp_path, names="DNS:localhost"), [free_port(), free_port()]
    user = f'authorization {{ user: u, password: "{PASSWORD}" }}\n{made.config(verify=False)}'
    both = ", ".join(f"nats://{LOOPBACK}:{route}" for route in routes)
    configs = [
        f"{user}cluster {{ name: c, host: {LOOPBACK}, port: {route}, routes: [ {both} ] }}\n" for route in routes
    ]
    login = NatsLogin(tls_ca=Secret(str(made.ca)))
    one = running(tmp_path / "1", configs[0], jetstream=False)
    async with one as first, running(tmp_path / "2", configs[1], jetstream=False) as second:
        await asyncio.to_thread(first.wait_for_line, "Route connection created")

        async def discovered() -> list[ServerAddress]:
            link = Link(ServerAddress(f"nats://u:{ENCODED}@localhost:{first.port}"), "web-1", login)
            await link.open()
            found = [server for server in link.discovered_servers() if str(second.port) in server.url]
            await link.close()
            return found

        [found] = await eventually(discovered, "the first server names the second")
        assert found.tls_name == "localhost"
        other = Link(found, "web-1", login)
        await other.open()
        await other.close()


async def test_nats_streaming_takes_the_same(tmp_path: Path) -> None:
    """An nkey and a password, over TLS with a private CA, with a NATS Streaming that is another client of the
    server.
    """
    key, made = NKey("U"), Certificates(tmp_path)
    users = f'{{ nkey: {key.public} }}, {{ user: u, password: "{PASSWORD}" }}, {{ user: stan, password: stan }}'
    # `allow_non_tls` is for NATS Streaming itself; the service requires TLS.
    config = f"authorization {{ users: [ {users} ] }}\nallow_non_tls: true\n{made.config(verify=False)}"
    ca = Secret(str(made.ca))
    async with running(tmp_path, config) as server:
        broker = NatsStreamingServer(tmp_path, memory=True, nats_url=server.url_for("stan", "stan"))
        await asyncio.to_thread(broker.start)
        try:
            assert CLUSTER_ID in await reached(server.url, NatsLogin(nkey_seed=Secret(key.seed), tls_ca=ca), streaming)
            url = f"nats://u:{ENCODED}@{LOOPBACK}:{server.port}"
            assert CLUSTER_ID in await reached(url, NatsLogin(tls_ca=ca), streaming)
            assert "authorization violation" in await refused(server.url, NatsLogin(tls_ca=ca), streaming)
        finally:
            await asyncio.to_thread(broker.stop)
