"""Writing to readers that are slow or gone, and to streams without a reader."""

import asyncio
import io
import os
import select
import threading
import time
from collections.abc import Iterator

import pytest

from payment.ops.log_writer import BACKLOG_BYTES, LineWriter


class Pipe:
    """A pipe whose reader reads only when the test makes it."""

    def __init__(self) -> None:
        self.out, into = os.pipe()
        self.stream = os.fdopen(into, "wb", buffering=0)
        self.writer = LineWriter(self.stream, lambda count: b"lost %d\n" % count)
        self.reading = True

    def read(self) -> bytes:
        found = bytearray()
        while select.select([self.out], [], [], 0)[0] and (piece := os.read(self.out, 1 << 20)):
            found += piece
        return bytes(found)

    def stop_reading(self) -> None:
        os.close(self.out)
        self.reading = False

    def close(self) -> None:
        self.stream.close()
        if self.reading:
            os.close(self.out)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_come_out_in_order(pipe: Pipe) -> None:
    """A reader that keeps up gets each line at once."""
    for number in range(3):
        pipe.writer.write(b"line %d\n" % number)
    assert pipe.read() == b"line 0\nline 1\nline 2\n"


async def test_the_lines_of_a_turn_go_out_together_when_it_ends(pipe: Pipe) -> None:
    """One system call writes them all."""
    for number in range(3):
        pipe.writer.write_soon(b"line %d\n" % number)
    assert pipe.read() == b""
    await asyncio.sleep(0)
    assert pipe.read() == b"line 0\nline 1\nline 2\n"


async def test_a_warning_is_written_at_once_after_all_lines_before_it(pipe: Pipe) -> None:
    """A warning is written at once, after all lines before it."""
    pipe.writer.write_soon(b"before\n")
    pipe.writer.write(b"alarm\n")
    assert pipe.read() == b"before\nalarm\n"
    await asyncio.sleep(0)
    pipe.writer.write_soon(b"after\n")
    await asyncio.sleep(0)
    assert pipe.read() == b"after\n"


async def test_a_thread_without_an_event_loop_waits_for_no_turn(pipe: Pipe) -> None:
    """A driver's thread, and code that logs before or after the loop runs."""
    thread = threading.Thread(target=pipe.writer.write_soon, args=(b"line\n",))
    thread.start()
    thread.join()
    assert pipe.read() == b"line\n"


def test_a_loop_that_ends_before_its_turn_does_leaves_nothing_unwritten(pipe: Pipe) -> None:
    """The next loop has turns of its own, and closing writes the rest."""
    ended = asyncio.new_event_loop()
    ended.run_until_complete(_log_line(pipe.writer, b"first\n"))
    ended.close()
    asyncio.run(_log_line(pipe.writer, b"second\n"))
    pipe.writer.close()
    assert pipe.read() == b"first\nsecond\n"


async def _log_line(writer: LineWriter, line: bytes) -> None:
    writer.write_soon(line)


def test_a_full_pipe_never_blocks_and_nothing_is_lost_within_the_backlog(pipe: Pipe) -> None:
    """Lines that the pipe can't take wait, and are written whole and in order when the reader reads again."""
    lines = [b"%d %s\n" % (number, b"x" * 6_000) for number in range(60)]
    for line in lines:
        pipe.writer.write(line)
    found = b""
    while b"end\n" not in found:
        found += pipe.read()
        pipe.writer.write(b"end\n")
    assert found.partition(b"end\n")[0] == b"".join(lines)


def test_past_the_backlog_lines_are_dropped_counted_and_reported(pipe: Pipe) -> None:
    """Memory stays bounded, and a line reports where and how many lines are missing."""
    line = b"x" * 9_999 + b"\n"
    count = 2 * BACKLOG_BYTES // len(line)
    for _ in range(count):
        pipe.writer.write(line)
    found = b""
    while b"after\n" not in found:
        found += pipe.read()
        pipe.writer.write(b"after\n")
    lines = found.splitlines(keepends=True)
    kept = lines.count(line)
    position = next(index for index, text in enumerate(lines) if text.startswith(b"lost"))
    assert lines[position] == b"lost %d\n" % (count - kept)
    assert lines[position + 1] == b"after\n"
    assert kept * len(line) < BACKLOG_BYTES + 200_000


def test_a_reader_that_is_gone_is_no_error(pipe: Pipe) -> None:
    """A broken pipe must not end the service that writes to it."""
    pipe.stop_reading()
    for _ in range(3):
        pipe.writer.write(b"nobody hears\n")
    pipe.writer.close()


def test_closing_waits_for_a_slow_reader_but_not_for_ever(pipe: Pipe) -> None:
    """A reader that never reads does not hold up the end of the process."""
    for _ in range(40):
        pipe.writer.write(b"x" * 5_000 + b"\n")
    begun = time.monotonic()
    pipe.writer.close(patience_s=0.05)
    assert time.monotonic() - begun < 1.0


def test_a_line_logged_while_a_line_is_written_follows_it() -> None:
    """The garbage collector may report a lost task during a write: that must neither deadlock nor interleave."""

    class Reentrant(io.BytesIO):
        entered = False

        def write(self, data: bytes, /) -> int:  # type: ignore[override]
            if not self.entered:
                self.entered = True
                writer.write(b"inner\n")
            return super().write(data)

    stream = Reentrant()
    writer = LineWriter(stream, lambda count: b"")
    writer.write(b"outer\n")
    assert stream.getvalue() == b"outer\ninner\n"


def test_a_terminal_that_was_stopped_holds_up_no_writer() -> None:
    """It reports that it is writable while it takes less than a piece: the write must not wait for the rest."""
    reader, terminal = os.openpty()
    stream = os.fdopen(terminal, "wb", buffering=0)
    writer = LineWriter(stream, lambda count: b"lost %d\n" % count)

    def write_more_than_fits() -> None:
        for _ in range(50):
            writer.write(b"x" * 1_500 + b"\n")

    writing = threading.Thread(target=write_more_than_fits, daemon=True)
    writing.start()
    writing.join(5.0)
    assert not writing.is_alive()
    os.close(reader)
    stream.close()
