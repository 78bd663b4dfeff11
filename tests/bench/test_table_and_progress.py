"""The table, the remaining time of a run, and the choice of scenarios."""

import io
import json

import pytest

from bench.__main__ import SCENARIOS, chosen
from bench.figures import spread
from bench.progress import Progress, left
from bench.table import Row, summary, table


def row(what: str, met: bool | None) -> Row:
    return Row(scenario="s", what=what, goal="<= 1", measured="2", met=met, rounds=1)


def test_the_table_has_a_line_for_each_row_and_shows_which_goals_were_met() -> None:
    """Columns are aligned, and a missed goal is marked."""
    lines = table([row("short", True), row("much longer", False), row("no goal", None)]).splitlines()
    assert lines[0].startswith("what         goal  measured")
    assert lines[2] == "short        <= 1  2         met"
    assert lines[3] == "much longer  <= 1  2         NOT MET"
    assert lines[4] == "no goal      <= 1  2"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_remaining_time_is_scaled_by_the_progress_so_far() -> None:
    """On a machine half as quick, the rest takes twice as long."""
    clock = Clock()
    progress = Progress({"a": 10.0, "b": 30.0}, io.StringIO(), clock)
    progress.scenario("a")
    assert progress.left_s == 40.0
    clock.now = 20.0
    progress.scenario("b")
    assert progress.left_s == 60.0


def test_nothing_is_shown_where_there_is_no_terminal() -> None:
    """A log file is not filled with lines that overwrite one another."""
    stream = io.StringIO()
    Progress({"a": 1.0}, stream).scenario("a")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "5 s"), (59.7, "1 min 00 s"), (125, "2 min 05 s")])
def test_a_duration_is_shown_in_minutes_and_seconds(seconds: float, text: str) -> None:
    """Minutes only where there are some."""
    assert left(seconds) == text


def test_scenarios_are_chosen_by_name() -> None:
    """All of them, unless some are named."""
    assert chosen("") == list(SCENARIOS)
    assert chosen(" lone, cpu ") == ["lone", "cpu"]


def test_an_unknown_scenario_is_refused_before_anything_starts() -> None:
    """A misspelt name must be an error, not an empty run."""
    with pytest.raises(SystemExit, match="no scenario speed"):
        chosen("speed")


def test_a_summary_keeps_each_figure_and_leaves_its_rounds_out() -> None:
    """One line for each row; what `before` reads of it is what was measured."""
    measured = Row(
        scenario="cpu",
        what="CPU a charge",
        goal="<= 1",
        measured="2",
        met=False,
        rounds=2,
        detail={"to_limit": spread([1.0, 3.0]), "at_s": [1.0, 2.0], "by_name": {"ours": spread([4.0])}, "once": 7},
    )
    text = summary({"at": "today", "machine": {"cores": 2}}, [measured, row("other", None)])
    found = json.loads(text)
    assert (found["at"], found["machine"]) == ("today", {"cores": 2})
    assert [each["what"] for each in found["rows"]] == ["CPU a charge", "other"]
    assert found["rows"][0]["detail"] == {
        "to_limit": {"median": 2.0, "least": 1.0, "most": 3.0},
        "by_name": {"ours": {"median": 4.0, "least": 4.0, "most": 4.0}},
        "once": 7,
    }
    assert sum(line.startswith('{"scenario"') for line in text.splitlines()) == 2
