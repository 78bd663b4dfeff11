"""What the supervisor is told and what it says: a child's limits, what children share, and how an actor's life ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from payment.actors.runtime.actor import Actor
from payment.actors.runtime.restarts import RestartWindow
from payment.ports.clock import Clock
from payment.ports.ids import Ids


class ActorHung(Exception):
    """An actor showed no sign of life for too long."""

    def __init__(self, actor: str, silent_s: float) -> None:
        super().__init__(f"the {actor} actor has been stuck for {silent_s:.1f} s")
        self.silent_s = silent_s


class RunEnded(Exception):
    """A bug: `Actor.run` ended though neither an error nor anybody's wish had ended it."""


class GaveUp(Exception):
    """Too many restarts, or an actor that can't be ended: the process must end, with a code that says so."""


class LifecycleLog(Protocol):
    """As much of a structlog logger as is used here."""

    def info(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...

    def error(self, event: str, **fields: Any) -> Any: ...


@dataclass(frozen=True)
class ChildSpec:
    """How to make one actor, and how long it may take for what. All times in seconds."""

    name: str
    start: Callable[[], Actor[Any]]
    """Makes a new actor, on the mailbox that outlives it."""
    setup_deadline_s: float
    drain_deadline_s: float
    hang_s: float
    """An actor that is stuck for longer is replaced."""


@dataclass(frozen=True)
class ActorContext:
    """What all children of one supervisor share."""

    clock: Clock
    ids: Ids
    log: LifecycleLog
    on_restart: Callable[[str], None]
    window: RestartWindow
