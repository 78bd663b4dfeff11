"""`python -m payment.embedded run` from a person's chair: what it shows, and what comes of doing as it says."""

import json
import os
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.embedded.embedded_world import DEADLINE_S, ROOT, EmbeddedRun, bearer, environment, program, shell
from tests.servers.nats import NatsServer
from tests.servers.nats_identities import NKey
from tests.servers.process import free_port
from tests.servers.requirements import require_program

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
    """Where stdout is no terminal every line of it is a JSON object; the guide stands on stderr, without colours."""
    assert {"service_ready", "event_received"} <= {line["event"] for line in run.log}
    assert "Ready after" in run.said
    assert "\x1b" not in run.said


def test_the_printed_curl_lines_pay_and_are_declined(run: EmbeddedRun) -> None:
    """The first line charges an order that came over NATS, again without a second charge; the second is declined."""
    pay, decline = run.curl_lines[:2]
    paid = shell(pay)
    assert paid["status"] == "paid"
    assert paid["stripeId"].startswith("ch_")
    assert shell(pay) == paid
    assert shell(decline)["errors"][0]["decline_code"] == "generic_decline"


def test_the_printed_line_whose_bank_asks_is_paid_on_the_banks_page(run: EmbeddedRun) -> None:
    """The answer leads to the bank's page; once it is answered, the same line says paid. It leads back to our page."""
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
    """Cancelling the paid order shows payment:refunded, and the payment as its owner sees it from then on."""
    payment_id = shell(run.curl_lines[0])["id"]
    cancel = run.line_with(" cancel ")
    done = subprocess.run(cancel, shell=True, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    cancelled, refunded, payment = map(json.loads, done.stdout.splitlines())
    assert cancelled["subject"] == "order:cancelled"
    assert refunded["subject"] == "payment:refunded"
    assert refunded["id"] == payment["id"] == payment_id
    assert payment["status"] == "refunded"


def test_a_neighbours_order_is_paid_by_the_line_it_prints(run: EmbeddedRun) -> None:
    """`order` prints the id and a curl line that pays it; `status` tells the order's whole story."""
    done = run.command("order", "--price", "5", "--user", "it's me", "--currency", "eur", "--id", "order with 'quotes'")
    order_id, pay = done.stdout.splitlines()
    assert (done.returncode, order_id) == (0, "order with 'quotes'")
    paid = shell(pay)
    assert paid["orderId"] == order_id
    created, announced, payment = map(json.loads, run.command("status", order_id).stdout.splitlines())
    assert (created["subject"], created["currency"], created["ticket"]["price"]) == ("order:created", "eur", 5)
    assert (announced["subject"], announced["stripeId"]) == ("payment:created", paid["stripeId"])
    assert payment == paid


def test_an_order_that_the_service_refuses_has_no_line_to_pay_it(run: EmbeddedRun) -> None:
    """A price between two cents is a bad event: whoever placed it hears so, and waits for no payment."""
    refused = run.command("order", "--price", "19.999", "--user", "u9")
    assert (refused.returncode, refused.stdout) == (os.EX_DATAERR, "")
    assert "dead_letters" in refused.stderr


def test_events_follows_what_is_published(run: EmbeddedRun) -> None:
    """`events --all` begins with what was published before; `--timeout-s` ends a wait for more, with exit code 1."""
    pay = run.command("order", "--price", "1.10", "--user", "u2").stdout.splitlines()[1]
    paid = shell(pay)
    seen = run.command("events", "--all", "--count", "1", "--timeout-s", "10")
    assert seen.returncode == 0
    assert json.loads(seen.stdout)["subject"] == "payment:created"
    everything = run.command("events", "--all", "--count", "1000", "--timeout-s", "1")
    assert everything.returncode == 1
    assert paid["orderId"] in {json.loads(line)["orderId"] for line in everything.stdout.splitlines()}


def test_cancelling_an_unpaid_order_gives_nothing_back(run: EmbeddedRun) -> None:
    """No refund is waited for where nothing was paid, and the order can't be paid afterwards."""
    order_id, pay = run.command("order", "--price", "2", "--user", "u3").stdout.splitlines()
    done = run.command("cancel", order_id)
    assert done.returncode == 0
    assert "nothing to give back" in done.stderr
    assert "errors" in shell(pay)


def test_an_id_that_no_order_has_is_not_cancelled(run: EmbeddedRun) -> None:
    """A typo would cancel an order that comes later; the orders that there are are named; `--force` means it."""
    order_id = run.command("order", "--price", "2", "--user", "u3").stdout.splitlines()[0]
    done = run.command("cancel", f"{order_id}x")
    assert (done.returncode, done.stdout) == (os.EX_DATAERR, "")
    assert order_id in done.stderr
    assert "--force" in done.stderr
    assert order_id in run.command("status", "typo").stderr
    forced = run.command("cancel", f"{order_id}x", "--force")
    assert json.loads(forced.stdout)["subject"] == "order:cancelled"


def test_a_declined_orders_status_says_so_and_how_to_pay_again(run: EmbeddedRun) -> None:
    """Before that: that nobody tried. The printed line then pays it."""
    order_id, pay = run.command("order", "--price", "2", "--user", "u4").stdout.splitlines()
    unpaid = run.command("status", order_id)
    assert "nobody tried to pay this order yet" in unpaid.stderr
    shell(pay.replace("tok_visa", "tok_chargeDeclined"))
    declined = run.command("status", order_id)
    assert json.loads(declined.stdout.splitlines()[-1])["status"] == "declined"
    assert "declined" in declined.stderr
    line = next(line for line in declined.stderr.splitlines() if "curl" in line).partition(": ")[2]
    assert shell(line)["status"] == "paid"


def test_a_run_on_a_port_that_is_taken_is_not_said_to_be_ready(run: EmbeddedRun, tmp_path: Path) -> None:
    """It would be another run's service that answers there. 69, and what to do."""
    port = urlsplit(run.line_of_ready).port
    second = subprocess.run(
        program("run", home=tmp_path),
        capture_output=True,
        text=True,
        env=environment(PORT=str(port)),
        cwd=ROOT,
        check=False,
    )
    assert second.returncode == os.EX_UNAVAILABLE
    assert f"port {port} of 127.0.0.1: another process listens there" in second.stderr
    assert "Ready" not in second.stderr


def test_token_is_one_that_the_service_believes(run: EmbeddedRun) -> None:
    """A token of another user is believed and gets 403, not 401; the key it is signed with is for our eyes alone."""
    order_id, pay = run.command("order", "--price", "3", "--user", "owner").stdout.splitlines()
    other = run.command("token", "--user", "somebody else").stdout.strip()
    answer = shell(pay.replace(bearer(pay), other))
    assert "else" in answer["errors"][0]["message"], order_id
    assert stat.S_IMODE((run.home / "jwt.key").stat().st_mode) == 0o600


def test_a_second_run_in_the_same_folder_is_refused(run: EmbeddedRun) -> None:
    """It says who is there, exits 1, and leaves the first one alone."""
    second = subprocess.run(
        program("run", home=run.home), capture_output=True, text=True, env=environment(), cwd=ROOT, check=False
    )
    assert second.returncode == 1
    assert f"another run is at work in {run.home} (process {run.process.pid})" in second.stderr
    assert run.command("order", "--price", "3", "--user", "u4").returncode == 0


def test_a_nats_of_ones_own_is_reached_as_the_service_reaches_it(tmp_path: Path) -> None:
    """With the login that the service has: orders are published, and a command beside the run reads them."""
    key = NKey("U")
    server = NatsServer(tmp_path / "nats", config=f"authorization {{ users: [ {{ nkey: {key.public} }} ] }}\n")
    server.start()
    one = EmbeddedRun(tmp_path, PORT=str(free_port()), NATS_URL=server.url, NATS_NKEY_SEED=key.seed)
    try:
        one.start()
        paid = shell(one.curl_lines[0])
        assert paid["status"] == "paid"
        assert json.loads(one.command("status", paid["orderId"]).stdout.splitlines()[-1]) == paid
        assert key.seed not in one.said + one.out.read_text()
    finally:
        one.close()
        server.stop()


def test_a_malformed_port_is_no_port_of_ours(tmp_path: Path) -> None:
    line, environ = program("run", home=tmp_path), environment(PORT="http")
    done = subprocess.run(line, capture_output=True, text=True, env=environ, cwd=ROOT, check=False)
    assert (done.returncode, "PORT wants" in done.stderr) == (78, True)


def test_a_live_key_is_refused(tmp_path: Path) -> None:
    """The demo orders are not for real cards: exit 78, and the key is not repeated."""
    environ = environment(STRIPE_KEY="sk_live_secret")
    done = subprocess.run(
        program("run", home=tmp_path), capture_output=True, text=True, env=environ, cwd=ROOT, check=False
    )
    assert done.returncode == 78
    assert "sk_live_secret" not in done.stderr + done.stdout


@pytest.mark.parametrize("words", [("order", "--price", "1", "--user", "u"), ("events",), ("token", "--user", "u")])
def test_without_a_run_the_commands_say_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    """No traceback: exit 69, and what to do first."""
    line = program(*words, home=tmp_path / "nothing")
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (69, "")
    assert "`make run` first" in done.stderr
    assert "Traceback" not in done.stderr
