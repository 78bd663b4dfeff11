"""The calls of a transport's listener: each change is reported once, a retry never.

Owns: the listener's calls. Must never: call `disconnected` twice for one reason of one outage, or for a hiccup that
passes within GRACE_S; but a loss that needs an operator is reported a second time, with what to do (`persists`). Change
together with: `payment.ports.transport` (the contract of the calls).

A transport is well when its connection stands and each of its subjects works. A subject in trouble (no stream may be
made for it, its consumer has settings that lose events) is reported as `disconnected` with that subject's reason, while
the others go on; a second trouble beside it is reported with the first. Where a lost connection comes back with such a
subject, `connected` is called first, so that events that waited for the connection go out.
"""

import enum
from collections.abc import Iterable

from msgspec import Struct

from payment.ports.clock import Clock
from payment.ports.transport import TransportListener

GRACE_S = 1.0
"""In seconds: shorter trouble of a subject is not reported. A deleted consumer is created again within it, and a leader
election ends.
"""
NOTIFY_AGAIN_AFTER_S = 10.0
"""In seconds. A second trouble beside the first is shown at once and reported after this time: an outage affects
several subjects one after the other.
"""
REASONS_MAX = 100
"""Reported reasons of one outage that are remembered. Each is a sentence; there are a few for each of six subjects."""


class ListenerStatus(enum.Enum):
    """The last status that was reported to the listener."""

    NOTHING = "nothing"
    WELL = "well"
    LOST = "lost"
    TROUBLED = "troubled"


class Trouble(Struct):
    """Why something can't be used, and since when, in monotonic seconds."""

    since: float
    reason: str


class TransportHealth:
    """Turns what happens to a connection and its subjects into calls of one listener.

    `about` names an aspect of a subject that may be in trouble beside the subject itself: its settings, say.
    """

    def __init__(self, subjects: Iterable[str], listener: TransportListener, clock: Clock) -> None:
        self._subjects = frozenset(subjects)
        self._listener = listener
        self._clock = clock
        self._status = ListenerStatus.NOTHING
        self._notified_that_it_lasts = False
        self._notified_text = ""
        self._notified_at = 0.0
        self._notified_reasons: set[tuple[str, str]] = set()
        self._untried = set(self._subjects)
        self._troubles: dict[tuple[str, str], Trouble] = {}

    def lost(self, reason: str) -> None:
        """Note that the connection is lost: every subject has to be tried again."""
        self._untried = set(self._subjects)
        self._troubles.clear()
        if self._status is not ListenerStatus.LOST:
            self._status = ListenerStatus.LOST
            self._notified_that_it_lasts = False
            self._notified_reasons.clear()
            self._notify(reason)
        else:
            self._show(reason)

    def persists(self, reason: str) -> None:
        """Report that a loss does not pass by itself, with this reason. Once for each loss."""
        if self._status is ListenerStatus.LOST and not self._notified_that_it_lasts:
            self._notified_that_it_lasts = True
            self._notify(reason)

    def failed(self, subject: str, reason: str, about: str = "") -> None:
        """Note that a subject, or an aspect of it, can't be used as it should while the connection is open. Reported
        after GRACE_S.
        """
        trouble = self._troubles.setdefault((subject, about), Trouble(self._clock.monotonic(), reason))
        trouble.reason = reason
        self._judge()

    def well(self, subject: str, about: str = "") -> None:
        """Note that a subject, or an aspect of it, works."""
        self._troubles.pop((subject, about), None)
        if not about:
            self._untried.discard(subject)
        self._judge()

    def noticed(self, text: str, *, alarm: bool) -> None:
        """Pass on a remark that changes no status."""
        self._listener.noticed(text, alarm=alarm)

    def _judge(self) -> None:
        before = self._clock.monotonic() - GRACE_S
        lasting = {key: each for key, each in self._troubles.items() if each.since <= before}
        if lasting:
            self._report_trouble({(subject, each.reason) for (subject, _), each in lasting.items()})
        elif not self._troubles and not self._untried and self._status is not ListenerStatus.WELL:
            self._status = ListenerStatus.WELL
            self._notified_reasons.clear()
            self._listener.connected()

    def _report_trouble(self, reasons: set[tuple[str, str]]) -> None:
        text = in_one_sentence(reasons)
        if self._status is ListenerStatus.LOST:
            self._listener.connected()
        soon = self._clock.monotonic() - self._notified_at < NOTIFY_AGAIN_AFTER_S
        if self._status is ListenerStatus.TROUBLED and (soon or reasons <= self._notified_reasons):
            self._show(text)
            return
        if len(self._notified_reasons) >= REASONS_MAX:
            self._notified_reasons.clear()
        self._status, self._notified_at = ListenerStatus.TROUBLED, self._clock.monotonic()
        self._notified_reasons |= reasons
        self._notify(text)

    def _notify(self, text: str) -> None:
        self._notified_text = text
        self._listener.disconnected(text)

    def _show(self, text: str) -> None:
        if text != self._notified_text:
            self._notified_text = text
            self._listener.reason_changed(text)


def in_one_sentence(reasons: Iterable[tuple[str, str]]) -> str:
    """Returns subjects and their reasons as one sentence; subjects with the same reason are grouped."""
    subjects: dict[str, list[str]] = {}
    for subject, reason in sorted(reasons):
        subjects.setdefault(reason, []).append(subject)
    return "; ".join(f"{', '.join(which)}: {reason}" for reason, which in subjects.items())
