"""A real nats-server on loopback, with JetStream or without, that can be killed, paused and started on its own data.

Owns: one child process, its port and its data folder. Change together with: `tests.support.servers.process`, which
documents the blocking calls.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.servers.process import LOOPBACK, ServerProcess, free_port
from tests.support.servers.requirements import require_program


class NatsServer(ServerProcess):
    """`folder` takes the data, the log and, where `config` is given, the configuration file (accounts, permissions)."""

    def __init__(self, folder: Path, *, jetstream: bool = True, config: str = "") -> None:
        self.data = folder / "jetstream"
        self._config = folder / "nats.conf"
        self._config_text = config
        port = free_port()
        command = [str(require_program("nats-server")), "--addr", LOOPBACK, "--port", str(port)]
        command += ["--jetstream", "--store_dir", str(self.data)] if jetstream else []
        command += ["--config", str(self._config)] if config else []
        super().__init__(command, port=port, log=folder / "nats.log")

    @property
    def url(self) -> str:
        return f"nats://{LOOPBACK}:{self.port}"

    def url_for(self, user: str, password: str) -> str:
        return f"nats://{user}:{password}@{LOOPBACK}:{self.port}"

    def start(self, deadline_s: float = 10.0) -> None:
        """Start on the same port and data as before."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self._config_text:
            self._config.write_text(self._config_text)
        super().start(deadline_s)
