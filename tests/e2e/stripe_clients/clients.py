"""Stripe's own clients as programs: story.py, story.js and story.go, each run against a Stripe at an address.

Owns: the commands that run them. Must never: import the service. Change together with: install.sh, which installs what
they need, and requirements.py, which says how a test is skipped where that is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.servers.requirements import find_program, missing, require_program

HERE = Path(__file__).parent
GO = Path("/usr/local/go/bin/go")
"""The folder of Go's own installer, which is on few PATHs."""
INSTALL = "tests/e2e/stripe_clients/install.sh"
DEADLINE_S = 60.0
"""Time limit of a whole story on a busy machine, in seconds; it takes one or two."""
CLIENTS = ("python", "node", "go")
"""stripe-python, stripe-node, stripe-go."""


def story(client: str, folder: Path, url: str, key: str) -> dict[str, dict[str, Any]]:
    """Run a client's story; returns its results by step. `folder` is for builds. Skips the test where a program is
    missing.
    """
    command = {"python": _python, "node": _node, "go": _go}[client](folder)
    done = subprocess.run(
        [*command, url, key], cwd=HERE, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line.pop("step"): line for line in lines}


def _python(folder: Path) -> list[str]:
    return [sys.executable, "story.py"]


def _node(folder: Path) -> list[str]:
    node = require_program("node")
    if not (HERE / "node_modules" / "stripe").is_dir():
        missing(f"needs stripe-node: {INSTALL} installs it")
    return [str(node), "story.js"]


def _go(folder: Path) -> list[str]:
    program = folder / "story"
    # Built only from the module cache: a test uses no network.
    built = subprocess.run(
        [str(require_go()), "build", "-o", str(program), "."],
        cwd=HERE,
        env=os.environ | {"GOPROXY": "off", "GOFLAGS": "-buildvcs=false"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    if "module lookup disabled by GOPROXY=off" in built.stderr:
        missing(f"needs stripe-go: {INSTALL} installs it")
    assert built.returncode == 0, built.stderr
    return [str(program)]


def require_go() -> Path:
    """The path of Go; the test is skipped (in CI: fails) where there is none."""
    found = find_program("go") or (Path(found) if (found := shutil.which("go", path=str(GO.parent))) else None)
    return found or missing("needs the program 'go', which is neither beside Python, nor on PATH, nor in /usr/local/go")
