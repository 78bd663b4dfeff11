"""A minimal HTTP/1.1 parser for a load generator and a stand-in server: it extracts whole messages from a stream of
bytes.

A library would cost more than the measured services. The parser supports only what they send: `Content-Length` bodies,
no chunks, no upgrades, one message after another on a connection.
"""

from __future__ import annotations

HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"


class Messages:
    """Splits a connection's bytes into heads and bodies."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def fed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Add received bytes; returns the messages that are complete, each as its head (without the blank line) and its
        body.
        """
        buffer = self._buffer + data if self._buffer else data
        found = []
        while (end := buffer.find(HEAD_END)) >= 0:
            head = buffer[:end]
            whole = end + len(HEAD_END) + content_length(head)
            if len(buffer) < whole:
                break
            found.append((head, buffer[end + len(HEAD_END) : whole]))
            buffer = buffer[whole:]
        self._buffer = buffer
        return found


def content_length(head: bytes) -> int:
    """Returns the body's length in bytes from a head."""
    lower = head.lower()
    place = lower.find(LENGTH)
    if place < 0:
        return 0
    return int(lower[place + len(LENGTH) :].partition(b"\r\n")[0])


def header(head: bytes, name: bytes) -> bytes:
    """Returns a header's value by its lower-case name; empty where it is missing."""
    place = head.lower().find(b"\r\n" + name + b":")
    return head[place + len(name) + 3 :].partition(b"\r\n")[0].strip() if place >= 0 else b""


def status_of(head: bytes) -> int:
    """Returns an answer's status."""
    return int(head[9:12])


def answer(status: int, body: bytes, more: bytes = b"") -> bytes:
    """Returns a whole response; `more` are further header lines, each with its line end."""
    head = (
        b"HTTP/1.1 %d Answer\r\nContent-Type: application/json\r\nRequest-Id: req_bench\r\n%bContent-Length: %d\r\n\r\n"
    )
    return head % (status, more, len(body)) + body
