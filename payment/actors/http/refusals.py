"""The trace of each answer that is no success: a count, and a log line with the order, the user and the answer's code.

A customer who asks "why can't I pay?" is found by one search for the order's id. A request that was rejected before its
order was known has a line for its reason. No client may flood the log: lines are bounded for one order's answer, for
one user and for all (`SAME_LINES_PER_S`, `USER_LINES_PER_S`, `LINES_PER_S`), rejections of one reason are counted into
one line a second, and what has no line is counted. A line never holds anything of a request but ids that were checked.
"""

import asyncio
from collections import Counter

from msgspec import Struct, field
from structlog.typing import FilteringBoundLogger

from payment.actors.http.responses import Case, Rendered
from payment.ops.log_schema import Event
from payment.ops.metrics import Metrics
from payment.ports.clock import Clock

LINES_PER_S = 200
"""Lines a second of one kind, pending or refused: some 4 ms of the process's time."""

USER_LINES_PER_S = 10
"""Of these, what one user has: a client that repeats a request leaves lines for the other users."""

SAME_LINES_PER_S = 3
"""Of these, what one user has with the same order and code: an answer that comes after twenty others about the same
order still has a line if its code is another."""

REPORT_EVERY_S = 1.0
"""Between lines that say how many answers had no line, in seconds: also the length of what is counted together."""

TOGETHER_S = 1.0
"""How long rejections for one reason are counted into one line, in seconds."""

Reason = tuple[int, str]
"""The HTTP status and the reason in words."""

_PENDING_CODES = {Case.OUTCOME_PENDING: "pending", Case.REQUIRES_ACTION: "requires_action"}


def code_of(answer: Rendered) -> str | None:
    """The word of an answer that is no success: an error's `code`, or the `status` in the body of a 202."""
    code = answer.case.value.code
    return _PENDING_CODES.get(answer.case) if code is None else code.value


class _Window(Struct):
    """What one kind of line has had within the present second."""

    lines: int = 0
    by_user: Counter[str] = field(default_factory=Counter)
    same: Counter[tuple[str, str | None, str | None]] = field(default_factory=Counter)
    unlogged: int = 0

    def takes(self, user_id: str, about: str | None, code: str | None) -> bool:
        """Whether there is a line left for this user, about this order or payment. It is used up, or counted."""
        same = (user_id, about, code)
        if (
            self.lines >= LINES_PER_S
            or self.by_user[user_id] >= USER_LINES_PER_S
            or self.same[same] >= SAME_LINES_PER_S
        ):
            self.unlogged += 1
            return False
        self.lines += 1
        self.by_user[user_id] += 1
        self.same[same] += 1
        return True


class _Counted(Struct):
    """Rejections since the last line of their reason, and the request id of the first of them."""

    count: int = 0
    request_id: str | None = None


class RefusalLog:
    """Logs and counts the answers of the HTTP actor that are no success."""

    def __init__(self, clock: Clock, metrics: Metrics, logger: FilteringBoundLogger) -> None:
        self._clock = clock
        self._metrics = metrics
        self._log = logger
        self._pending, self._refused, self._looked = _Window(), _Window(), _Window()
        self._rejected: dict[Reason, _Counted] = {}
        """The reasons of the last second. There are a few dozen in the code."""

    def count(self, answer: Rendered) -> None:
        """Count an answer, if it is an error."""
        if (code := answer.case.value.code) is not None:
            self._metrics.refusals(code.value).inc()

    def unparsed(self, answer: Rendered, reason: str, request_id: str) -> None:
        """Count and log a charge that was refused unparsed: its order is not known."""
        self.count(answer)
        self._refused.unlogged += 1
        self.rejected(answer.status, reason, request_id)

    def charge(self, answer: Rendered, user_id: str, order_id: str | None) -> Rendered:
        """Log the answer to a request for a charge, unless it was charged. Returns the answer."""
        code = code_of(answer)
        if code is None:
            return answer
        pending = answer.status < 400
        if (self._pending if pending else self._refused).takes(user_id, order_id, code):
            self._log.info(
                Event.CHARGE_PENDING if pending else Event.CHARGE_REFUSED,
                order_id=order_id,
                user_id=user_id,
                status=answer.status,
                code=code,
                decline_code=answer.decline_code,
                reason=answer.reason,
            )
        return answer

    def look_up(
        self, answer: Rendered, user_id: str, payment_id: str | None = None, order_id: str | None = None
    ) -> Rendered:
        """Log that a payment is not shown: at info where it is another user's, else at debug. Returns the answer."""
        if answer.status < 400 or not self._looked.takes(user_id, order_id or payment_id, code_of(answer)):
            return answer
        self._log.log(
            20 if answer.case is Case.NOT_OWNER else 10,
            Event.REQUEST_REFUSED,
            payment_id=payment_id,
            order_id=order_id,
            user_id=user_id,
            status=answer.status,
            code=code_of(answer),
            reason=answer.reason,
        )
        return answer

    def rejected(self, status: int, reason: str, request_id: str | None = None) -> None:
        """Log a request that was rejected before its order was known: the first at once, later ones together.

        `reason` is a sentence of ours.
        """
        counted = self._rejected.get((status, reason))
        if counted is None:
            self._log_rejected((status, reason), 1, request_id)
            self._count_rejected((status, reason))
            return
        counted.count += 1
        counted.request_id = counted.request_id or request_id

    async def report_unlogged(self) -> None:
        """Begin each second anew, and log how many had no line in the last one. Runs until it is cancelled."""
        while True:
            await self._clock.sleep(REPORT_EVERY_S)
            unlogged = self._pending.unlogged + self._refused.unlogged + self._looked.unlogged
            if unlogged:
                self._log.warning(Event.REFUSALS_UNLOGGED, count=unlogged)
            self._pending, self._refused, self._looked = _Window(), _Window(), _Window()

    def _count_rejected(self, reason: Reason) -> None:
        self._rejected[reason] = _Counted()
        asyncio.get_running_loop().call_later(TOGETHER_S, self._rejected_together, reason)

    def _rejected_together(self, reason: Reason) -> None:
        counted = self._rejected.pop(reason)
        if counted.count:
            self._log_rejected(reason, counted.count, counted.request_id)
            self._count_rejected(reason)

    def _log_rejected(self, reason: Reason, count: int, request_id: str | None) -> None:
        status, words = reason
        self._log.info(Event.REQUEST_REFUSED, status=status, reason=words, count=count, request_id=request_id)
