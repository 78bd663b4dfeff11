"""`run --broker streaming` as a user: the same tutorial and the same commands, over NATS Streaming."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from payment.devstack import plan
from payment.devstack.__main__ import arguments
from payment.devstack.commands import Access
from payment.devstack.home import Home, State
from payment.devstack.servers import Broker, ServerProgram
from payment.settings.environment import Settings
from tests.support.servers.nats_streaming import require_server
from tests.support.servers.process import free_port
from tests.support.servers.requirements import require_program
from tests.unit.devstack.devstack_world import ROOT, EmbeddedRun, environment, program, running, shell, wait_until

with_servers = [pytest.mark.servers, pytest.mark.slow]


class StreamingRun(EmbeddedRun):
    """A run whose events travel over NATS Streaming."""

    RUN = ("run", "--broker", "streaming")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamingRun]:
    for name in ("nx-27017", "curl"):
        require_program(name)
    path = f"{require_server().parent}:{os.environ['PATH']}"
    one = StreamingRun(tmp_path_factory.mktemp("run"), PORT=str(free_port()), PATH=path)
    try:
        one.start()
        yield one
    finally:
        one.close()


def test_the_service_environment_names_the_broker() -> None:
    """The run's NATS Streaming has the contract's cluster id; a given NATS keeps its own variables."""
    ports = {plan.SERVICE: 8080, ServerProgram.NATS: 1001, ServerProgram.MONGO: 1002, ServerProgram.STRIPE: 1003}
    shown = plan.service_environ({}, ports, "key", Broker.STREAMING)
    assert Settings.from_environment(shown).nats_cluster_id == "ticketing"
    given = plan.service_environ({"NATS_URL": "nats://elsewhere"}, {plan.SERVICE: 8080}, "key", Broker.STREAMING)
    assert "NATS_CLUSTER_ID" not in given
    assert arguments(["run"]).broker is Broker.JETSTREAM


def test_the_commands_know_which_broker_the_run_has(tmp_path: Path) -> None:
    """The state of the run has the broker; for a given NATS, NATS_CLUSTER_ID decides."""
    home = Home(tmp_path)
    home.key()
    home.write_state(State(ports={"nats": 1, "service": 2}, host="127.0.0.1", cluster_id="ticketing"))
    assert Access.of(home, {"NATS_CLUSTER_ID": "other"}).cluster_id == "ticketing"
    assert Access.of(home, {"NATS_URL": "nats://elsewhere", "NATS_CLUSTER_ID": "other"}).cluster_id == "other"


def test_without_the_server_and_without_go_the_run_names_what_is_missing(tmp_path: Path) -> None:
    """Exit 69 before anything is started, and no traceback."""
    environ = environment(PATH="/nowhere", HOME=str(tmp_path))
    line = program("run", "--broker", "streaming", home=tmp_path / "home")
    done = subprocess.run(line, capture_output=True, text=True, env=environ, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (69, "")
    assert "needs nats-streaming-server, or Go" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("code", [0, 3])
def test_go_installs_it_where_there_is_go(tmp_path: Path, code: int) -> None:
    """It is reported, and goes into the home folder; where Go fails, its output is in a log and the run exits 69."""
    go = tmp_path / "go"
    go.write_text(f'#!/bin/sh\necho "go $*: $GOBIN"\nexit {code}\n')
    go.chmod(0o755)
    environ = environment(PATH=f"{tmp_path}:/usr/bin:/bin", HOME=str(tmp_path))
    line = program("run", "--broker", "streaming", home=tmp_path / "home")
    done = subprocess.run(line, capture_output=True, text=True, env=environ, cwd=ROOT, check=False)
    assert done.returncode == 69  # this Go never builds anything
    assert "installing nats-streaming-server v0.25.6" in done.stderr
    assert ("could not install" in done.stderr) is bool(code)
    asked = f"go install github.com/nats-io/nats-streaming-server@v0.25.6: {tmp_path}/home/bin"
    assert (tmp_path / "home" / "logs" / "go.log").read_text().strip() == asked


class TestARun:
    """One run for all tests of the class."""

    pytestmark = with_servers

    def test_the_tutorial_pays_declines_and_cancels(self, run: StreamingRun) -> None:
        """Its orders came over NATS Streaming, and its commands work."""
        assert "nats-streaming-server (cluster id ticketing) on port" in run.printed
        pay, decline = run.curl_lines[:2]
        paid = shell(pay)
        assert paid["status"] == "paid"
        assert shell(decline)["errors"][0]["decline_code"] == "generic_decline"
        done = run.command("cancel", paid["orderId"])
        assert done.returncode == 0, done.stderr
        cancelled, refunded, payment = map(json.loads, done.stdout.splitlines())
        assert (cancelled["subject"], refunded["subject"]) == ("order:cancelled", "payment:refunded")
        assert refunded["id"] == payment["id"] == paid["id"]
        assert payment["status"] == "refunded"

    def test_status_shows_the_events_of_an_order(self, run: StreamingRun) -> None:
        """`order` prints a command that pays it, `status` its events in the order in which they were stored."""
        order_id, pay = run.command("order", "--price", "5", "--user", "u2").stdout.splitlines()
        paid = shell(pay)
        created, announced, payment = map(json.loads, run.command("status", order_id).stdout.splitlines())
        assert (created["subject"], announced["subject"]) == ("order:created", "payment:created")
        assert payment == paid

    def test_events_follows_both_subjects(self, run: StreamingRun) -> None:
        """Events are printed as they are published: a payment, then its refund."""
        followed = run.home / "followed"
        with followed.open("wb") as out:
            line = program("events", "--count", "2", "--timeout-s", "20", home=run.home)
            following = subprocess.Popen(line, stdout=out, env=run.environ, cwd=ROOT)
        try:
            order_id, pay = run.command("order", "--price", "6", "--user", "u3").stdout.splitlines()
            shell(pay)
            run.command("cancel", order_id)
            assert following.wait(20) == 0
        finally:
            following.kill()
            following.wait()
        published = [json.loads(line) for line in followed.read_text().splitlines()]
        assert [(event["subject"], event["orderId"]) for event in published] == [
            ("payment:created", order_id),
            ("payment:refunded", order_id),
        ]

    def test_the_next_run_finds_its_events_and_its_port(self, run: StreamingRun) -> None:
        """After a kill -9 of the run, all of it is there again."""
        order_id, pay = run.command("order", "--price", "7", "--user", "u4").stdout.splitlines()
        assert shell(pay)["status"] == "paid"
        ports, notes = Home(run.home).read_state(), run.notes()
        run.end(signal.SIGKILL)
        wait_until(lambda: not running(notes), "the kernel ends the children")
        run.start()
        after = Home(run.home).read_state()
        assert ports is not None
        assert after is not None
        assert after.ports == ports.ports
        story = run.command("status", order_id).stdout.splitlines()
        assert [json.loads(line).get("subject") for line in story[:2]] == ["order:created", "payment:created"]
