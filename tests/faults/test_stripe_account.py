"""The database belongs to one Stripe account: a key of another account, or a key without a needed permission (F36,
F48).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.bus import Bus, in_seconds
from tests.e2e.stack import ServiceProcess, ServiceStack, StripeSandbox
from tests.e2e.waiting import always, eventually
from tests.faults.laws import NOTHING_CHARGED
from tests.faults.steps import asked, dependency, document, given_up, one_charge, pay, placed
from tests.support.servers.process import LOOPBACK
from tests.support.servers.proxy import Proxy

pytestmark = [pytest.mark.servers, pytest.mark.long]

SHOW, MOVE = ".venv/bin/python -m payment account", ".venv/bin/python -m payment account --move"
"""The commands of docs/deploy.md. A test runs them with its own Python."""
CREATE, CONFIRM = "payment_intents.create", "payment_intents.confirm"
UNAVAILABLE = frozenset({"unavailable"})
AWAY_S = 6.0  # how long Stripe is away
STEADY_S = 6.0  # in seconds: enough to detect a readiness that changes once a second, or with each check


@pytest.fixture
def other(tmp_path: Path) -> Iterator[StripeSandbox]:
    """Another account, at another address."""
    sandbox = StripeSandbox(tmp_path / "another account")
    sandbox.start()
    yield sandbox
    sandbox.stop()


@pytest.fixture(autouse=True)
def unbound(stack: ServiceStack) -> Iterator[None]:
    """Remove the stored account: nx-27017 keeps one database under all names, so another test would find it."""
    stack.account.delete_many({})
    yield
    stack.account.delete_many({})


def why(process: ServiceProcess) -> str:
    """Returns the reason why Stripe is down, from `/readyz`."""
    found = process.readyz()
    assert found is not None
    return str(found[1]["dependencies"]["stripe"].get("why", ""))


async def start(stack: ServiceStack, ready_when: frozenset[str], **env: str) -> ServiceProcess:
    process = stack.service(ready_when, **env)
    await asyncio.to_thread(process.start)
    return process


async def shows(process: ServiceProcess, words: str) -> None:
    async def shown() -> bool:
        return words in why(process)

    await eventually(shown, f"/readyz shows: {words}")


def changes(stripe: StripeSandbox) -> int:
    """Returns the number of requests that it received, except those for its account."""
    counts = stripe.audit()["requests"]
    return sum(int(each["requests"]) for name, each in counts.items() if name != "account.retrieve")


async def test_with_the_key_of_another_account_nothing_is_sent_or_concluded(
    stack: ServiceStack, bus: Bus, other: StripeSandbox
) -> None:
    """F48: a charge in flight stays as it is, and is made once when the right key is back."""
    process = await stack.start(CHARGE_WAIT_S="1")
    new, under_way = await placed(stack, bus), await placed(stack, bus)
    stack.stripe.fault("hang", CONFIRM, None)
    request = asked(process, under_way)
    await document(stack, under_way, "confirming")
    process.kill()
    await given_up(request)
    stack.stripe.well()
    env = {"STRIPE_API_BASE": other.url, "NATS_CLIENT_ID": f"{stack.name}-0", "CHARGE_WAIT_S": "1"}
    stranger = await start(stack, UNAVAILABLE, **env)
    await shows(stranger, f"the database belongs to the Stripe account {stack.stripe.account()} (test mode)")
    await shows(stranger, f"STRIPE_KEY is for {other.account()} (test mode)")

    async def nothing() -> bool:
        answer = await pay(stranger, new)
        state = (stack.order(under_way) or {})["payment"]["attempts"][-1]["state"]
        ready_status = (stranger.readyz() or (0, {}))[0]
        return (answer.status, NOTHING_CHARGED in answer.message, state, ready_status) == (503, True, "confirming", 503)

    await always(nothing, "nothing happens", STEADY_S)
    assert changes(other) == 0
    assert len(stranger.logged("account_mismatch", alarm=True)) == 1
    assert len(stranger.logged("dependency_lost", dependency="stripe")) == 1
    stranger.kill()
    right = await stack.start(NATS_CLIENT_ID=f"{stack.name}-0")
    await document(stack, under_way, "paid")
    assert (await pay(right, new)).status == 201
    for order in (new, under_way):
        one_charge(stack, order)


async def test_an_operator_sees_both_accounts_and_moves_the_database_to_the_other(
    stack: ServiceStack, bus: Bus, other: StripeSandbox
) -> None:
    """F48: `account`, `--check` and `account --move`, which is refused while orders wait; processes recover by
    themselves.
    """
    process = await stack.start(CHARGE_WAIT_S="1")
    paid, waiting = await placed(stack, bus), await placed(stack, bus)
    assert (await pay(process, paid)).status == 201
    there = {"STRIPE_API_BASE": other.url}
    same = await asyncio.to_thread(stack.run, *SHOW.split()[1:])
    assert (same.returncode, same.stdout.count(stack.stripe.account())) == (os.EX_OK, 2)
    differs = await asyncio.to_thread(lambda: stack.run(*SHOW.split()[1:], **there))
    assert (differs.returncode, stack.stripe.account() in differs.stdout, other.account() in differs.stdout) == (
        1,
        True,
        True,
    )
    check = await asyncio.to_thread(lambda: stack.run("run.py", "--check", **there))
    assert (check.returncode, "belongs to the Stripe account" in check.stdout) == (os.EX_UNAVAILABLE, True)
    stack.stripe.fault("hang", CONFIRM, None)
    request = asked(process, waiting)
    await document(stack, waiting, "confirming")
    refused = await asyncio.to_thread(lambda: stack.run(*MOVE.split()[1:], **there))
    assert (refused.returncode, waiting in refused.stdout, stack.account.find_one()["account"]) == (  # type: ignore[index]
        1,
        True,
        stack.stripe.account(),
    )
    await given_up(request)
    process.kill()
    stranger = await start(stack, UNAVAILABLE, **there)
    await shows(stranger, "payment account --move")
    moved = await asyncio.to_thread(lambda: stack.run(*MOVE.split()[1:], "--force", **there))
    assert (moved.returncode, '"event":"account_moved"' in moved.stdout.replace(" ", "")) == (os.EX_OK, True)
    await dependency(stranger, "stripe", up=True)
    stored = stack.account.find_one()
    assert stored is not None
    assert (stored["account"], [each["account"] for each in stored["before"]]) == (
        other.account(),
        [stack.stripe.account()],
    )


async def test_of_two_accounts_that_come_first_at_once_one_has_the_database(
    stack: ServiceStack, other: StripeSandbox
) -> None:
    """F48: the first process that stores its account wins; the other one is refused, however close they were."""
    either = frozenset({"ready", "unavailable"})
    processes = [stack.service(either), stack.service(either, STRIPE_API_BASE=other.url)]
    await asyncio.gather(*(asyncio.to_thread(process.start) for process in processes))

    async def decided() -> bool:
        shown = [(process.readyz() or (0, {"status": ""}))[1]["status"] for process in processes]
        return sorted(shown) == ["ready", "unavailable"]

    await eventually(decided, "one is ready, one is not")
    assert stack.account.count_documents({}) == 1


async def test_another_key_of_the_same_account_goes_on(stack: ServiceStack, bus: Bus) -> None:
    """F48: for a rolled key, and for a restricted key, which may not read its account and gets its id from the
    refusal.
    """
    await stack.start()
    stack.processes[0].kill()
    account = stack.stripe.account()
    stack.stripe.fault("forbidden", "account.retrieve", None)
    process = await stack.start(STRIPE_KEY="rk_test_51RestrictedKeyOfTheSameAccount")
    assert (await pay(process, await placed(stack, bus))).status == 201
    assert stack.account.find_one()["account"] == account  # type: ignore[index]


@pytest.mark.parametrize("endpoint", [CREATE, CONFIRM])
async def test_a_key_that_may_not_charge_is_not_ready_and_does_not_flap(
    stack: ServiceStack, bus: Bus, endpoint: str
) -> None:
    """F36: successes of other calls don't clear it, accepted charges end, `--check` reports it, and the process
    recovers.
    """
    process = await stack.start(CHARGE_WAIT_S="1")
    short, long = await placed(stack, bus, expiresAt=in_seconds(6.0)), await placed(stack, bus)
    stack.stripe.fault("forbidden", endpoint, None)
    answers = await asyncio.gather(pay(process, short), pay(process, long))
    assert {answer.status for answer in answers} <= {202, 503}
    what = "create" if endpoint == CREATE else "confirm"
    await shows(process, f"STRIPE_KEY may not {what}")

    async def not_ready() -> bool:
        return (process.readyz() or (0, {}))[0] == 503

    await always(not_ready, "it is not ready", STEADY_S)
    assert len(process.logged("dependency_lost", dependency="stripe")) == 1
    assert process.logged("dependency_back", dependency="stripe") == []
    check = await asyncio.to_thread(stack.run, "run.py", "--check")
    assert (check.returncode, f"may not {what}" in check.stdout) == (os.EX_UNAVAILABLE, True)
    if endpoint == CREATE:
        await document(stack, short, "refused")
    stack.stripe.well()
    back = time.monotonic()
    await dependency(process, "stripe", up=True)
    await document(stack, long, "paid")
    assert time.monotonic() - back < 10.0
    assert stack.stripe.charges(short) == []


async def test_a_key_that_may_not_charge_is_never_ready_from_its_start(stack: ServiceStack) -> None:
    """F36: "ready" requires Stripe's confirmation of the key's permissions, not only the absence of a failure."""
    stack.stripe.fault("forbidden", CREATE, None)
    process = await start(stack, UNAVAILABLE)
    await shows(process, "STRIPE_KEY may not create")
    assert all(line["event"] != "dependency_back" for line in process.lines())


@pytest.mark.parametrize("how", ["stopped", "hangs"])
async def test_an_outage_of_stripe_is_noticed_while_nothing_is_paid(stack: ServiceStack, how: str) -> None:
    """F10: within ten seconds, in `/readyz`, in the log and in the metric; and so is its return."""
    process = await stack.start()
    await asyncio.sleep(6.0)  # a pause of real time: the first idle check is made in it
    lost = time.monotonic()
    stack.stripe.pause() if how == "hangs" else stack.stripe.kill()

    async def degraded() -> bool:
        found = process.readyz()
        return found is not None and (found[0], found[1]["status"]) == (200, "degraded")

    try:
        await eventually(degraded, "it is degraded", deadline_s=12.0)
    finally:
        if how == "hangs":
            stack.stripe.resume()
    took_s = time.monotonic() - lost
    print(f"Stripe {how} while idle: noticed after {took_s:.1f} s")
    assert took_s <= 11.0
    assert len(process.logged("dependency_lost", dependency="stripe", blocks_charges=False)) == 1
    if how == "stopped":
        await asyncio.to_thread(stack.stripe.start)
    await dependency(process, "stripe", up=True)


async def test_time_that_an_outage_of_stripe_took_is_stripes_in_the_charges_line(stack: ServiceStack, bus: Bus) -> None:
    """F10: neither a failed call nor the wait for Stripe's return counts as queueing time."""
    async with Proxy(stack.stripe.port) as way:
        process = await stack.start(STRIPE_API_BASE=f"http://{LOOPBACK}:{way.port}", CHARGE_WAIT_S="1")
        order = await placed(stack, bus)
        way.stop_listening()
        way.cut()
        assert (await pay(process, order)).status == 202
        await asyncio.sleep(AWAY_S)
        await way.start()
        await document(stack, order, "paid")
    [line] = process.logged("charge_finished", order_id=order)
    print({name: line[name] for name in line if name.endswith("_ms")})
    assert line["stripe_away_ms"] + line["stripe_ms"] >= AWAY_S * 1_000 - 500
    assert line["waiting_ms"] <= 1_000
