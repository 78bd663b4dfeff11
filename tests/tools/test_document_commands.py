"""Every command block of README and docs/ is run: here, as it stands, or by the file that its comment names.

A copy of the tree replaces the clean clone: its `.venv` is the environment of the tests, its `.embedded` its own. `make
run` starts the copy's run, and the other blocks run beside it unchanged, except for a port.
"""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from payment.devstack.home import Home
from payment.devstack.servers import ServerProgram
from tests.support.servers.process import free_port
from tests.support.servers.requirements import require_program
from tests.tools.command_blocks import ROOT, all_blocks, block, command_blocks
from tests.unit.devstack.devstack_world import environment, wait_until

DEADLINE_S = 60.0
RUN_HERE = {
    "make run",
    "peer services",
    "check",
    "dead letters look",
    "dead letters replay",
    "sandbox",
    "sandbox control",
}


def test_every_block_of_commands_is_run() -> None:
    """A block without a comment, with a name that no test here runs, or of a file that does not hold it, is found."""
    blocks = all_blocks()
    assert {each.what for each in blocks if each.how == "run"} == RUN_HERE
    for each in blocks:
        if each.how == "run by":
            words = (ROOT / each.what).read_text().replace(" --no-print-directory", "")
            lines = [line.partition("#")[0].strip() for line in each.text.splitlines()]
            assert all(line in words for line in lines), f"{each.what} does not run all of {lines}"
        assert each.how, f"no test runs:\n{each.text}"


def test_a_block_that_no_test_runs_is_found() -> None:
    """A block of shell commands counts, with or without a comment; a sample of output does not."""
    text = "Do:\n```sh\nrm -rf /\n```\n<!-- run: it -->\n```sh\ntrue\n```\nIt says:\n```json\n{}\n```\n"
    assert [tuple(each) for each in command_blocks(text)] == [("", "", "rm -rf /"), ("run", "it", "true")]


class Clone:
    """A copy of the tree, and the processes that the documents start. `close` ends them by their ids."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "clone"
        self.stderr_file = folder / "stderr"
        self._started: list[subprocess.Popen[bytes]] = []
        shutil.copytree(ROOT / "payment", self.path / "payment", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Makefile", "run.py", "README.md", "setup.cfg", "pyproject.toml"):
            shutil.copy2(ROOT / name, self.path / name)
        (self.path / ".venv").symlink_to(sys.prefix)

    def start(self, line: str) -> subprocess.Popen[bytes]:
        with self.stderr_file.open("wb") as stderr_file:
            process = subprocess.Popen(
                ["sh", "-c", f"exec {line}"],
                cwd=self.path,
                stdout=subprocess.DEVNULL,
                stderr=stderr_file,
                env=environment(),
            )
        self._started.append(process)
        return process

    def shell(self, text: str, **environ: str) -> str:
        """Run a block; returns its output. A failing command fails the test."""
        done = subprocess.run(
            ["sh", "-e", "-c", text],
            cwd=self.path,
            capture_output=True,
            text=True,
            env=environment(**environ),
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def servers(self) -> dict[str, str]:
        """Returns the variables that name the servers of the run."""
        state = Home(self.path / ".embedded").read_state()
        assert state is not None
        return {
            "NATS_URL": f"nats://127.0.0.1:{state.ports[ServerProgram.NATS]}",
            "MONGO_URL": f"mongodb://127.0.0.1:{state.ports[ServerProgram.MONGO]}/payment",
            "STRIPE_API_BASE": f"http://127.0.0.1:{state.ports[ServerProgram.STRIPE]}",
        }

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_S)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """The clone with its `make run`. The packages of the installation are here already, and must not be installed from
    a copy.
    """
    for name in ("make", "curl", "nats-server", "nx-27017"):
        require_program(name)
    one = Clone(tmp_path_factory.mktemp("readme"))
    try:
        run = one.start(block("make run") + " --old-file=.venv/.for-run")
        wait_until(
            lambda: "Ctrl-C. The next run" in one.stderr_file.read_text() or run.poll() is not None, "the tutorial"
        )
        assert run.poll() is None, one.stderr_file.read_text()
        yield one
    finally:
        one.close()


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.servers
@pytest.mark.slow
def test_make_run_shows_what_readme_shows(clone: Clone) -> None:
    """The steps of README are steps of the tutorial that the run prints."""
    shown = (ROOT / "README.md").read_text().partition("## Run it")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d\. .*?:", shown, re.MULTILINE)
    assert steps
    assert [step for step in steps if step not in clone.stderr_file.read_text()] == []


@pytest.mark.servers
@pytest.mark.slow
def test_the_peer_services_pay_and_cancel_an_order(clone: Clone) -> None:
    """Paid once, though asked for twice; its story; its refund; a token; both events."""
    lines = json_lines(clone.shell(block("peer services")))
    paid, again, *_ = lines
    assert paid == again
    assert paid["status"] == "paid"
    assert {"id", "orderId", "stripeId", "status"} == paid.keys()
    assert [line.get("subject") for line in lines[-2:]] == ["payment:created", "payment:refunded"]


@pytest.mark.servers
@pytest.mark.slow
def test_check_reaches_every_server(clone: Clone) -> None:
    """There is one line for each, and exit code 0."""
    settings = {"NATS_CLIENT_ID": "check", "QUEUE_GROUP_NAME": "q", "JWT_KEY": "a-secret", "STRIPE_KEY": "sk_test_x"}
    assert re.findall(r"^(\w+) +ok", clone.shell(block("check"), **clone.servers, **settings), re.MULTILINE) == [
        "http",
        "mongodb",
        "nats",
        "stripe",
    ]


@pytest.mark.servers
@pytest.mark.slow
async def test_a_dead_letter_is_shown_and_replayed(clone: Clone) -> None:
    """The invalid event is shown whole, with its error; the stream stores the corrected one."""
    client = await nats.connect(clone.servers["NATS_URL"])
    await client.jetstream().publish("order:cancelled", b'{"id": 7}')
    await client.close()
    end = time.monotonic() + DEADLINE_S
    shown = ""
    while '{"id": 7}' not in shown and time.monotonic() < end:
        shown = await asyncio.to_thread(clone.shell, block("dead letters look"), **clone.servers)
    assert "order:cancelled | id " in shown
    replayed = await asyncio.to_thread(clone.shell, block("dead letters replay"), **clone.servers)
    assert "ticketing" in replayed


@pytest.mark.servers
@pytest.mark.slow
def test_the_sandbox_answers_and_breaks_as_asked(clone: Clone) -> None:
    """It pays an intent, accepts a fault, a setting and a new time, and returns its audit."""
    port = str(free_port())
    sandbox = clone.start(block("sandbox").replace("12111", port))
    control = block("sandbox control").replace("12111", port)
    tries = f"until curl -sS -o /dev/null http://127.0.0.1:{port}/_sandbox/clock 2> /dev/null; do sleep 0.05; done\n"
    printed = clone.shell(tries + control)
    intent, _ = json.JSONDecoder().raw_decode(printed)
    assert intent["status"] == "succeeded"
    assert '"drop_after"' in printed
    assert '"parameter_sets"' in printed
    assert sandbox.poll() is None
