"""What a hunt came to, for people (`MUTANTS.md`) and for programs (`results.json`), both beside this file."""

from pathlib import Path

import msgspec

from tests.mutants.catalogue import AREAS
from tests.mutants.hunt import Result, Verdict
from tests.mutants.mutant import Mutant

HERE = Path(__file__).resolve().parent
TABLE = HERE / "MUTANTS.md"
RESULTS = HERE / "results.json"

HEAD = """# Mutants

Made by `make mutants`; do not edit. Each is a small, plausible wrong, planted in a copy of the tree
(`tests/mutants/`, a file for each room). It must be caught by the simulation, by a named test, or by both; one that is
not is a hole in the tests. *Seeds* is after how many the simulation found a violation, and of what; a dash: it was not
run, most often because it can't show this wrong (the reason stands beside the mutant's edit).
"""


def known() -> dict[str, Result]:
    """The results of earlier hunts, by name."""
    if not RESULTS.exists():
        return {}
    return {result.name: result for result in msgspec.json.decode(RESULTS.read_bytes(), type=list[Result])}


def write(results: dict[str, Result], seeds: int) -> None:
    """Write both files. What is no mutant any more is left out."""
    kept = [results[mutant.name] for mutants in AREAS.values() for mutant in mutants if mutant.name in results]
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
    TABLE.write_text(table(results, seeds))


def table(results: dict[str, Result], seeds: int) -> str:
    """The table as Markdown, room by room."""
    caught = [result for result in results.values() if result.caught]
    by_seeds = [result for result in results.values() if result.simulation is Verdict.CAUGHT]
    count = f"{len(caught)} of {len(results)} caught; {len(by_seeds)} by the simulation within {seeds:,} seeds."
    lines = [HEAD, count, ""]
    for area, mutants in AREAS.items():
        lines += [f"## {area[0].upper()}{area[1:]}", ""]
        lines += ["| mutant | wrong | endangers | seeds | test |", "|---|---|---|---|---|"]
        lines += [_row(mutant, results[mutant.name]) for mutant in mutants if mutant.name in results]
        lines.append("")
    return "\n".join(lines)


def _row(mutant: Mutant, result: Result) -> str:
    test = f"`{mutant.test.removeprefix('tests/')}`" if result.test is Verdict.CAUGHT else f"**{result.test.value}**"
    return f"| {mutant.name} | {mutant.wrong} | {mutant.endangers} | {_seeds(result)} | {test} |"


def _seeds(result: Result) -> str:
    match result.simulation:
        case Verdict.CAUGHT:
            return f"{result.seeds:,} ({result.law})"
        case Verdict.SKIPPED:
            return "-"
        case _:
            return f"**{result.simulation.value}**"
