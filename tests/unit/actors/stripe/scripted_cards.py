"""A card processor that answers as a test scripts it, and notes every call."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from payment.actors.stripe.outcomes import Outcome
from payment.core.account import StripeAccount
from payment.core.effects import ConfirmIntent, IntentReference, RecheckRefund, RefundCharge
from payment.core.messages import ChargeFacts, IntentStatus
from payment.ports.cards import Charges, IntentAnswer, NotYet, Obstacle, Permission, Refunded, Unclear
from tests.support.fakes.clock import FakeClock

Answer = Any
"""An outcome of the call that it is scripted for; the real type differs by call."""

UNREACHABLE = NotYet(Obstacle.UNREACHABLE, "no connection")
RATE_LIMITED = NotYet(Obstacle.RATE_LIMITED, "too many requests")
LOCKED = NotYet(Obstacle.LOCKED, "lock_timeout")
KEY_IN_USE = NotYet(Obstacle.KEY_IN_USE, "in use")
KEY_REFUSED = NotYet(Obstacle.KEY_REFUSED, "no such key")
UNCLEAR = Unclear("no whole answer in time")
STORED = Unclear("an error was stored", stored=True)
ACCOUNT = StripeAccount("acct_1", False, "f1")
CHECKS = ("check", "permission")


@dataclass(frozen=True)
class Stall:
    """The call hangs until the event is set, then ends as `answer`; None: as an unscripted one."""

    go: asyncio.Event
    answer: Answer = None


@dataclass(frozen=True)
class Call:
    """One call: its kind, what it is about (a key, an intent, a charge or an order), and when, in monotonic seconds."""

    kind: str
    about: str
    at: float


def created(name: str, number: int = 1) -> IntentAnswer:
    """The answer to the create of order o<name> unless it is scripted."""
    return IntentAnswer(f"pi_{name}_{number}", IntentStatus.REQUIRES_PAYMENT_METHOD)


@dataclass
class ScriptedCards:
    """Every call succeeds at once, unless it is scripted, Stripe is away, or `admits` refuses it for its rate."""

    clock: FakeClock
    latency_s: float = 0.0
    away: Answer = None
    """How every call ends, the check too."""
    admits: Callable[[str, float], bool] = lambda _kind, _now: True
    calls: list[Call] = field(default_factory=list)
    """All calls but checks, in their order."""
    checks: list[Call] = field(default_factory=list)
    refused_429: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)
    in_flight_most: Counter[str] = field(default_factory=Counter)
    closed: bool = False
    _scripts: defaultdict[str, deque[Answer]] = field(default_factory=lambda: defaultdict(deque))

    def script(self, kind: str, *answers: Answer) -> None:
        """How the next calls of a kind end, in their order. None: as unscripted."""
        self._scripts[kind].extend(answers)

    def called(self, kind: str) -> list[str]:
        """Returns the subjects of the calls of a kind, in order."""
        return [call.about for call in (*self.calls, *self.checks) if call.kind == kind]

    @property
    def kinds(self) -> list[str]:
        """The kinds of all calls but checks, in their order."""
        return [call.kind for call in self.calls]

    async def create(self, intent: IntentReference) -> Answer:
        return await self._answer("create", intent.key, created(intent.order_id[1:], intent.number))

    async def confirm(self, request: ConfirmIntent, intent_id: str) -> Answer:
        paid = IntentAnswer(intent_id, IntentStatus.SUCCEEDED, ChargeFacts(f"ch_{intent_id}"))
        return await self._answer("confirm", f"{intent_id} {request.attempt}.{request.send}", paid)

    async def retrieve(self, intent_id: str) -> Answer:
        return await self._answer("retrieve", intent_id, IntentAnswer(intent_id, IntentStatus.REQUIRES_PAYMENT_METHOD))

    async def cancel(self, intent_id: str) -> Answer:
        return await self._answer("cancel", intent_id, IntentAnswer(intent_id, IntentStatus.CANCELED))

    async def list_charges(self, order_id: str, payment_id: str) -> Answer:
        return await self._answer("list", order_id, Charges(()))

    async def refund(self, request: RefundCharge) -> Answer:
        return await self._answer("refund", request.key, Refunded("re_1"))

    async def find_refund(self, charge_id: str) -> Answer:
        return await self._answer("find_refund", charge_id, Refunded("re_1"))

    async def recheck_refund(self, request: RecheckRefund) -> Answer:
        return await self._answer("recheck_refund", request.given_back_by, Refunded(request.given_back_by))

    async def check(self) -> Answer:
        return await self._answer("check", "", ACCOUNT)

    async def check_permission(self, permission: Permission) -> Answer:
        return await self._answer("permission", permission.value, None)

    async def close(self) -> None:
        self.closed = True

    async def _answer(self, kind: str, about: str, plain: Outcome | StripeAccount | None) -> Answer:
        calls = self.checks if kind in CHECKS else self.calls
        calls.append(Call(kind, about, self.clock.monotonic()))
        admitted = kind in CHECKS or self.admits(kind, self.clock.monotonic())
        answer = self._scripts[kind].popleft() if self._scripts[kind] else None
        self.in_flight[kind] += 1
        self.in_flight_most[kind] = max(self.in_flight_most[kind], self.in_flight[kind])
        try:
            if isinstance(answer, Stall):
                await answer.go.wait()
                answer = answer.answer
            elif self.latency_s:
                await self.clock.sleep(self.latency_s)
        finally:
            self.in_flight[kind] -= 1
        if self.away is not None:
            return self.away
        if not admitted:
            self.refused_429[kind] += 1
            return RATE_LIMITED
        return plain if answer is None else answer
