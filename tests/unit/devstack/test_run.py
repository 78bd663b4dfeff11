"""`python -m payment.devstack run` as a user: its output, and the effect of the printed commands."""

import json
import os
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.process import free_port
from tests.support.servers.requirements import require_program
from tests.unit.devstack.devstack_world import DEADLINE_S, ROOT, EmbeddedRun, bearer, environment, program, shell

pytestmark = [pytest.mark.servers, pytest.mark.slow]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRun]:
    for name in ("nats-server", "nx-27017", "curl"):
        require_program(name)
    one = EmbeddedRun(tmp_path_factory.mktemp("run"), PORT=str(free_port()))
    try:
        yield one.start()
    finally:
        one.close()


def test_stdout_holds_the_services_json_lines_and_nothing_else(run: EmbeddedRun) -> None:
    """Where stdout is no terminal every line of it is a JSON object; the tutorial is on stderr, without colours."""
    assert {"service_ready", "event_received"} <= {line["event"] for line in run.log}
    assert "Ready after" in run.printed
    assert "\x1b" not in run.printed


def test_the_printed_curl_lines_pay_and_are_declined(run: EmbeddedRun) -> None:
    """The first command charges an order from NATS, repeated without a second charge; the second is declined."""
    pay, decline = run.curl_lines[:2]
    paid = shell(pay)
    assert paid["status"] == "paid"
    assert paid["stripeId"].startswith("ch_")
    assert shell(pay) == paid
    assert shell(decline)["errors"][0]["decline_code"] == "generic_decline"


def test_the_printed_line_whose_bank_asks_is_paid_on_the_banks_page(run: EmbeddedRun) -> None:
    """The answer leads to the bank's page; once that is answered, the same command returns paid. The bank leads back to
    the shop's page.
    """
    line = run.curl_lines[2]
    asked = shell(line)
    assert (asked["status"], asked["nextAction"]["type"]) == ("requires_action", "redirect_to_url")
    bank = asked["nextAction"]["url"]
    answer = urllib.request.Request(f"{bank}/complete", headers={"Accept": "application/json"}, method="POST")
    with urllib.request.urlopen(answer, timeout=DEADLINE_S) as answered:
        assert json.load(answered)["status"] == "succeeded"
    assert shell(line)["status"] == "paid"
    page = run.shop_page
    assert f"{page}?order={asked['orderId']}" in line
    with urllib.request.urlopen(page, timeout=DEADLINE_S) as shown:
        assert b"Pay an order" in shown.read()


def test_the_printed_cancel_line_gives_the_money_back(run: EmbeddedRun) -> None:
    """Cancelling the paid order shows payment:refunded, and the payment as its owner then sees it."""
    payment_id = shell(run.curl_lines[0])["id"]
    cancel = run.line_with(" cancel ")
    done = subprocess.run(cancel, shell=True, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    cancelled, refunded, payment = map(json.loads, done.stdout.splitlines())
    assert cancelled["subject"] == "order:cancelled"
    assert refunded["subject"] == "payment:refunded"
    assert refunded["id"] == payment["id"] == payment_id
    assert payment["status"] == "refunded"


def test_an_order_is_paid_by_the_command_that_it_prints(run: EmbeddedRun) -> None:
    """`order` prints the id and a curl command that pays it; `status` shows the order's events and payment."""
    done = run.command("order", "--price", "5", "--user", "it's me", "--currency", "eur", "--id", "order with 'quotes'")
    order_id, pay = done.stdout.splitlines()
    assert (done.returncode, order_id) == (0, "order with 'quotes'")
    paid = shell(pay)
    assert paid["orderId"] == order_id
    created, announced, payment = map(json.loads, run.command("status", order_id).stdout.splitlines())
    assert (created["subject"], created["currency"], created["ticket"]["price"]) == ("order:created", "eur", 5)
    assert (announced["subject"], announced["stripeId"]) == ("payment:created", paid["stripeId"])
    assert payment == paid


def test_an_order_that_the_service_refuses_prints_no_pay_command(run: EmbeddedRun) -> None:
    """A price between two cents is an invalid event: `order` reports it, and waits for no payment."""
    refused = run.command("order", "--price", "19.999", "--user", "u9")
    assert (refused.returncode, refused.stdout) == (os.EX_DATAERR, "")
    assert "dead_letters" in refused.stderr


def test_events_follows_what_is_published(run: EmbeddedRun) -> None:
    """`events --all` begins with earlier events; `--timeout-s` ends a wait for more, with exit code 1."""
    pay = run.command("order", "--price", "1.10", "--user", "u2").stdout.splitlines()[1]
    paid = shell(pay)
    result = run.command("events", "--all", "--count", "1", "--timeout-s", "10")
    assert result.returncode == 0
    assert json.loads(result.stdout)["subject"] == "payment:created"
    everything = run.command("events", "--all", "--count", "1000", "--timeout-s", "1")
    assert everything.returncode == 1
    assert paid["orderId"] in {json.loads(line)["orderId"] for line in everything.stdout.splitlines()}


def test_cancelling_an_order_that_does_not_exist_is_refused(run: EmbeddedRun) -> None:
    """A mistyped id cancels nothing: exit 65, and the known ids. With --force a cancel may come first."""
    order_id = run.command("order", "--price", "2", "--user", "u7").stdout.splitlines()[0]
    typo = run.command("cancel", order_id[:-1])
    assert (typo.returncode, typo.stdout) == (os.EX_DATAERR, "")
    assert f"no order {order_id[:-1]} was published" in typo.stderr
    assert order_id in typo.stderr
    meant = run.command("cancel", "--force", f"{order_id}-later")
    assert meant.returncode == 0
    assert json.loads(meant.stdout.splitlines()[0])["id"] == f"{order_id}-later"
    unknown = run.command("status", order_id[:-1])
    assert (unknown.returncode, unknown.stdout) == (os.EX_DATAERR, "")


def test_the_status_of_a_declined_order_shows_its_payment_and_how_to_pay_it(run: EmbeddedRun) -> None:
    """The payment exists though no event was published; an order without a tried card is reported as such."""
    order_id, pay = run.command("order", "--price", "4", "--user", "u8").stdout.splitlines()
    untried = run.command("status", order_id)
    assert untried.returncode == 0
    assert "no card was tried" in untried.stderr
    shell(pay.replace("tok_visa", "tok_chargeDeclined"))
    declined = run.command("status", order_id)
    assert json.loads(declined.stdout.splitlines()[-1])["status"] == "declined"
    line = next(line for line in declined.stderr.splitlines() if "curl " in line)
    assert shell(line[line.index("curl ") :])["status"] == "paid"


def test_the_tutorial_can_be_shown_again(run: EmbeddedRun) -> None:
    """In full, from another terminal: the first one is full of log lines."""
    again = run.command("guide")
    assert again.returncode == 0
    assert all(line in again.stdout for line in run.curl_lines)


def test_a_taken_port_is_named_at_once(run: EmbeddedRun, tmp_path: Path) -> None:
    """The other program may be another run, whose readiness must not be taken for ours."""
    environ = environment(PORT=run.environ["PORT"])
    done = subprocess.run(
        program("run", home=tmp_path), capture_output=True, text=True, env=environ, cwd=ROOT, check=False
    )
    assert done.returncode == os.EX_UNAVAILABLE
    assert f"port {run.environ['PORT']}" in done.stderr
    assert "Ready" not in done.stderr


def test_cancelling_an_unpaid_order_gives_nothing_back(run: EmbeddedRun) -> None:
    """The command waits for no refund where nothing was paid, and the order can't be paid afterwards."""
    order_id, pay = run.command("order", "--price", "2", "--user", "u3").stdout.splitlines()
    done = run.command("cancel", order_id)
    assert done.returncode == 0
    assert "nothing to give back" in done.stderr
    assert "errors" in shell(pay)


def test_token_is_one_that_the_service_believes(run: EmbeddedRun) -> None:
    """A token of another user is accepted and gets 403, not 401; only this user may read the signing key."""
    order_id, pay = run.command("order", "--price", "3", "--user", "owner").stdout.splitlines()
    other = run.command("token", "--user", "somebody else").stdout.strip()
    answer = shell(pay.replace(bearer(pay), other))
    assert "else" in answer["errors"][0]["message"], order_id
    assert stat.S_IMODE((run.home / "jwt.key").stat().st_mode) == 0o600


def test_a_second_run_in_the_same_folder_is_refused(run: EmbeddedRun) -> None:
    """It names the first run's process, exits 1, and does not affect the first run."""
    second = subprocess.run(
        program("run", home=run.home), capture_output=True, text=True, env=environment(), cwd=ROOT, check=False
    )
    assert second.returncode == 1
    assert f"another run uses {run.home} (process {run.process.pid})" in second.stderr
    assert run.command("order", "--price", "3", "--user", "u4").returncode == 0


def test_a_live_key_is_refused(tmp_path: Path) -> None:
    """The demo orders are not for real cards: exit 78, and the key is not repeated."""
    environ = environment(STRIPE_KEY="sk_live_secret")
    done = subprocess.run(
        program("run", home=tmp_path), capture_output=True, text=True, env=environ, cwd=ROOT, check=False
    )
    assert done.returncode == 78
    assert "sk_live_secret" not in done.stderr + done.stdout


@pytest.mark.parametrize("words", [("order", "--price", "1", "--user", "u"), ("events",), ("token", "--user", "u")])
def test_without_a_run_the_commands_fail_with_the_reason(tmp_path: Path, words: tuple[str, ...]) -> None:
    """There is no traceback: exit 69, and what to do first."""
    line = program(*words, home=tmp_path / "nothing")
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (69, "")
    assert "`make run` first" in done.stderr
    assert "Traceback" not in done.stderr
