"""Child processes of the tests: start one on a free loopback port, wait until it is ready, stop, kill, pause.

Owns: the processes it started, by pid, and their log files. Must never: signal a process it didn't start, signal by
name, or listen anywhere but on loopback. Change together with: every module here that starts a server.

All calls block the thread and use no event loop, so that one server may outlive many loops (a session fixture). In a
coroutine whose loop runs the service under test, use `await asyncio.to_thread(server.start)`; `kill`, `pause` and
`resume` take well under a millisecond and may be called directly.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"
START_DEADLINE_S = 30.0  # a JVM on two busy cores needs several seconds; a server that hangs must not hang the suite
STOP_DEADLINE_S = 5.0  # after SIGTERM; then the server is killed
POLL_S = 0.02  # another process has no event to wait on: polling at this interval costs little and delays no test
CONNECT_TIMEOUT_S = 0.5  # time limit of one connection: loopback answers at once or not at all
PORTS = 12_000, 31_000  # below what Linux and macOS give to clients (32,768 and 49,152 and up)
LOG_TAIL_BYTES = 4000  # of the server's log in a failed start's message

_handed_out: set[int] = set()
_running: set[ServerProcess] = set()


class ServerFailedError(Exception):
    """A server ended by itself, or wasn't ready in time. The message ends with the tail of its log."""


def free_port() -> int:
    """Returns a TCP port that is free on loopback now and was not returned by this process before.

    It is drawn at random below the range from which the system assigns ports to clients: one of those could be taken
    before the server starts.
    """
    while True:
        port = random.randrange(*PORTS)
        if port not in _handed_out and _is_free(port):
            _handed_out.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def accepts(port: int) -> bool:
    """Whether something on loopback accepts a connection on `port` now."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), CONNECT_TIMEOUT_S):
        return True
    return False


class ServerProcess:
    """One server program that can be started, and started again, with the same command line, port and data.

    `ready` is called every `POLL_S` until it returns True; without it the server is ready when `port` accepts. The
    program's output goes to `log`, which restarts append to.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        log: Path,
        ready: Callable[[], bool] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.command = list(command)
        self.port = port
        self.log = log
        self._ready = ready if ready is not None else lambda: accepts(port)
        self._env = dict(env) if env is not None else None
        self._cwd = cwd
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The pid of the running child; raises ServerFailedError where there is none."""
        if self._child is None:
            raise ServerFailedError(f"not started: {self.command[0]}")
        return self._child.pid

    @property
    def running(self) -> bool:
        child = self._child  # read only once: another thread may be waiting for its end
        return child is not None and child.poll() is None

    def runs_as(self, pid: int) -> bool:
        """Whether the child with `pid` still runs, not one that was started after it."""
        child = self._child
        return child is not None and child.pid == pid and child.poll() is None

    def start(self, deadline_s: float = START_DEADLINE_S) -> None:
        """Start the program, return when it is ready; ServerFailedError after `deadline_s` or at its early end."""
        if self.running:
            raise ServerFailedError(f"already running: {self.command[0]}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            # A session of its own: a Ctrl-C at the terminal ends pytest, which then stops its servers in order.
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        _running.add(self)
        try:
            self.wait_until(self._ready, deadline_s)
        except BaseException:
            self.kill()
            raise

    def wait_until(self, met: Callable[[], bool], deadline_s: float = START_DEADLINE_S) -> None:
        """Return when `met()` is true; ServerFailedError when the child ends first or `deadline_s` has passed."""
        end = time.monotonic() + deadline_s
        while not met():
            if not self.running:
                raise ServerFailedError(f"{self.command[0]} ended with {self._code()}\n{self.log_tail()}")
            if time.monotonic() > end:
                raise ServerFailedError(f"{self.command[0]} was not ready within {deadline_s:g} s\n{self.log_tail()}")
            time.sleep(POLL_S)

    def wait_for_line(self, text: str, deadline_s: float = START_DEADLINE_S) -> None:
        """Return when `text` is in the log (an earlier run of this server on the same log counts too)."""
        self.wait_until(lambda: text in self.log.read_text(errors="replace"), deadline_s)

    def stop(self, deadline_s: float = STOP_DEADLINE_S) -> int | None:
        """SIGTERM, and SIGKILL after `deadline_s`. Returns the exit code (-n: signal n); None if not started."""
        if self._child is None:
            return None
        if self.running:
            self._child.send_signal(signal.SIGCONT)  # a paused process would never receive the SIGTERM
            self._child.terminate()
            try:
                self._child.wait(deadline_s)
            except subprocess.TimeoutExpired:
                self._child.kill()
        return self._reap()

    def kill(self) -> int | None:
        """Send SIGKILL, like a power cut for only this program; its data and its port stay for `start`."""
        if self._child is None:
            return None
        self._child.kill()
        return self._reap()

    def pause(self) -> None:
        """Send SIGSTOP: connections stay open, the kernel still accepts new ones, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        # Threads on another core run on for a moment: the kernel notifies the parent when the last one has stopped (or
        # the child ended).
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Send SIGCONT: pending requests are answered now."""
        os.kill(self.pid, signal.SIGCONT)

    def log_tail(self) -> str:
        if not self.log.exists():
            return "(no log)"
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def _reap(self) -> int | None:
        code = self._child.wait() if self._child is not None else None
        self._child = None
        _running.discard(self)
        return code

    def _code(self) -> str:
        return "no exit code" if self._child is None else f"exit code {self._child.returncode}"


def _kill_leftovers() -> None:
    """At the interpreter's exit: a fixture without its teardown leaves no process behind."""
    for server in list(_running):
        server.kill()


atexit.register(_kill_leftovers)
