"""`python -m tests.simulation`: many seeds on all cores, or one of them replayed. Exit code 1: a law was broken.

Change together with: the targets `simulate` and `simulate-coverage` of the Makefile, and docs/testing.md.
"""

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.faults import FAULTS
from tests.simulation.frozen import frozen
from tests.simulation.reach import SEEDS_THAT_MEET_ALL, Reach, last_report
from tests.simulation.runner import Failure, reported, run_chunk, run_seeds, smallest, verdict
from tests.simulation.simulate import simulate
from tests.simulation.transcript import transcript

SEEDS = SEEDS_THAT_MEET_ALL
BAR_CHARS = 30
PLAIN_LINE_EVERY_S = 10.0
"""How often a run prints its progress where it has no terminal."""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.seed is not None:
        return replay(options.seed)
    if options.frozen is not None:
        return freeze(options.frozen, options.first, options.seeds)
    if options.in_process:
        return check_here(options.first, options.seeds)
    return run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this seed, and print its transcript")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many seeds to run (default {SEEDS})")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--minutes", type=float, help="start no new seeds after this many minutes")
    parser.add_argument(
        "--report", type=Path, help="write the rows, faults, states and pairs that were met to this file, as JSON"
    )
    parser.add_argument("--frozen", type=Path, help="write the seeds' journals to this file, without the code's names")
    parser.add_argument("--in-process", action="store_true", help="one core, in this process: for coverage")
    return parser


def replay(seed: int) -> int:
    """Print the transcript of one schedule: the same bytes each time."""
    outcome = simulate(seed)
    violation = verdict(outcome)
    sys.stdout.write(transcript(outcome.plan, outcome.journal, violation))
    return 1 if violation else 0


def freeze(file: Path, first: int, count: int) -> int:
    """Write a file that stays equal as long as behaviour does: `tests.simulation.frozen`."""
    gc.disable()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{line}\n" for line in frozen(range(first, first + count)))
    return 0


def check_here(first: int, count: int) -> int:
    """Run seeds without workers."""
    gc.disable()
    failure = run_chunk(first, count).failure
    if failure is not None:
        print(f"seed {failure.seed}: {failure.violation}")
    return 1 if failure else 0


def run(options: argparse.Namespace) -> int:
    """Run many seeds, with progress, a report, and the failure's smallest form."""
    progress = Progress(options.seeds)
    reach = Reach()
    failure: Failure | None = None
    until_s = None if options.minutes is None else progress.began_s + 60 * options.minutes
    for part in run_seeds(options.first, options.seeds, options.workers, until_s):
        reach.add(part.reach)
        failure = failure or part.failure
        progress.show(reach.seeds)
    progress.end()
    if failure is not None:
        _print_failure(failure)
        return 1
    return _conclude(reach, progress.passed_s, options)


def _conclude(reach: Reach, passed_s: float, options: argparse.Namespace) -> int:
    print(f"{reach.seeds} seeds in {passed_s:.0f} s ({reach.seeds / passed_s:.0f} a second): every law held.")
    print("Rows met, in seeds: " + ", ".join(f"{name} {times}" for name, times in reach.as_report()["rows"].items()))
    if options.report is not None:
        about = {"first_seed": options.first, "seconds": round(passed_s, 1), "workers": options.workers}
        options.report.write_text(json.dumps(about | {"violations": 0} | reach.as_report(), indent=1) + "\n")
    full = reach.seeds >= SEEDS_THAT_MEET_ALL
    missing = [f"{what} was never met" for what in reach.unmet(FAULTS, last_report())] if full else []
    for item in missing:
        print(f"REACH: {item}")
    return 1 if missing else 0


def _print_failure(failure: Failure) -> None:
    """Print the seed, the law, and the transcript of the smallest plan that still breaks the law."""
    gc.disable()
    print(f"\nseed {failure.seed}: {failure.violation}")
    print(f"replay it: make simulate SEED={failure.seed}\nmaking it smaller…", flush=True)
    text = reported(failure.seed, smallest(failure.seed, failure.violation))
    folder = Path(tempfile.mkdtemp(prefix="simulation-"))
    whole, small = folder / f"seed-{failure.seed}.txt", folder / f"seed-{failure.seed}-smallest.txt"
    whole.write_text(reported(failure.seed))
    small.write_text(text)
    print(text)
    print(f"{small}\n{whole}")


@dataclass
class Progress:
    """A run's progress: a bar with an estimate on a terminal, a line every `PLAIN_LINE_EVERY_S` elsewhere."""

    seeds: int
    began_s: float = field(default_factory=time.monotonic)
    shown_s: float = field(default_factory=time.monotonic)

    @property
    def passed_s(self) -> float:
        return max(time.monotonic() - self.began_s, 0.001)

    def show(self, done: int) -> None:
        left_s = self.passed_s / max(done, 1) * (self.seeds - done)
        text = f"{done}/{self.seeds} seeds, {done / self.passed_s:.0f} a second, {left_s:.0f} s left"
        if sys.stdout.isatty():
            filled = BAR_CHARS * done // max(self.seeds, 1)
            print(f"\r[{'#' * filled}{'.' * (BAR_CHARS - filled)}] {text}\x1b[K", end="", flush=True)
        elif time.monotonic() - self.shown_s >= PLAIN_LINE_EVERY_S:
            self.shown_s = time.monotonic()
            print(text, flush=True)

    def end(self) -> None:
        if sys.stdout.isatty():
            print()


if __name__ == "__main__":
    sys.exit(main())
