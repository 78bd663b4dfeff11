"""The time from the start of the process to readiness, and the memory of an idle service."""

from __future__ import annotations

import time

from bench.bench import Bench
from bench.contender import OURS
from bench.figures import spread
from bench.process import memory_mb
from bench.scenarios.cpu import with_spread
from bench.table import Row

NAME = "start"
EXPECTED_S = 30.0
IDLE_S = 3.0
READY_S, IDLE_MB = 1.5, 80.0


def run(bench: Bench) -> list[Row]:
    bench.stripe()
    ready_s, idle_mb = [], []
    for number in range(bench.rounds):
        bench.progress.step(f"round {number + 1} of {bench.rounds}")
        contender = bench.contender(OURS)
        ready_s.append(contender.took_s)
        time.sleep(IDLE_S)
        idle_mb.append(memory_mb(contender.pid))
        bench.dismiss(contender)
    ready, idle = spread(ready_s), spread(idle_mb)
    return [
        Row(
            scenario=NAME,
            what="start to ready / idle memory",
            goal=f"<= {READY_S} s / <= {IDLE_MB:g} MB",
            measured=f"{with_spread(ready)} s / {with_spread(idle)} MB",
            met=ready.median <= READY_S and idle.median <= IDLE_MB,
            rounds=bench.rounds,
            detail={"ready_s": ready, "idle_mb": idle},
        )
    ]
