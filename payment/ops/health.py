"""What the service can do just now: the phase of its life, and each dependency, up or down, since when and why; and
what a dependency has said last of an order that it does not settle.

Owns the answer to `/readyz` and the two log lines of an outage: one when a dependency goes away, one when it is back.
Actors report what they see, as often as they see it; only a change is said. It must never ask a dependency itself, and
never hold a credential: reasons are scrubbed on their way in.
"""

import enum
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ops.redaction import FIELD_CHARS, Redactor, timestamp
from payment.ports.clock import Clock

ORDERS_REMEMBERED_LIMIT = 1_000
"""Orders of which the last words are kept, the newest: more have one cause, which `why` says."""

SILENCE_S = 10.0
"""How long Stripe may leave us without an answer before it counts as away: the contract's number."""


class Dependency(enum.StrEnum):
    """What the service stands on."""

    HTTP = "http"
    MONGODB = "mongodb"
    NATS = "nats"
    STRIPE = "stripe"


class Phase(enum.StrEnum):
    """The life of the process."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


ALWAYS_BLOCKS = frozenset((Dependency.HTTP, Dependency.MONGODB))
"""Without these no charge can start, whatever the reason."""


class Status(enum.StrEnum):
    """What `/readyz` says."""

    READY = "ready"
    DEGRADED = "degraded"
    """Charges are taken, and something waits."""
    UNAVAILABLE = "unavailable"
    """No charge can be taken."""

    @property
    def http_status(self) -> int:
        return 503 if self is Status.UNAVAILABLE else 200


class DependencyView(Struct, frozen=True, omit_defaults=True):
    """A dependency as `/readyz` shows it. `since` is UTC, ISO 8601; `why` is there where it is down, or has a note."""

    up: bool
    since: str
    why: str | None = None


class HealthView(Struct, frozen=True):
    """The body of `/readyz`."""

    status: Status
    phase: Phase
    dependencies: dict[str, DependencyView]

    @property
    def http_status(self) -> int:
        return self.status.http_status

    def without_reasons(self) -> "HealthView":
        """The statuses alone: what is up, since when, and what that makes of the whole."""
        shown = {name: DependencyView(view.up, view.since) for name, view in self.dependencies.items()}
        return HealthView(self.status, self.phase, shown)


class _State(Struct):
    """One dependency. Times are the clock's `monotonic` seconds, but for `since`, which is shown to people."""

    since: datetime
    up: bool = False
    why: str = "not reached yet"
    blocks_charges: bool = False
    loss_logged: bool = False
    """Whether its loss was logged."""
    known: bool = False
    """Whether anything was found out about it yet."""
    gone_at_s: float = 0.0
    """How long it was down in all, before it was up last."""
    silent_at_s: float | None = None
    silent_why: str = ""
    note: str | None = None
    """What waits although it is up."""
    answered_at_s: float = 0.0
    """When it answered last: a slow call among good ones is no silence."""


class Health:
    """The state of the service. `on_change` hears each dependency that goes up or down, for a gauge."""

    def __init__(
        self,
        clock: Clock,
        redactor: Redactor | None = None,
        on_change: Callable[[Dependency, bool], None] = lambda _dependency, _up: None,
    ) -> None:
        self._clock = clock
        self._redactor = redactor or Redactor()
        self._on_change = on_change
        self.phase = Phase.STARTING
        gone_at_s = clock.monotonic()
        self._states = {name: _State(since=clock.now(), gone_at_s=gone_at_s) for name in Dependency}
        self._order_notes: dict[tuple[Dependency, str], str] = {}

    def ready(self) -> None:
        """Every actor runs and the port is open."""
        self.phase = Phase.READY

    def stopping(self) -> None:
        """No new charge starts from now on, for good."""
        self.phase = Phase.STOPPING

    def answered(self, dependency: Dependency) -> None:
        """It answered, whatever it said: no silence."""
        state = self._states[dependency]
        state.silent_at_s = None
        state.answered_at_s = self._clock.monotonic()

    def mark_up(self, dependency: Dependency) -> None:
        """It answered. Cheap, and so may be said for each answer."""
        self.answered(dependency)
        state = self._states[dependency]
        state.known = True
        if state.up:
            return
        gone_ms = round((self._clock.monotonic() - state.gone_at_s) * 1_000)
        if state.loss_logged:
            get_logger().info(Event.DEPENDENCY_BACK, dependency=dependency, gone_ms=gone_ms)
        state.up, state.why, state.loss_logged, state.blocks_charges = True, "", False, False
        state.since = self._clock.now()
        self._on_change(dependency, True)

    def mark_down(self, dependency: Dependency, why: str, *, blocks_charges: bool = False, again: bool = False) -> None:
        """It is away, for this reason. `blocks_charges`: no charge can be taken (Stripe refuses our key).

        `again`: the reason is news and is logged, though the loss may have been. For who says each reason once.
        """
        state = self._states[dependency]
        state.known = True
        blocks_charges = blocks_charges or dependency in ALWAYS_BLOCKS
        worse = blocks_charges and not state.blocks_charges
        state.why = self._redactor.short(why, FIELD_CHARS)
        state.silent_at_s = None
        if state.up:
            state.gone_at_s, state.since = self._clock.monotonic(), self._clock.now()
            self._on_change(dependency, False)
        state.up, state.blocks_charges = False, blocks_charges
        if worse or again or not state.loss_logged:
            state.loss_logged = True
            get_logger().warning(
                Event.DEPENDENCY_LOST, dependency=dependency, reason=state.why, blocks_charges=blocks_charges
            )

    def note(self, dependency: Dependency, words: str | None) -> None:
        """Something waits, in words, although the dependency is up: the service is degraded. None: no more."""
        self._states[dependency].note = None if words is None else self._redactor.short(words, FIELD_CHARS)

    def mark_silent(self, dependency: Dependency, why: str, waited_s: float = 0.0) -> None:
        """One call had no answer, after `waited_s`. It is down once `SILENCE_S` have passed with no answer at all."""
        state = self._states[dependency]
        state.known = True
        if not state.up and state.loss_logged:
            self._still_down(dependency, state, why)
            return
        if state.silent_at_s is None:
            state.silent_at_s = max(self._clock.monotonic() - waited_s, state.answered_at_s)
        state.silent_why = why
        self._judge_silence(dependency, state)

    def _still_down(self, dependency: Dependency, state: _State, why: str) -> None:
        """A refusal of our key outlasts a lost answer: only an answer can say that it is taken again."""
        if not state.blocks_charges or dependency in ALWAYS_BLOCKS:
            state.why = self._redactor.short(why, FIELD_CHARS)

    def _judge_silence(self, dependency: Dependency, state: _State) -> None:
        silent_at_s = state.silent_at_s
        if silent_at_s is not None and self._clock.monotonic() - silent_at_s >= SILENCE_S:
            self.mark_down(dependency, state.silent_why)
            state.gone_at_s = min(state.gone_at_s, silent_at_s)

    def is_up(self, dependency: Dependency) -> bool:
        """Whether it is up, as far as is known."""
        state = self._states[dependency]
        self._judge_silence(dependency, state)
        return state.up

    def is_known(self, dependency: Dependency) -> bool:
        """Whether anything was found out about it since the start, good or bad."""
        return self._states[dependency].known

    def trouble(self, dependency: Dependency) -> str | None:
        """Why it is down and since when, in words; None where it is up."""
        state = self._states[dependency]
        return None if self.is_up(dependency) else f"{state.why}, since {timestamp(state.since)}"

    def note_order(self, dependency: Dependency, order_id: str, words: str | None) -> None:
        """What a dependency has said last of one order that it does not settle; None once it does."""
        self._order_notes.pop((dependency, order_id), None)
        if words is not None:
            self._order_notes[dependency, order_id] = words
            if len(self._order_notes) > ORDERS_REMEMBERED_LIMIT:
                del self._order_notes[next(iter(self._order_notes))]

    def order_note(self, dependency: Dependency, order_id: str) -> str | None:
        """These words, fit for a log; None where there are none."""
        words = self._order_notes.get((dependency, order_id))
        return None if words is None else self._redactor.short(words, FIELD_CHARS)

    @property
    def status(self) -> Status:
        """Whether charges are taken, and whether anything waits."""
        down = [name for name in self._states if not self.is_up(name)]
        blocked = any(name in ALWAYS_BLOCKS or self._states[name].blocks_charges for name in down)
        if self.phase is not Phase.READY or blocked:
            return Status.UNAVAILABLE
        noted = any(state.note is not None for state in self._states.values())
        return Status.DEGRADED if down or noted else Status.READY

    def view(self) -> HealthView:
        """The whole of it, for `/readyz`."""
        status = self.status
        shown = {
            name.value: DependencyView(state.up, timestamp(state.since), state.note if state.up else state.why)
            for name, state in self._states.items()
        }
        return HealthView(status, self.phase, shown)
