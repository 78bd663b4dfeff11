"""Tests one mutant in a copy: by the mutant's named test and by the simulation.

A test has caught the mutant only if it ran and failed, not if it could not be collected. The simulation has caught it
only if it names a seed that passes without the mutant.
"""

import enum
import re
import subprocess
from pathlib import Path

from msgspec import Struct

from tests.mutants.copies import command, planted, surroundings
from tests.mutants.mutant import Mutant

TEST_TIMEOUT_S = 180.0
"""Time limit of one named test in seconds, a server's start included. A mutant that hangs is caught: its test has not
passed.
"""

SIMULATION_TIMEOUT_S = 900.0
"""Time limit of all seeds of one mutant, in seconds: 5,000 take about a minute on one core, several on a slow
machine.
"""

PYTEST_FAILED = 1
"""pytest's exit code when tests ran and some failed. 2 to 5 are faults of the run itself."""

CAUGHT_AFTER = re.compile(r"^caught after (\d+) seeds: (.*)$", re.MULTILINE)
MISSED = re.compile(r"^not caught in \d+ seeds$", re.MULTILINE)
"""The last line of `tests.mutants.seeds`."""


class Verdict(enum.Enum):
    CAUGHT = "caught"
    MISSED = "missed"
    SKIPPED = "skipped"
    BROKEN = "broken"
    """It did not finish with a usable result."""


class Result(Struct, frozen=True):
    """The result of one mutant. `seeds` is the number of seeds until it was caught; `detail` is the output for the
    analysis of a failure.
    """

    name: str
    test: Verdict
    simulation: Verdict
    seeds: int | None = None
    law: str = ""
    detail: str = ""

    @property
    def caught(self) -> bool:
        return Verdict.CAUGHT in (self.test, self.simulation)

    @property
    def sound(self) -> bool:
        """Whether the test and the simulation ran, and one of them caught the mutant."""
        return self.caught and Verdict.BROKEN not in (self.test, self.simulation)


def hunted(mutant: Mutant, folder: Path, seeds: int) -> Result:
    """Plant a mutant in a copy and run its test and the simulation. With `seeds` 0 the simulation is left out."""
    with planted(mutant, folder):
        test, detail = _tested(mutant.test, folder)
        if mutant.beyond or not seeds:
            return Result(mutant.name, test, Verdict.SKIPPED, detail=detail)
        simulation, after, law = _simulated(folder, seeds)
    if simulation is Verdict.CAUGHT and _simulated(folder, 1, first=after or 1)[0] is not Verdict.MISSED:
        simulation, detail = Verdict.BROKEN, f"seed {after} fails without the mutant too: {law}"
    return Result(mutant.name, test, simulation, after, law, detail)


def _tested(test: str, folder: Path) -> tuple[Verdict, str]:
    ran = _run(folder, TEST_TIMEOUT_S, "pytest", "-x", "-q", "-p", "no:cacheprovider", test)
    if ran is None:
        return Verdict.CAUGHT, "the test did not end"
    if ran.returncode == 0:
        return Verdict.MISSED, ""
    return (Verdict.CAUGHT, "") if ran.returncode == PYTEST_FAILED else (Verdict.BROKEN, ran.stdout[-1_000:])


def _simulated(folder: Path, seeds: int, first: int = 1) -> tuple[Verdict, int | None, str]:
    """Run seeds from the first on. Returns the verdict, after how many seeds the mutant was caught, and by which
    law.
    """
    ran = _run(folder, SIMULATION_TIMEOUT_S, "tests.mutants.seeds", str(seeds), str(first))
    if ran is None:
        return Verdict.BROKEN, None, "the simulation did not end"
    if (found := CAUGHT_AFTER.search(ran.stdout)) is not None:
        return Verdict.CAUGHT, int(found[1]), found[2]
    if MISSED.search(ran.stdout):
        return Verdict.MISSED, None, ""
    return Verdict.BROKEN, None, ran.stderr[-1_000:]


def _run(folder: Path, timeout_s: float, *words: str) -> subprocess.CompletedProcess[str] | None:
    """Run a module in a copy. Returns None if it was ended after its time limit."""
    try:
        return subprocess.run(
            command(*words),
            cwd=folder,
            env=surroundings(folder),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


def passes_unchanged(folder: Path, tests: list[str]) -> str:
    """Run tests in a copy without a mutant. Returns an empty text where all pass and import the copy's service; else
    the reason.
    """
    where = _run(folder, TEST_TIMEOUT_S, "tests.mutants.where")
    if where is None or where.stdout.strip() != str(folder / "payment"):
        return f"the tests import another service than the copy's: {where.stdout if where else 'no answer'}"
    ran = _run(folder, 10 * TEST_TIMEOUT_S, "pytest", "-q", "-p", "no:cacheprovider", *tests)
    if ran is None or ran.returncode != 0:
        return f"the named tests do not pass without a mutant:\n{ran.stdout[-3_000:] if ran else 'no end'}"
    return ""
