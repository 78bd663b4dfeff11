"""What HTTP rejects before it knows an order, in the log: one line for each reason and second, with how many.

A flood of bad requests must leave a trace, and must not flood the log. Reasons are sentences of ours, never what was
sent. The first refusal is logged at once; those that follow within a second are counted into one line.
"""

import asyncio

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from payment.ops.log_schema import Event

TOGETHER_S = 1.0
"""How long refusals for one reason are counted into one line, in seconds."""

Reason = tuple[int, str]
"""The HTTP status and the reason in words."""


class _Counted(Struct):
    """Refusals since the last line of their reason, and the request id of the first of them."""

    count: int = 0
    request_id: str | None = None


class Rejections:
    """Logs refusals. There are as many reasons as there are in our own code: a few dozen."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._log = logger
        self._lately: dict[Reason, _Counted] = {}

    def note(self, status: int, reason: str, request_id: str | None = None) -> None:
        """A request was refused."""
        counted = self._lately.get((status, reason))
        if counted is None:
            self._say((status, reason), 1, request_id)
            self._count_on((status, reason))
            return
        counted.count += 1
        counted.request_id = counted.request_id or request_id

    def _count_on(self, reason: Reason) -> None:
        self._lately[reason] = _Counted()
        asyncio.get_running_loop().call_later(TOGETHER_S, self._second_over, reason)

    def _second_over(self, reason: Reason) -> None:
        counted = self._lately.pop(reason)
        if counted.count:
            self._say(reason, counted.count, counted.request_id)
            self._count_on(reason)

    def _say(self, reason: Reason, count: int, request_id: str | None) -> None:
        status, words = reason
        self._log.info(Event.REQUEST_REFUSED, status=status, reason=words, count=count, request_id=request_id)
