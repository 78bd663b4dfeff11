"""`python tools/install.py REQUIREMENT…`: runs pip with a line of progress, and explains likely failures.

It runs inside the environment that it installs into, before anything is installed there, so it uses only the standard
library. Its exit code is pip's, or 69 (EX_UNAVAILABLE) where the package index could not be reached.
"""

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TextIO

PIP = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off")
PATIENCE = ("--retries", "2", "--timeout", "15")
"""pip's own five retries keep a machine without a network waiting for more than half a minute."""
PLAIN_LINE_EVERY_S = 5.0
"""Between lines of progress without a terminal, in seconds."""
SHOWN_LINES = 15
"""Lines of pip's output that are shown after a failure."""
STEP = re.compile(r"(?P<what>Collecting|Downloading|Building|Installing|Preparing)\s+(?P<of>[^\s=<>\[;(]+)")
UNREACHABLE = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|Max retries exceeded|ProxyError"
    r"|Could not fetch URL|Network is unreachable|from versions: none"
)
"""The output of pip 23 to 25 where the index does not answer: urllib3's errors, or after its retries an error as if no
version existed.
"""
NO_NETWORK = (
    "The package index did not answer, so nothing could be installed. Is this machine online? Behind a proxy set "
    "HTTPS_PROXY; with an index of your own set PIP_INDEX_URL. Then run the same command again."
)
DISK_FULL = "The disk is full: nothing more could be installed. Make room, and run the same command again."


class Progress:
    """The progress of pip: one line that is rewritten on a terminal, lines at intervals elsewhere."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._began_s = self._shown_s = clock()
        self._packages = 0

    def line(self, text: str) -> None:
        """Process one line of pip's output."""
        step = STEP.match(text.strip())
        if step is None:
            return
        self._packages += step["what"] == "Collecting"
        now_s = self._clock()
        words = f"installing: {self._packages} packages so far, {now_s - self._began_s:.0f} s ({step['of'][:40]})"
        if self._stream.isatty():
            self._stream.write(f"\r{words}\x1b[K")
        elif now_s - self._shown_s >= PLAIN_LINE_EVERY_S:
            self._shown_s = now_s
            self._stream.write(f"{words}\n")
        self._stream.flush()

    def end(self) -> None:
        """Remove the line from a terminal."""
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def follow(lines: Iterable[str], progress: Progress) -> tuple[list[str], str | None]:
    """Show progress while pip writes. Returns its last lines, and a text about the likely cause of a failure, or
    None.
    """
    last, cause = deque[str](maxlen=SHOWN_LINES), None
    for line in lines:
        last.append(line.rstrip())
        progress.line(line)
        if UNREACHABLE.search(line):
            cause = NO_NETWORK
        elif "No space left on device" in line:
            cause = DISK_FULL
    progress.end()
    return list(last), cause


def main(requirements: list[str]) -> int:
    """Install these requirements, given as pip takes them. Returns the exit code."""
    print("Installing what is pinned in requirements-dev.txt: up to a minute, once.", file=sys.stderr, flush=True)
    command = [*PIP, *PATIENCE, *requirements]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        assert pip.stdout is not None
        try:
            last, cause = follow(pip.stdout, Progress(sys.stderr))
        except KeyboardInterrupt:
            pip.terminate()
            return 130
    if pip.returncode == 0:
        return 0
    print("\n".join(last), file=sys.stderr)
    print(f"\n{cause or 'pip could not install it: its last lines stand above.'}", file=sys.stderr)
    return os.EX_UNAVAILABLE if cause is NO_NETWORK else pip.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
