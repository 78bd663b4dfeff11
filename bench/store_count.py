"""A proxy that counts a service's MongoDB commands and the documents in them, and forwards every byte unchanged.

    python -m bench.store_count PORT MONGO_PORT

A line `count` to its stdin is answered by one line of JSON, and begins a new count. It costs time, so a run through it
is never timed. It reads only OP_MSG (the protocol's only message since MongoDB 5.1): the command is the first name in
the first document; documents of an update or an insert follow, one by one.
"""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import sys
from collections import Counter

from tests.e2e.stack import ROOT
from tests.support.servers.process import LOOPBACK, free_port

CHUNK_BYTES = 65_536
HEAD = struct.Struct("<iiii")
OP_MSG = 2013
FLAGS_BYTES = 4
BODY, SEQUENCE = 0, 1
OWN_AFFAIRS = frozenset({"hello", "ismaster", "isMaster", "ping", "endSessions", "buildInfo"})
"""Commands that the driver sends for itself."""
DOCUMENTS = "documents"
"""The name that counts the documents in commands."""


class StoreCount:
    """The proxy as a process; services connect to `mongo_url`."""

    def __init__(self, mongo_port: int) -> None:
        self._port = free_port()
        self._command = [sys.executable, "-m", "bench.store_count", str(self._port), str(mongo_port)]

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.count()  # The proxy answers once it listens.

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()  # Waits, and closes the pipes.

    @property
    def mongo_url(self) -> str:
        return f"mongodb://{LOOPBACK}:{self._port}/payment"

    def count(self) -> dict[str, int]:
        """Returns the counts by name since the last call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("count\n")
        self._process.stdin.flush()
        found: dict[str, int] = json.loads(self._process.stdout.readline())
        return found


class Commands:
    """Splits one client's bytes into messages, and counts their commands."""

    def __init__(self, count: Counter[str]) -> None:
        self._count = count
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            size, _, _, kind = HEAD.unpack_from(self._buffer)
            if len(self._buffer) < size:
                return
            message = bytes(self._buffer[:size])
            del self._buffer[:size]
            if kind == OP_MSG:
                self._note(message)

    def _note(self, message: bytes) -> None:
        place = HEAD.size + FLAGS_BYTES
        name, carried = "", 0
        while place < len(message):
            kind, place = message[place], place + 1
            (size,) = struct.unpack_from("<i", message, place)
            if kind == BODY:
                name = first_name(message[place : place + size])
            elif kind == SEQUENCE:
                carried += documents_in(message[place : place + size])
            place += size
        if name not in OWN_AFFAIRS:
            self._count[name] += 1
            self._count[DOCUMENTS] += carried


def first_name(document: bytes) -> str:
    """Returns the name of a BSON document's first field, which names a command."""
    return document[5 : document.index(b"\0", 5)].decode()


def documents_in(sequence: bytes) -> int:
    """Returns the number of documents in a section of kind 1, which follow its size and name."""
    place, found = sequence.index(b"\0", 4) + 1, 0
    while place < len(sequence):
        (size,) = struct.unpack_from("<i", sequence, place)
        place, found = place + size, found + 1
    return found


async def serve(port: int, mongo_port: int) -> None:
    count: Counter[str] = Counter()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(LOOPBACK, mongo_port)
        commands = Commands(count)
        await asyncio.gather(
            forward(reader, server_writer, commands), forward(server_reader, writer, None), return_exceptions=True
        )

    server = await asyncio.start_server(accept, LOOPBACK, port)
    control = asyncio.create_task(answer_controls(count))
    async with server:
        await control


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commands: Commands | None) -> None:
    try:
        while data := await reader.read(CHUNK_BYTES):
            if commands is not None:
                commands.feed(data)
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def answer_controls(count: Counter[str]) -> None:
    """Answer control lines until stdin ends."""
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(count), flush=True)
        count.clear()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
