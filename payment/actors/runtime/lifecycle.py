"""The types of the supervisor: the limits of an actor, what all actors share, and the ways in which an actor ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from payment.actors.runtime.actor import Actor
from payment.actors.runtime.restarts import RestartWindow
from payment.ports.clock import Clock
from payment.ports.ids import Ids


class ActorHung(Exception):
    """An actor has handled one message for too long. `silent_s` is for how many seconds."""

    def __init__(self, actor: str, silent_s: float) -> None:
        super().__init__(f"the {actor} actor has been stuck for {silent_s:.1f} s")
        self.silent_s = silent_s


class RunEnded(Exception):
    """A bug: `Actor.run` returned without an error and without being cancelled."""


class GaveUp(Exception):
    """Too many restarts, or an actor that can't be ended: the process must end with a non-zero exit code."""


class LifecycleLog(Protocol):
    """The part of a structlog logger that the supervisor uses."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...

    def error(self, event: str, **fields: Any) -> Any: ...


@dataclass(frozen=True)
class ChildSpec:
    """How to make one actor, and the limits of its hooks, in seconds."""

    name: str
    start: Callable[[], Actor[Any]]
    """Makes a new actor on its mailbox, which outlives the actor."""
    setup_deadline_s: float
    drain_deadline_s: float
    hang_s: float
    """An actor whose `stuck_for_s` is above this is replaced."""


@dataclass(frozen=True)
class ActorContext:
    """The objects that all actors of one supervisor share."""

    clock: Clock
    ids: Ids
    log: LifecycleLog
    on_restart: Callable[[str], None]
    window: RestartWindow
