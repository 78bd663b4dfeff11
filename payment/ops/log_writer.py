"""Writes log lines to a file descriptor without ever waiting for the reader of the log.

A write to a full pipe waits for the reader, and with it the whole event loop: a slow log collector would stop charges.
So the writer checks for space before each write, keeps a bounded backlog in memory while there is none, and counts the
lines that it drops; a line with their number precedes the next one that is written.

A terminal accepts less at once than it announces, so the writer opens it a second time, non-blocking: a terminal that
was stopped (Ctrl-S, a multiplexer's copy mode, `docker run -t` without a reader) would hold up the loop like a full
pipe.

Writing is a third of a line's cost, so lines below `warning` are written together when the event loop's turn ends. A
warning is written at once, with all lines before it. A process that is killed loses the lines of one turn.

It must never raise because of the reader, and never write a part of a line between two others. Any thread may call it,
and it may be called again from within itself: the garbage collector can report a lost task at any allocation.
"""

import asyncio
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

CHUNK_BYTES = 4_096
"""Bytes of one write. Linux reports a pipe as writable when this much fits (PIPE_BUF), so such a write can't block."""
BACKLOG_BYTES = 1_048_576
"""Bytes kept while the reader does not read: some seconds at full load, and a small part of the memory limit."""
CLOSING_S = 1.0
"""How long the last lines may wait for the reader at exit: the platform's 30 s to stop are for charges."""


class ByteStream(Protocol):
    """A binary stream, such as `sys.stdout.buffer`."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> object: ...


class LineWriter:
    """Writes whole lines, in order, to a binary stream.

    `render_lost` renders the line with the number of lost lines. A stream without a descriptor (a test's `BytesIO`) is
    written directly: it never blocks.
    """

    def __init__(self, stream: ByteStream, render_lost: Callable[[int], bytes]) -> None:
        self._stream = stream
        self._descriptor = _descriptor_of(stream)
        self._render_lost = render_lost
        self._writable = select.poll()
        if self._descriptor is not None:
            stream.flush()  # Earlier output of this process precedes the log.
            self._writable.register(self._descriptor, select.POLLOUT)
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._waiting_bytes = 0
        self._lost = 0
        self._lock = threading.RLock()
        self._draining = False
        self._turn: asyncio.AbstractEventLoop | None = None
        """The event loop at the end of whose turn the waiting lines are written."""

    def write(self, line: bytes) -> None:
        """Write a line (it ends with a newline) now or when there is space, or count it as lost."""
        with self._lock:
            self._keep(line)
            self._drain(0.0)

    def write_soon(self, line: bytes) -> None:
        """As `write`, with the other lines of this turn of the event loop; at once in a thread that runs no loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.write(line)
            return
        with self._lock:
            self._keep(line)
            if self._turn is not loop:
                self._turn = loop
                loop.call_soon(self._turn_ends)

    def _turn_ends(self) -> None:
        with self._lock:
            self._turn = None
            self._drain(0.0)

    def close(self, patience_s: float = CLOSING_S) -> None:
        """Write the waiting lines, for at most `patience_s` seconds. It does not own the stream, which stays open."""
        with self._lock:
            self._drain(patience_s)

    def _drain(self, patience_s: float) -> None:
        if self._draining:
            return
        self._draining = True
        try:
            deadline = time.monotonic() + patience_s if patience_s else 0.0
            while self._next_rest() and self._put(max(0.0, deadline - time.monotonic()) if patience_s else 0.0):
                pass
        finally:
            self._draining = False

    def _keep(self, line: bytes) -> None:
        if self._waiting_bytes + len(line) > BACKLOG_BYTES:
            self._lost += 1
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self._append(self._render_lost(lost))
        self._append(line)

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._waiting_bytes += len(line)

    def _next_rest(self) -> bytes:
        """Returns the next bytes to write: as many whole lines as fit into one write."""
        if not self._rest and self._lines:
            piece = [self._lines.popleft()]
            room = CHUNK_BYTES - len(piece[0])
            while self._lines and (room := room - len(self._lines[0])) >= 0:
                piece.append(self._lines.popleft())
            self._rest = b"".join(piece)
            self._waiting_bytes -= len(self._rest)
        return self._rest

    def _put(self, patience_s: float) -> bool:
        """Write a piece, or drop it where the reader is gone for good. False: there is no space now."""
        if self._descriptor is None:
            self._stream.write(self._rest)
            self._rest = b""
            return True
        if not self._writable.poll(patience_s * 1_000):
            return False
        try:
            written = os.write(self._descriptor, self._rest[:CHUNK_BYTES])
        except BlockingIOError:
            return False  # Another process made the descriptor non-blocking, and another writer used the space.
        except OSError:
            # The reader is gone for good, or the disk is full: only the count remains.
            self._lost += self._rest.count(b"\n")
            self._rest = b""
            return True
        self._rest = self._rest[written:]
        return True


def _descriptor_of(stream: ByteStream) -> int | None:
    fileno = getattr(stream, "fileno", None)
    if fileno is None:
        return None
    try:
        descriptor = int(fileno())
    except OSError:
        return None  # `io.UnsupportedOperation`: it lives in memory.
    return _not_waiting(descriptor) if os.isatty(descriptor) else descriptor


def _not_waiting(terminal: int) -> int:
    """Returns a non-blocking descriptor of the same terminal; the given one where the terminal can't be opened again.

    Making the given one non-blocking would do so for the shell, and for all processes that write to the terminal.
    """
    try:
        return os.open(os.ttyname(terminal), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return terminal
