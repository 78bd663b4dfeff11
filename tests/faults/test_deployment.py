"""The process as a host runs it: the Procfile's command line, its variables, its signals, its exit codes, its log."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import pytest

from payment.ops.log_schema import FIELDS, Event
from tests.e2e.bus import CREATED, PAID, Bus
from tests.e2e.client import JWT_KEY, PAYMENTS, Client, identity, session_cookie
from tests.e2e.stack import ROOT, STRIPE_KEY, ServiceProcess, ServiceStack, procfile_command
from tests.e2e.waiting import eventually
from tests.support.servers.process import LOOPBACK, accepts
from tests.support.servers.proxy import Proxy

pytestmark = [pytest.mark.servers]

EXIT_WITHIN_S = 25.0  # of SIGTERM; a Heroku dyno is killed after 30
RUN_DEADLINE_S = 30.0
EX_UNAVAILABLE, EX_CONFIG = 69, 78
READY_WITHIN_S = 6.0  # a generous multiple of the promised 2 s: two cores are shared with other tests
MEMORY_KB = 90 * 1024
NEW_KEY = "the-new-secret-of-the-platform-never-to-be-logged"


def run(stack: ServiceStack, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the Procfile's command to its end. A variable set to "" counts as not set."""
    return subprocess.run(
        [*procfile_command(), *arguments],
        cwd=ROOT,
        env=stack.environment(**env),
        capture_output=True,
        text=True,
        timeout=RUN_DEADLINE_S,
        check=False,
    )


async def test_it_is_ready_soon_and_small(stack: ServiceStack) -> None:
    """The time from start to ready and the idle resident memory must be within the promised limits (both are
    printed).
    """
    began = time.monotonic()
    process = await stack.start()
    took_s = time.monotonic() - began
    print(f"start to ready {took_s:.2f} s, resident {process.memory_kb() / 1024:.1f} MB")
    assert took_s < READY_WITHIN_S
    assert process.memory_kb() < MEMORY_KB
    [line] = process.logged("service_ready")
    assert line["port"] == process.port


async def test_a_dyno_has_a_client_id_of_its_own_and_listens_on_its_port(stack: ServiceStack) -> None:
    """`PORT` and `DYNO` are Heroku's: two dynos must never share an id, and without HOST the service listens on every
    interface.
    """
    process = await stack.start(DYNO="web.2", HOST="")
    assert {line["client_id"] for line in process.lines()} == {f"{stack.name}-0-web-2"}
    assert accepts(process.port)


async def test_sigterm_makes_it_unready_then_ends_it_with_0(stack: ServiceStack, bus: Bus) -> None:
    """F33: while a charge is under way `/readyz` is 503, a new charge gets 503, and the old one its 201."""
    process = await stack.start()
    first, second = stack.new_order(), stack.new_order()
    for order in (first, second):
        await bus.create(order)
    await eventually(lambda: _known(stack, second), "the orders are known")
    stack.stripe.fault("delay", delay_ms=1_500)
    async with Client(process.port) as client:
        under_way = asyncio.create_task(client.pay(first))
        await eventually(lambda: _charging(stack, first), "a charge is under way")
        began = time.monotonic()
        stopped = asyncio.create_task(asyncio.to_thread(process.stop, EXIT_WITHIN_S))
        await eventually(lambda: _stopping(client), "readiness is false")
        refused = await client.pay(second)
        assert (refused.status, "nothing was charged" in refused.message) == (503, True)
        assert (await under_way).status == 201
        assert await stopped == 0
    print(f"SIGTERM with a charge under way: exit 0 after {time.monotonic() - began:.2f} s")
    assert stack.stripe.charges(second) == []
    assert process.logged("service_stopped", exit_code=0)


async def _known(stack: ServiceStack, order: str) -> bool:
    return stack.order(order) is not None


async def _charging(stack: ServiceStack, order: str) -> bool:
    return "payment" in (stack.order(order) or {}) and not stack.stripe.faults()


async def _stopping(client: Client) -> bool:
    shown = await client.ready()
    return shown.status == 503 and shown.body["phase"] == "stopping"


async def test_a_second_sigterm_cuts_the_drain_short(stack: ServiceStack, bus: Bus) -> None:
    """A second SIGTERM ends the wait for a hanging Stripe; the next start finishes charges in flight."""
    process = await stack.start()
    order = stack.new_order()
    await bus.create(order)
    await eventually(lambda: _known(stack, order), "the order is known")
    stack.stripe.fault("hang_after")
    async with Client(process.port) as client:
        under_way = asyncio.create_task(client.pay(order))
        await eventually(lambda: _charging(stack, order), "a charge is under way")
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        await eventually(lambda: _stopping(client), "readiness is false")
        code = await asyncio.to_thread(process.stop, EXIT_WITHIN_S)
        await asyncio.gather(under_way, return_exceptions=True)
    print(f"second SIGTERM: exit {code} after {time.monotonic() - began:.2f} s")
    assert time.monotonic() - began < 5.0
    assert code is not None
    assert code >= 0
    await asyncio.to_thread(process.start)
    await bus.announced(order, PAID)
    assert len(stack.stripe.charges(order)) == 1


def test_all_bad_settings_are_reported_at_once_with_exit_code_78(stack: ServiceStack) -> None:
    """No port may open, no secret may be shown, and one line must have every problem."""
    bad = {
        "NATS_URL": "",
        "JWT_KEY": "",
        "STRIPE_KEY": "pk_live_secret",
        "MONGO_URL": "mongodb://u:hush@h/",
        "PORT": "x",
    }
    done = run(stack, **bad)
    assert done.returncode == EX_CONFIG
    [line] = [json.loads(each) for each in done.stdout.splitlines()]
    assert line["event"] == "settings_invalid"
    assert {problem.split()[0] for problem in line["problems"]} == set(bad)
    assert "hush" not in done.stdout + done.stderr
    assert "pk_live_secret" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_check_reports_what_it_found(stack: ServiceStack) -> None:
    """`--check` exits 0 where all is well, 69 where a server is away, with its name, 78 where settings are wrong."""
    well = run(stack, "--check")
    assert (well.returncode, well.stderr) == (0, "")
    names = ("http", "mongodb", "nats", "stripe")
    assert [line.split()[:2] for line in well.stdout.splitlines()] == [[name, "ok"] for name in names]
    away = run(stack, "--check", NATS_URL=f"nats://user:hush@{LOOPBACK}:1", STRIPE_API_BASE=f"http://{LOOPBACK}:1")
    assert away.returncode == EX_UNAVAILABLE
    assert [line.split()[1] for line in away.stdout.splitlines()] == ["ok", "ok", "FAILED", "FAILED"]
    wrong = run(stack, "--check", MONGO_URL="mongodb://user:hush@h:1")
    assert wrong.returncode == EX_CONFIG
    assert "MONGO_URL" in wrong.stdout
    assert "hush" not in away.stdout + away.stderr + wrong.stdout + wrong.stderr


@pytest.mark.parametrize(
    ("host", "code", "words"),
    [
        ("[::1]", EX_CONFIG, "without brackets"),
        ("my-machine.invalid", None, "Some shells set HOST"),
        ("192.0.2.1", EX_UNAVAILABLE, "does not have that address"),
    ],
)
def test_an_address_that_cant_be_listened_on_ends_it_at_once(
    stack: ServiceStack, host: str, code: int | None, words: str
) -> None:
    """One line that names it, and no traceback; `--check` finds the same. Without a resolver a name ends it with 69."""
    done, checked = run(stack, HOST=host), run(stack, "--check", HOST=host)
    assert done.returncode == checked.returncode
    assert done.returncode in ({code} if code else {EX_CONFIG, EX_UNAVAILABLE})
    [line] = [json.loads(each) for each in done.stdout.splitlines()]
    assert words in str(line)
    assert words in checked.stdout
    assert "Traceback" not in done.stdout + done.stderr + checked.stderr


async def test_a_port_that_is_taken_ends_it_at_once(stack: ServiceStack) -> None:
    """69, with one line, and the process that has the port goes on; `--check` tells our own from another's."""
    process = await stack.start()
    taken = {"PORT": str(process.port), "NATS_CLIENT_ID": process_client_id(process)}
    done = run(stack, **taken)
    assert done.returncode == EX_UNAVAILABLE
    [line] = [json.loads(each) for each in done.stdout.splitlines()]
    assert (line["event"], line["port"]) == ("cannot_listen", process.port)
    assert "another process listens there" in line["reason"]
    beside = run(stack, "--check", **taken)
    assert beside.returncode == 0
    assert "a payment service runs there already" in beside.stdout
    assert (process.readyz() or (0, {}))[0] == 200
    foreign = run(stack, "--check", PORT=str(stack.servers.nats.port))
    assert (foreign.returncode, "another process listens there" in foreign.stdout) == (EX_UNAVAILABLE, True)


def process_client_id(process: ServiceProcess) -> str:
    return str(process.lines()[0]["client_id"])


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_it_runs_without_its_standard_streams(stack: ServiceStack, closed: str) -> None:
    """A parent may have closed any of them: the service starts, accepts a charge, and ends with 0 on SIGTERM."""
    process = stack.service()
    process.command = ["sh", "-c", f"exec {closed}; exec {shlex.join(process.command)}"]
    await asyncio.to_thread(process.start)
    async with Client(process.port) as client:
        assert (await client.pay(stack.new_order())).status == 404
    assert await asyncio.to_thread(process.stop, EXIT_WITHIN_S) == 0


async def test_it_runs_on_when_its_log_has_no_reader(stack: ServiceStack) -> None:
    """The log's reader dies or stops reading: lines are dropped, and charges are accepted as before."""
    for signal_of_reader in (signal.SIGKILL, signal.SIGSTOP):
        process = stack.service(LOG_LEVEL="debug")
        pid_file = stack.folder / f"reader-{signal_of_reader}"
        piped = f"exec {shlex.join(process.command)} > >(echo $BASHPID > {pid_file}; exec cat > /dev/null)"
        process.command = ["bash", "-c", piped]
        await asyncio.to_thread(process.start)
        reader = int(pid_file.read_text())
        os.kill(reader, signal_of_reader)
        async with Client(process.port) as client:
            answers = await asyncio.gather(*(client.pay(stack.new_order()) for _ in range(300)))
        assert {answer.status for answer in answers} == {404}
        assert await asyncio.to_thread(process.stop, EXIT_WITHIN_S) == 0
        if signal_of_reader == signal.SIGSTOP:
            os.kill(reader, signal.SIGKILL)


async def test_a_changed_key_takes_the_former_ones_tokens(stack: ServiceStack) -> None:
    """`JWT_KEY_PREVIOUS` is accepted too; where every token is signed with another key, there is one warning."""
    process = await stack.start(JWT_KEY=NEW_KEY, JWT_KEY_PREVIOUS=JWT_KEY)
    async with Client(process.port) as client:
        for key in (NEW_KEY, JWT_KEY):
            headers = {"Authorization": f"Bearer {identity(key=key)}"}
            assert (await client.send("GET", f"{PAYMENTS}/{'0' * 32}", None, headers)).status == 404
    other = await stack.start(JWT_KEY=f'"{JWT_KEY}"', NATS_CLIENT_ID=f"{stack.name}-other")
    [doubtful] = other.logged("settings_doubtful")
    assert "stands in quotes" in doubtful["problems"][0]
    async with Client(other.port) as client:
        for _ in range(12):
            assert (await client.payment("0" * 32)).status == 401
    [warning] = other.logged("signatures_wrong")
    assert warning["level"] == "warning"
    assert JWT_KEY not in other.log.read_text()


async def test_it_starts_without_its_servers_and_names_those_that_are_away(stack: ServiceStack) -> None:
    """On a host that starts everything at once the port opens, and `/readyz` is 503 and names the missing servers."""
    down = f"user:hush@{LOOPBACK}:1"
    stripe = f"http://{LOOPBACK}:1"
    env = {"MONGO_URL": f"mongodb://{down}/payment", "NATS_URL": f"nats://{down}", "STRIPE_API_BASE": stripe}
    process = stack.service(ready_when=frozenset({"unavailable"}), **env)
    await asyncio.to_thread(process.start)
    status, shown = process.readyz() or (0, {})
    down_now = {name for name, state in shown["dependencies"].items() if not state["up"]}
    assert (status, down_now) == (503, {"mongodb", "nats", "stripe"})
    assert "hush" not in json.dumps(shown)
    assert await asyncio.to_thread(process.stop, EXIT_WITHIN_S) == 0
    assert "hush" not in process.log.read_text()


async def test_no_secret_is_in_the_log_and_every_line_is_a_documented_object(
    stack: ServiceStack, bus: Bus, tmp_path: Path
) -> None:
    """Credentials, tokens, JWTs and cookies that went through every path must not be in a log at level debug."""
    token, forged = identity(), identity(key="some other key")
    cookie = session_cookie(token)
    secrets = [
        JWT_KEY,
        STRIPE_KEY,
        "natspassword",
        token,
        forged,
        cookie,
        token.split(".")[2],
        "tok_visa",
        "tok_secret",
    ]
    async with Proxy(stack.servers.nats.port) as nats, Proxy(stack.stripe.port) as stripe:
        env = {"NATS_URL": f"nats://natsuser:natspassword@{LOOPBACK}:{nats.port}", "LOG_LEVEL": "debug"}
        process = await stack.start(**env, STRIPE_API_BASE=f"http://{LOOPBACK}:{stripe.port}", CHARGE_WAIT_S="1")
        order, other = stack.new_order(), stack.new_order()
        for each in (order, other):
            await bus.create(each)
        await bus.publish(CREATED, b'{"token": "tok_secret", "id": "\xff"}')
        await eventually(lambda: _known(stack, other), "the orders are known")
        async with Client(process.port) as client:
            for fault in ("html", "cut_body", "unauthorized", "error_after"):
                stack.stripe.fault(fault)
                headers = {"Cookie": f"session={cookie}", "X-Request-ID": "sk_test_51asRequestId"}
                await client.send("POST", PAYMENTS, {"orderId": order, "token": "tok_visa"}, headers)
            for authorization in (f"Bearer {forged}", f"Bearer {token}x", f"Basic {cookie}"):
                await client.send("POST", f"{PAYMENTS}?jwt={token}", None, {"Authorization": authorization})
            await client.pay(other, "tok_secret_that_does_not_exist")
            await client.send("GET", f"{PAYMENTS}/{token}", None, {"Authorization": f"Bearer {token}"})
            nats.cut()
            stripe.cut()
        await asyncio.to_thread(process.stop, EXIT_WITHIN_S)
    text = process.log.read_text()
    assert [secret for secret in secrets if secret in text] == []
    check_lines(process.lines())


def check_lines(lines: list[dict[str, object]]) -> None:
    """Check that each line has the five common fields, and no field or event that isn't documented."""
    vocabulary = set(Event)
    assert len(lines) > 10
    for line in lines:
        assert set(line) <= set(FIELDS), line
        assert {"ts", "level", "event", "service", "client_id"} <= set(line), line
        assert line["event"] in vocabulary, line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line["ts"]))
        assert datetime.fromisoformat(str(line["ts"]))
