"""The sandbox as a program: its start, its stored state, and its end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import stripe
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from tests.unit.stripe_sandbox.conftest import KEY

DEADLINE_S = 20.0
WAITING: Any = {
    "amount": 1999,
    "currency": "usd",
    "confirm": True,
    "payment_method": "pm_card_threeDSecure2Required",
    "return_url": "https://shop.example/done",
}
"""The parameters of an intent that waits for its customer at the bank's page."""
ROOT = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-m", "payment.stripe_sandbox", "--port", "0", "--rate-per-s", "0"]
PARENT = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"


class Program:
    """A sandbox in its own process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), DEADLINE_S)).decode()

    async def ended(self) -> int:
        return await asyncio.wait_for(self.process.wait(), DEADLINE_S)

    async def silent(self) -> bytes:
        """Returns the remaining output, until every writer has ended."""
        assert self.process.stdout is not None
        return await asyncio.wait_for(self.process.stdout.read(), DEADLINE_S)


@asynccontextmanager
async def program(*command: str | Path, env: dict[str, str] | None = None) -> AsyncIterator[Program]:
    inherited = {name: value for name, value in os.environ.items() if name != "STRIPE_WEBHOOK_SECRET"}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=inherited | (env or {}),
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def client(line: str) -> AsyncIterator[stripe.StripeClient]:
    """Yields a client for the address at the end of a line."""
    http = stripe.AIOHTTPClient()
    try:
        yield stripe.StripeClient(KEY, base_addresses={"api": line.split()[-1]}, http_client=http)
    finally:
        await http.close_async()  # type: ignore[no-untyped-call]


async def charge(line: str, key: str) -> stripe.Charge:
    async with client(line) as stripes:
        return await stripes.v1.charges.create_async(
            {"amount": 1999, "currency": "usd", "source": "tok_once_1", "transfer_group": "o1"},
            {"idempotency_key": key},
        )


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_answered_requests_are_remembered(tmp_path: Path, end: signal.Signals) -> None:
    """F05: over a restart, and over a kill -9, a key still has its answer, and a token is still used up."""
    async with program(*PROGRAM, "--data", tmp_path) as first:
        made = await charge(await first.line(), "k")
        first.process.send_signal(end)
        assert await first.ended() == (0 if end != signal.SIGKILL else -signal.SIGKILL)
        assert await first.silent() == b""
    async with program(*PROGRAM, "--data", tmp_path) as second:
        line = await second.line()
        again = await charge(line, "k")
        assert again.id == made.id
        assert again.last_response is not None
        assert again.last_response.headers["Idempotent-Replayed"] == "true"
        with pytest.raises(stripe.InvalidRequestError, match="more than once"):
            await charge(line, "another")


async def test_an_intent_that_waits_for_its_customer_survives_a_kill(tmp_path: Path) -> None:
    """After a kill -9 the same page of the bank leads to the same one charge, and the key to the same answer."""
    async with program(*PROGRAM, "--data", tmp_path) as first:
        async with client(await first.line()) as before:
            intent = await before.v1.payment_intents.create_async(WAITING, {"idempotency_key": "k"})
        first.process.kill()
        await first.ended()
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    page = urlsplit(str(intent.next_action.redirect_to_url.url)).path
    async with program(*PROGRAM, "--data", tmp_path) as second:
        url = (await second.line()).split()[-1]
        async with client(url) as after, ClientSession() as http:
            again = await after.v1.payment_intents.create_async(WAITING, {"idempotency_key": "k"})
            assert again.to_dict() == intent.to_dict()
            async with http.post(f"{url}{page}/complete", allow_redirects=False) as response:
                assert response.status == 303
            paid = await after.v1.payment_intents.retrieve_async(intent.id)
            charges = await after.v1.charges.list_async({"payment_intent": intent.id})
    assert paid.status == "succeeded"
    assert [each.id for each in charges.data] == [paid.latest_charge]


async def test_it_can_be_an_account_without_the_charges_api(tmp_path: Path) -> None:
    """`--no-charges`, and the bank's page at the address that `--public-url` gives."""
    options = ["--no-charges", "--public-url", "https://stripe.example"]
    async with program(*PROGRAM, *options, "--data", tmp_path) as started, client(await started.line()) as stripes:
        with pytest.raises(stripe.InvalidRequestError, match="API surface is unsupported"):
            await stripes.v1.charges.create_async({"amount": 1999, "currency": "usd", "source": "tok_visa"})
        intent = await stripes.v1.payment_intents.create_async(WAITING)
    assert intent.next_action is not None
    assert intent.next_action.redirect_to_url is not None
    assert str(intent.next_action.redirect_to_url.url).startswith("https://stripe.example/_bank/")


async def test_it_forwards_events_with_the_secret_of_its_environment(tmp_path: Path) -> None:
    """`--forward-to` delivers every event, signed with STRIPE_WEBHOOK_SECRET; without that it does not start."""
    got: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        got.put_nowait((await request.read(), request.headers["Stripe-Signature"]))
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/hook", receive)])
    async with TestServer(app) as receiver:
        forward = ["--data", str(tmp_path), "--forward-to", str(receiver.make_url("/hook"))]
        async with program(*PROGRAM, *forward) as refused:
            assert b"STRIPE_WEBHOOK_SECRET" in await refused.silent()
            assert await refused.ended() == 2
        async with (
            program(*PROGRAM, *forward, env={"STRIPE_WEBHOOK_SECRET": "whsec_1"}) as started,
            client(await started.line()) as stripes,
        ):
            await stripes.v1.payment_intents.create_async(WAITING)
            body, signature = await asyncio.wait_for(got.get(), DEADLINE_S)
    event = stripe.Webhook.construct_event(body, signature, "whsec_1")
    assert event.type == "payment_intent.created"


async def test_it_notes_its_port_and_process_while_it_serves(tmp_path: Path) -> None:
    """The files are there once it listens, and gone once it has ended."""
    port_file, pid_file = tmp_path / "run" / "port", tmp_path / "run" / "pid"
    async with program(*PROGRAM, "--data", tmp_path, "--port-file", port_file, "--pid-file", pid_file) as started:
        line = await started.line()
        assert line == f"stripe sandbox listening on http://127.0.0.1:{int(port_file.read_text())}\n"
        assert int(pid_file.read_text()) == started.process.pid
        started.process.terminate()
        assert await started.ended() == 0
    assert list((tmp_path / "run").iterdir()) == []


async def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """With `--die-with-parent` no process is left behind, however its parent ends."""
    async with program(sys.executable, "-c", PARENT, *PROGRAM, "--data", tmp_path, "--die-with-parent") as parent:
        assert "listening" in await parent.line()
        os.kill(parent.process.pid, signal.SIGKILL)
        await parent.ended()
        assert await parent.silent() == b""


async def test_a_second_sandbox_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """The second one prints the reason in one line and exits 69."""
    async with program(*PROGRAM, "--data", tmp_path) as first:
        await first.line()
        async with program(*PROGRAM, "--data", tmp_path) as second:
            assert "database is locked" in await second.line()
            assert await second.silent() == b""
            assert await second.ended() == 69


@pytest.mark.parametrize("wrong", [["--rate-per-s", "-1"], ["--latency-ms", "inf"], ["--flavour", "mint"]])
async def test_a_wrong_option_is_named(tmp_path: Path, wrong: list[str]) -> None:
    """Usage goes to the terminal and the exit code is 2."""
    async with program(*PROGRAM, "--data", tmp_path, *wrong) as started:
        assert wrong[0].encode() in await started.silent()
        assert await started.ended() == 2


async def account_of(line: str) -> str:
    async with client(line) as stripes:
        return str((await stripes.v1.accounts.retrieve_current_async()).id)


async def test_an_account_has_the_same_id_for_as_long_as_its_data_are_kept(tmp_path: Path) -> None:
    """F48: over a restart; other data are another account, and `--account` names it."""
    accounts = []
    for folder, more in (("a", ()), ("a", ()), ("b", ()), ("b", ("--account", "acct_mine")), ("b", ())):
        async with program(*PROGRAM, "--data", tmp_path / folder, *more) as sandbox:
            accounts.append(await account_of(await sandbox.line()))
    assert accounts[0] == accounts[1] != accounts[2]
    assert accounts[0].startswith("acct_")
    assert accounts[3:] == ["acct_mine", "acct_mine"]
