"""The test servers themselves: a paused, killed or disconnected server must behave as the tests on top of it expect."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient, ReplaceOne, WriteConcern
from pymongo.errors import PyMongoError

from tests.support.servers.mongo import MongoJavaServer, MongoServer, NxServer
from tests.support.servers.process import LOOPBACK, ServerFailedError, ServerProcess, accepts, free_port
from tests.support.servers.proxy import Proxy
from tests.support.servers.requirements import find_program, missing, require_program

pytestmark = pytest.mark.servers

OPERATION_TIMEOUT_MS = 1000  # a paused server must be distinguished from one that is slow on a busy machine


@pytest.fixture(params=[NxServer, MongoJavaServer])
def mongo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MongoServer]:
    server = request.param(tmp_path)
    server.start()
    yield server
    server.stop()


def client_of(server: MongoServer) -> MongoClient[dict[str, object]]:
    return MongoClient(server.url, timeoutMS=OPERATION_TIMEOUT_MS)


def write(client: MongoClient[dict[str, object]], *revisions: tuple[str, int]) -> None:
    """Replace each (id, revision) by the next one, or insert it, as the ledger does."""
    orders = client.get_default_database().get_collection("orders", write_concern=WriteConcern(w="majority", j=True))
    orders.bulk_write(
        [ReplaceOne({"_id": i, "rev": rev}, {"_id": i, "rev": rev + 1}, upsert=True) for i, rev in revisions],
        ordered=False,
    )


def test_an_acknowledged_write_survives_kill_9(mongo: MongoServer) -> None:
    """A write acknowledged as journaled must be there after kill -9 and a start on the same port and data."""
    with client_of(mongo) as client:
        write(client, *((f"order-{n}", 0) for n in range(20)))
    port = mongo.port
    assert mongo.kill() == -signal.SIGKILL
    assert not accepts(port)
    mongo.start()
    with client_of(mongo) as client:
        assert client.get_default_database().orders.count_documents({}) == 20
    assert mongo.port == port


def test_a_paused_server_answers_nothing_until_it_is_resumed(mongo: MongoServer) -> None:
    """SIGSTOP must cause a hang, not a refusal; SIGCONT must end it."""
    with client_of(mongo) as client:
        client.admin.command("ping")
        mongo.pause()
        assert accepts(mongo.port)
        with pytest.raises(PyMongoError):
            client.admin.command("ping")
        mongo.resume()
        mongo.wait_until(mongo.answers_ping)


def test_a_paused_server_can_be_stopped(tmp_path: Path) -> None:
    """A test that fails while its server is paused must still leave no process behind."""
    server = NxServer(tmp_path)
    server.start()
    pid = server.pid
    server.pause()
    assert server.stop() in (0, -signal.SIGKILL)  # its own end may hang on a busy machine; then it is killed
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_start_that_fails_reports_what_the_server_printed(tmp_path: Path) -> None:
    """A failed start must report the exit code and the program's output."""
    command = [sys.executable, "-c", "import sys; sys.exit('no such data')"]
    server = ServerProcess(command, port=free_port(), log=tmp_path / "log")
    with pytest.raises(ServerFailedError, match=r"exit code 1(.|\n)*no such data"):
        server.start()
    assert not server.running


def test_a_missing_program_is_skipped_at_home_and_fails_in_ci() -> None:
    """A skip is only for developers' machines; in CI nothing may be skipped."""
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        missing("no such thing", {})
    with pytest.raises(pytest.fail.Exception, match="no such thing"):
        missing("no such thing", {"CI": "true"})
    assert find_program("no-such-program") is None
    assert require_program("sh").is_absolute()


class EchoServer:
    """Answers each line with itself and records it."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # a cut is what half of these tests are about
            while line := await reader.readline():
                self.asked.append(line)
                writer.write(line)
                await writer.drain()
        writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[EchoServer, Proxy]]:
    behind = EchoServer()
    server = await asyncio.start_server(behind.answer, LOOPBACK, 0)
    async with Proxy(server.sockets[0].getsockname()[1]) as proxy:
        yield behind, proxy
    server.close()


async def connect(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(LOOPBACK, proxy.port)


async def test_the_proxy_forwards_and_counts(echo: tuple[EchoServer, Proxy]) -> None:
    """Bytes must arrive unchanged in both directions, and be counted."""
    _, proxy = echo
    reader, writer = await connect(proxy)
    writer.write(b"one\n")
    assert await reader.readline() == b"one\n"
    await proxy.wait_for(lambda p: p.answered_bytes == 4)
    assert (proxy.requested_bytes, proxy.dropped_bytes, proxy.connections) == (4, 0, 1)
    writer.close()


async def test_a_cut_ends_what_is_there_and_lets_new_connections_in(echo: tuple[EchoServer, Proxy]) -> None:
    """`cut` must reset open connections only."""
    _, proxy = echo
    reader, writer = await connect(proxy)
    writer.write(b"one\n")
    await reader.readline()
    proxy.cut()
    with pytest.raises(ConnectionError):
        await reader.readexactly(1)
    reader, writer = await connect(proxy)
    writer.write(b"two\n")
    assert await reader.readline() == b"two\n"
    writer.close()


async def test_an_answer_is_lost_although_the_request_was_carried_out(echo: tuple[EchoServer, Proxy]) -> None:
    """F26: under `drop_answers` the server must receive the request, and the client no answer, not even after
    `resume`.
    """
    behind, proxy = echo
    reader, writer = await connect(proxy)
    proxy.drop_answers()
    writer.write(b"lost\n")
    await proxy.wait_for(lambda p: p.dropped_bytes == 5)
    assert behind.asked == [b"lost\n"]
    proxy.resume()
    writer.write(b"next\n")
    assert await reader.readline() == b"next\n"
    writer.close()


async def test_a_stall_holds_bytes_back_and_loses_none(echo: tuple[EchoServer, Proxy]) -> None:
    """Under `stall` nothing must reach the server; after `resume` everything must."""
    behind, proxy = echo
    reader, writer = await connect(proxy)
    writer.write(b"one\n")
    await reader.readline()
    proxy.stall()
    writer.write(b"held\n")
    await proxy.wait_for(lambda p: p.held_bytes == 5)
    assert behind.asked == [b"one\n"]
    proxy.resume()
    assert await reader.readline() == b"held\n"
    writer.close()


async def test_refused_connections_end_at_once_and_old_ones_go_on(echo: tuple[EchoServer, Proxy]) -> None:
    """`refuse` must affect new connections only; without a listener the kernel itself refuses."""
    _, proxy = echo
    old_reader, old_writer = await connect(proxy)
    old_writer.write(b"one\n")
    await old_reader.readline()
    proxy.refuse()
    with contextlib.suppress(ConnectionError):  # reset or end of file, depending on the kernel
        reader, _ = await connect(proxy)
        assert await reader.read() == b""
    old_writer.write(b"two\n")
    assert await old_reader.readline() == b"two\n"
    proxy.stop_listening()
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    await proxy.start()
    old_writer.close()
