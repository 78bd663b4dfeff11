"""The three standard streams, also where the parent process closed one of them (`<&-`, `>&-`, `2>&-`).

Otherwise the first socket or file that is opened gets the free descriptor: a log line would be written into a
connection to MongoDB, and libuv ends the process when it finds one of its own descriptors below 3.
"""

import io
import os
import sys
from typing import TextIO

STANDARD_DESCRIPTORS = (0, 1, 2)


def open_standard_streams() -> None:
    """Open `/dev/null` on each closed descriptor of 0 to 2. Call it before anything else is opened."""
    for descriptor in STANDARD_DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # The lowest free descriptor, which is this one: those below it are open.
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # It lives as long as the process.
    if sys.stdout is None:
        sys.stdout = _writer(1)
    if sys.stderr is None:
        sys.stderr = _writer(2)


def show(text: str, stream: TextIO) -> None:
    """Print for an operator, whatever the terminal's encoding is, and whether or not the reader is still there.

    Text that a reader such as `| head -1` does not read, or a full disk does not take, is dropped: the exit code
    remains.
    """
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    try:
        print(text, file=stream, flush=True)
    except OSError:
        # Python flushes the stream once more at exit, and would print an error then.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _writer(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
