"""The log lines of writes that came to nothing: how many, of which order for example, and why; a few a minute at most.

A store that refuses writes, or answers none, fails every commit: each kind of failure is logged at once, then added up
and logged at most once in `LINE_EVERY_S`.
"""

from collections.abc import Sequence

from msgspec import Struct, field

from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ports.clock import Clock

LINE_EVERY_S = 10.0
"""Between two lines of one kind, in seconds."""


class _Kind(Struct):
    """What was not logged yet of one kind of failure. Times are monotonic seconds."""

    next_at_s: float = 0.0
    documents: int = 0
    example: dict[str, str] = field(default_factory=dict)
    """The field that names the newest of them, and its value."""
    reason: str = ""


class CommitLines:
    """Adds up, and logs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kinds: dict[Event, _Kind] = {}

    def note(self, event: Event, order_ids: Sequence[str], reason: str) -> None:
        """Documents of these orders have failed so."""
        self._add(event, len(order_ids), {"order_id": order_ids[0]}, reason)

    def note_dead_letter(self, identity: str, reason: str) -> None:
        """A bad event could not be kept."""
        self._add(Event.DEAD_LETTER_WAITS, 1, {"identity": identity}, reason)

    def _add(self, event: Event, documents: int, example: dict[str, str], reason: str) -> None:
        kind = self._kinds.setdefault(event, _Kind())
        kind.documents += documents
        kind.example, kind.reason = example, reason
        self.flush()

    def flush(self) -> None:
        """Log what may be logged by now. To be called about once a second."""
        now_s = self._clock.monotonic()
        for event, kind in self._kinds.items():
            if kind.documents and now_s >= kind.next_at_s:
                get_logger().warning(event, documents=kind.documents, reason=kind.reason, **kind.example)
                kind.documents, kind.next_at_s = 0, now_s + LINE_EVERY_S
