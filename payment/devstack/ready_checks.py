"""Checks of ports on this machine: free, accepting, answering. Keeps no connection for longer than one request."""

import asyncio
import socket

from payment.process.listening import CannotListen, listen

LOOPBACK = "127.0.0.1"
ANSWER_S = 2.0
"""Time limit of one request, in seconds. Loopback answers in milliseconds; a starting process may take a second."""
ANSWER_BYTES = 65_536
"""Bytes that are read of an answer: `/readyz` has some hundred."""


def require_free(host: str, port: int) -> None:
    """Raises CannotListen, with a text for a person, where no server could listen there now."""
    for each in listen(host, port):
        each.close()


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now."""
    try:
        require_free(host, port)
    except CannotListen:
        return False
    return True


def choose_port(*wished: int | None, taken: set[int], host: str = LOOPBACK) -> int:
    """Returns the first free port of `wished`, or else any free one; never one of `taken`."""
    for port in wished:
        if port and port not in taken and is_free(port, host):
            return port
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        port = int(sock.getsockname()[1])
    # The system may return a port that is assigned to a server which has not started yet.
    return choose_port(taken=taken) if port in taken else port


async def accepts(port: int) -> bool:
    """Whether a server accepts connections on the port."""
    try:
        async with asyncio.timeout(ANSWER_S):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def get(host: str, port: int, path: str, headers: tuple[tuple[str, str], ...] = ()) -> tuple[int, str] | None:
    """Returns the status and the body of a GET's answer; None where there is no answer."""
    lines = [f"GET {path} HTTP/1.0", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write("\r\n".join([*lines, "", ""]).encode())
                head, _, body = (await _read_all(reader)).partition("\r\n\r\n")
                return int(head.split(maxsplit=2)[1]), body
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError, IndexError):
        return None


async def _read_all(reader: asyncio.StreamReader) -> str:
    chunks = bytearray()
    while len(chunks) < ANSWER_BYTES and (chunk := await reader.read(ANSWER_BYTES)):
        chunks += chunk
    return chunks.decode(errors="replace")
