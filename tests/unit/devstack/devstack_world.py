"""A local run as a person starts it, in its own folder, and its commands.

Owns the processes it starts: `close` ends the run by its pid, and nothing else. Waiting polls with a deadline, because
another program's output has no event to wait on.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from payment.devstack.orphans import Note, began

ROOT = Path(__file__).parents[3]
DEADLINE_S = 30.0
POLL_EVERY_S = 0.02
OURS = {"NATS_URL", "NATS_CLUSTER_ID", "NATS_CLIENT_ID", "QUEUE_GROUP_NAME", "MONGO_URL", "JWT_KEY", "STRIPE_KEY"}
OURS |= {"NATS_CREDS", "NATS_NKEY_SEED", "NATS_TLS_CERT", "NATS_TLS_KEY", "NATS_TLS_CA", "JWT_KEY_PREVIOUS"}
OURS |= {"STRIPE_API_BASE", "PORT", "HOST", "DYNO", "NATS_STREAM", "CURRENCY", "LOG_LEVEL", "MAKELEVEL"}


def environment(**more: str) -> dict[str, str]:
    """Returns the environment of the tests without variables that affect the service, and with the given ones."""
    return {name: value for name, value in os.environ.items() if name not in OURS} | more


def wait_until(met: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    end = time.monotonic() + deadline_s
    while not met():
        assert time.monotonic() < end, f"{what}: not within {deadline_s:g} s"
        time.sleep(POLL_EVERY_S)


def program(*words: str, home: Path) -> list[str]:
    return [sys.executable, "-m", "payment.devstack", *words, "--home", str(home)]


class EmbeddedRun:
    """One `run`. Its two streams go to two files."""

    RUN: tuple[str, ...] = ("run",)

    def __init__(self, folder: Path, **environ: str) -> None:
        self.home = folder / "home"
        self.environ = environment(**environ)
        self.out, self.err = folder / "stdout", folder / "stderr"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self, *, ready: bool = True) -> "EmbeddedRun":
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self._process = subprocess.Popen(
                program(*self.RUN, home=self.home), stdout=out, stderr=err, env=self.environ, cwd=ROOT
            )
        if ready:
            wait_until(
                lambda: "Ctrl-C. The next run" in self.printed or self.process.poll() is not None, "the tutorial"
            )
            assert self.process.poll() is None, self.printed
        return self

    @property
    def printed(self) -> str:
        return self.err.read_text()

    @property
    def log(self) -> list[dict[str, Any]]:
        """Returns the service's log. A line that is no JSON object is an error."""
        lines = [json.loads(line) for line in self.out.read_text().splitlines()]
        assert all(isinstance(line, dict) for line in lines)
        return lines

    @property
    def curl_lines(self) -> list[str]:
        return [line for line in self.printed.splitlines() if line.startswith("curl ")]

    @property
    def shop_page(self) -> str:
        """Returns the printed address of the shop's page."""
        return next(line.split()[-1] for line in self.printed.splitlines() if line.startswith("pay in a browser"))

    def line_with(self, text: str) -> str:
        """Returns the printed command that contains a text."""
        return next(
            line.strip() for line in self.printed.splitlines() if text in line and "-m payment.devstack" in line
        )

    def note(self, name: str) -> Note:
        return Note(**json.loads((self.home / "pids" / f"{name}.json").read_bytes()))

    def notes(self) -> list[Note]:
        return [self.note(path.stem) for path in (self.home / "pids").glob("*.json")]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of a peer service for this run."""
        line = program(*words, home=self.home)
        environ = {name: value for name, value in self.environ.items() if name != "PORT"}
        return subprocess.run(
            line, capture_output=True, text=True, env=environ, cwd=ROOT, timeout=DEADLINE_S, check=False
        )

    def end(self, number: signal.Signals) -> int:
        """Send a signal to only the run; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(DEADLINE_S)


def running(notes: list[Note]) -> list[Note]:
    return [note for note in notes if began(note.pid) == note.began]


def shell(line: str) -> Any:
    """Run a printed command; returns its output as JSON."""
    done = subprocess.run(
        line, shell=True, capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def bearer(line: str) -> str:
    found = re.search(r"Bearer ([\w.-]+)", line)
    assert found is not None
    return found[1]
