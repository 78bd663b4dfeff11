"""One world from its start to its rest: `simulate(seed)`.

It owns what is outside a world and must not leak from one into the next: the log's configuration, the table that
records which pairs were met, and garbage. Change together: `Outcome`, and its readers (`checks`, `shrink`, `__main__`).
"""

import atexit
import gc
import sys
import warnings
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from payment.core import order as core_order
from payment.core.order import AttemptState, Trigger
from payment.ops.logs import get_logger
from tests.simulation.draw import draw
from tests.simulation.journal import AnyEntry, PairMet, digest
from tests.simulation.loop import Spinning
from tests.simulation.plan import Plan
from tests.simulation.rest import NoRest, Rest
from tests.simulation.world import World

FOR_EVER_S = 1e9
"""The rest has its own limit; this one ends a loop without any timer."""
COLLECT_EVERY = 200
"""Worlds between two collections of garbage, where the collector is off: a dead world is 0.4 MB in cycles, and its
collection costs a seventh of its run."""


@dataclass(frozen=True)
class Outcome:
    """The result of one plan. `trouble` is why the world never came to rest, or None."""

    seed: int
    plan: Plan
    journal: list[AnyEntry]
    trouble: str | None

    @property
    def digest(self) -> str:
        """Equal for two runs of one plan. Computed on demand: it costs as much as a small schedule."""
        return digest(self.journal)


def simulate(seed: int, plan: Plan | None = None) -> Outcome:
    """Run one world. Without a plan, the one that the seed draws."""
    plan = draw(seed) if plan is None else plan
    with _no_garbage(), _alone():
        journal, trouble = _run(plan)
    return Outcome(seed, plan, journal, trouble)


def _run(plan: Plan) -> tuple[list[AnyEntry], str | None]:
    world = _CURRENT.world = World(plan)
    trouble = None
    try:
        if not world.loop.run_world(lambda: _begin(world), FOR_EVER_S):
            trouble = f"nothing can happen any more, and there is no rest: {Rest(world).why()}"
    except (NoRest, Spinning) as error:
        trouble = f"it does not come to rest: {error}"
    finally:
        _CURRENT.world = None
        world.loop.close()
    return list(world.journal.entries), trouble


def _begin(world: World) -> None:
    world.begin()
    world.later(world.plan.ends_s, Rest(world).begin)


class _Current:
    """The world that runs, if any: log lines outside of a world are dropped."""

    world: World | None = None


_CURRENT = _Current()


def _log_line(_logger: object, level: str, fields: MutableMapping[str, Any]) -> str:
    if _CURRENT.world is not None:
        _CURRENT.world.log_line(level, dict(fields))
    raise structlog.DropEvent


class _RecordingTable(dict[tuple[AttemptState, Trigger], AttemptState]):
    """`payment.core.order.TABLE`, which records each pair that is looked up in it, found or not."""

    def __getitem__(self, pair: tuple[AttemptState, Trigger]) -> AttemptState:
        if (world := _CURRENT.world) is not None:
            world.journal.add(PairMet(world.now_s, world.loop.current.name, *pair))
        return super().__getitem__(pair)


@contextmanager
def _alone(bound: Any = None) -> Iterator[None]:
    """The log and the table belong to this simulation while it runs."""
    config, table = structlog.get_config(), core_order.TABLE
    structlog.configure(
        processors=[_log_line],
        wrapper_class=bound or _BOUND,
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    get_logger.cache_clear()
    core_order.TABLE = _RECORDING_TABLE
    try:
        yield
    finally:
        core_order.TABLE = table
        structlog.configure(**config)
        get_logger.cache_clear()


_BOUND = structlog.make_filtering_bound_logger("info")
_SILENT = structlog.make_filtering_bound_logger("critical")
_RECORDING_TABLE = _RecordingTable(core_order.TABLE)


class _Garbage:
    worlds = 0
    frozen = False


@contextmanager
def _no_garbage() -> Iterator[None]:
    """No finaliser of a dead world runs while another world lives; between two worlds its log lines are dropped.

    With the collector off, for speed, garbage is collected every `COLLECT_EVERY` worlds; else after each.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        _Garbage.worlds += 1
        if enabled or _Garbage.worlds % COLLECT_EVERY == 0:
            collect()
        if enabled:
            gc.enable()


def collect() -> None:
    """Collect the dead worlds. Objects that exist at the first call are no garbage, and are never visited again."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _args: None
    try:
        with _alone(_SILENT), warnings.catch_warnings(action="ignore"):
            gc.collect()
        if not _Garbage.frozen:
            _Garbage.frozen = True
            gc.freeze()
    finally:
        sys.unraisablehook = hook


atexit.register(collect)
