"""A proxy with MongoDB's wire protocol between the service and a healthy server: it can answer in place of the server.

It simulates a server that is alive and can't be used: it refuses writes, answers pings without data, or takes minutes
for an index. Other commands go to the server and back unchanged. Change together with: `scripted_mongo`, whose protocol
functions it uses.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from collections import Counter
from types import TracebackType
from typing import Any

import bson

from tests.support.servers.process import LOOPBACK
from tests.support.servers.scripted_mongo import HEADER, OP_MSG, command_of

Command = dict[str, Any]


class MongoBetween:
    """`answers`: by command name, the answers that replace the server's.

    `holds`: by command name, the event that each command waits for before it goes to the server. `counts` has the
    number of commands by name.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.answers: dict[str, Command] = {}
        self.holds: dict[str, asyncio.Event] = {}
        self.counts: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> MongoBetween:
        self._server = await asyncio.start_server(self._accepted, LOOPBACK, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: a command, its answer, the next command; until either side ends it."""
        # Either side may end the connection at any time, as tests do.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self.target_port)
            with contextlib.closing(far_writer):
                while True:
                    message = await _message(reader)
                    _, number, _, code = HEADER.unpack_from(message)
                    name, command = command_of(code, message[HEADER.size :])
                    self.counts[name] += 1
                    if held := self.holds.get(name):
                        await held.wait()
                    if name in self.answers and command.get("$db") != "admin":
                        writer.write(self._packed(number, self.answers[name]))
                    else:
                        far_writer.write(message)
                        writer.write(await _message(far_reader))
                    await writer.drain()

    def _packed(self, number: int, answer: Command) -> bytes:
        document = struct.pack("<iB", 0, 0) + bson.encode(answer)
        return HEADER.pack(HEADER.size + len(document), next(self._numbers), number, OP_MSG) + document


async def _message(reader: asyncio.StreamReader) -> bytes:
    """Read one whole message."""
    head = await reader.readexactly(HEADER.size)
    return head + await reader.readexactly(HEADER.unpack(head)[0] - HEADER.size)
