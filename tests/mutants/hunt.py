"""Running what should catch a mutant, in a copy that has it: the simulation, and the mutant's named test.

A test counts as having caught it only if it ran and failed: one that could not be collected has caught nothing. The
simulation likewise: it must name a seed, and that seed must pass without the mutant.
"""

import enum
import re
import subprocess
from pathlib import Path

from msgspec import Struct

from tests.mutants.copies import command, planted, surroundings
from tests.mutants.mutant import Mutant

TEST_TIMEOUT_S = 180.0
"""For one named test, a server's start included. A mutant that hangs is caught: its test has not passed."""

SIMULATION_TIMEOUT_S = 900.0
"""For all seeds of one mutant: 5,000 take about a minute on one core, a slow machine several."""

PYTEST_FAILED = 1
"""pytest's exit code when tests ran and some failed. 2 to 5 are faults of the run itself."""

CAUGHT_AFTER = re.compile(r"^caught after (\d+) seeds: (.*)$", re.MULTILINE)
MISSED = re.compile(r"^not caught in \d+ seeds$", re.MULTILINE)
"""What `tests.mutants.seeds` says in its last line."""


class Verdict(enum.Enum):
    CAUGHT = "caught"
    MISSED = "missed"
    SKIPPED = "skipped"
    BROKEN = "broken"
    """It did not run to an end that says anything."""


class Result(Struct, frozen=True):
    """What became of one mutant. `seeds` is how many it took; `detail` is for whoever has to look into it."""

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
        """Nothing that was to run was broken, and it was caught."""
        return self.caught and Verdict.BROKEN not in (self.test, self.simulation)


def hunted(mutant: Mutant, folder: Path, seeds: int) -> Result:
    """Plant a mutant in a copy and run what should catch it. With no `seeds` the simulation is left out."""
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
        return Verdict.CAUGHT, "the test came to no end"
    if ran.returncode == 0:
        return Verdict.MISSED, ""
    return (Verdict.CAUGHT, "") if ran.returncode == PYTEST_FAILED else (Verdict.BROKEN, ran.stdout[-1_000:])


def _simulated(folder: Path, seeds: int, first: int = 1) -> tuple[Verdict, int | None, str]:
    """Run seeds from the first on. Beside the verdict: after how many it was caught, and by which law."""
    ran = _run(folder, SIMULATION_TIMEOUT_S, "tests.mutants.seeds", str(seeds), str(first))
    if ran is None:
        return Verdict.BROKEN, None, "the seeds came to no end"
    if (found := CAUGHT_AFTER.search(ran.stdout)) is not None:
        return Verdict.CAUGHT, int(found[1]), found[2]
    if MISSED.search(ran.stdout):
        return Verdict.MISSED, None, ""
    return Verdict.BROKEN, None, ran.stderr[-1_000:]


def _run(folder: Path, timeout_s: float, *words: str) -> subprocess.CompletedProcess[str] | None:
    """Run a module in a copy. None: it was ended after its time."""
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
    """Run tests in a copy without a mutant. Empty: all pass, and the service that they import is the copy's."""
    where = _run(folder, TEST_TIMEOUT_S, "tests.mutants.where")
    if where is None or where.stdout.strip() != str(folder / "payment"):
        return f"the tests import another service than the copy's: {where.stdout if where else 'no answer'}"
    ran = _run(folder, 10 * TEST_TIMEOUT_S, "pytest", "-q", "-p", "no:cacheprovider", *tests)
    if ran is None or ran.returncode != 0:
        return f"the named tests do not pass without a mutant:\n{ran.stdout[-3_000:] if ran else 'no end'}"
    return ""
