"""Finds the program of the NATS Streaming server, or installs it with Go into the home folder.

The server is written in Go, at the end of its life, and in no Python package. Must never: install it where it was not
requested.
"""

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import suppress

from payment.devstack.child import ChildProcess, start_log_anew
from payment.devstack.home import Home
from payment.devstack.servers import STREAMING_PROGRAM, ProgramMissingError, streaming_program
from payment.devstack.tutorial import Console

VERSION = "v0.25.6"
"""The last release."""
MODULE = f"github.com/nats-io/{STREAMING_PROGRAM}@{VERSION}"
STOP_S = 5.0


async def provide(home: Home, environ: Mapping[str, str], console: Console, asked: asyncio.Event) -> None:
    """Ensure that the program is there; returns early when the run is asked to stop.

    Raises:
        ProgramMissingError: the program is missing, and there is no Go, or Go could not build it.
    """
    with suppress(ProgramMissingError):
        streaming_program(home)
        return
    go = shutil.which("go")
    if go is None:
        raise ProgramMissingError(
            f"BROKER=streaming needs {STREAMING_PROGRAM}, or Go (https://go.dev/doc/install) to install it: neither is "
            f"on PATH. Without it, `make run` carries events over JetStream"
        )
    console.inform(
        f"installing {STREAMING_PROGRAM} {VERSION} into {home.programs}/ with Go: a minute or two, this once"
    )
    code = await _install(go, home, environ, asked)
    if code != 0 and not asked.is_set():
        raise ProgramMissingError(
            f"Go could not install {STREAMING_PROGRAM} (code {code}); the reason is in {home.log('go')}"
        )


async def _install(go: str, home: Home, environ: Mapping[str, str], asked: asyncio.Event) -> int | None:
    """Returns Go's exit code; None where the run was asked to stop in the meantime."""
    start_log_anew(home.log("go"))
    shown = {**environ, "GOBIN": str(home.programs.absolute())}
    child = ChildProcess("go", [go, "install", MODULE], shown, home, logged=True)
    await child.start()
    ended, stopped = asyncio.create_task(child.wait()), asyncio.create_task(asked.wait())
    try:
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return ended.result() if ended.done() else None
    finally:
        for task in (ended, stopped):
            task.cancel()
        await child.stop(STOP_S, asked)
