"""The parts of a local run: its plan, its folder, its pid files, its printed commands."""

import asyncio
import io
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from payment.core.account import StripeAccount, mismatch
from payment.devstack import parent_death as parent_death
from payment.devstack import plan
from payment.devstack import ready_checks as probe
from payment.devstack.__main__ import arguments
from payment.devstack.bus_jetstream import acknowledged
from payment.devstack.home import Home, HomeInUseError, State
from payment.devstack.orphans import Note, began, end_orphans, write_note
from payment.devstack.peer_services import takes_tokens_of
from payment.devstack.servers import ServerProgram
from payment.devstack.tutorial import ESCAPES, Console, Shell, Tutorial, pay_line, rows_of
from payment.process.listening import CannotListen
from payment.settings.environment import Settings

PORTS = {
    plan.SERVICE: 8080,
    ServerProgram.NATS: 1001,
    ServerProgram.MONGO: 1002,
    ServerProgram.STRIPE: 1003,
    ServerProgram.SHOP: 1004,
}


def test_nothing_given_means_four_servers_of_ours() -> None:
    """With an empty environment the run starts every server, and the service's environment is valid."""
    assert plan.servers_wanted({}) == tuple(ServerProgram)
    shown = plan.service_environ({"NATS_CLUSTER_ID": "ticketing"}, PORTS, "key")
    settings = Settings.from_environment(shown)
    assert settings.nats_cluster_id is None
    assert (settings.port, settings.host) == (8080, "127.0.0.1")
    assert settings.stripe_api_base == "http://127.0.0.1:1003"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"NATS_URL": "nats://elsewhere:4222"}, (ServerProgram.MONGO, ServerProgram.STRIPE, ServerProgram.SHOP)),
        ({"MONGO_URL": "mongodb://elsewhere/payment"}, (ServerProgram.NATS, ServerProgram.STRIPE, ServerProgram.SHOP)),
        ({"STRIPE_KEY": "sk_test_mine"}, (ServerProgram.NATS, ServerProgram.MONGO)),
        ({"STRIPE_API_BASE": "http://127.0.0.1:12111"}, (ServerProgram.NATS, ServerProgram.MONGO)),
        ({"STRIPE_KEY": " ", "NATS_URL": ""}, tuple(ServerProgram)),
    ],
)
def test_given_servers_are_used(environ: dict[str, str], wanted: tuple[ServerProgram, ...]) -> None:
    """A set variable replaces a server of the run, and is passed on unchanged; a blank one counts as not set."""
    assert plan.servers_wanted(environ) == wanted
    shown = plan.service_environ(environ, {plan.SERVICE: 8080} | {server: PORTS[server] for server in wanted}, "key")
    assert {name: shown[name] for name, value in environ.items() if value.strip()}.items() <= environ.items()


def test_a_live_key_may_only_go_to_another_address() -> None:
    """Without STRIPE_API_BASE a key that moves real money is refused."""
    with pytest.raises(plan.LiveKeyError):
        plan.servers_wanted({"STRIPE_KEY": "sk_live_1"})
    assert ServerProgram.STRIPE not in plan.servers_wanted(
        {"STRIPE_KEY": "sk_live_1", "STRIPE_API_BASE": "http://proxy"}
    )


def test_servers_get_no_secret() -> None:
    """A child does not need keys and addresses of others, except the shop, which signs tokens and places orders."""
    environ = dict.fromkeys(["JWT_KEY", "STRIPE_KEY", "MONGO_URL", "NATS_URL", "PATH"], "x")
    for server in (ServerProgram.NATS, ServerProgram.MONGO, ServerProgram.STRIPE):
        assert plan.server_environ(environ, server) == {"PATH": "x"}
    assert plan.server_environ(environ, ServerProgram.SHOP) == {"PATH": "x", "JWT_KEY": "x", "NATS_URL": "x"}


def test_ports_are_those_of_the_last_run_where_they_are_free() -> None:
    """A port that another program uses by now is replaced; no two children get the same."""
    with socket.create_server((probe.LOOPBACK, 0)) as stranger:
        taken = stranger.getsockname()[1]
        free = probe.choose_port(taken=set())
        last = {plan.SERVICE: taken, ServerProgram.NATS: free, ServerProgram.MONGO: free}
        ports = plan.choose_ports({}, tuple(ServerProgram), last)
    assert ports[ServerProgram.NATS] == free
    assert taken not in ports.values()
    assert len(set(ports.values())) == len(ports)
    asked_for = probe.choose_port(taken={free})
    assert plan.choose_ports({"PORT": str(asked_for)}, (), {plan.SERVICE: free}) == {plan.SERVICE: asked_for}


def test_the_service_takes_its_usual_port_whenever_it_is_free() -> None:
    """A run on another port does not make later runs use it."""
    last = {plan.SERVICE: probe.choose_port(taken={plan.SERVICE_PORT})}
    usual = plan.SERVICE_PORT if probe.is_free(plan.SERVICE_PORT) else last[plan.SERVICE]
    assert plan.choose_ports({}, (), last) == {plan.SERVICE: usual}


def test_a_port_that_was_asked_for_and_is_taken_is_refused() -> None:
    """Otherwise the run would mistake another program's answer for its service's."""
    with socket.create_server((probe.LOOPBACK, 0)) as stranger:
        taken = str(stranger.getsockname()[1])
        with pytest.raises(CannotListen, match=taken):
            plan.choose_ports({"PORT": taken}, (), {})


@pytest.mark.parametrize(("status", "ours"), [(404, True), (401, False), (503, False)])
async def test_only_a_service_that_accepts_our_tokens_is_ours(status: int, ours: bool) -> None:
    """Another run's service has another key, and answers 401."""

    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Authorization"].startswith("Bearer ")
        return web.json_response({}, status=status)

    app = web.Application()
    app.router.add_get("/api/v1/payments/{id}", answer)
    async with TestServer(app) as server:
        assert server.port is not None
        assert await takes_tokens_of(probe.LOOPBACK, server.port, "a key of 32 bytes, or a few more") is ours
    assert not await takes_tokens_of(probe.LOOPBACK, server.port, "a key of 32 bytes, or a few more")


def test_a_low_terminal_gets_the_start_of_the_tutorial_with_the_pay_command_last() -> None:
    """24 rows have only the first step; a command shows the rest, and a file gets all."""
    tutorial = Tutorial(
        base_url="http://127.0.0.1:8080",
        took_s=1.4,
        standing_on={"nats": "here", "mongo": "there"},
        page="http://127.0.0.1:8081/",
        orders=("1" * 24, "2" * 24, "3" * 24),
        price="19.99 usd",
        token="t" * 180,
        shell=Shell(".venv/bin/python", ".embedded"),
        logs=".embedded/logs",
    )
    plain = Console(io.StringIO(), {})
    assert tutorial.fitting(plain) == tutorial.text(plain)
    assert rows_of(tutorial.text(plain), 80) > 24
    low = tutorial.fitting(Terminal(80, 24))
    assert rows_of(low, 80) < 24
    assert ESCAPES.sub("", low).rstrip().splitlines()[-1] == pay_line(
        tutorial.base_url, tutorial.token, tutorial.orders[0] if tutorial.orders else "", "tok_visa"
    )
    assert ".venv/bin/python -m payment.devstack guide" in low
    assert "Ready after 1.4 s" in low
    assert "2. " in tutorial.fitting(Terminal(200, 60))


class Terminal(Console):
    """A terminal of a given size."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__(io.StringIO(), {})
        self._size = os.terminal_size((columns, lines))

    @property
    def size(self) -> os.terminal_size:
        return self._size


def test_a_home_is_held_by_one_run_at_a_time(tmp_path: Path) -> None:
    """A second run is refused while the first holds the folder, and accepted once it is released."""
    home = Home(tmp_path / "home")
    home.prepare()
    with home.locked(), pytest.raises(HomeInUseError), Home(home.path).locked():
        pass
    with home.locked():
        pass


def test_a_home_remembers_its_state_and_its_key(tmp_path: Path) -> None:
    """The next run reads what one run wrote; the key is generated once; an invalid state file counts as none."""
    home = Home(tmp_path)
    assert home.read_state() is None
    assert home.read_key() is None
    home.write_state(State(ports={"nats": 4222}))
    assert home.read_state() == State(ports={"nats": 4222})
    assert home.key() == home.key() == home.read_key()
    assert (tmp_path / "jwt.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "state.json").write_text("{")
    assert home.read_state() is None


async def test_an_orphan_is_ended_and_an_unrelated_process_is_not(tmp_path: Path) -> None:
    """Of two noted processes the one with the noted start time is ended; the other only has the pid, and lives on."""
    orphan, stranger = await _sleeper(), await _sleeper()
    try:
        write_note(tmp_path / "nats.json", orphan.pid)
        (tmp_path / "mongo.json").write_text(f'{{"pid":{stranger.pid},"began":"another moment"}}')
        (tmp_path / "stripe.json").write_text("half a no")
        assert await end_orphans(tmp_path) == ["nats"]
        assert await orphan.wait() < 0
        assert stranger.returncode is None
        assert not any(os.listdir(tmp_path))
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_process_that_has_ended_began_at_no_time(tmp_path: Path) -> None:
    """Neither an ended process nor a zombie counts as running or gets a note."""
    gone = await _sleeper()
    note = Note(gone.pid, began(gone.pid) or "")
    assert note.began
    gone.kill()
    await gone.wait()
    assert began(gone.pid) != note.began
    write_note(tmp_path / "gone.json", gone.pid)
    assert not (tmp_path / "gone.json").exists()


@pytest.mark.parametrize(
    ("parent", "command", "code"),
    [
        (1, ["true"], parent_death.EXIT_ORPHAN),
        (None, ["no-such-program"], parent_death.EXIT_NOT_FOUND),
        (None, ["true"], 0),
    ],
)
def test_parent_death_becomes_the_program_or_exits(parent: int | None, command: list[str], code: int) -> None:
    """A program whose parent had already ended is never started."""
    parent_pid = os.getpid() if parent is None else parent
    line = [sys.executable, "-I", "-S", parent_death.__file__, str(parent_pid), *command]
    assert subprocess.run(line, capture_output=True, check=False).returncode == code


def test_printed_commands_survive_a_shell() -> None:
    """For any order id a shell passes the body on unchanged."""
    line = pay_line("http://127.0.0.1:8080", "a.b.c", 'it\'s "$(reboot)"', "tok_visa")
    assert '{"orderId":"it\'s \\"$(reboot)\\"","token":"tok_visa"}' in shlex.split(line)
    assert shlex.split(Shell(".venv/bin/python", "a b").command("cancel", "x y")) == [
        ".venv/bin/python",
        "-m",
        "payment.devstack",
        "cancel",
        "x y",
        "--home",
        "a b",
    ]
    assert Shell(".venv/bin/python", ".embedded").command("events") == ".venv/bin/python -m payment.devstack events"


def test_colours_are_for_terminals_that_want_them() -> None:
    """A terminal gets them, except where NO_COLOR is set or it is dumb; other streams get none."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    assert Console(terminal, {}).paint("x", "\x1b[1m") == "\x1b[1mx\x1b[0m"
    for stream, environ in ((terminal, {"NO_COLOR": "1"}), (terminal, {"TERM": "dumb"}), (io.StringIO(), {})):
        assert Console(stream, environ).paint("x", "\x1b[1m") == "x"


@pytest.mark.parametrize("price", ["nine", "NaN", "Infinity"])
def test_a_price_is_a_number_that_json_can_hold(price: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything else is refused as a bad argument, before any server is contacted."""
    with pytest.raises(SystemExit) as ended:
        arguments(["order", "--user", "u1", "--price", price])
    assert ended.value.code == 2
    assert price in capsys.readouterr().err


@pytest.mark.parametrize(
    ("subject", "mark"),
    [
        ("$JS.ACK.ticketing.payment-service-order:created.1.7.3.1795387981000000000.0", 7),
        ("$JS.ACK._.ACCHASH.ticketing.payment-service-order:created.2.9.4.1795387981000000000.0.rnd", 9),
        ("$JS.ACK.ticketing", None),
    ],
)
def test_an_acknowledgement_subject_names_its_event(subject: str, mark: int | None) -> None:
    """Both forms of NATS's acknowledgement subjects are parsed; any other is no acknowledgement."""
    expected = None if mark is None else ("ticketing", "payment-service-order:created", mark)
    assert acknowledged(subject) == expected


async def _sleeper() -> asyncio.subprocess.Process:
    """Start a process that sleeps until it is ended."""
    return await asyncio.create_subprocess_exec("sleep", "60")


def test_a_database_of_another_account_has_a_way_out_for_each_case(tmp_path: Path) -> None:
    """F48: data of the run can be deleted; a given database can be moved. The text is that of `/readyz`."""
    assert f"rm -r {tmp_path}" in plan.other_account(tmp_path, own_data=True)
    assert "python -m payment account" in plan.other_account(tmp_path, own_data=False)
    one, two = (StripeAccount(name, False, "f") for name in ("acct_1", "acct_2"))
    assert plan.OTHER_ACCOUNT in (mismatch(one, two) or "")
