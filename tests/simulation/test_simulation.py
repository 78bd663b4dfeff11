"""The simulation as it is run: seeds pass, a planted bug is found, shrunk and reported, and the reach is enforced."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from payment.actors.nats import event_payloads as events
from payment.core.money import minor_units
from payment.core.order import TABLE
from tests.simulation.__main__ import main
from tests.simulation.faults import FAULTS
from tests.simulation.journal import Killed, PairMet, StripeCharged
from tests.simulation.planted import at, good
from tests.simulation.reach import ALL_ROWS, ELSEWHERE, UNMET_PAIRS, Reach, last_report
from tests.simulation.rows import EXPRESSED, ROW_CHECKS, rows_met
from tests.simulation.runner import reported, run_chunk, run_seeds, smallest, verdict
from tests.simulation.simulate import simulate

SEEDS = 60
GROUPS = ("rows", "faults", "states", "pairs")
"""The groups of a report, in the order of the fields of `Reach`."""
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_seeds_keep_every_law() -> None:
    """A few schedules of each run; `make simulate` runs a hundred thousand."""
    part = run_chunk(0, SEEDS)
    assert part.failure is None
    assert part.reach.seeds == SEEDS


@pytest.mark.slow
@pytest.mark.servers
def test_a_run_of_workers_counts_every_seed(capsys: pytest.CaptureFixture[str]) -> None:
    """Two processes, and a plain line at the end; exit code 0."""
    assert main(["--seeds", "20", "--workers", "2"]) == 0
    assert "20 seeds in" in capsys.readouterr().out


@contextmanager
def prices_are_a_cent_too_high() -> Iterator[None]:
    """A planted bug, in all code that imports it from here on."""
    with mock.patch.object(events, "minor_units", lambda price, currency: minor_units(price, currency) + 1):
        yield


@pytest.mark.slow
def test_a_planted_bug_is_found_shrunk_and_reported() -> None:
    """The smallest plan breaks the same law, and its transcript shows where."""
    with prices_are_a_cent_too_high():
        seed, violation = next((seed, each) for seed in range(50) if (each := verdict(simulate(seed))) is not None)
        plan = smallest(seed, violation)
        text = reported(seed, plan)
        assert text == reported(seed, plan)
    assert len(plan.orders) == 1
    assert plan.strikes == ()
    assert plan.orders[0].presses == ()
    assert violation.law in text
    assert "VIOLATION" in text
    assert verdict(simulate(seed, plan)) is None


def test_a_replay_prints_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """`make simulate SEED=5`, twice."""
    assert main(["--seed", "5"]) == 0
    once = capsys.readouterr().out
    main(["--seed", "5"])
    assert capsys.readouterr().out == once
    assert "Every law held." in once


def test_every_row_is_expressed_or_covered_elsewhere() -> None:
    """F01 to F49: each row has a check of the journal, or a reason and a test that names it."""
    assert set(EXPRESSED) | set(ELSEWHERE) == set(ALL_ROWS)
    assert not set(EXPRESSED) & set(ELSEWHERE)
    for name, (reason, test) in ELSEWHERE.items():
        assert reason
        assert name in (ROOT / test).read_text()


def test_every_row_check_has_a_docstring() -> None:
    """The docstring tells the report's reader how a row is met."""
    assert all(check.__doc__ for checks in ROW_CHECKS.values() for _, check in checks)


def test_faults_name_rows_of_the_table() -> None:
    """A fault that exercises no row of the table has no purpose."""
    assert all(fault.rows and set(fault.rows) <= set(ALL_ROWS) for fault in FAULTS.values())


def test_a_row_is_met_where_its_check_holds() -> None:
    """F05: a kill after the charge and before its write; an earlier or a later kill is none."""
    journal = good()
    charged = at(journal, StripeCharged, lambda entry: entry.order_id == "o1")
    kill = Killed(journal[charged].at_s, "p1")
    assert "F05" not in rows_met([*journal[:charged], kill])
    assert "F05" in rows_met([*journal[: charged + 1], kill])
    assert "F05" not in rows_met([*journal, kill])
    assert "F04" in rows_met([*journal[: at(journal, StripeCharged) - 2], kill])


def test_a_row_fault_or_state_that_is_never_met_fails_a_run() -> None:
    """Rows, faults, states and pairs that should be met are named."""
    unmet = Reach().unmet(FAULTS)
    assert "row F05" in unmet
    assert "fault 'process killed'" in unmet
    assert "state 'blocked'" in unmet
    assert len([each for each in unmet if each.startswith("pair")]) == len(TABLE) - len(UNMET_PAIRS)


def test_a_short_run_need_not_meet_what_is_rare() -> None:
    """A run must meet what the last report lets it expect ten times, and what no report has met yet."""
    report = Reach().as_report()
    report["seeds"] = 20_000
    report["rows"] |= {"F05": 40, "F06": 39}
    unmet = Reach(seeds=5_000).unmet(FAULTS, report)
    assert "row F05" in unmet
    assert "row F06" not in unmet
    assert "row F07" in unmet


def test_the_last_report_met_all_that_it_must() -> None:
    """A pair that the report shows at zero has its reason in `UNMET_PAIRS`."""
    report = last_report()
    met = Reach(report["seeds"], report["entries"], *(Counter(report[each]) for each in GROUPS))
    assert met.unmet(FAULTS) == []


def test_the_report_counts_rows_states_and_pairs() -> None:
    """Plain values, a zero for what was not met."""
    reach = Reach()
    reach.note(good())
    other = Reach()
    other.note(good())
    reach.add(other)
    report = json.loads(json.dumps(reach.as_report()))
    assert report["seeds"] == 2
    assert report["rows"]["F21"] == 2
    assert report["rows"]["F05"] == 0
    assert len(report["pairs"]) == len(TABLE)
    assert report["states"]["charging"] == 2 * sum(
        isinstance(e, PairMet) and e.state.value == "charging" for e in good()
    )


def test_unmet_pairs_stand_in_the_table_and_have_a_reason() -> None:
    """An excuse names a pair that the table has, and gives a reason."""
    assert set(UNMET_PAIRS) <= set(TABLE)
    assert all(UNMET_PAIRS.values())


@pytest.mark.slow
@pytest.mark.servers
def test_a_failing_part_ends_a_run() -> None:
    """Parts come as they end, each once."""
    parts = list(run_seeds(0, 60, 2))
    assert sorted(part.first for part in parts) == [0, 50]
