"""The output: a line while rounds are played, the sums when they are over, the table for the documents.

Owns: words and forms. Must never judge. Change together with: `record`, and the part of docs/testing.md that is
generated from the record by `make docs`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from dataclasses import asdict
from typing import Any, TextIO

from tests.chaos.plan import Plan
from tests.chaos.record import RECORD, read
from tests.chaos.round import KILLS, Result

BAR_CHARS = 24
CLEAR_LINE = "\r\x1b[2K"
Round = dict[str, Any]


class Progress:
    """Progress: on a terminal a permanent bar, elsewhere a line for each round."""

    def __init__(self, rounds: int, out: TextIO = sys.stderr) -> None:
        self._rounds = rounds
        self._out = out
        self._began = time.monotonic()
        self._done = self._failed = 0

    def begins(self, plan: Plan) -> None:
        if self._out.isatty():
            self._out.write(f"{CLEAR_LINE}{self.bar()}  seed {plan.seed}: {plan.broker}, {plan.store}")
            self._out.flush()

    def ended(self, result: Result) -> None:
        self._done += 1
        self._failed += bool(result.breaches)
        if self._out.isatty():
            self._out.write(CLEAR_LINE)
        if result.breaches or not self._out.isatty():
            self._out.write(f"{self._done}/{self._rounds}  {line_of(result)}\n")
        self._out.flush()

    def bar(self) -> str:
        """Returns the bar: rounds played, failures, and remaining time."""
        filled = BAR_CHARS * self._done // self._rounds
        left = "" if not self._done else f", {_minutes(self._left_s())} left"
        failed = f", {self._failed} FAILED" if self._failed else ""
        return f"[{'#' * filled}{'.' * (BAR_CHARS - filled)}] {self._done}/{self._rounds}{failed}{left}"

    def _left_s(self) -> float:
        return (time.monotonic() - self._began) / self._done * (self._rounds - self._done)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def line_of(result: Result) -> str:
    """Returns one round as a line; for a failed one also its breaches and the place of its logs."""
    counts = Counter(result.counts)
    text = f"seed {result.seed} {result.broker}/{result.store} x{result.processes}: {counts['charges']} charges, "
    text += f"{counts['refunds']} refunds, {counts['unknown outcomes settled']} unknown outcomes settled, "
    text += f"{sum(result.strikes.values())} strikes, settled in {result.settled_s:.1f} s, {result.took_s:.0f} s"
    if not result.breaches:
        return f"{text}: ok"
    broken = "\n".join(f"    {breach}" for breach in result.breaches)
    again = f"see {result.folder}/incident.txt; again: make torture ROUNDS=1 SEED={result.seed}"
    return f"{text}: FAILED\n{broken}\n    {again}"


def kills(rounds: list[Round]) -> int:
    """Returns how many processes were ended by kill -9."""
    return sum(
        times * (2 if "2 services" in what else each["processes"] if what.startswith(KILLS[1]) else 1)
        for each in rounds
        for what, times in each["strikes"].items()
        if what.startswith(KILLS)
    )


def pauses(rounds: list[Round]) -> int:
    return sum(
        times * (2 if "2 services" in what else 1)
        for each in rounds
        for what, times in each["strikes"].items()
        if what.startswith("SIGSTOP")
    )


def row(rounds: list[Round]) -> list[str]:
    """Returns the figures of rounds, in the order of `HEADINGS`."""
    sums: Counter[str] = Counter()
    for each in rounds:
        sums.update(each["counts"])
    after_restart = [each["settled_after_restart_s"] for each in rounds if each["settled_after_restart_s"] is not None]
    settled = [each["settled_s"] for each in rounds]
    return [
        f"{len(rounds)}",
        f"{sum(bool(each['breaches']) for each in rounds)}",
        f"{sums['orders']:,}",
        f"{sums['charges']:,}",
        f"{sums['refunds']:,}",
        f"{kills(rounds):,}",
        f"{pauses(rounds):,}",
        f"{sums['unknown outcomes settled']:,}",
        f"{statistics.median(settled):.0f} s, {max(settled):.0f} s",
        f"{max(after_restart):.0f} s" if after_restart else "-",
    ]


HEADINGS = (
    "rounds",
    "failed",
    "orders",
    "charges",
    "refunds",
    "kill -9",
    "SIGSTOP",
    "unknown outcomes settled",
    "at rest after the faults: median, longest",
    "longest after kill -9 of all processes",
)
BROKERS = {"jetstream": "JetStream", "streaming": "NATS Streaming"}
STORES = {"nx": "nx-27017", "java": "mongo-java-server"}


def table(rounds: list[Round]) -> str:
    """Returns all rounds as a Markdown table: a row for each broker and store, and their sum."""
    lines = [f"| | {' | '.join(HEADINGS)} |", "|---|" + "---:|" * len(HEADINGS)]
    for broker, broker_name in BROKERS.items():
        for store, store_name in STORES.items():
            some = [each for each in rounds if (each["broker"], each["store"]) == (broker, store)]
            if some:
                lines.append(f"| {broker_name}, {store_name} | {' | '.join(row(some))} |")
    if rounds:
        lines.append(f"| all | {' | '.join(row(rounds))} |")
    return "\n".join(lines)


def recorded_table() -> str:
    """Returns the table of the record in the repository, for the documents."""
    return table(read(RECORD)["rounds"])


def summary(results: list[Result]) -> str:
    """Returns a summary of this run."""
    return table([asdict(result) for result in results])
