"""The end of a run: it leaves no process, no traceback, and all data for the next run."""

import fcntl
import os
import pty
import re
import shlex
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.servers.process import free_port
from tests.support.servers.requirements import require_program
from tests.unit.devstack.devstack_world import (
    DEADLINE_S,
    ROOT,
    EmbeddedRun,
    environment,
    program,
    running,
    shell,
    wait_until,
)

pytestmark = [pytest.mark.servers, pytest.mark.slow]

GONE_S = 3.0
CHILDREN = 5


@pytest.fixture
def run(tmp_path: Path) -> Iterator[EmbeddedRun]:
    for name in ("nats-server", "nx-27017", "curl"):
        require_program(name)
    one = EmbeddedRun(tmp_path, PORT=str(free_port()))
    try:
        yield one
    finally:
        one.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(run: EmbeddedRun, number: signal.Signals) -> None:
    """Exit code 0, no process, no pid file, no traceback; the service ended in order."""
    notes = run.start().notes()
    assert len(running(notes)) == CHILDREN
    assert run.end(number) == 0
    assert running(notes) == run.notes() == []
    assert "Traceback" not in run.printed
    assert (run.log[-1]["event"], run.log[-1]["exit_code"]) == ("service_stopped", 0)


def test_a_signal_during_the_start_stops_what_there_is(run: EmbeddedRun) -> None:
    """Nothing is left and no error is printed, however far the start had come."""
    run.start(ready=False)
    wait_until(lambda: (run.home / "pids").is_dir() and run.notes(), "the first child")
    notes = run.notes()
    assert run.end(signal.SIGTERM) == 0
    assert running(notes) == run.notes() == []
    assert "Traceback" not in run.printed


def test_ctrl_c_at_a_terminal_leaves_no_process_and_no_traceback(run: EmbeddedRun) -> None:
    """The terminal interrupts its foreground group; the children are not in it, and the run ends them."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    process = subprocess.Popen(
        program("run", home=run.home),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
        env={**run.environ, "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    shown = _read_until(master, b"tok_visa")
    notes = run.notes()
    os.write(master, b"\x03")
    shown += _read_until(master, None)
    assert process.wait(DEADLINE_S) == 0
    os.close(master)
    assert running(notes) == []
    assert b"Traceback" not in shown
    assert b"\x1b[1m" in shown
    assert b"payment.devstack guide" in shown, "24 rows of 80 columns: a command shows the rest of the tutorial"


def test_a_killed_run_takes_its_children_with_it(run: EmbeddedRun) -> None:
    """kill -9 of the run alone: the kernel ends every child, and the next run starts on the same data and ports."""
    run.start()
    paid, ports = shell(run.curl_lines[0]), re.findall(r"on port (\d+)", run.printed)
    notes = run.notes()
    assert run.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not running(notes), "the end of all children", GONE_S)
    cancel = run.line_with(" cancel ")
    run.start()
    assert re.findall(r"on port (\d+)", run.printed) == ports
    done = subprocess.run(cancel, shell=True, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False)
    assert f'"id":"{paid["id"]}"' in done.stdout, done.stderr
    assert '"payment:refunded"' in done.stdout


def test_a_run_with_die_with_parent_ends_with_its_parent(run: EmbeddedRun, tmp_path: Path) -> None:
    """`--die-with-parent`, for make: after a kill -9 of make no run is left behind."""
    line = shlex.join(program("run", "--die-with-parent", home=run.home))
    with (tmp_path / "shown").open("wb") as shown:
        parent = subprocess.Popen(["sh", "-c", f"{line} & wait"], stdout=shown, stderr=shown, env=run.environ, cwd=ROOT)
    wait_until(lambda: b"The next run finds" in (tmp_path / "shown").read_bytes(), "the tutorial")
    notes = run.notes()
    parent.kill()
    parent.wait(DEADLINE_S)
    wait_until(lambda: not running(notes), "the end of all children")


def test_a_server_that_dies_is_started_again_on_its_port(run: EmbeddedRun) -> None:
    """Each server is killed in turn; a line reports it, and the printed commands still pay."""
    run.start()
    for name in ("nats", "mongo", "stripe"):
        before = run.note(name)
        os.kill(before.pid, signal.SIGKILL)
        wait_until(partial(_restarted, run, name, before.pid), f"{name} again")
    assert run.printed.count("starting it again") == 3
    wait_until(lambda: shell(run.curl_lines[0]).get("status") == "paid", "a payment")


def test_a_service_that_dies_ends_the_run_with_its_code(run: EmbeddedRun) -> None:
    """Everything stops with the service, and the exit code is the service's, as a shell returns it."""
    notes = run.start().notes()
    os.kill(run.note("service").pid, signal.SIGKILL)
    assert run.process.wait(DEADLINE_S) == 128 + signal.SIGKILL
    assert running(notes) == []
    assert "Traceback" not in run.printed


def test_settings_that_the_service_refuses_are_its_exit_code(run: EmbeddedRun) -> None:
    """A malformed variable of the caller: the service names it, and the run ends with 78."""
    run.environ["CURRENCY"] = "doubloons"
    run.start(ready=False)
    assert run.process.wait(DEADLINE_S) == 78
    assert run.log[-1]["event"] == "settings_invalid"


def _restarted(run: EmbeddedRun, name: str, pid: int) -> bool:
    try:
        return run.note(name).pid != pid
    except FileNotFoundError:  # between the end of one and the start of the next
        return False


def _read_until(descriptor: int, text: bytes | None) -> bytes:
    """Returns a terminal's output until a text appears, or until its last writer has ended."""
    shown, end = b"", time.monotonic() + DEADLINE_S
    while text is None or text not in shown:
        assert time.monotonic() < end, shown
        try:
            shown += os.read(descriptor, 65_536)
        except OSError:  # The last writer has ended: Linux returns EIO.
            return shown
    return shown
