"""`make mutants`: plants each mutant in a copy of the tree, runs the tests that should catch it, and reports the
survivors.

    python -m tests.mutants                      all of them
    python -m tests.mutants NAME NAME            these only
    python -m tests.mutants --part 2/6           every sixth of them, from the second on
    python -m tests.mutants --seeds 0            by their named tests alone

Exits with 1 when a mutant survives, or when a test or the simulation did not run; with 2 when the tests fail without a
mutant, which makes the result meaningless.
"""

import argparse
import queue
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.mutants import report
from tests.mutants.catalogue import MUTANTS
from tests.mutants.copies import make_copy
from tests.mutants.hunt import Result, hunted, passes_unchanged
from tests.mutants.mutant import Mutant

SEEDS = 5_000
"""The number of seeds within which the simulation should catch a mutant."""

WORKERS = 2
"""Mutants tested at once, each in its own copy: one for each core of a small machine."""


def main() -> int:
    arguments = _arguments()
    number, parts = arguments.part
    mutants = [
        mutant for mutant in MUTANTS[number - 1 :: parts] if not arguments.names or mutant.name in arguments.names
    ]
    if unknown := set(arguments.names) - {mutant.name for mutant in MUTANTS}:
        print(f"there is no mutant named {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [make_copy(Path(folder) / str(number)) for number in range(arguments.workers)]
        if fault := passes_unchanged(copies[0], sorted({mutant.test for mutant in mutants})):
            print(fault, file=sys.stderr)
            return 2
        results = _hunt(mutants, copies, arguments.seeds)
    report.write(results)
    return _print_survivors(results)


def part(text: str) -> tuple[int, int]:
    """Which part of how many. Raises ValueError, which argparse shows, where there is no such part."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"no part: {text}")
    return int(found[1]), int(found[2])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make mutants", description="Plant mutants, and check that the tests catch them."
    )
    parser.add_argument("names", nargs="*", help="mutants by name; all of them if none is named")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="most seeds of the simulation for each; 0 for none")
    parser.add_argument("--part", type=part, default=(1, 1), metavar="2/6", help="the second of six parts of all")
    parser.add_argument("--workers", type=int, default=WORKERS, help="mutants under way at once")
    return parser.parse_args()


def _hunt(mutants: list[Mutant], copies: list[Path], seeds: int) -> dict[str, Result]:
    """Test each mutant in a free copy; returns the results by name."""
    free: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for copy in copies:
        free.put(copy)

    def hunt(mutant: Mutant) -> Result:
        copy = free.get()
        try:
            return hunted(mutant, copy, seeds)
        finally:
            free.put(copy)

    results: dict[str, Result] = {}
    began = time.monotonic()
    with ThreadPoolExecutor(len(copies)) as pool:
        for done in as_completed([pool.submit(hunt, mutant) for mutant in mutants]):
            result = done.result()
            results[result.name] = result
            _progress(result, len(results), len(mutants), time.monotonic() - began)
    return results


def _progress(result: Result, done: int, count: int, spent_s: float) -> None:
    """One line that rewrites itself on a terminal; elsewhere, a line for each tenth mutant, and each not caught."""
    left_s = spent_s / done * (count - done)
    if sys.stderr.isatty():
        line = f"{done}/{count} mutants, about {left_s / 60:.0f} min left: {result.name}"
        print(f"\r{line[:100]:<100}", end="" if done < count else "\n", file=sys.stderr, flush=True)
    elif not result.sound or done % 10 == 0 or done == count:
        print(f"{done}/{count} mutants, about {left_s / 60:.0f} min left", file=sys.stderr, flush=True)


def _print_survivors(results: dict[str, Result]) -> int:
    """Print the survivors; returns the exit code."""
    unsound = [result for result in results.values() if not result.sound]
    for result in unsound:
        print(f"{result.name}: test {result.test.value}, simulation {result.simulation.value}\n{result.detail}")
    print(f"{len(results) - len(unsound)} of {len(results)} mutants caught; the table: {report.TABLE}")
    return 1 if unsound else 0


if __name__ == "__main__":
    sys.exit(main())
