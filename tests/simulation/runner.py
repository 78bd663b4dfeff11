"""Many seeds on all cores: worker processes run chunks of seeds, their counts are added up, the first failure is kept.

A worker is forked from a server that has imported everything and run nothing, so that nothing of the runner leaks into
a world; it ends, with its dead worlds, before they are worth collecting. Owns no output but what it yields. Must never
let a failing seed pass because a worker died: that is an error of the run. Change together with: `__main__`.
"""

import gc
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice

from msgspec import Struct

from tests.simulation.checks import Violation, judge
from tests.simulation.plan import Plan
from tests.simulation.reach import Reach
from tests.simulation.shrink import shrunk
from tests.simulation.simulate import Outcome, simulate
from tests.simulation.transcript import transcript

CHUNK_SEEDS = 50
"""Seeds of one chunk: half a second of work, so that progress moves and the last workers end together."""
CHUNKS_AHEAD = 2
"""Chunks that wait for each worker, so that none is idle."""
CHUNKS_IN_A_LIFE = 3
"""A worker's: fewer seeds than `simulate.COLLECT_EVERY`, so that it never collects."""


class Failure(Struct, frozen=True):
    """A seed that broke a law."""

    seed: int
    violation: Violation


class Part(Struct, frozen=True):
    """The result of one chunk. It ends at its first failure."""

    first: int
    reach: Reach
    failure: Failure | None


def verdict(outcome: Outcome) -> Violation | None:
    """The first law that a schedule breaks."""
    return judge(outcome.journal, outcome.trouble)


def run_chunk(first: int, count: int) -> Part:
    """Simulate and judge some seeds, up to the first failure."""
    reach = Reach()
    for seed in range(first, first + count):
        outcome = simulate(seed)
        reach.note(outcome.journal)
        violation = verdict(outcome)
        if violation is not None:
            return Part(first, reach, Failure(seed, violation))
    return Part(first, reach, None)


def run_seeds(first: int, count: int, workers: int, until_s: float | None = None) -> Iterator[Part]:
    """Parts as they end. After a failure, or at `until_s` (monotonic), no new chunk begins.

    Raises:
        concurrent.futures.process.BrokenProcessPool: a worker died.
    """
    chunks = iter(range(first, first + count, CHUNK_SEEDS))
    running: set[Future[Part]] = set()
    going_on = True
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=gc.disable, max_tasks_per_child=CHUNKS_IN_A_LIFE
    ) as pool:
        while True:
            going_on = going_on and (until_s is None or time.monotonic() < until_s)
            free = workers * CHUNKS_AHEAD - len(running) if going_on else 0
            for start in islice(chunks, free):
                running.add(pool.submit(run_chunk, start, min(CHUNK_SEEDS, first + count - start)))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for part in sorted((each.result() for each in done), key=lambda each: each.first):
                going_on = going_on and part.failure is None
                yield part


def smallest(seed: int, violation: Violation) -> Plan:
    """The smallest plan found that breaks the same law as the seed's own."""

    def fails(plan: Plan) -> bool:
        found = verdict(simulate(seed, plan))
        return found is not None and found.law == violation.law

    return shrunk(simulate(seed).plan, fails)


def reported(seed: int, plan: Plan | None = None) -> str:
    """The transcript of a seed, or of a plan of it."""
    outcome = simulate(seed, plan)
    return transcript(outcome.plan, outcome.journal, verdict(outcome))
