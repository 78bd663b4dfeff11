"""What a transport's listener is told, and when: each change once, no retry ever.

Owns: the listener's calls. Must never: call it twice for one change, or for a hiccup that passes within GRACE_S; but a
loss that needs a person is told a second time, with what there is to do (`persists`). Change together with:
`payment.ports.transport` (what the calls promise).

A transport is well when its connection stands and each of its subjects works. One subject in trouble (no stream may be
made for it, say) is told as `disconnected` with that subject's reason, while the others go on. Where a connection comes
back to such a state, the listener hears `connected` first: what it held back for the lost connection can go now.
"""

import enum
from collections.abc import Iterable

from payment.ports.clock import Clock
from payment.ports.transport import TransportListener

GRACE_S = 1.0
"""A subject may be in trouble this long untold: a deleted consumer, a leader election mend within it."""


class Told(enum.Enum):
    """What the listener knows."""

    NOTHING = "nothing"
    WELL = "well"
    LOST = "lost"
    AILING = "ailing"


class TransportHealth:
    """Turns what happens to a connection and its subjects into calls of one listener."""

    def __init__(self, subjects: Iterable[str], listener: TransportListener, clock: Clock) -> None:
        self._subjects = frozenset(subjects)
        self._listener = listener
        self._clock = clock
        self._told = Told.NOTHING
        self._told_that_it_lasts = False
        self._untried = set(self._subjects)
        self._since: dict[str, float] = {}

    def lost(self, reason: str) -> None:
        """There is no connection: every subject has to be tried anew."""
        self._untried = set(self._subjects)
        self._since.clear()
        if self._told is not Told.LOST:
            self._told = Told.LOST
            self._told_that_it_lasts = False
            self._listener.disconnected(reason)

    def persists(self, reason: str) -> None:
        """What is lost won't come back by itself, for this reason, whatever it was lost for: said once a loss."""
        if self._told is Told.LOST and not self._told_that_it_lasts:
            self._told_that_it_lasts = True
            self._listener.disconnected(reason)

    def failed(self, subject: str, reason: str) -> None:
        """The connection stands, but this subject can't be used: said when it has lasted GRACE_S."""
        now = self._clock.monotonic()
        since = self._since.setdefault(subject, now)
        if now - since < GRACE_S or self._told is Told.AILING:
            return
        if self._told is Told.LOST:
            self._listener.connected()
        self._told = Told.AILING
        self._listener.disconnected(f"{subject}: {reason}")

    def well(self, subject: str) -> None:
        """This subject can be used."""
        self._since.pop(subject, None)
        self._untried.discard(subject)
        if not self._since and not self._untried and self._told is not Told.WELL:
            self._told = Told.WELL
            self._listener.connected()
