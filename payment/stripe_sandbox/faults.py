"""The faults: which request gets one, and its effect. They are set over `/_sandbox/faults` and end with the process.

A fault replaces the whole handling, the endpoint's execution or answer, or breaks the sending of the answer. Change
together: the enum, `app.py` (the first two) and `wire.py` (the last).
"""

import enum
from random import Random
from typing import Annotated

from msgspec import Meta, Struct

ANY_ENDPOINT = "*"
DELAY_MAX_MS = 600_000
"""Ten minutes in milliseconds: longer than any client waits."""
FAULTS = 1_000
"""Pending faults at once: a bound, because each request searches them."""


class FaultKind(enum.Enum):
    """The kinds of faults. `*_before`: nothing was executed. `*_after`: the charge is stored."""

    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    ERROR_BEFORE = "error_before"
    """A 500, kept for the key; nothing was charged."""
    ERROR_AFTER = "error_after"
    """A 500, kept for the key; the card was charged."""
    RATE_LIMIT = "rate_limit"
    LOCK_TIMEOUT = "lock_timeout"
    HANG = "hang"
    """Never answers; nothing was executed, and the key is free."""
    HANG_AFTER = "hang_after"
    CUT_BODY = "cut_body"
    """Executes, then sends the headers and half of the body, and closes."""
    HTML = "html"
    """A page of HTML with a 503, as from a proxy in between; nothing was executed."""
    HTML_AFTER = "html_after"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    """A 403, as for a restricted key without the permission; the message names the account."""
    LATE = "late"
    """Breaks the connection at once; the request executes `delay_ms` later, as if the network had delayed it."""
    PROCESSING = "processing"
    """A payment that the request makes stays `processing` for `delay_ms`; the answer comes at once."""
    DELAY = "delay"
    """Waits `delay_ms` while the request is executing (its key is in use), then executes and answers as usual."""


CHECKED_ENDPOINT = "account.retrieve"
"""Endpoints of periodic health checks: counted faults for any endpoint are not used up by them."""


class Fault(Struct, forbid_unknown_fields=True):
    """A fault for the next `times` requests to an endpoint (null: for all), which strikes each with a probability.

    `delay_ms` passes first, except for `late` and `processing`. With `about` the fault strikes only requests that
    contain this text: in their path, their parameters, or the transfer group of their intent.
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
    """The pending faults, oldest first."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._pending: list[Fault] = []

    @property
    def pending(self) -> list[Fault]:
        return list(self._pending)

    def add(self, fault: Fault) -> bool:
        """Add a fault; returns False if there are too many."""
        if len(self._pending) >= FAULTS:
            return False
        self._pending.append(fault)
        return True

    def clear(self) -> None:
        self._pending.clear()

    @property
    def any_about(self) -> bool:
        """Whether any fault has `about`, so that `strike` needs the request's text."""
        return any(fault.about is not None for fault in self._pending)

    def strike(self, endpoint: str, text: str = "") -> Fault | None:
        """Returns the fault that strikes this request, if any, and counts it as used. `text` is matched against
        `about`.
        """
        for fault in self._pending:
            if fault.is_for(endpoint, text) and self._random.random() < fault.probability:
                if fault.times is not None:
                    fault.times -= 1
                    self._pending = [other for other in self._pending if other.times != 0]
                return fault
        return None
