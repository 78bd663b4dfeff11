"""A real nats-streaming-server on loopback (with its own NATS), with a file store or a memory store, to kill, pause,
restart.

Owns: one child process, its port and its data folder. Must never: be shared by two tests, because its channels and
sessions live as long as it does. Change together with: `tests.support.servers.process`, and
`nats_streaming_install.sh`, which installs the program.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.servers.process import LOOPBACK, ServerProcess, free_port
from tests.support.servers.requirements import find_program, missing

PROGRAM = "nats-streaming-server"
PLACES = (Path.home() / "go" / "bin", Path.home() / ".cache" / "payment-tests" / "bin")
"""The folder in which `go install` and our own script install it."""
CLUSTER_ID = "ticketing"
QUICK_HEARTBEATS = ("-hbi", "1s", "-hbt", "500ms", "-hbf", "1")
"""Options: a heartbeat each second, and a client counts as gone after two missed ones: 3 s instead of the server's
default of 440 s.
"""


class NatsStreamingServer(ServerProcess):
    """With `memory=True` a restart loses everything, as the server does by default; else all data are below `folder`.

    With `nats_url` it has no NATS of its own, but is a client of that one: it can then die while NATS lives.
    """

    def __init__(
        self,
        folder: Path,
        *,
        memory: bool = False,
        cluster_id: str = CLUSTER_ID,
        options: tuple[str, ...] = (),
        nats_url: str | None = None,
    ) -> None:
        port = free_port()
        self.cluster_id = cluster_id
        self._nats_url = nats_url
        command = [str(require_server()), "-cid", cluster_id, "-a", LOOPBACK, "-p", str(port)]
        self.data = folder / "streaming"
        command += ["-st", "memory"] if memory else ["-st", "file", "-dir", str(self.data)]
        command += ["-ns", nats_url] if nats_url else []
        super().__init__([*command, *options], port=port, log=folder / "streaming.log", ready=self._says_ready)

    @property
    def url(self) -> str:
        return self._nats_url or f"nats://{LOOPBACK}:{self.port}"

    def start(self, deadline_s: float = 10.0) -> None:
        """Start on the same port and data as before; it is ready when NATS Streaming is, a moment after its NATS."""
        self._log_began = self.log.stat().st_size if self.log.exists() else 0
        super().start(deadline_s)

    def _says_ready(self) -> bool:
        return b"Streaming Server is ready" in self.log.read_bytes()[self._log_began :]


def require_server() -> Path:
    """Returns the program's path; the test is skipped (in CI: fails) where it isn't installed."""
    installed = (place / PROGRAM for place in PLACES if os.access(place / PROGRAM, os.X_OK))
    return (
        find_program(PROGRAM)
        or next(installed, None)
        or missing(f"needs the program {PROGRAM!r}: tests/support/servers/nats_streaming_install.sh installs it")
    )
