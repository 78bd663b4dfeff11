"""The record grows by a round at a time, keeps failed ones, and its sums include all of them."""

from __future__ import annotations

import io
from pathlib import Path

from tests.chaos.plan import plan_of
from tests.chaos.record import DEFAULT, RECORD, append, read
from tests.chaos.report import Progress, kills, line_of, pauses, table
from tests.chaos.round import Result

MADE_WITH = {"commit": "abc", "machine": {"cores": 2}}

ROOT = Path(__file__).parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def result(seed: int = 1, *breaches: str, settled_s: float = 3.0) -> Result:
    counts = {"orders": 40, "charges": 30, "refunds": 4, "unknown outcomes settled": 7}
    strikes = {"kill -9 2 services": 1, "kill -9 nats": 2, "SIGSTOP service": 3, "SIGTERM service": 1}
    strikes["final blow 3 services"] = 1
    return Result(
        seed=seed,
        broker="jetstream",
        store="nx",
        processes=3,
        took_s=20.0,
        settled_s=settled_s,
        settled_after_restart_s=settled_s,
        ready_s=1.0,
        counts=counts,
        strikes=strikes,
        answers={"201": 30},
        breaches=list(breaches),
        folder="/tmp/torn" if breaches else None,
    )


def test_a_round_is_added_to_those_before(tmp_path: Path) -> None:
    """Two runs with the same versions name them once; a run with others adds them; a failed round stays in."""
    path = tmp_path / "record.json"
    append(path, result(1), MADE_WITH)
    append(path, result(2, "L1: charged twice"), MADE_WITH)
    append(path, result(3), MADE_WITH | {"commit": "def"})
    record = read(path)
    assert [each["seed"] for each in record["rounds"]] == [1, 2, 3]
    assert [each["made_with"] for each in record["rounds"]] == ["1", "1", "2"]
    assert record["rounds"][1]["breaches"] == ["L1: charged twice"]
    assert list(record["machines"]) == ["1", "2"]
    assert not list(tmp_path.glob("*.new"))


def test_the_table_sums_all_rounds_up(tmp_path: Path) -> None:
    """Every round counts, the failed ones too; the longest time is the longest of all."""
    path = tmp_path / "record.json"
    append(path, result(1), MADE_WITH)
    append(path, result(2, "L1: charged twice", settled_s=61.4), MADE_WITH)
    rounds = read(path)["rounds"]
    assert (kills(rounds), pauses(rounds)) == (14, 6)
    last = table(rounds).splitlines()[-1]
    assert last == "| all | 2 | 1 | 80 | 60 | 8 | 14 | 6 | 14 | 32 s, 61 s | 61 s |"


def test_a_failed_round_shows_the_command_that_repeats_it() -> None:
    """The line must have the seed, the breach, and the place of the logs."""
    line = line_of(result(4711, "L1: order x: 2 charges are kept"))
    assert "order x: 2 charges are kept" in line
    assert "make torture ROUNDS=1 SEED=4711" in line
    assert "/tmp/torn/incident.txt" in line


def test_a_terminal_shows_a_bar_and_how_long_it_will_take() -> None:
    """On a terminal good rounds leave no line behind; elsewhere each has one."""
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        progress = Progress(2, out)
        progress.begins(plan_of(1))
        progress.ended(result(1))
        progress.begins(plan_of(2))
        assert progress.bar().startswith("[############............] 1/2, ")
        assert progress.bar().endswith(" left")
    assert "[............" in terminal.getvalue()
    assert "settled in" not in terminal.getvalue()
    assert pipe.getvalue().count("settled in 3.0 s, 20 s: ok\n") == 1


def test_by_default_a_run_writes_nothing_that_git_tracks() -> None:
    """The record of the documents grows only where it is named."""
    assert DEFAULT != RECORD
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert f"/{DEFAULT.parts[0]}/" in ignored
