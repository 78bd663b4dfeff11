"""`make bench`: runs all or some scenarios, prints one table, and writes the results as JSON below build/bench/.

    python -m bench [--only cpu,lone] [--quick] [--before CHECKOUT]

README.md here describes the measurements.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from bench.bench import Bench
from bench.machine import machine, now, versions
from bench.pictures import draw
from bench.progress import Progress
from bench.scenarios import cpu, half, lone, on_sale, overload, replicated, start, stored, waiting
from bench.table import Row, summary, table

RESULTS = Path("build/bench")
"""The default folder of results: `--results bench/results` replaces those in git."""
SCENARIOS: dict[str, ModuleType] = {
    module.NAME: module for module in (cpu, lone, half, replicated, waiting, stored, overload, on_sale, start)
}
QUICKER = 0.5
"""The share of its usual time that a quick scenario takes, roughly."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure our service and others on the same servers.")
    parser.add_argument("--only", default="", help=f"scenarios, parted by commas: {','.join(SCENARIOS)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; results are kept apart")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for results (%(default)s)")
    parser.add_argument("--before", type=Path, help="a checkout of release 0.1.0, to be measured in the same rounds")
    return parser.parse_args()


def chosen(only: str) -> list[str]:
    """Returns the named scenarios; all where none was named. Exits where there is no such scenario."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        sys.exit(f"there is no scenario {', '.join(unknown)}: there are {', '.join(SCENARIOS)}")
    return names or list(SCENARIOS)


def main() -> None:
    chosen_options = options()
    names = chosen(chosen_options.only)
    scale = QUICKER if chosen_options.quick else 1.0
    progress = Progress({name: SCENARIOS[name].EXPECTED_S * scale for name in names})
    head = {"at": now(), "machine": machine(), "versions": versions()}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, _bench(chosen_options, folder, progress) as bench:
        for name in names:
            progress.scenario(name)
            rows += SCENARIOS[name].run(bench)
            progress.clear()
    print(table(rows))
    whole = not chosen_options.only and not chosen_options.quick
    path = write(chosen_options.results, summary(head, rows), whole=whole)
    written = [path, *(() if chosen_options.quick else draw(rows, chosen_options.results))]
    print(f"written to {', '.join(map(str, written))}")


def _bench(chosen_options: argparse.Namespace, folder: str, progress: Progress) -> Bench:
    return Bench(
        Path(folder),
        progress,
        quick=chosen_options.quick,
        before=chosen_options.before and chosen_options.before.resolve(),
    )


def write(folder: Path, text: str, *, whole: bool) -> Path:
    """Write the summary and return its path. A partial or quick run gets another file than a whole one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("bench.json" if whole else "bench.part.json")
    path.write_text(text)
    return path


if __name__ == "__main__":
    main()
