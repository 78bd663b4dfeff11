"""One child process: it ends with this process, is noted in a pid file, and gets time to stop.

Each child has a session of its own: Ctrl-C at the terminal reaches the run alone, which then ends its children in
order. The kernel ties the child to the thread that started it, so children are started from the main thread, which runs
the event loop.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from payment.devstack import parent_death as parent_death
from payment.devstack.home import Home
from payment.devstack.orphans import write_note

GONE_S = 5.0
"""How long the system may take to end a killed child, in seconds."""


class ChildProcess:
    """A program that can be started, awaited and stopped, and started again. Without a log it writes to this process's
    own streams.
    """

    def __init__(
        self, name: str, command: Sequence[str], environ: Mapping[str, str], home: Home, *, logged: bool
    ) -> None:
        self.name = name
        self.log = home.log(name) if logged else None
        self._command = tuple(command)
        self._environ = dict(environ)
        self._note = home.pids / f"{name}.json"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the program. It counts as started when its process is there, not when it is ready."""
        tie = (sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()))
        with ExitStack() as files:
            output = None if self.log is None else files.enter_context(self.log.open("ab"))
            self._process = await asyncio.create_subprocess_exec(
                *tie,
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environ,
                start_new_session=True,
            )
        write_note(self._note, self._process.pid)

    async def wait(self) -> int:
        """Wait for the child to end and return its exit code as a shell does: 128 plus the signal's number for a
        signal.
        """
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        code = await self._process.wait()
        self._note.unlink(missing_ok=True)
        return code if code >= 0 else 128 - code

    async def stop(self, patience_s: float, hurry: asyncio.Event) -> None:
        """Send SIGTERM, and SIGKILL after `patience_s` seconds, or at once when `hurry` is set."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
        gone = asyncio.create_task(self.wait())
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({gone, hurried}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not gone.done():
            self._process.kill()
        await asyncio.wait_for(gone, GONE_S)


def start_log_anew(path: Path) -> None:
    """Start an empty log file; the log of the run before stays beside it."""
    if path.exists():
        path.replace(path.with_name(f"{path.name}.1"))
