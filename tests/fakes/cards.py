"""A small Stripe in memory, and the `CardProcessor` that stands before it.

Owns: one account's charges, refunds, used tokens and answers kept under idempotency keys, on a clock that is passed in,
with no chance in it. It passes `tests/contract/cards_contract.py`, as the real adapter over the real sandbox does; the
test cards are the sandbox's. What a call meets can be scripted, one fate for each call. Must never: lose a request that
has arrived because its caller went away.
Change together with: that suite, and `payment.ports.cards`.
"""

import asyncio
import enum
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from payment.core.effects import ChargeCard, RefundCharge
from payment.core.messages import FoundCharge, RefusalReason
from payment.ports.cards import (
    Blocked,
    Charged,
    ChargeOutcome,
    Declined,
    FindOutcome,
    FindRefundOutcome,
    Found,
    NotRefunded,
    NotYet,
    Obstacle,
    Refunded,
    RefundOutcome,
    Refused,
    Unclear,
)
from payment.ports.clock import Clock
from payment.stripe_sandbox.currencies import check_amount, check_currency
from payment.stripe_sandbox.errors import ApiError
from payment.stripe_sandbox.tokens import card_behind, is_single_use

R = TypeVar("R")

CALL_TIMEOUT_S = 8.0
KEY_LIFE = timedelta(hours=24)
REFUND_SETTLES_AFTER = timedelta(seconds=2)


class Fate(enum.Enum):
    """What one call meets. Where it says so the call ends `Unclear` when its time is over."""

    LOSE_REQUEST = "it never arrives; unclear"
    LOSE_ANSWER = "it acts, and its answer is lost; unclear"
    UNREACHABLE = "no connection is made"
    RATE_LIMITED = "429"
    LOCKED = "429 lock_timeout"
    KEY_REFUSED = "401"
    ERROR_BEFORE = "a 500 kept for its key; nothing has happened"
    ERROR_AFTER = "a 500 kept for its key; it has acted"


@dataclass(frozen=True)
class Stall:
    """The request arrives when the event is set; its caller waits as long as that, without a time limit."""

    until: asyncio.Event


@dataclass(frozen=True)
class Late:
    """Unclear, and the request arrives `after_s` after it left: on the way, or (`holds_key`) in Stripe's own hands."""

    after_s: float
    holds_key: bool = False


@dataclass(frozen=True)
class Wish:
    """429 with a Retry-After."""

    retry_after_s: float


AnyFate = Fate | Stall | Late | Wish


@dataclass
class Charge:
    """A charge on the books. `attempt` and ids are its metadata."""

    id: str
    request: ChargeCard
    succeeded: bool
    disputed: bool
    refund_begins: str
    refund_ends: str

    @property
    def order_id(self) -> str:
        return self.request.order_id


@dataclass
class Refund:
    """A refund of a whole charge. It takes its last status at `settles_at`."""

    id: str
    charge_id: str
    begins: str
    ends: str
    settles_at: datetime


@dataclass
class Kept:
    """The answer kept under a key: how it was asked, what it says."""

    fingerprint: tuple[object, ...]
    at: datetime
    answer: Charged | Declined | Refund | None
    """None is a 500."""


@dataclass
class FakeStripe:
    """The account. `calls` counts what was asked of it by kind, `sent` lists charges that left, in order."""

    clock: Clock
    latency_s: float = 0.0
    admits: Callable[[str, float], bool] = lambda _kind, _now: True
    """The rate limiter: kind and time to whether it may pass."""
    charges: list[Charge] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    sent: list[ChargeCard] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    refused_429: Counter[str] = field(default_factory=Counter)
    always: dict[str, AnyFate] = field(default_factory=dict)
    """What every call of a kind meets that has no fate of its own."""

    def __post_init__(self) -> None:
        self._fates: defaultdict[str, deque[AnyFate | None]] = defaultdict(deque)
        self._kept: dict[str, Kept] = {}
        self._holding: set[str] = set()
        self._used_tokens: set[str] = set()
        self._arriving: set[asyncio.Future[object]] = set()

    def cards(self) -> "FakeCards":
        return FakeCards(self)

    def script(self, kind: str, *fates: AnyFate | None) -> None:
        """The next calls of a kind (charge, find, refund, find_refund, check) meet these; None is an ordinary one."""
        self._fates[kind].extend(fates)

    def go_away(self, fate: AnyFate = Fate.UNREACHABLE) -> None:
        self.always = dict.fromkeys(("charge", "find", "refund", "find_refund", "check"), fate)

    def come_back(self) -> None:
        self.always = {}

    def kept_charges(self, order_id: str) -> list[Charge]:
        """The order's succeeded charges that were not given back: never more than one at rest (L1)."""
        back = {refund.charge_id for refund in self.refunds if self._status(refund) == "succeeded"}
        return [each for each in self.charges if each.order_id == order_id and each.succeeded and each.id not in back]

    async def close(self) -> None:
        """Let nothing arrive any more."""
        for each in self._arriving:
            each.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)

    async def meet(self, kind: str, key: str | None, act: Callable[[bool, bool], R]) -> R | NotYet | Unclear:
        """One call. `act(fails_before, fails_after)` is what Stripe does once the request has arrived."""
        self.calls[kind] += 1
        fates = self._fates[kind]
        fate = (fates.popleft() if fates else None) or self.always.get(kind)
        match fate:
            case Fate.UNREACHABLE:
                return NotYet(Obstacle.UNREACHABLE, "no connection")
            case Fate.KEY_REFUSED:
                return NotYet(Obstacle.KEY_REFUSED, "Invalid API Key provided")
            case Fate.LOCKED:
                return NotYet(Obstacle.LOCKED, "lock_timeout")
            case Wish():
                return NotYet(Obstacle.RATE_LIMITED, "rate limit", fate.retry_after_s)
        if fate is Fate.RATE_LIMITED or (fate is not Fate.LOSE_REQUEST and not self.admits(kind, self._now_s)):
            self.refused_429[kind] += 1
            return NotYet(Obstacle.RATE_LIMITED, "rate limit")
        return await self._travel(fate, key, act)

    async def _travel(
        self, fate: AnyFate | None, key: str | None, act: Callable[[bool, bool], R]
    ) -> R | NotYet | Unclear:
        match fate:
            case Fate.LOSE_REQUEST:
                return await self._no_answer()
            case Fate.LOSE_ANSWER:
                self._arrive(self._execute(key, act))
                return await self._no_answer()
            case Late():
                self._arrive(self._execute(key if fate.holds_key else None, act, fate.after_s))
                return await self._no_answer()
            case Stall():
                await fate.until.wait()
        before, after = fate is Fate.ERROR_BEFORE, fate is Fate.ERROR_AFTER
        return await asyncio.shield(self._arrive(self._execute(key, lambda *_: act(before, after))))

    async def _no_answer(self) -> Unclear:
        await self.clock.sleep(CALL_TIMEOUT_S)
        return Unclear("no whole answer in time")

    def _arrive(self, work: "asyncio.Future[R] | object") -> "asyncio.Future[R]":
        task: asyncio.Future[R] = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self._arriving.add(task)  # type: ignore[arg-type]
        task.add_done_callback(self._arriving.discard)
        return task

    async def _execute(self, key: str | None, act: Callable[[bool, bool], R], after_s: float = 0.0) -> R | NotYet:
        """A request that has arrived runs to its end, whoever still waits for it."""
        if key is not None and key in self._holding:
            return NotYet(Obstacle.KEY_IN_USE, "idempotency_key_in_use")
        if key is not None:
            self._holding.add(key)
        try:
            if after_s or self.latency_s:
                await self.clock.sleep(after_s + self.latency_s)
            return act(False, False)
        finally:
            if key is not None:
                self._holding.discard(key)

    @property
    def _now_s(self) -> float:
        return self.clock.monotonic()

    # ---------------------------------------------------------------------------------------------------- the endpoints

    def charge(self, request: ChargeCard, fails_before: bool, fails_after: bool) -> ChargeOutcome:
        asked = (request.order_id, request.payment_id, request.attempt, request.amount, request.currency, request.token)
        kept = self._kept_under(request.key)
        if kept is not None:
            if kept.fingerprint != asked:
                return Unclear("other parameters for the key", alarm=True)
            assert not isinstance(kept.answer, Refund)
            return kept.answer or Unclear("a 500, replayed", stored=True)
        answer: Charged | Declined | None = None
        if not fails_before:
            made = self._charge(request)
            if isinstance(made, Refused):
                return made
            answer = None if fails_after else made
        self._kept[request.key] = Kept(asked, self.clock.now(), answer)
        return answer or Unclear("a 500")

    def _charge(self, request: ChargeCard) -> Charged | Declined | Refused:
        try:
            check_currency(request.currency)
        except ApiError:
            return Refused(RefusalReason.REQUEST, "Invalid currency")
        try:
            check_amount(request.amount, request.currency)
        except ApiError:
            return Refused(RefusalReason.AMOUNT, "the amount can't be charged")
        card = card_behind(request.token)
        if card is None:
            return Refused(RefusalReason.TOKEN, "No such token")
        if is_single_use(request.token) and request.token in self._used_tokens:
            return Refused(RefusalReason.TOKEN_USED, "You cannot use a Stripe token more than once")
        self._used_tokens.add(request.token)
        charge_id, decline = f"ch_{len(self.charges) + 1}", card.decline
        self.charges.append(
            Charge(charge_id, request, decline is None, card.disputed, card.refund_begins, card.refund_ends)
        )
        return Charged(charge_id) if decline is None else Declined(decline.code, decline.decline_code, decline.message)

    def find(self, order_id: str, payment_id: str) -> FindOutcome:
        """Newest first, as Stripe lists them."""
        mine = [each for each in self.charges if each.order_id == order_id and each.succeeded]
        return Found(
            tuple(
                FoundCharge(each.id, each.request.attempt if each.request.payment_id == payment_id else 0)
                for each in reversed(mine)
            )
        )

    def refund(self, request: RefundCharge, fails_before: bool, fails_after: bool) -> RefundOutcome:
        asked = (request.order_id, request.payment_id, request.attempt, request.charge_id)
        kept = self._kept_under(request.key)
        if kept is not None:
            if kept.fingerprint != asked:
                return Unclear("other parameters for the key", alarm=True)
            return self._shown(kept.answer) if isinstance(kept.answer, Refund) else Unclear("a 500", stored=True)
        made: Refund | None = None
        if not fails_before:
            charge = next((each for each in self.charges if each.id == request.charge_id), None)
            if charge is None or not charge.succeeded or charge.disputed:
                return Blocked("it can't be refunded")
            if self._gives_back(charge.id):
                seen = self.find_refund(charge.id)
                return Unclear("refunded, and not listed") if isinstance(seen, NotRefunded) else seen
            made = self._refund(charge)
        self._kept[request.key] = Kept(asked, self.clock.now(), None if fails_after else made)
        return Unclear("a 500") if fails_after or made is None else self._shown(made)

    def _refund(self, charge: Charge) -> Refund:
        settles_at = self.clock.now() + REFUND_SETTLES_AFTER
        made = Refund(f"re_{len(self.refunds) + 1}", charge.id, charge.refund_begins, charge.refund_ends, settles_at)
        self.refunds.append(made)
        return made

    def _shown(self, refund: Refund) -> RefundOutcome:
        """The kept answer says how the refund began: only its list tells what became of one that was pending."""
        if refund.begins == "succeeded":
            return Refunded(refund.id)
        seen = self.find_refund(refund.charge_id)
        return seen if isinstance(seen, Refunded) else Blocked(f"the refund is {refund.begins}", refund.id)

    def find_refund(self, charge_id: str) -> FindRefundOutcome:
        if all(each.id != charge_id for each in self.charges):
            return Unclear("No such charge", alarm=True)
        for refund in reversed(self.refunds):
            if refund.charge_id == charge_id and (status := self._status(refund)) != "failed":
                return Refunded(refund.id) if status == "succeeded" else Blocked("the refund is under way", refund.id)
        return NotRefunded()

    def _gives_back(self, charge_id: str) -> bool:
        return any(each.charge_id == charge_id and self._status(each) != "failed" for each in self.refunds)

    def _status(self, refund: Refund) -> str:
        return refund.ends if self.clock.now() >= refund.settles_at else refund.begins

    def _kept_under(self, key: str) -> Kept | None:
        kept = self._kept.get(key)
        return None if kept is None or self.clock.now() - kept.at >= KEY_LIFE else kept


class FakeCards:
    """One process's way to that account: `payment.ports.cards.CardProcessor`."""

    def __init__(self, stripe: FakeStripe) -> None:
        self.closed = False
        self._stripe = stripe

    async def charge(self, request: ChargeCard) -> ChargeOutcome:
        self._stripe.sent.append(request)
        return await self._stripe.meet("charge", request.key, lambda *fails: self._stripe.charge(request, *fails))

    async def find(self, order_id: str, payment_id: str) -> FindOutcome:
        return await self._look("find", lambda: self._stripe.find(order_id, payment_id))

    async def refund(self, request: RefundCharge) -> RefundOutcome:
        return await self._stripe.meet("refund", request.key, lambda *fails: self._stripe.refund(request, *fails))

    async def find_refund(self, charge_id: str) -> FindRefundOutcome:
        return await self._look("find_refund", lambda: self._stripe.find_refund(charge_id))

    async def check(self) -> NotYet | Unclear | None:
        return await self._look("check", lambda: None)

    async def close(self) -> None:
        self.closed = True

    async def _look(self, kind: str, look: Callable[[], R]) -> R | NotYet | Unclear:
        """A look-up has no key: a 500 is only a 500."""

        def act(fails_before: bool, fails_after: bool) -> R | Unclear:
            return Unclear("a 500") if fails_before or fails_after else look()

        return await self._stripe.meet(kind, None, act)
