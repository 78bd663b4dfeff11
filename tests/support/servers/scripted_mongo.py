"""A minimal MongoDB: it records each received command, and sends scripted answers.

It produces answers that no real server gives on demand: an error of the write concern, another text of a refusal, no
answer. It poses as the primary of a replica set, and keeps no documents. It implements MongoDB's wire protocol as far
as the driver needs it: the first handshake (OP_QUERY), and commands (OP_MSG) with their document sequences.
"""

import asyncio
import itertools
import struct
from typing import Any

import bson

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
HEADER = struct.Struct("<iiii")
BODY = 0

HELLO = {
    "ismaster": True,
    "secondary": False,
    "setName": "rs",
    "setVersion": 1,
    "helloOk": False,
    "maxBsonObjectSize": 16 * 1024 * 1024,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "minWireVersion": 0,
    "maxWireVersion": 9,
    "ok": 1.0,
}
WRITTEN = {"n": 1, "nModified": 1}
"""The number of documents of a write. The driver requires it, and the store checks it beside errors."""
HANDSHAKES = ("hello", "ismaster", "isMaster")

Command = dict[str, Any]


class ScriptedMongo:
    """`commands` are the received commands, except handshakes. `answers` are the next answers, by command name.

    An answer of None closes the connection instead. A command without one gets `{"ok": 1}`, and a find nothing.
    """

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.answers: dict[str, list[Command | None]] = {}
        self.always: dict[str, Command] = {}
        """The answer of every command of a name without a scripted one."""
        self.holds: dict[str, asyncio.Event] = {}
        """By command name: the event that its answers wait for."""
        self._arrived = asyncio.Event()
        self.indexes: list[Command] = []
        """The answer of `listIndexes`."""
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._address = ""
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> str:
        """Start on a free loopback port; returns the URL of a database."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return f"mongodb://{self._address}/payment"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.close()
        await self._server.wait_closed()

    def named(self, name: str) -> list[Command]:
        """Returns the received commands of one name."""
        return [command for command in self.commands if name in command]

    async def arrives(self, name: str, deadline_s: float = 5.0) -> None:
        """Return once a command of this name has arrived. Raises TimeoutError."""
        async with asyncio.timeout(deadline_s):
            while not self.named(name):
                self._arrived.clear()
                await self._arrived.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                length, number, _, code = HEADER.unpack(await reader.readexactly(HEADER.size))
                payload = await reader.readexactly(length - HEADER.size)
                _, command = command_of(code, payload)
                answer = self._answer(command)
                if held := self.holds.get(next(iter(command))):
                    await held.wait()
                if answer is None:
                    return
                writer.write(self._packed(code, number, bson.encode(answer)))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, command: Command) -> Command | None:
        name = next(iter(command))
        if name in HANDSHAKES:
            return HELLO | {"hosts": [self._address], "me": self._address, "primary": self._address}
        self.commands.append(command)
        self._arrived.set()
        if self.answers.get(name):
            return self.answers[name].pop(0)
        if name in self.always:
            return self.always[name]
        if name == "listIndexes":
            return {"ok": 1.0, "cursor": {"id": 0, "ns": f"payment.{command[name]}", "firstBatch": self.indexes}}
        if name == "find":
            return {"ok": 1.0, "cursor": {"id": 0, "ns": f"payment.{command['find']}", "firstBatch": []}}
        return {"ok": 1.0} | WRITTEN

    def _packed(self, code: int, number: int, document: bytes) -> bytes:
        if code == OP_QUERY:
            head, code = struct.pack("<iqii", 8, 0, 0, 1), OP_REPLY
        else:
            head = struct.pack("<iB", 0, BODY)
        length = HEADER.size + len(head) + len(document)
        return HEADER.pack(length, next(self._numbers), number, code) + head + document


def command_of(code: int, payload: bytes) -> tuple[str, Command]:
    """Returns the name and the command of a message without its header."""
    command = _query(payload) if code == OP_QUERY else _message(payload)
    return next(iter(command)), command


def _query(payload: bytes) -> Command:
    """Returns the command of an OP_QUERY: flags, a name that ends with NUL, two numbers, the document."""
    start = payload.index(b"\0", 4) + 1 + 8
    return bson.decode(payload[start:])


def _message(payload: bytes) -> Command:
    """Returns the command of an OP_MSG, with its document sequences as lists in it."""
    command: Command = {}
    sequences: Command = {}
    at = 4
    while at < len(payload):
        kind, size = payload[at], int.from_bytes(payload[at + 1 : at + 5], "little")
        section = payload[at + 1 : at + 1 + size]
        if kind == BODY:
            command = bson.decode(section)
        else:
            name, _, documents = section[4:].partition(b"\0")
            sequences[name.decode()] = list(bson.decode_iter(documents))
        at += 1 + size
    return command | sequences
