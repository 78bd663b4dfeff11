"""`tools/install.py`: its progress while pip works, and its texts when pip fails."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.install import NO_NETWORK, Progress, follow

ROOT = Path(__file__).parents[2]

WORKING = """Obtaining file:///srv/payment
  Installing build dependencies: started
Collecting aiohttp==3.13.2 (from -c requirements-dev.txt (line 4))
  Downloading aiohttp-3.13.2-cp313-cp313-manylinux2014_x86_64.whl (1.7 MB)
Collecting motor<4,>=3.6 (from payment-service==0.2.0)
Installing collected packages: motor, aiohttp
Successfully installed aiohttp-3.13.2 motor-3.7.1
""".splitlines(keepends=True)

OFFLINE = """WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError: [Errno 101]'
ERROR: Could not find a version that satisfies the requirement hatchling>=1 (from versions: none)
""".splitlines(keepends=True)


class Clock:
    """A clock that advances by three seconds whenever it is read."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 3.0
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_one_line_that_is_rewritten() -> None:
    """It counts the packages and names the current one, and is removed at the end."""
    terminal = Terminal()
    last, cause = follow(WORKING, Progress(terminal, Clock()))
    shown = terminal.getvalue().split("\r")
    assert "installing: 2 packages so far" in shown[-2]
    assert shown[-1] == "\x1b[K"
    assert cause is None
    assert last[-1].startswith("Successfully installed")


def test_without_a_terminal_progress_is_written_at_intervals() -> None:
    """A CI log does not get a line for each package."""
    log = io.StringIO()
    follow(WORKING, Progress(log, Clock()))
    lines = log.getvalue().splitlines()
    assert 0 < len(lines) < len(WORKING)
    assert "\r" not in log.getvalue()


@pytest.mark.parametrize(("lines", "cause"), [(OFFLINE, NO_NETWORK), (OFFLINE[1:], NO_NETWORK), (["ERROR: no"], None)])
def test_a_missing_network_is_named(lines: list[str], cause: str | None) -> None:
    """pip itself reports it as a version that can't be found."""
    assert follow(lines, Progress(io.StringIO()))[1] == cause


@pytest.mark.slow
def test_an_index_that_does_not_answer_ends_with_a_sentence_and_code_69() -> None:
    """pip's last lines are shown above their meaning."""
    line = [sys.executable, "tools/install.py", "--index-url", "http://127.0.0.1:9/simple", "no-such-package"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == os.EX_UNAVAILABLE
    assert done.stderr.rstrip().endswith(NO_NETWORK)
