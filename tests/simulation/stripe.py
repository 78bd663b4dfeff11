"""A process's connection to Stripe: `payment.ports.cards.CardProcessor` over `FakeStripe`, by calls that travel.

The fake keeps the account (intents, charges, refunds, answers stored under keys for 24 hours, used instruments), on
true time. This file adds conditions that last (away, 429, 401), keys that are in use while a request executes, and what
customers and operators do at Stripe without the service.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from payment.core.account import StripeAccount
from payment.core.effects import ConfirmIntent, IntentReference, RecheckRefund, RefundCharge
from payment.core.messages import Instrument, IntentStatus, RefusalReason
from payment.core.order import Attempt
from payment.ports.cards import (
    CancelOutcome,
    ConfirmOutcome,
    CreateOutcome,
    FindRefundOutcome,
    ListOutcome,
    NotYet,
    Obstacle,
    Permission,
    RefundOutcome,
    Refused,
    RetrieveOutcome,
    Unclear,
)
from tests.simulation import before
from tests.simulation.calls import Call, Reply
from tests.simulation.journal import (
    BankDecided,
    IntentMoved,
    OperatorActed,
    StripeAnswered,
    StripeCharged,
    StripeReceived,
    StripeRefunded,
    StripeSent,
)
from tests.support.fakes.cards import (
    CALL_TIMEOUT_S,
    LOST,
    OPEN,
    PREFIXES,
    PROCESSING_TAKES,
    REFUND_SETTLES_AFTER,
    WON,
    Changed,
    Charge,
    Dispute,
    FakeStripe,
    PaymentIntent,
    Refund,
    confirm_key,
)

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

R = TypeVar("R")
Act = Callable[[bool, bool], R]

ACCOUNT = StripeAccount("acct_right", False, "the right key")
OTHER_ACCOUNT = StripeAccount("acct_other", False, "another account's key")

EXECUTION_S = 0.3
"""About how long Stripe executes a request with a key, in seconds: meanwhile its key is in use."""
DAY_S = 86_400.0
FAILS_AFTER_S = (2.0, 29 * DAY_S)
"""When a refund that succeeded fails, in seconds: banks have 30 days. Each order of magnitude is equally likely."""
BANK_DECIDES_AFTER_S = (0.1, 60 * DAY_S)
"""How long a dispute is open, in seconds."""
NEVER_DECIDED, DECIDED_ANEW = 0.2, 0.15
"""The probabilities that a bank does not decide within a world's time, and that it reverses a dispute that we lost."""
REFUNDS_UNDONE = 3
"""After this many refunds of a charge that failed the service asks for no more: stated again, the code's may be
wrong."""
CLOCK_STEP_S = 0.001
"""Clocks are read in whole milliseconds: an event at a time is read just after it."""


class SimStripe:
    """The account, and its entries in the journal."""

    def __init__(self, world: World, account: StripeAccount = ACCOUNT) -> None:
        self.account = account
        self.accounts = FakeStripe(world.clock, changed=self._changed)
        self.accounts.confirms_over_action = world.chances.next("confirms over action") < 0.5
        self.accounts.stores_refusals = world.chances.next("stores refusals") < 0.5
        self.accounts.refund_settles_after = self._refund_settles_after
        self._world = world
        self._executing: dict[str, None] = {}
        self.refused: dict[str, Refused] = {}
        """Keys of which every further request is refused, and the refusal."""
        self.coming: list[float] = []
        """When an event comes by itself: a bank decides or returns a refund, an old request lands. The world is not at
        rest before."""

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
            reply(act(call.error_before, call.error_after))

        took_s = EXECUTION_S * self._world.chances.next("execution")
        self._world.later(took_s, execute)
        return None

    def _obstacle(self, kind: str) -> Obstacle | None:
        if self._world.is_on("stripe key refused"):
            return Obstacle.KEY_REFUSED
        if kind in ("create", "confirm") and self._world.is_on(f"stripe {kind} forbidden"):
            return Obstacle.KEY_REFUSED
        if self._world.is_on("stripe 429") or not self.accounts.admits(kind, self._world.clock.monotonic()):
            return Obstacle.RATE_LIMITED
        return None

    # -------------------------------------------------------------------------------------------- the journal's entries

    def _changed(self, what: Changed) -> None:
        match what:
            case PaymentIntent():
                self._intent_changed(what)
            case Charge():
                if what.status != "pending":
                    about = (what.order_id, what.payment_id, what.intent_id, what.amount, what.currency, what.by)
                    charged = StripeCharged(self._world.now_s, "stripe", what.id, *about, what.succeeded)
                    self._world.journal.add(charged)
            case Refund():
                self._refund_changed(what)
            case Dispute():
                self._disputed(what)

    def _refund_changed(self, refund: Refund) -> None:
        self._note_refund(refund.id, refund.charge_id, self.accounts.status_of(refund))
        settles_s = (refund.settles_at - self._world.clock.now()).total_seconds()
        if settles_s > 0 and refund.ends != refund.begins:
            note = partial(self._note_refund, refund.id, refund.charge_id)
            self._comes(settles_s + CLOCK_STEP_S, lambda: note(self.accounts.status_of(refund)))

    def _refund_settles_after(self, status: str) -> timedelta:
        if status != "failed":
            return REFUND_SETTLES_AFTER
        return timedelta(seconds=self._spread("refund fails", FAILS_AFTER_S))

    def _spread(self, what: str, between: tuple[float, float]) -> float:
        """Each order of magnitude is equally likely."""
        least, most = between
        factor: float = (most / least) ** self._world.chances.next(what)
        return round(least * factor, 3)

    def _disputed(self, dispute: Dispute) -> None:
        world = self._world
        world.journal.add(BankDecided(world.now_s, "stripe", dispute.charge_id, dispute.status))
        world.changes += 1
        charge = next(each for each in self.accounts.charges if each.id == dispute.charge_id)
        if dispute.status == OPEN and world.chances.next("bank decides") >= NEVER_DECIDED:
            decision = LOST if world.chances.next("bank's decision") < 0.6 else WON
            after_s = self._spread("dispute takes", BANK_DECIDES_AFTER_S)
            self._comes(after_s, lambda: self.accounts.dispute(charge, decision))
        elif dispute.status == LOST and world.chances.next("bank decides anew") < DECIDED_ANEW:
            after_s = self._spread("decision stands", FAILS_AFTER_S)
            self._comes(after_s, lambda: self.accounts.dispute(charge, WON))

    def blocks(self, attempt: Attempt) -> bool:
        """Whether nothing changes about a blocked refund: its bank does not decide, or its card is closed."""
        charge = next(each for each in self.accounts.charges if each.id == attempt.charge_id)
        if charge.dispute in (OPEN, LOST) or self.accounts.is_refunded(charge):
            return charge.dispute == OPEN and not self.accounts.is_refunded(charge)
        return attempt.refund is not None and attempt.refund.undone >= REFUNDS_UNDONE

    def _intent_changed(self, intent: PaymentIntent) -> None:
        world, asked = self._world, intent.made_by
        about = (intent.order_id, asked.payment_id, asked.key, asked.amount, asked.currency)
        world.journal.add(IntentMoved(world.now_s, "stripe", intent.id, *about, intent.status, intent.by))
        world.changes += 1
        if intent.status is IntentStatus.PROCESSING:
            self._comes(PROCESSING_TAKES.total_seconds() + CLOCK_STEP_S, lambda: self.accounts.settle(intent))

    def _comes(self, after_s: float, act: Callable[[], object]) -> None:
        at_s = self._world.now_s + after_s
        self.coming.append(at_s)

        def come() -> None:
            self.coming.remove(at_s)
            self._world.changes += 1
            act()

        self._world.later(after_s, come)

    def charge_later(self, order_id: str, payment_id: str, after_s: float) -> None:
        """Let a request of release 0.1.0 land later."""
        charge = self.accounts.charge_of_release_0_1_0
        self._comes(after_s, lambda: charge(order_id, payment_id, 1, before.AMOUNT, before.CURRENCY))

    def _note_refund(self, refund_id: str, charge_id: str, status: str) -> None:
        self._world.journal.add(StripeRefunded(self._world.now_s, "stripe", refund_id, charge_id, status))

    # ---------------------------------------------------------------------------------------------------- the dashboard

    def cancel_by_hand(self) -> None:
        """An operator cancels the last intent that is open."""
        open_ones = [each for each in self.accounts.intents.values() if each.open]
        if open_ones:
            self._operator_acts("cancel", open_ones[-1].order_id, open_ones[-1].id)
            self.accounts.cancel_by_hand(open_ones[-1].id)

    def refund_by_hand(self) -> None:
        """An operator gives the last charge back that was not given back yet."""
        charges = [each for each in self.accounts.charges if self.accounts.kept_charges(each.order_id).count(each)]
        charges = [each for each in charges if not self.accounts.is_disputed(each)]
        if charges:
            self._operator_acts("refund", charges[-1].order_id, charges[-1].id)
            self.accounts.refund_by_hand(charges[-1].id)

    def fail_a_refund_later(self, after_s: float) -> None:
        """Let a bank return a refund later. The world is not at rest before, whether or not the service waits for
        it."""
        self._comes(after_s, self.fail_a_refund)

    def fail_a_refund(self) -> None:
        """A bank returns the last refund that has succeeded."""
        done = [each for each in self.accounts.refunds if self.accounts.status_of(each) == "succeeded"]
        if done:
            self.accounts.fail_refund(done[-1])

    def dispute_a_charge(self) -> None:
        """A bank disputes the last charge that was not given back."""
        kept = [each for each in self.accounts.charges if self.accounts.kept_charges(each.order_id).count(each)]
        kept = [each for each in kept if not each.dispute]
        if kept:
            self.accounts.dispute(kept[-1], OPEN)

    def _operator_acts(self, what: str, order_id: str, name: str) -> None:
        self._world.journal.add(OperatorActed(self._world.now_s, "operator", what, order_id, name))


class About(Struct, frozen=True):
    """The subject of a call, for the journal."""

    kind: str
    order_id: str
    key: str | None = None
    attempt: int = 0
    intent_id: str | None = None


class SimCards:
    """One process's card processor."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self._stripe = world.other_stripe if process.other_key else world.stripe
        self._fake = self._stripe.accounts

    async def create(self, intent: IntentReference) -> CreateOutcome:
        parts = (intent.amount, intent.currency, intent.order_id, intent.payment_id)
        about = About("create", intent.order_id, intent.key)
        return await self._call(about, repr(parts), lambda *fails: self._fake.create(intent, *fails))

    async def confirm(self, request: ConfirmIntent, intent_id: str) -> ConfirmOutcome:
        parts = (intent_id, request.attempt, request.authentication.possible, request.instrument.value)
        key = confirm_key(request, intent_id)
        about = About("confirm", request.order_id, key, request.attempt, intent_id)
        return await self._call(about, repr(parts), lambda *fails: self._fake.confirm(request, intent_id, *fails))

    async def retrieve(self, intent_id: str) -> RetrieveOutcome:
        about = About("retrieve", self._order_of(intent_id), intent_id=intent_id)
        return await self._find(about, lambda: self._fake.retrieve(intent_id))

    async def cancel(self, intent_id: str) -> CancelOutcome:
        def act(fails_before: bool, fails_after: bool) -> CancelOutcome:
            if fails_before:
                return Unclear("a 500")
            done = self._fake.cancel(intent_id)
            return Unclear("a 500") if fails_after else done

        about = About("cancel", self._order_of(intent_id), intent_id=intent_id)
        return await self._call(about, intent_id, act)

    async def list_charges(self, order_id: str, payment_id: str) -> ListOutcome:
        return await self._find(About("list", order_id), lambda: self._fake.list_charges(order_id, payment_id))

    async def refund(self, request: RefundCharge) -> RefundOutcome:
        parts = (request.charge_id, request.payment_id, request.attempt)
        about = About("refund", request.order_id, request.key, request.attempt)
        return await self._call(about, repr(parts), lambda *fails: self._fake.refund(request, *fails))

    async def find_refund(self, charge_id: str) -> FindRefundOutcome:
        order_id = next((each.order_id for each in self._fake.charges if each.id == charge_id), "")
        return await self._find(About("find_refund", order_id), lambda: self._fake.find_refund(charge_id))

    async def recheck_refund(self, request: RecheckRefund) -> FindRefundOutcome:
        return await self._find(About("find_refund", request.order_id), lambda: self._fake.recheck_refund(request))

    async def check(self) -> StripeAccount | NotYet | Unclear:
        return await self._find(About("check", ""), lambda: self._stripe.account)

    async def check_permission(self, permission: Permission) -> NotYet | Unclear | None:
        """Permissions that no charge needs are always there: to check them costs a simulation, and shows nothing."""
        if permission.value not in ("create", "confirm"):
            return None

        def find() -> NotYet | None:
            refused = self._world.is_on(f"stripe {permission.value} forbidden")
            return NotYet(Obstacle.KEY_REFUSED, "a restricted key") if refused else None

        return await self._find(About("permission", ""), find)

    async def close(self) -> None:
        return

    def _order_of(self, intent_id: str) -> str:
        intent = self._fake.intents.get(intent_id)
        return intent.order_id if intent is not None else ""

    def _refuse(self, call: Call, key: str) -> None:
        """Stripe always refuses a request that it refused once for its parameters, but not once it has carried it
        out."""
        stripe = self._stripe
        if key in stripe.refused:
            call.answer = stripe.refused[key]
        elif call.refuses_later:
            stripe.refused[key] = Refused(RefusalReason.TOKEN_USED, "You cannot use a Stripe token more than once")
        elif isinstance(call.answer, Refused):
            if any(each.made_by.key == key for each in self._fake.intents.values()):
                call.answer = None
            else:
                stripe.refused[key] = call.answer

    async def _find(self, about: About, find: Callable[[], R]) -> R | NotYet | Unclear:
        """A retrieval has no key: a 500 is only a 500."""

        def act(fails_before: bool, fails_after: bool) -> R | Unclear:
            return Unclear("a 500") if fails_before or fails_after else find()

        return await self._call(about, about.intent_id or about.order_id, act)

    async def _call(self, about: About, fingerprint: str, act: Act[R]) -> R | NotYet | Unclear:
        world, name, kind, key = self._world, self._process.name, about.kind, about.key
        call = world.happens(f"stripe.{kind}", self._process)
        if key is not None:
            self._refuse(call, key)
        if call.answer is None and world.is_on("stripe away"):
            call.answer = NotYet(Obstacle.UNREACHABLE, "no connection")
        if not isinstance(call.answer, NotYet):
            where = (about.order_id, about.attempt, about.intent_id, self._stripe.account.id)
            world.journal.add(StripeSent(world.now_s, name, kind, key, *where))

        def arrived(reply: Reply[R | NotYet | Unclear]) -> None:
            world.journal.add(StripeReceived(world.now_s, name, kind, key, fingerprint, about.order_id))
            self._stripe.asked(call, key, act, reply)

        def lost() -> Unclear:
            return Unclear("no whole answer in time")

        outcome = await world.carrier.travel(call, arrived, lost, CALL_TIMEOUT_S)
        if kind not in ("check", "permission"):
            world.journal.add(StripeAnswered(world.now_s, name, kind, key, about.order_id, repr(outcome)))
        return outcome


def instrument_of(value: str) -> Instrument:
    """The instrument of this value: the prefix gives its kind."""
    kind = next(kind for kind, prefix in PREFIXES.items() if value.startswith(prefix))
    return Instrument(kind, value)
