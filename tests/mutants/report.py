"""What a hunt came to: `MUTANTS.md` beside this file, one line for each mutant.

The table is also the memory of earlier hunts: a hunt of some mutants replaces their lines and keeps the others.
"""

from collections.abc import Mapping
from pathlib import Path

from tests.mutants.catalogue import ROOMS
from tests.mutants.hunt import Result, Verdict
from tests.mutants.mutant import Mutant

TABLE = Path(__file__).resolve().parent / "MUTANTS.md"
CELLS = 7
"""In a line that is split at its bars: one before the first bar, five between them, one after the last."""

HEAD = """# Mutants

Made by `make mutants`; do not edit. Each is a small, plausible wrong, planted in a copy of the tree
(`tests/mutants/`, a file for each room). It must be caught by the simulation, by a named test, or by both; one that is
not is a hole in the tests. *Seeds* is after how many the simulation found a violation, and of what; a dash: it was not
run, most often because it can't show this wrong (the reason stands beside the mutant's edit).
"""


def write(results: Mapping[str, Result]) -> None:
    """Put the results of a hunt into the table. What is no mutant any more is left out."""
    TABLE.write_text(table(results, lines_of(TABLE.read_text()) if TABLE.exists() else {}))


def lines_of(text: str) -> dict[str, str]:
    """The lines of a table, by the names of their mutants."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| mutant ")]
    return {line.split("|")[1].strip(): line for line in lines}


def table(results: Mapping[str, Result], earlier: Mapping[str, str]) -> str:
    """The table as Markdown, room by room: the lines of these results, and the earlier ones of other mutants."""
    rows = dict(earlier) | {
        mutant.name: _row(mutant, results[mutant.name])
        for mutants in ROOMS.values()
        for mutant in mutants
        if mutant.name in results
    }
    known = [rows[mutant.name] for mutants in ROOMS.values() for mutant in mutants if mutant.name in rows]
    by_test, by_seeds = ({line for line in known if caught(line)} for caught in (_by_its_test, _by_seeds))
    lines = [HEAD, f"{len(by_test | by_seeds)} of {len(known)} caught; {len(by_seeds)} by the simulation.", ""]
    for room, mutants in ROOMS.items():
        lines += [f"## {room[0].upper()}{room[1:]}", ""]
        lines += ["| mutant | wrong | endangers | seeds | test |", "|---|---|---|---|---|"]
        lines += [rows[mutant.name] for mutant in mutants if mutant.name in rows]
        lines.append("")
    return "\n".join(lines)


def _row(mutant: Mutant, result: Result) -> str:
    test = f"`{mutant.test.removeprefix('tests/')}`" if result.test is Verdict.CAUGHT else f"**{result.test.value}**"
    line = f"| {mutant.name} | {mutant.wrong} | {mutant.endangers} | {_seeds(result)} | {test} |"
    assert line.count("|") == CELLS - 1, f"a bar inside a cell: {line}"
    return line


def _seeds(result: Result) -> str:
    match result.simulation:
        case Verdict.CAUGHT:
            return f"{result.seeds:,} ({result.law})"
        case Verdict.SKIPPED:
            return "-"
        case _:
            return f"**{result.simulation.value}**"


def _by_its_test(line: str) -> bool:
    return line.split("|")[5].strip().startswith("`")


def _by_seeds(line: str) -> bool:
    return line.split("|")[4].strip()[:1].isdigit()
