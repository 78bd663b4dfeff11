"""A process's way to the one Stripe: `payment.ports.cards.CardProcessor` over `FakeStripe`, by calls that travel.

The books (charges, refunds, answers kept under keys for 24 hours, tokens used once) are the fake's, on true time. Here
stands what is before them: conditions that last (away, 429, 401) and keys that are in use while a request executes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from payment.core.effects import ChargeCard, RefundCharge
from payment.core.messages import RefusalReason
from payment.ports.cards import (
    ChargeOutcome,
    FindOutcome,
    FindRefundOutcome,
    NotYet,
    Obstacle,
    RefundOutcome,
    Refused,
    Unclear,
)
from tests.fakes.cards import CALL_TIMEOUT_S, REFUND_SETTLES_AFTER, FakeStripe
from tests.simulation.calls import Call, Reply
from tests.simulation.journal import StripeAnswered, StripeAsked, StripeCharged, StripeRefunded, StripeSent

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

R = TypeVar("R")
Act = Callable[[bool, bool], R]

EXECUTION_S = 0.3
"""About how long Stripe executes a charge or refund: so long its key is in use."""


class SimStripe:
    """The account, and what it tells the journal."""

    def __init__(self, world: World) -> None:
        self.books = FakeStripe(world.clock)
        self._world = world
        self._executing: dict[str, None] = {}
        self.refused: dict[str, None] = {}
        """Keys of which every further request is refused."""

    def asked(self, call: Call, key: str | None, act: Act[R], reply: Reply[R | NotYet | Unclear]) -> None:
        """A request has arrived."""
        if (obstacle := self._obstacle(call.hook.removeprefix("stripe."))) is not None:
            call.turned_away = True
            return reply(NotYet(obstacle, obstacle.value))
        if key is not None and (key in self._executing or call.turned_away):
            call.turned_away = True
            return reply(NotYet(Obstacle.KEY_IN_USE, "idempotency_key_in_use"))
        if key is None:
            return reply(act(call.error_before, call.error_after))
        self._executing[key] = None

        def execute() -> None:
            self._executing.pop(key, None)
            reply(self._act(act, call))

        took_s = EXECUTION_S * self._world.chances.next("execution")
        self._world.later(took_s, execute)
        return None

    def _obstacle(self, kind: str) -> Obstacle | None:
        if self._world.is_on("stripe key refused"):
            return Obstacle.KEY_REFUSED
        if self._world.is_on("stripe 429") or not self.books.admits(kind, self._world.clock.monotonic()):
            return Obstacle.RATE_LIMITED
        return None

    def _act(self, act: Act[R], call: Call) -> R:
        charges, refunds = len(self.books.charges), len(self.books.refunds)
        result = act(call.error_before, call.error_after)
        for charge in self.books.charges[charges:]:
            asked = charge.request
            about = (asked.order_id, asked.payment_id, asked.attempt, asked.amount, asked.currency, asked.key)
            self._tell(StripeCharged(self._world.now_s, "stripe", charge.id, *about, charge.succeeded))
        for refund in self.books.refunds[refunds:]:
            self._tell_refund(refund.id, refund.charge_id, refund.begins)
            if refund.ends != refund.begins:
                settles_s = REFUND_SETTLES_AFTER.total_seconds()
                self._world.later(settles_s, self._tell_refund, refund.id, refund.charge_id, refund.ends)
        return result

    def _tell_refund(self, refund_id: str, charge_id: str, status: str) -> None:
        self._tell(StripeRefunded(self._world.now_s, "stripe", refund_id, charge_id, status))

    def _tell(self, entry: StripeCharged | StripeRefunded) -> None:
        self._world.journal.add(entry)


class SimCards:
    """One process's card processor."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self._books = world.stripe.books

    async def charge(self, request: ChargeCard) -> ChargeOutcome:
        parts = (request.amount, request.currency, request.token, request.payment_id, request.attempt)
        about = ("charge", request.key, request.order_id, request.attempt)
        return await self._call(about, repr(parts), lambda *fails: self._books.charge(request, *fails))

    async def refund(self, request: RefundCharge) -> RefundOutcome:
        parts = (request.charge_id, request.payment_id, request.attempt)
        about = ("refund", request.key, request.order_id, request.attempt)
        return await self._call(about, repr(parts), lambda *fails: self._books.refund(request, *fails))

    async def find(self, order_id: str, payment_id: str) -> FindOutcome:
        return await self._look("find", order_id, lambda: self._books.find(order_id, payment_id))

    async def find_refund(self, charge_id: str) -> FindRefundOutcome:
        return await self._look("find_refund", charge_id, lambda: self._books.find_refund(charge_id))

    async def check(self) -> NotYet | Unclear | None:
        return await self._look("check", "", lambda: None)

    async def close(self) -> None:
        return

    async def _look(self, kind: str, what: str, look: Callable[[], R]) -> R | NotYet | Unclear:
        """A look-up has no key: a 500 is only a 500."""

        def act(fails_before: bool, fails_after: bool) -> R | Unclear:
            return Unclear("a 500") if fails_before or fails_after else look()

        return await self._call((kind, None, what, 0), what, act)

    async def _call(
        self, about: tuple[str, str | None, str, int], fingerprint: str, act: Act[R]
    ) -> R | NotYet | Unclear:
        kind, key, order_id, attempt = about
        world, name = self._world, self._process.name
        call = world.happens(f"stripe.{kind}", self._process)
        if key is not None and key in world.stripe.refused:
            call.answer = Refused(RefusalReason.TOKEN_USED, "You cannot use a Stripe token more than once")
        elif key is not None and call.refuses_later:
            world.stripe.refused[key] = None
        if call.answer is None and world.is_on("stripe away"):
            call.answer = NotYet(Obstacle.UNREACHABLE, "no connection")
        if not isinstance(call.answer, NotYet):
            world.journal.add(StripeSent(world.now_s, name, kind, key, order_id, attempt))

        def arrived(reply: Reply[R | NotYet | Unclear]) -> None:
            world.journal.add(StripeAsked(world.now_s, name, kind, key, fingerprint, order_id))
            world.stripe.asked(call, key, act, reply)

        def lost() -> Unclear:
            return Unclear("no whole answer in time")

        outcome = await world.carrier.travel(call, arrived, lost, CALL_TIMEOUT_S)
        if kind != "check":
            world.journal.add(StripeAnswered(world.now_s, name, kind, key, order_id, repr(outcome)))
        return outcome
