"""Reports our events that the broker does not take: when, with which text, and how often.

Owns: since when each subject, and each event that is refused alone, has been refused; and the alarm. Must never: log a
line for each try, or report a subject as up before the broker has stored an event of it. Change together with:
`payment.actors.nats.publisher` (when an event is tried again).

The NATS actor owns it, not the transports, so that JetStream and NATS Streaming are reported alike.
"""

from msgspec import Struct

from payment.core.effects import PublishEvent
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ports.clock import Clock
from payment.ports.transport import PublishRefused, TransportUnavailable

REFUSED_SHOWN_AFTER_S = 4.0
"""A refusal is shown after this. A stream that is made anew or elects a leader, or a server that reads its streams at
its start, refuses for less."""
UNANSWERED_SHOWN_AFTER_S = 8.0
"""From the begin of the first publish without an answer, whose own timeout is 5 s. The pings find a lost server sooner:
what remains is a server that works and does not acknowledge."""
UNANSWERED_ALARM_AFTER_S = 60.0
"""A broker that answers again within this time needs no operator."""
ALARM_AGAIN_AFTER_S = 600.0
"""Between alarms while the refusal lasts, for an operator who missed one."""
REASONS_MAX = 20
"""Reasons of one refusal that get a line each: a reason with a number in it is a new one each time."""


class RefusedPublish(Struct):
    """The refusal of one subject, or of one event. Times are monotonic seconds."""

    since: float
    reason: str
    answered: bool
    order_id: str | None
    alarmed_at: float | None = None
    alarmed: set[str] = set()

    def is_shown(self, now: float) -> bool:
        """Whether `/readyz` shows it."""
        return now - self.since >= (REFUSED_SHOWN_AFTER_S if self.answered else UNANSWERED_SHOWN_AFTER_S)

    def is_due(self, now: float) -> bool:
        """Whether a line is due: the first, one for a new reason, or one after `ALARM_AGAIN_AFTER_S`."""
        if not self.answered and now - self.since < UNANSWERED_ALARM_AFTER_S:
            return False
        if self.alarmed_at is None or now - self.alarmed_at >= ALARM_AGAIN_AFTER_S:
            return True
        return self.reason not in self.alarmed and len(self.alarmed) < REASONS_MAX


class Refusals:
    """The present refusals."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._refused: dict[tuple[str, str], RefusedPublish] = {}
        """By subject, and by the event's id where only that event is refused."""

    def add(self, effect: PublishEvent, error: TransportUnavailable, began: float, *, alone: bool) -> None:
        """The broker did not take a publish.

        It began at the monotonic second `began`. `alone`: the broker takes other events of the subject.
        """
        key = (effect.subject, effect.id if alone else "")
        answered = isinstance(error, PublishRefused)
        refused = self._refused.get(key)
        if refused is None:
            order_id = effect.order_id if alone else None
            self._refused[key] = RefusedPublish(began, str(error), answered, order_id, alarmed=set())
        else:
            refused.reason, refused.answered = str(error), answered

    def interrupted(self, subject: str) -> None:
        """The connection is lost: drop the refusals that were not logged, for the loss may have caused them."""
        self._refused = {
            key: each for key, each in self._refused.items() if key[0] != subject or each.alarmed_at is not None
        }

    def taken(self, effect: PublishEvent) -> None:
        """The broker has stored an event: its subject is no longer refused."""
        self._refused.pop((effect.subject, ""), None)
        self._refused.pop((effect.subject, effect.id), None)

    def judge(self, waiting: dict[str, int]) -> None:
        """Log the refusals that are due. `waiting` is the number of waiting events of each subject."""
        now = self._clock.monotonic()
        for (subject, _), refused in self._refused.items():
            if refused.is_shown(now) and refused.is_due(now):
                refused.alarmed_at = now
                refused.alarmed.add(refused.reason)
                count = 1 if refused.order_id is not None else waiting[subject]
                self._alarm(subject, refused, count)

    def _alarm(self, subject: str, refused: RefusedPublish, count: int) -> None:
        self._metrics.alarms(Event.PUBLISH_REFUSED).inc()
        get_logger().error(
            Event.PUBLISH_REFUSED,
            alarm=True,
            subject=subject,
            order_id=refused.order_id,
            reason=refused.reason,
            count=count,
        )

    def connection_back(self) -> None:
        """Drop missing acknowledgements of the last connection: they prove nothing about the new one."""
        self._refused = {key: each for key, each in self._refused.items() if each.answered}

    def shown(self, besides: str) -> list[str]:
        """Returns the sentences for `/readyz`: for each refused subject, and for each subject's events that are refused
        alone.

        `besides` is what `/readyz` shows in any case: a reason that is in it is not repeated.
        """
        now = self._clock.monotonic()
        sentences: dict[str, None] = {}
        alone: dict[str, list[str]] = {}
        for (subject, _), refused in self._refused.items():
            if not refused.is_shown(now) or refused.reason in besides:
                continue
            if refused.order_id is not None:
                alone.setdefault(subject, []).append(refused.reason)
            else:
                verb = "are refused" if refused.answered else "are not acknowledged"
                sentences[f"events on {subject} {verb}: {refused.reason}"] = None
        for subject, reasons in alone.items():
            sentences[f"{len(reasons)} of the events on {subject} are refused alone: {reasons[0]}"] = None
        return list(sentences)

    def __len__(self) -> int:
        return len(self._refused)
