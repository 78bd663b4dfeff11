"""The table of tests/FAULTS.md: each row of the fault table, its tests, and how often the simulation has met it.

Read off the code: tests name their rows in their docstrings, the simulation's faults and the mutants in their own
fields, and what was met stands in the report of the last full run (`make simulate`). The words of a row are those of
docs/faults.md.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.mutants.catalogue import MUTANTS
from tests.simulation.faults import FAULTS
from tests.simulation.reach import ALL_ROWS, ELSEWHERE, last_report
from tools.markdown import table

ROOT = Path(__file__).resolve().parent.parent
TESTS_SHOWN = 3
"""Tests that are listed for each row; the others are counted."""

_ROW = re.compile(r"^\| (F\d\d(?:, F\d\d)*) \| (.+?) \|", re.MULTILINE)
_NAMES = re.compile(r"\b(F\d\d)(?: to (F\d\d))?\b")


class Cover(NamedTuple):
    """The coverage of one row. `tests` are pytest node ids, those with real servers first."""

    row: str
    what: str
    tests: tuple[str, ...]
    faults: tuple[str, ...]
    mutants: int
    met: int | None
    """Number of seeds of the last full run that met the row (0 for a row that it did not know); None where the
    simulation can't express it, and `ELSEWHERE` has the reason.
    """

    @property
    def covered(self) -> bool:
        """Whether a test names the row and, where it can be expressed, the simulation has met it."""
        return bool(self.tests) and (self.met is None or self.met > 0)


def rows_named(text: str) -> set[str]:
    """Returns the rows that a docstring names, singly or as "F03 to F13"."""
    named: set[str] = set()
    for first, last in _NAMES.findall(text):
        named.update(f"F{number:02d}" for number in range(int(first[1:]), int((last or first)[1:]) + 1))
    return named


def covers() -> list[Cover]:
    """Returns the coverage of every row, in order."""
    met, tests, what = last_report()["rows"], _tests_by_row(), _words()
    return [
        Cover(
            row,
            what.get(row, ""),
            tuple(tests[row]),
            tuple(name for name, fault in FAULTS.items() if row in fault.rows),
            sum(row in mutant.endangers.split() for mutant in MUTANTS),
            None if row in ELSEWHERE else met.get(row, 0),
        )
        for row in ALL_ROWS
    ]


def _words() -> dict[str, str]:
    """The words of docs/faults.md for each row."""
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    return {row: what for rows, what in _ROW.findall(text) for row in rows.split(", ")}


def _tests_by_row() -> defaultdict[str, list[str]]:
    tests: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("*.py"), key=_real_ones_first):
        for name, docstring in _test_functions(path):
            for row in rows_named(docstring):
                tests[row].append(f"{path.relative_to(ROOT)}::{name}")
    return tests


def _real_ones_first(path: Path) -> tuple[bool, bool, str]:
    folder = path.relative_to(ROOT / "tests").parts[0]
    return folder != "faults", folder not in ("flows", "contract"), str(path)


def _test_functions(path: Path) -> Iterator[tuple[str, str]]:
    """Yields name and docstring of each test of a file."""
    if path.parent.name == "simulation":
        return  # they test the simulation, which has its own columns
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name, ast.get_docstring(node) or ""


def markdown() -> str:
    """Returns the whole table, with the totals of the last full run."""
    run = last_report()
    head = "row | fault or race | faults of the simulation | met in seeds | mutants | tests that name it"
    seeds = f"{run['seeds']:,} seeds, {run['entries']:,} entries of their journals, {run['violations']} laws broken."
    return "\n\n".join((f"Of the last full run: {seeds}", table(head, map(_row, covers()))))


def _row(cover: Cover) -> str:
    faults = ", ".join(cover.faults) if cover.met is not None else f"none: {ELSEWHERE[cover.row][0]}"
    met = "-" if cover.met is None else f"{cover.met:,}"
    shown = ", ".join(f"`{test}`" for test in cover.tests[:TESTS_SHOWN])
    more = len(cover.tests) - TESTS_SHOWN
    tests = f"{shown} and {more} more" if more > 0 else shown
    cells = (cover.row, cover.what, faults or "every schedule", met, str(cover.mutants or "-"), tests)
    return " | ".join(cells)
