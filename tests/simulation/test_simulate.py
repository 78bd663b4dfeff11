"""Whole worlds: one seed is one world to the byte, everywhere; and the effect of single strikes on a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from payment.core.messages import IntentStatus
from payment.core.order import AttemptState
from tests.simulation.dice import HOUR_S
from tests.simulation.draw import draw
from tests.simulation.frozen import frozen
from tests.simulation.journal import (
    AnyEntry,
    BankPageVisited,
    ChargeAnswered,
    Exited,
    IntentMoved,
    Killed,
    LineLogged,
    OperatorActed,
    Paused,
    RestChanged,
    Started,
    Stopping,
    Stored,
    StoreRestored,
    StripeCharged,
    StripeRefunded,
    StripeSent,
    Woken,
    Wrote,
)
from tests.simulation.plan import EventPlan, OrderPlan, Plan, PressPlan, Strike, decoded, encoded
from tests.simulation.runner import verdict
from tests.simulation.simulate import simulate
from tests.support.fakes.cards import BROWSER

SEEDS_TWICE = range(12)
DIGESTS = """
import sys
from tests.simulation.simulate import simulate
print([simulate(int(seed)).digest for seed in sys.argv[1:]])
"""


def paused_for_a_day() -> Plan:
    """F34: a process stands for 24 h with the answer of a create in flight, made ahead of the first request. When all
    wake, another process's create brings another intent, because Stripe has forgotten the key."""
    press = PressPlan(0.499, "c1a", "u2", "ctoken_threeDSecureRequired_a", 0.3, retries=2, reads=1, client="sdk")
    order = OrderPlan("o1", "u2", 20.0, "usd", 240 * HOUR_S, (EventPlan(0.172, "created"),), (press,))
    halt = Strike("no process runs for hours", at_s=0.231, for_s=87_206.987, amount=1.0)
    stop = Strike("SIGTERM", at_s=0.644, who="p1")
    return Plan(60_207, 3, (order,), (stop, halt), (), ends_s=87_207.518, prepare=True)


def one_order(*strikes: Strike, processes: int = 1, cancelled_s: float | None = None, patience_s: float = 9.0) -> Plan:
    events = [EventPlan(0.5, "created")] + ([EventPlan(cancelled_s, "cancelled")] if cancelled_s else [])
    press = PressPlan(1.0, "c1", "u1", "tok_visa", patience_s, retries=3)
    order = OrderPlan("o1", "u1", 19.99, "usd", 900.0, tuple(events), (press,))
    return Plan(7, processes, (order,), strikes, (), ends_s=6.0)


def asked_by_the_bank(bank: str, *strikes: Strike, cancelled_s: float | None = None, after_s: float = 1.0) -> Plan:
    """One order, and a card whose bank requires authentication."""
    plan = one_order(*strikes, cancelled_s=cancelled_s)
    press = replace(
        plan.orders[0].presses[0], token="tok_threeDSecureRequired", client="sdk", bank=bank, bank_after_s=after_s
    )
    return replace(plan, orders=(replace(plan.orders[0], presses=(press,)),))


def of(journal: list[AnyEntry], *kinds: type[AnyEntry]) -> list[AnyEntry]:
    return [entry for entry in journal if isinstance(entry, kinds)]


def names(journal: list[AnyEntry], *kinds: type[AnyEntry]) -> list[str]:
    return [type(entry).__name__ for entry in of(journal, *kinds)]


def statuses(journal: list[AnyEntry]) -> list[int]:
    return [entry.status for entry in journal if isinstance(entry, ChargeAnswered)]


def test_an_undisturbed_order_is_paid_and_announced() -> None:
    """Created, pressed, charged, published: through the real actors and aiohttp's own server protocol."""
    outcome = simulate(7, one_order())
    assert outcome.trouble is None
    assert statuses(outcome.journal) == [201]
    assert [entry.succeeded for entry in outcome.journal if isinstance(entry, StripeCharged)] == [True]
    stored = [entry.subject for entry in outcome.journal if isinstance(entry, Stored)]
    assert stored == ["order:created", "payment:created"]


def test_a_cancel_after_the_payment_gives_the_money_back() -> None:
    """F21, in virtual time."""
    outcome = simulate(7, one_order(cancelled_s=3.0))
    assert [entry.status for entry in outcome.journal if isinstance(entry, StripeRefunded)] == ["succeeded"]
    assert [entry.subject for entry in outcome.journal if isinstance(entry, Stored)][-1] == "payment:refunded"


@pytest.mark.parametrize("handles", range(0, 14, 2))
def test_killed_some_handles_after_a_charge_left_it_charges_once(handles: int) -> None:
    """F04, F05: the next run finds what the killed one began."""
    strike = Strike("process killed", on="stripe.confirm", nth=1, for_s=1.0, amount=float(handles))
    outcome = simulate(7, one_order(strike))
    assert outcome.trouble is None
    assert names(outcome.journal, Killed, Started) == ["Started", "Killed", "Started"]
    assert len(of(outcome.journal, StripeCharged)) == 1
    assert statuses(outcome.journal)[-1] in (200, 201)


def test_a_paused_process_wakes_with_its_effects_in_flight() -> None:
    """F34: meanwhile another process took over; one charge is kept."""
    strike = Strike("process paused", on="stripe.confirm", nth=1, for_s=70.0, amount=2.0)
    outcome = simulate(7, one_order(strike, processes=2))
    assert outcome.trouble is None
    assert names(outcome.journal, Paused, Woken)[:2] == ["Paused", "Woken"]
    assert len(of(outcome.journal, StripeCharged)) == 1


def test_a_process_exits_with_0_on_sigterm_and_is_started_again() -> None:
    """F33."""
    outcome = simulate(7, one_order(Strike("SIGTERM", at_s=1.2, who="p1")))
    assert names(outcome.journal, Stopping, Exited, Started) == ["Started", "Stopping", "Exited", "Started"]
    assert [entry.code for entry in outcome.journal if isinstance(entry, Exited)] == [0]
    assert statuses(outcome.journal)[-1] in (200, 201)


def test_an_idle_day_ages_keys_and_costs_no_time() -> None:
    """F17: the world skips an idle day."""
    lost = Strike("request to Stripe lost", on="stripe.confirm", nth=1)
    halt = Strike("no process runs for hours", at_s=2.0, for_s=86_400.0)
    outcome = simulate(7, replace(one_order(lost, halt), ends_s=86_405.0))
    assert outcome.trouble is None
    assert outcome.journal[-1] == RestChanged(outcome.journal[-1].at_s, "world", True)
    assert outcome.journal[-1].at_s > 86_400.0


def test_a_seed_is_the_same_world_twice_to_the_byte() -> None:
    """Also after other worlds in the same process."""
    once = [simulate(seed).digest for seed in SEEDS_TWICE]
    again = [simulate(seed).digest for seed in reversed(SEEDS_TWICE)]
    assert again == once[::-1]


@pytest.mark.slow
def test_a_seed_is_the_same_world_in_every_process_whatever_its_hash_seed() -> None:
    """A journal holds no order of a set, no address, no wall time."""
    command = [sys.executable, "-c", DIGESTS, *map(str, (*range(30), 37, 523))]  # the last two have differed
    output = [
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, check=True).stdout
        for hash_seed in ("1", "2")
    ]
    assert output[0] == output[1]


def test_a_traceback_in_a_journal_does_not_show_the_codes_folder() -> None:
    """A copy in another folder gives the same bytes."""
    hang = Strike("actor hangs", on="stripe.confirm", nth=1)
    output = str(of(simulate(7, one_order(hang)).journal, LineLogged))
    assert 'File "payment/actors/runtime/supervisor.py"' in output
    assert str(Path(__file__).parents[2]) not in output


def test_a_plan_can_be_written_down_and_read_again() -> None:
    """A shrunk plan is replayed from its text."""
    for seed in SEEDS_TWICE:
        plan = draw(seed)
        assert decoded(encoded(plan)) == plan


def test_a_plan_of_its_own_gives_the_world_of_its_seed() -> None:
    """The shrinker starts from the plan that the seed ran."""
    assert simulate(5, draw(5)).digest == simulate(5).digest


def test_a_customer_who_authenticates_pays() -> None:
    """F45: 202 with the secret, the bank's page, and then the same request is answered as paid."""
    outcome = simulate(7, asked_by_the_bank("completes"))
    assert outcome.trouble is None
    assert [entry.completes for entry in outcome.journal if isinstance(entry, BankPageVisited)] == [True]
    assert len(of(outcome.journal, StripeCharged)) == 1
    assert statuses(outcome.journal)[0] == 202
    assert statuses(outcome.journal)[-1] in (200, 201)


def test_a_customer_who_comes_after_the_cancel_pays_nothing() -> None:
    """F46: the intent is canceled by then."""
    outcome = simulate(7, asked_by_the_bank("completes", cancelled_s=3.0, after_s=30.0))
    assert [entry.status for entry in outcome.journal if isinstance(entry, BankPageVisited)] == [IntentStatus.CANCELED]
    assert of(outcome.journal, StripeCharged) == []


def test_a_browser_that_confirms_by_the_secret_pays_the_order() -> None:
    """F45: with another card than the first; the payment is announced as any other."""
    outcome = simulate(7, asked_by_the_bank("fails, another card"))
    assert [entry.by for entry in outcome.journal if isinstance(entry, StripeCharged)] == [BROWSER]
    assert [entry.subject for entry in outcome.journal if isinstance(entry, Stored)][-1] == "payment:created"


def test_a_database_that_is_put_back_charges_no_second_time() -> None:
    """F47: the order is there again, unpaid; the customer repeats the request, and Stripe returns the same intent."""
    plan = one_order(Strike("database restored", at_s=0.9, for_s=3.0))
    again = replace(plan.orders[0].presses[0], at_s=5.0, customer="c2")
    plan = replace(plan, orders=(replace(plan.orders[0], presses=(*plan.orders[0].presses, again)),))
    outcome = simulate(7, plan)
    assert outcome.trouble is None
    assert len(of(outcome.journal, StoreRestored)) == 1
    assert len(of(outcome.journal, StripeCharged)) == 1
    assert len({entry.intent_id for entry in outcome.journal if isinstance(entry, IntentMoved)}) == 1
    assert statuses(outcome.journal)[-1] in (200, 201)


@pytest.mark.parametrize(("charged_s", "charges"), [(0.01, 1), (3_600.0, 1), (-1.0, 0)])
def test_a_charge_that_release_0_1_0_left_behind_is_found_or_closed(charged_s: float, charges: int) -> None:
    """Its charge is found, or it is closed after 25 hours; meanwhile the order can't be paid again."""
    plan = one_order()
    order = replace(plan.orders[0], price=20.0, left_behind_s=charged_s, expires_in_s=864_000.0, events=())
    outcome = simulate(7, replace(plan, orders=(order,)))
    assert outcome.trouble is None
    last = [entry.order for entry in outcome.journal if isinstance(entry, Wrote)][-1]
    assert last.attempts[0].state is (AttemptState.PAID if charges else AttemptState.CLOSED)
    assert len(of(outcome.journal, StripeCharged)) == charges


def test_an_operator_cancels_an_intent() -> None:
    """F49: the customer is declined at the next retrieval, and can pay with another card."""
    outcome = simulate(
        7, asked_by_the_bank("", Strike("intent cancelled in the dashboard", on="stripe.confirm", nth=1, amount=1.0))
    )
    assert len(of(outcome.journal, OperatorActed)) == 1
    assert statuses(outcome.journal)[-1] == 402


def test_of_two_intents_that_a_forgotten_key_made_one_is_confirmed() -> None:
    """F34, L1: the document takes one of them. No process ever confirms the other."""
    outcome = simulate(60_207, paused_for_a_day())
    assert verdict(outcome) is None
    made = {entry.intent_id for entry in outcome.journal if isinstance(entry, IntentMoved)}
    confirms = [entry for entry in outcome.journal if isinstance(entry, StripeSent) and entry.kind == "confirm"]
    assert made == {"pi_1", "pi_2"}
    assert len({entry.intent_id for entry in confirms}) == 1


def test_frozen_lines_have_no_names_of_the_code() -> None:
    """Two runs write the same lines, one for each entry, and no line holds a class's or a fault's name."""
    lines = list(frozen([3, 4]))
    assert lines == list(frozen([3, 4]))
    journal = simulate(3).journal
    assert lines.index("seed 4") == len(journal) + 1
    names = {type(entry).__name__ for entry in journal} | {strike.fault for strike in draw(3).strikes}
    assert not any(name in line for line in lines for name in names)
