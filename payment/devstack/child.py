"""One child process: tied to this one's life, noted in a pid file, stopped with patience.

Each child has a session of its own: Ctrl-C at the terminal reaches the run alone, which then ends its children in
order. The tie is the kernel's: it holds between the child and the thread that started it, so children are started
from the main thread, which is the event loop's.
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
"""How long the system may take to end a child that was killed."""


class ChildProcess:
    """A program that can be started, awaited and stopped, and started again. Without a log it writes where we do."""

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
        """The exit code, once the child has ended; as a shell gives it: 128 and the signal's number for a signal."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        code = await self._process.wait()
        self._note.unlink(missing_ok=True)
        return code if code >= 0 else 128 - code

    async def stop(self, patience_s: float, hurry: asyncio.Event) -> None:
        """SIGTERM; and SIGKILL once patience ends, or at once when there is a hurry."""
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
    """Begin a log file afresh; what the run before wrote stays beside it."""
    if path.exists():
        path.replace(path.with_name(f"{path.name}.1"))
