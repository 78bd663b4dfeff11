"""Which request breaks, and in what way. Faults are asked for over `/_sandbox/faults` and end with the process.

A fault strikes instead of everything, in place of what the endpoint does or answers, or while the answer leaves.
Change together: the enum, `app.py` (the first two) and `wire.py` (the last).
"""

import enum
from random import Random
from typing import Annotated

from msgspec import Meta, Struct

ANY_ENDPOINT = "*"
DELAY_MAX_MS = 600_000
"""Ten minutes: longer than any client waits."""
FAULTS = 1_000
"""Faults waiting at once: a bound, for each request looks through them."""


class FaultKind(enum.Enum):
    """What can be asked for. `*_before`: nothing has happened. `*_after`: the charge is on the books."""

    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    ERROR_BEFORE = "error_before"
    """A 500, kept for the key; nothing was charged."""
    ERROR_AFTER = "error_after"
    """A 500, kept for the key; the card was charged."""
    RATE_LIMIT = "rate_limit"
    LOCK_TIMEOUT = "lock_timeout"
    HANG = "hang"
    """Never answers; nothing has happened, and the key is free."""
    HANG_AFTER = "hang_after"
    CUT_BODY = "cut_body"
    """Acts, then sends the headers and half of the body, and closes."""
    HTML = "html"
    """A page of HTML with a 503, as a proxy in between would send it; nothing has happened."""
    HTML_AFTER = "html_after"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    """A 403, as a restricted key gets it that lacks the permission; the message names the account."""
    LATE = "late"
    """Breaks the connection at once; the request lands `delay_ms` later, as if the network had delayed it."""
    PROCESSING = "processing"
    """A payment that the request makes stays `processing` for `delay_ms`; the answer comes at once."""
    DELAY = "delay"
    """Waits `delay_ms` while the request is under way (its key is in use), then acts and answers as ever."""


CHECKED_ENDPOINT = "account.retrieve"
"""What a client asks for by itself, now and then, to see whether the sandbox is there: faults that are counted and
meant for any endpoint are not used up by it."""


class Fault(Struct, forbid_unknown_fields=True):
    """A fault for the next `times` requests to an endpoint (null: for all), each with a probability.

    `delay_ms` passes first, whatever the kind but `late` and `processing`. With `about` only requests are struck that
    name it: in their path, their parameters, or as the transfer group of the intent that they are about.
    """

    fault: FaultKind
    endpoint: str = ANY_ENDPOINT
    times: Annotated[int, Meta(ge=1)] | None = 1
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    delay_ms: Annotated[int, Meta(ge=0, le=DELAY_MAX_MS)] = 0
    about: str | None = None

    def is_for(self, endpoint: str, text: str) -> bool:
        if self.about is not None and self.about not in text:
            return False
        if self.endpoint == ANY_ENDPOINT:
            return endpoint != CHECKED_ENDPOINT or self.times is None
        return self.endpoint == endpoint


class Faults:
    """The faults still to strike, oldest first."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._pending: list[Fault] = []

    @property
    def pending(self) -> list[Fault]:
        return list(self._pending)

    def add(self, fault: Fault) -> bool:
        """Add a fault; False if there are too many."""
        if len(self._pending) >= FAULTS:
            return False
        self._pending.append(fault)
        return True

    def clear(self) -> None:
        self._pending.clear()

    @property
    def any_about(self) -> bool:
        """Whether it matters what requests are about."""
        return any(fault.about is not None for fault in self._pending)

    def strike(self, endpoint: str, text: str = "") -> Fault | None:
        """The fault that this request meets, if any. It is used up by meeting it. `words`: all that it names."""
        for fault in self._pending:
            if fault.is_for(endpoint, text) and self._random.random() < fault.probability:
                if fault.times is not None:
                    fault.times -= 1
                    self._pending = [other for other in self._pending if other.times != 0]
                return fault
        return None
