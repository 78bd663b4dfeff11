"""A peer service on NATS Streaming that is a Node program, and so shares no code with our own client: see
peer_service.js.

Owns: its process. Must never: import the service. Change together with: peer_service.js, package.json and its lock file
(`npm ci --prefix tests/e2e/peer_services` installs what they name).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.bus import PAID, REFUNDED
from tests.support.servers.requirements import missing, require_program

HERE = Path(__file__).parent


class NodePeerService:
    """Publishes events on request, and keeps the events of its own durable queue group."""

    def __init__(
        self,
        folder: Path,
        url: str,
        cluster_id: str,
        name: str = "orders-service",
        listens: tuple[str, ...] = (PAID, REFUNDED),
    ) -> None:
        require_node()
        self._log = folder / f"{name}.log"
        self._errors = folder / f"{name}.err"
        self._command = [
            str(require_program("node")),
            str(HERE / "peer_service.js"),
            url,
            cluster_id,
            name,
            name,
            *listens,
        ]
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, again under the same client id and group if it was stopped; it is not ready yet (`ready`)."""
        with self._log.open("wb") as log, self._errors.open("ab") as errors:
            self._child = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=log, stderr=errors, start_new_session=True
            )

    @property
    def ready(self) -> bool:
        return any("ready" in line for line in self.lines())

    def publish(self, subject: str, event: object) -> None:
        """Request a publish; `published` counts those that the server acknowledged. Text is sent unchanged, all else as
        JSON.
        """
        data = event if isinstance(event, str) else json.dumps(event)
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"publish": subject, "data": data}).encode() + b"\n")
        self._child.stdin.flush()

    @property
    def published(self) -> int:
        """Returns how many publishes of this run the server has acknowledged; a refused one fails the test."""
        lines = [line for line in self.lines() if "published" in line]
        assert not [line for line in lines if "error" in line], lines
        return len(lines)

    def got(self, subject: str, order: str) -> list[dict[str, Any]]:
        """Returns the payloads that it received on a subject about one order, in this run, duplicates included."""
        received = [json.loads(line["data"]) for line in self.lines() if line.get("got") == subject]
        return [payload for payload in received if payload["orderId"] == order]

    def lines(self) -> list[dict[str, Any]]:
        """Returns its output of this run, whole lines only."""
        text = self._log.read_text() if self._log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def stop(self) -> None:
        """End its stdin, on which it closes its session and exits; kill it where it doesn't."""
        if self._child is None:
            return
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None


def require_node() -> None:
    """Skip the test (in CI: fail it) where there is no Node, or node-nats-streaming isn't installed."""
    require_program("node")
    if not (HERE / "node_modules" / "node-nats-streaming").is_dir():
        missing("needs node-nats-streaming: npm ci --prefix tests/e2e/peer_services")
