"""A process whose parent closed its standard streams, or whose reader is gone."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from payment.process.standard_streams import show

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os, sys, socket
from payment.process.standard_streams import open_standard_streams
open_standard_streams()
names = [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)]
print("to stdout"); print("to stderr", file=sys.stderr); sys.stdin.read()
sys.exit(0 if socket.socket().fileno() > 2 else 1)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_closed_stream_becomes_a_socket(closed: str) -> None:
    """The next descriptor that is opened is above 2, and Python's own streams work."""
    line = f"exec {closed}; exec {sys.executable} -c '{PROGRAM}'"
    done = subprocess.run(
        ["sh", "-c", line], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("" if ">&- 2" in closed or closed == ">&-" else "to stdout\n")


def test_a_character_that_a_terminal_cant_show_is_written_as_an_escape() -> None:
    raw = io.BytesIO()
    terminal = io.TextIOWrapper(raw, encoding="ascii")
    show("sk_…", terminal)
    assert raw.getvalue() == b"sk_\\u2026\n"


def test_a_reader_that_is_gone_is_no_error() -> None:
    """`--check | head -1`: there is no error, also not from Python at its exit."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    show("x" * 100_000, stream)
    stream.close()
