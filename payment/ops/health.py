"""The state of the service and of its dependencies, as `/readyz` and the log show it.

Owns the phase of the process, the state of each dependency (up or down, since when and why), the two log lines of an
outage (one when a dependency is lost, one when it is back), and each dependency's last reason for an order that it does
not settle. Actors report every result; only a change is logged. It must never call a dependency itself, and never hold
a credential: reasons are scrubbed when they are stored.

Change together: `Dependency` and `Status` with the documents of `/readyz`.
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
"""Orders whose last reasons are kept, the newest. More orders than that have one common cause, which `why` names."""

SILENCE_S = 10.0
"""How long Stripe may answer no call before it counts as down: the contract's number."""


class Dependency(enum.StrEnum):
    """A server, or the HTTP port, that the service needs to work."""

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
"""Dependencies without which no charge can start, whatever the reason."""


class Status(enum.StrEnum):
    """The `status` in the body of `/readyz`."""

    READY = "ready"
    DEGRADED = "degraded"
    """Charges are accepted, and something waits for a dependency."""
    UNAVAILABLE = "unavailable"
    """No charge can be accepted."""

    @property
    def http_status(self) -> int:
        return 503 if self is Status.UNAVAILABLE else 200


class DependencyView(Struct, frozen=True, omit_defaults=True):
    """A dependency in the body of `/readyz`. `since` is UTC, ISO 8601; `why` is set where it is down, or has a note."""

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
        """Returns the view without any `why`."""
        shown = {name: DependencyView(view.up, view.since) for name, view in self.dependencies.items()}
        return HealthView(self.status, self.phase, shown)


class _State(Struct):
    """One dependency. Times are seconds of the clock's `monotonic`, except `since`, which is shown to operators."""

    since: datetime
    up: bool = False
    why: str = "not reached yet"
    blocks_charges: bool = False
    loss_logged: bool = False
    known: bool = False
    """Whether any result of it was reported yet."""
    gone_at_s: float = 0.0
    """When its present or last outage began."""
    silent_at_s: float | None = None
    silent_why: str = ""
    note: str | None = None
    """The reason why something waits although the dependency is up."""
    answered_at_s: float = 0.0
    """When it answered last. Silence begins no earlier than this, so one slow call among good ones is no silence."""


class Health:
    """The state of the service. `on_change` is called with each dependency that goes up or down, for a gauge."""

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
        """Enter the phase READY: every actor runs and the port is open."""
        self.phase = Phase.READY

    def stopping(self) -> None:
        """Enter the phase STOPPING, for good: no new charge starts."""
        self.phase = Phase.STOPPING

    def answered(self, dependency: Dependency) -> None:
        """The dependency answered, with whatever result: its silence ends."""
        state = self._states[dependency]
        state.silent_at_s = None
        state.answered_at_s = self._clock.monotonic()

    def mark_up(self, dependency: Dependency) -> None:
        """The dependency works. Call it after each good answer: it is cheap, and only a change is logged."""
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
        """The dependency is lost, for the reason `why`. `blocks_charges`: no charge can start (Stripe refuses our key).

        `again`: log the reason even if the loss was logged before. For callers that report each reason only once.
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

    def note(self, dependency: Dependency, reason: str | None) -> None:
        """Set the reason why something waits although the dependency is up (degraded). None: nothing waits."""
        self._states[dependency].note = None if reason is None else self._redactor.short(reason, FIELD_CHARS)

    def mark_silent(self, dependency: Dependency, why: str, waited_s: float = 0.0) -> None:
        """A call had no answer after `waited_s`. The dependency is down after `SILENCE_S` without any answer."""
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
        """Keep a refusal of our key as the reason: a lost answer does not show that the key is accepted again."""
        if not state.blocks_charges or dependency in ALWAYS_BLOCKS:
            state.why = self._redactor.short(why, FIELD_CHARS)

    def _judge_silence(self, dependency: Dependency, state: _State) -> None:
        silent_at_s = state.silent_at_s
        if silent_at_s is not None and self._clock.monotonic() - silent_at_s >= SILENCE_S:
            self.mark_down(dependency, state.silent_why)
            state.gone_at_s = min(state.gone_at_s, silent_at_s)

    def is_up(self, dependency: Dependency) -> bool:
        """Whether it is up, by the last reports."""
        state = self._states[dependency]
        self._judge_silence(dependency, state)
        return state.up

    def is_known(self, dependency: Dependency) -> bool:
        """Whether any result of it, good or bad, was reported since the start."""
        return self._states[dependency].known

    def trouble(self, dependency: Dependency) -> str | None:
        """Returns why it is down and since when, as a phrase; None where it is up."""
        state = self._states[dependency]
        return None if self.is_up(dependency) else f"{state.why}, since {timestamp(state.since)}"

    def note_order(self, dependency: Dependency, order_id: str, reason: str | None) -> None:
        """Set a dependency's last reason for not settling one order. None: it has settled the order."""
        self._order_notes.pop((dependency, order_id), None)
        if reason is not None:
            self._order_notes[dependency, order_id] = reason
            if len(self._order_notes) > ORDERS_REMEMBERED_LIMIT:
                del self._order_notes[next(iter(self._order_notes))]

    def order_note(self, dependency: Dependency, order_id: str) -> str | None:
        """Returns that reason, fit for a log; None where there is none."""
        reason = self._order_notes.get((dependency, order_id))
        return None if reason is None else self._redactor.short(reason, FIELD_CHARS)

    @property
    def status(self) -> Status:
        """Whether charges are accepted, and whether anything waits."""
        down = [name for name in self._states if not self.is_up(name)]
        blocked = any(name in ALWAYS_BLOCKS or self._states[name].blocks_charges for name in down)
        if self.phase is not Phase.READY or blocked:
            return Status.UNAVAILABLE
        noted = any(state.note is not None for state in self._states.values())
        return Status.DEGRADED if down or noted else Status.READY

    def view(self) -> HealthView:
        """Returns the body of `/readyz`."""
        status = self.status
        shown = {
            name.value: DependencyView(state.up, timestamp(state.since), state.note if state.up else state.why)
            for name, state in self._states.items()
        }
        return HealthView(status, self.phase, shown)
