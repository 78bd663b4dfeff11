"""The CPU time of our service under 32 concurrent clients, by layer and by function: `make profile`.

    python -m bench.where [--charges 4000] [--dump FILE]

The service runs in its own process, which samples itself (`bench.profiled`) once it is warm. Any program that reads
folded stacks can draw a dump as a flame graph.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.bench import CLIENTS, WARM_CHARGES, Bench
from bench.contender import OURS, new_orders
from bench.layers import parsed, shares
from bench.load import Job
from bench.progress import Progress

CHARGES = 4_000
FUNCTIONS_SHOWN = 40
WRITTEN_DEADLINE_S = 10.0
POLL_EVERY_S = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.where", description="Profile the service's CPU time.")
    parser.add_argument("--charges", type=int, default=CHARGES)
    parser.add_argument("--dump", type=Path, help="write the folded stacks to this file")
    chosen_options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder), Progress({}), quick=True) as bench:
        path = (chosen_options.dump or Path(folder) / "service.folded").absolute()
        path.unlink(missing_ok=True)
        print(profiled(bench, path, chosen_options.charges))


def profiled(bench: Bench, path: Path, charges: int) -> str:
    """Run the load; returns the profile as text."""
    contender = bench.contender(OURS, program=(sys.executable, "-m", "bench.profiled", str(path)))
    bench.stripe()
    bench.charge(contender, WARM_CHARGES)
    orders = new_orders(charges)
    contender.take_in(orders)
    os.kill(contender.pid, signal.SIGUSR1)
    found = bench.measured(contender, Job(port=contender.port, orders=orders, clients=CLIENTS))
    os.kill(contender.pid, signal.SIGUSR2)
    deadline = time.monotonic() + WRITTEN_DEADLINE_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the service has written no profile")
        time.sleep(POLL_EVERY_S)
    head = f"{found.charged} charges, {found.per_s:.0f}/s, {found.cpu_ms:.2f} ms of CPU each"
    layers, own, whole = shares(parsed(path.read_text().splitlines()))
    parts = [listed("layer", layers, found.cpu_ms), listed("function, by itself", own, found.cpu_ms)]
    return "\n\n".join([head, *parts, listed("function, with what it calls", whole, found.cpu_ms, layers.total())])


def listed(title: str, samples: Counter[str], cpu_ms: float, total: int | None = None) -> str:
    """Returns the most frequent entries, in microseconds of CPU a charge."""
    whole = total or samples.total()
    lines = [f"{'us a charge':>11} {'share':>6}  {title}"]
    for name, count in samples.most_common(FUNCTIONS_SHOWN):
        file, _, function = name.rpartition(":")
        shown = f"{'/'.join(Path(file).parts[-2:])}:{function}" if file else name
        lines.append(f"{cpu_ms * 1_000 * count / whole:11.0f} {count / whole:6.1%}  {shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
