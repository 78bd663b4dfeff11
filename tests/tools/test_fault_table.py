"""Every row of the fault table is covered by a test and, where it can be expressed, by the simulation."""

import pytest

from tests.simulation.reach import ALL_ROWS, ELSEWHERE, SEEDS_THAT_MEET_ALL, last_report
from tools.fault_table import Cover, covers, markdown, rows_named


def test_every_row_is_covered() -> None:
    """A test names it, and the last full run has met it, where the simulation can express it."""
    assert [cover.row for cover in covers()] == list(ALL_ROWS)
    assert [cover.row for cover in covers() if not cover.covered] == []
    assert all(cover.what for cover in covers())


def test_a_row_without_a_test_or_never_met_is_not_covered() -> None:
    """A row that the simulation can't express needs only its test."""
    cover = Cover("F01", "created twice", ("test_it",), ("duplicate",), 1, 5)
    assert cover.covered
    assert not cover._replace(tests=()).covered
    assert not cover._replace(met=0).covered
    assert cover._replace(met=None).covered


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("F07: a duplicate", {"F07"}),
        ("F03 to F05, F40: as ever", {"F03", "F04", "F05", "F40"}),
        ("a file F123 or aF07b", set()),
    ],
)
def test_rows_are_read_off_a_docstring(text: str, rows: set[str]) -> None:
    """Rows are named singly or as a range."""
    assert rows_named(text) == rows


def test_the_report_is_of_a_full_run_that_held() -> None:
    """No law is broken, and there are enough seeds to meet every row that can be met."""
    run = last_report()
    assert run["violations"] == 0
    assert run["seeds"] >= SEEDS_THAT_MEET_ALL


def test_the_table_has_each_row_once() -> None:
    """It has the reason where the simulation does not express a row."""
    lines = markdown().splitlines()
    assert [sum(line.startswith(f"| {row} |") for line in lines) for row in ALL_ROWS] == [1] * len(ALL_ROWS)
    assert all(any(reason in line for line in lines) for reason, _ in ELSEWHERE.values())
