"""`make bench`: every scenario, or some of them, one table, and all of it as JSON below results/.

    python -m bench [--only cpu,lone] [--quick] [--before CHECKOUT]

See README.md here for what is measured and how.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import msgspec

from bench.bench import Bench
from bench.machine import machine, now, versions
from bench.pictures import draw
from bench.progress import Progress
from bench.scenarios import cpu, half, lone, on_sale, overload, replicated, start, stored, waiting
from bench.table import Row, table

RESULTS = Path(__file__).parent / "results"
SCENARIOS: dict[str, ModuleType] = {
    module.NAME: module for module in (cpu, lone, half, replicated, waiting, stored, overload, on_sale, start)
}
QUICKER = 0.5
"""How much of its time a quick scenario takes, more or less."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Our service beside others, on the same servers.")
    parser.add_argument("--only", default="", help=f"scenarios, parted by commas: {','.join(SCENARIOS)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; results are kept apart")
    parser.add_argument("--before", type=Path, help="a checkout of release 0.1.0, to be measured in the same rounds")
    return parser.parse_args()


def chosen(only: str) -> list[str]:
    """The scenarios that were named; all where none was. Exits where there is no such scenario."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        sys.exit(f"there is no scenario {', '.join(unknown)}: there are {', '.join(SCENARIOS)}")
    return names or list(SCENARIOS)


def main() -> None:
    told = options()
    names = chosen(told.only)
    scale = QUICKER if told.quick else 1.0
    progress = Progress({name: SCENARIOS[name].EXPECTED_S * scale for name in names})
    head = {"at": now(), "machine": machine(), "versions": versions()}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, _bench(told, folder, progress) as bench:
        for name in names:
            progress.scenario(name)
            rows += SCENARIOS[name].run(bench)
            progress.clear()
    print(table(rows))
    whole = not told.only and not told.quick
    written = [write(head | {"rows": rows}, whole=whole), *(() if told.quick else draw(rows, RESULTS))]
    print(f"written to {', '.join(map(str, written))}")


def _bench(told: argparse.Namespace, folder: str, progress: Progress) -> Bench:
    return Bench(Path(folder), progress, quick=told.quick, before=told.before and told.before.resolve())


def write(result: dict[str, object], *, whole: bool) -> Path:
    """A whole run is what stands in the repository; a part of one, or a quick one, lies beside it."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / ("bench.json" if whole else "bench.part.json")
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    return path


if __name__ == "__main__":
    main()
