"""A small Stripe in memory, and its `CardProcessor`.

Owns: one account's intents, charges, refunds, used instruments and answers stored under idempotency keys, on an
injected clock, without randomness. It passes `tests/contract/cards_contract.py`, as the real adapter over the sandbox
does. Tests can script the fate of each call. Actions of customers in their browsers and of operators in the dashboard
are methods of the account. Must never: lose an arrived request because its caller disconnected; charge an intent twice;
charge a canceled one. Change together with: that suite, `payment.ports.cards`.
"""

import asyncio
import enum
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec import Struct, structs

from payment.core.account import StripeAccount
from payment.core.effects import ConfirmIntent, IntentReference, RecheckRefund, RefundCharge
from payment.core.messages import (
    Authentication,
    ChargeFacts,
    Failure,
    Instrument,
    InstrumentKind,
    IntentStatus,
    ListedCharge,
    RefusalReason,
)
from payment.ports.cards import (
    Blocked,
    CancelOutcome,
    ChargedBack,
    Charges,
    ConfirmOutcome,
    CreateOutcome,
    Declined,
    FindRefundOutcome,
    Handover,
    IntentAnswer,
    ListOutcome,
    NextAction,
    NotRefunded,
    NotYet,
    Obstacle,
    Permission,
    Refunded,
    RefundOutcome,
    Refused,
    RetrieveOutcome,
    Unclear,
    UnexpectedState,
)
from payment.ports.clock import Clock
from payment.stripe_sandbox.currencies import check_amount, check_currency
from payment.stripe_sandbox.errors import ApiError

R = TypeVar("R")

CALL_TIMEOUT_S = 8.0
KEY_LIFE = timedelta(hours=24)
REFUND_SETTLES_AFTER = timedelta(seconds=2)
PROCESSING_TAKES = timedelta(seconds=20)
"""How long a bank takes that does not decide at once."""
KINDS = ("create", "confirm", "retrieve", "cancel", "list", "refund", "find_refund", "check", "permission")
ACCOUNT = StripeAccount("acct_fake", False, "the fake's own key")
BANK_URL = "https://bank.test/authenticate/"
BROWSER = "browser"
"""Replaces the idempotency key of a charge that a browser made."""
DEFAULT_AUTHENTICATION = Authentication(use_stripe_sdk=True)
"""A browser can always let its customer authenticate."""


class Fate(enum.Enum):
    """The fate of one call. Some fates end the call as `Unclear` after its time limit."""

    LOSE_REQUEST = "it never arrives; unclear"
    LOSE_ANSWER = "it executes, and its answer is lost; unclear"
    UNREACHABLE = "no connection is made"
    RATE_LIMITED = "429"
    LOCKED = "429 lock_timeout"
    KEY_REFUSED = "401"
    ERROR_BEFORE = "a 500 stored for its key; nothing was executed"
    ERROR_AFTER = "a 500 stored for its key; it was executed"


@dataclass(frozen=True)
class Stall:
    """A fate: the request arrives when the event is set; its caller waits until then, without a time limit."""

    until: asyncio.Event


@dataclass(frozen=True)
class Late:
    """A fate: unclear, and the request arrives after `after_s` seconds; until then it is in transit or, with
    `holds_key`, executing at Stripe.
    """

    after_s: float
    holds_key: bool = False


@dataclass(frozen=True)
class RetryAfter:
    """A fate: 429 with a Retry-After."""

    retry_after_s: float


AnyFate = Fate | Stall | Late | RetryAfter


class Card(Struct, frozen=True):
    """The result of a charge with a card. `asks`: its bank requires authentication first."""

    decline: Failure | None = None
    asks: bool = False
    processing: bool = False
    """Whether the bank decides later: the charge then succeeds, or is declined with `decline`."""
    disputed: bool = False
    refund_begins: str = "succeeded"
    refund_ends: str = "succeeded"
    """A refund's first status, and its status after `REFUND_SETTLES_AFTER`."""


GENERIC = Failure("card_declined", "generic_decline", "Your card was declined.")
TOO_POOR = Failure("card_declined", "insufficient_funds", "Your card has insufficient funds.")
EXPIRED = Failure("expired_card", "expired_card", "Your card has expired.")
FAULTY = Failure("processing_error", "processing_error", "An error occurred while processing your card.")
NOT_ASKED = Failure("authentication_required", "authentication_required", "Your card's bank asks for authentication.")
NOT_AUTHENTICATED = Failure(
    "payment_intent_authentication_failure",
    None,
    "We are unable to authenticate your payment method. Please choose a different payment method and try again.",
)

CARDS: dict[str, Card] = {
    "visa": Card(),
    "amex": Card(),
    "once": Card(),
    "chargeDeclined": Card(GENERIC),
    "chargeDeclinedInsufficientFunds": Card(TOO_POOR),
    "chargeDeclinedExpiredCard": Card(EXPIRED),
    "pendingRefund": Card(refund_begins="pending"),
    "refundFail": Card(refund_ends="failed"),
    "createDispute": Card(disputed=True),
    "threeDSecureOptional": Card(),
    "threeDSecureRequired": Card(asks=True),
    "threeDSecureRequiredChargeDeclined": Card(GENERIC, asks=True),
    "threeDSecureRequiredProcessingError": Card(FAULTY, asks=True),
    "slow": Card(processing=True),
    "slowDeclined": Card(GENERIC, processing=True),
}
"""The cards by the names of docs.stripe.com/testing, without their prefix; the last two are additions."""
PREFIXES = {
    InstrumentKind.TOKEN: "tok_",
    InstrumentKind.PAYMENT_METHOD: "pm_card_",
    InstrumentKind.CONFIRMATION_TOKEN: "ctoken_",
}


def card_of(instrument: Instrument) -> Card | None:
    """Returns the card of an instrument: `tok_visa`, `pm_card_visa`, `ctoken_visa`, each also with `_` and anything."""
    prefix = PREFIXES[instrument.kind]
    if not instrument.value.startswith(prefix):
        return None
    return CARDS.get(instrument.value.removeprefix(prefix).partition("_")[0])


def is_single_use(instrument: Instrument) -> bool:
    """Whether an instrument can be used only once: one with a suffix behind its card's name, and each confirmation
    token.
    """
    named = instrument.value.removeprefix(PREFIXES[instrument.kind])
    return instrument.kind is InstrumentKind.CONFIRMATION_TOKEN or "_" in named


@dataclass
class Charge:
    """A charge of the account. `status`: succeeded, failed, pending. `by`: the key of its confirm, or `BROWSER`.

    `attempt` is the metadata of charges by release 0.1.0, and 0 for those of intents.
    """

    id: str
    order_id: str
    payment_id: str
    intent_id: str | None
    amount: int
    currency: str
    by: str
    card: Card
    status: str
    attempt: int = 0
    dispute: str = ""
    """`OPEN`, `WON` or `LOST`, where its bank has disputed it."""

    @property
    def dispute_id(self) -> str:
        return f"du_{self.id}"

    @property
    def succeeded(self) -> bool:
        return self.status == "succeeded"


@dataclass
class PaymentIntent:
    """An intent of the account. `card`, `authentication` and `by` are of its last confirm."""

    id: str
    made_by: IntentReference
    status: IntentStatus = IntentStatus.REQUIRES_PAYMENT_METHOD
    card: Card | None = None
    authentication: Authentication = DEFAULT_AUTHENTICATION
    by: str = ""
    failure: Failure | None = None
    charge: Charge | None = None
    decides_at: datetime | None = None
    """While it is processing: when the bank has decided."""

    @property
    def order_id(self) -> str:
        return self.made_by.order_id

    @property
    def secret(self) -> str:
        return f"{self.id}_secret_{self.id[::-1]}"

    @property
    def open(self) -> bool:
        """Whether the intent may still charge a card."""
        return self.status not in (IntentStatus.CANCELED, IntentStatus.SUCCEEDED)


@dataclass
class Refund:
    """A refund of a whole charge. It takes its last status at `settles_at`."""

    id: str
    charge_id: str
    begins: str
    ends: str
    settles_at: datetime


@dataclass(frozen=True)
class Dispute:
    """A bank's dispute of a charge."""

    charge_id: str
    status: str


OPEN, WON, LOST = "needs_response", "won", "lost"


@dataclass
class Kept:
    """The answer stored under a key: the request's parameters and the result."""

    fingerprint: tuple[object, ...]
    at: datetime
    answer: CreateOutcome | ConfirmOutcome | Refund | None
    """None is a 500."""


CONFIRMABLE = frozenset(
    {IntentStatus.REQUIRES_PAYMENT_METHOD, IntentStatus.REQUIRES_CONFIRMATION, IntentStatus.REQUIRES_ACTION}
)
"""Whether a confirm of an intent that awaits its customer replaces the one before (`confirms_over_action`)."""
OTHER_PARAMETERS = Unclear("other parameters for the key", stored=True, alarm=True)
NO_SUCH_INTENT = NotYet(Obstacle.KEY_REFUSED, "No such payment_intent", alarm=True)

Changed = PaymentIntent | Charge | Refund | Dispute


@dataclass
class FakeStripe:
    """The account. `calls` counts calls by kind, `sent` lists the keys of sent confirms."""

    clock: Clock
    latency_s: float = 0.0
    admits: Callable[[str, float], bool] = lambda _kind, _now: True
    """The rate limiter: from a call's kind and time to whether it is admitted."""
    changed: Callable[[Changed], None] = lambda _what: None
    """Called after each creation or change of status of an object."""
    confirms_over_action: bool = True
    """Whether an intent that awaits its customer may be confirmed again; Stripe's documentation does not specify it."""
    refund_settles_after: Callable[[str], timedelta] = lambda _status: REFUND_SETTLES_AFTER
    """How long a refund takes to its final status, by that status."""
    stores_refusals: bool = False
    """Whether a confirm's 400 is stored for its key: Stripe stores errors of the execution."""
    intents: dict[str, PaymentIntent] = field(default_factory=dict)
    charges: list[Charge] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    refused_429: Counter[str] = field(default_factory=Counter)
    always: dict[str, AnyFate] = field(default_factory=dict)
    """The fate of every call of a kind without a scripted one."""

    account: StripeAccount = ACCOUNT
    """The account of the caller's key."""
    forbidden: dict[Permission, str] = field(default_factory=dict)
    """The permissions that the key lacks, with Stripe's message; fates refuse the calls themselves."""

    def __post_init__(self) -> None:
        self._fates: defaultdict[str, deque[AnyFate | None]] = defaultdict(deque)
        self._kept: dict[str, Kept] = {}
        self._holding: set[str] = set()
        self._used: set[str] = set()
        self._arriving: set[asyncio.Future[object]] = set()

    def cards(self) -> "FakeCards":
        return FakeCards(self)

    def script(self, kind: str, *fates: AnyFate | None) -> None:
        """Set the fates of the next calls of a kind (`KINDS`); None is an ordinary call."""
        self._fates[kind].extend(fates)

    def go_away(self, fate: AnyFate = Fate.UNREACHABLE) -> None:
        self.always = dict.fromkeys(KINDS, fate)

    def come_back(self) -> None:
        self.always = {}

    def intents_of(self, order_id: str) -> list[PaymentIntent]:
        """Returns the order's intents, oldest first."""
        return [each for each in self.intents.values() if each.order_id == order_id]

    def kept_charges(self, order_id: str) -> list[Charge]:
        """Returns the order's succeeded charges that were not refunded: never more than one (L1)."""
        mine = [each for each in self.charges if each.order_id == order_id and each.succeeded]
        return [each for each in mine if not self.is_refunded(each)]

    async def close(self) -> None:
        """Stop: no request arrives any more."""
        for each in self._arriving:
            each.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)

    # ------------------------------------------------------------------------------------------------ how calls travel

    async def meet(self, kind: str, key: str | None, act: Callable[[bool, bool], R]) -> R | NotYet | Unclear:
        """Run one call. `act(fails_before, fails_after)` is its execution once the request has arrived."""
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
            case RetryAfter():
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
        """Run an arrived request to its end, even if its caller has gone."""
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

    # -------------------------------------------------------------------------------------------- intents, for the API

    def create(self, asked: IntentReference, fails_before: bool, fails_after: bool) -> CreateOutcome:
        """POST /v1/payment_intents, unconfirmed."""
        parameters = (asked.order_id, asked.payment_id, asked.amount, asked.currency)
        if (kept := self._kept_under(asked.key)) is not None:
            return self._replay(kept, parameters)
        made: IntentAnswer | None = None
        if not fails_before:
            if (refused := _amount_refused(asked)) is not None:
                return refused
            intent = PaymentIntent(f"pi_{len(self.intents) + 1}", asked)
            self.intents[intent.id] = intent
            self.changed(intent)
            made = self._shown(intent)
        answer = None if fails_after else made
        self._keep(asked.key, parameters, answer)
        return answer or Unclear("a 500")

    def confirm(self, asked: ConfirmIntent, intent_id: str, fails_before: bool, fails_after: bool) -> ConfirmOutcome:
        """POST /v1/payment_intents/{id}/confirm, by the secret key."""
        key = confirm_key(asked, intent_id)
        parameters = (intent_id, asked.instrument.kind, asked.instrument.value, asked.authentication)
        if (kept := self._kept_under(key)) is not None:
            return self._replay(kept, parameters)
        answer: ConfirmOutcome | None = None
        if not fails_before:
            intent = self._current(intent_id)
            if intent is None:
                return NO_SUCH_INTENT
            answer = self._confirm(intent, asked.instrument, asked.authentication, key)
            if isinstance(answer, Refused) and not self.stores_refusals:
                return answer
        answer = None if fails_after else answer
        self._keep(key, parameters, answer)
        return answer or Unclear("a 500")

    def retrieve(self, intent_id: str) -> RetrieveOutcome:
        """GET /v1/payment_intents/{id}?expand[]=latest_charge."""
        intent = self._current(intent_id)
        return NO_SUCH_INTENT if intent is None else self._shown(intent)

    def cancel(self, intent_id: str) -> CancelOutcome:
        """POST /v1/payment_intents/{id}/cancel. It has no key."""
        intent = self._current(intent_id)
        if intent is None:
            return NO_SUCH_INTENT
        if not intent.open or intent.status is IntentStatus.PROCESSING:
            return _unexpected("cancel", intent)
        self._move(intent, IntentStatus.CANCELED)
        return self._shown(intent)

    def list_charges(self, order_id: str, payment_id: str) -> ListOutcome:
        """GET /v1/charges?transfer_group=…, every page: newest first, as Stripe lists them."""
        for intent in self.intents_of(order_id):
            self._current(intent.id)
        mine = [each for each in reversed(self.charges) if each.order_id == order_id]
        listed = tuple(
            ListedCharge(self._facts(each), each.attempt if each.payment_id == payment_id else 0)
            for each in mine
            if each.succeeded
        )
        return Charges(listed, pending=any(each.status == "pending" for each in mine))

    def _confirm(
        self, intent: PaymentIntent, instrument: Instrument, authentication: Authentication, by: str
    ) -> IntentAnswer | Declined | Refused | UnexpectedState:
        if intent.status not in CONFIRMABLE:
            return _unexpected("confirm", intent)
        if intent.status is IntentStatus.REQUIRES_ACTION and not self.confirms_over_action:
            return _unexpected("confirm", intent)
        card = card_of(instrument)
        if card is None:
            return Refused(RefusalReason.TOKEN, "No such instrument")
        if is_single_use(instrument):
            if instrument.value in self._used:
                return Refused(RefusalReason.TOKEN_USED, "It was used before")
            self._used.add(instrument.value)
        intent.card, intent.authentication, intent.by, intent.failure = card, authentication, by, None
        if not card.asks:
            return self._try(intent)
        if not authentication.possible:
            return self._fail(intent, NOT_ASKED)
        self._move(intent, IntentStatus.REQUIRES_ACTION)
        return self._shown(intent)

    def _try(self, intent: PaymentIntent) -> IntentAnswer | Declined:
        """Ask the bank for the money."""
        card = intent.card
        assert card is not None
        if card.processing:
            intent.decides_at = self.clock.now() + PROCESSING_TAKES
            intent.charge = self._charge(intent, card, "pending")
            self._move(intent, IntentStatus.PROCESSING)
            return self._shown(intent)
        return self._decide(intent, card)

    def _decide(self, intent: PaymentIntent, card: Card) -> IntentAnswer | Declined:
        if card.decline is not None:
            self._charge(intent, card, "failed")
            return self._fail(intent, card.decline)
        assert not any(each.intent_id == intent.id and each.succeeded for each in self.charges)
        intent.charge = self._charge(intent, card, "succeeded")
        self._move(intent, IntentStatus.SUCCEEDED)
        return self._shown(intent)

    def _charge(self, intent: PaymentIntent, card: Card, status: str) -> Charge:
        """Returns the pending charge, or a new one."""
        made = intent.charge
        if made is None or made.status != "pending":
            asked = intent.made_by
            about = (asked.order_id, asked.payment_id, intent.id, asked.amount, asked.currency)
            made = Charge(f"ch_{len(self.charges) + 1}", *about, intent.by, card, status)
            self.charges.append(made)
        made.status = status
        self.changed(made)
        if made.succeeded and card.disputed:
            self.dispute(made, OPEN)
        return made

    def _fail(self, intent: PaymentIntent, failure: Failure) -> Declined:
        intent.failure = failure
        self._move(intent, IntentStatus.REQUIRES_PAYMENT_METHOD)
        return Declined(failure)

    def _move(self, intent: PaymentIntent, status: IntentStatus) -> None:
        assert intent.open, f"{intent.id} is {intent.status.value} for good"
        intent.status = status
        self.changed(intent)

    def _current(self, intent_id: str) -> PaymentIntent | None:
        """Returns the current intent, with a bank's decision that is due."""
        intent = self.intents.get(intent_id)
        if intent is not None:
            self.settle(intent)
        return intent

    def settle(self, intent: PaymentIntent) -> None:
        """Apply the bank's decision where it is due."""
        due = intent.status is IntentStatus.PROCESSING and intent.decides_at is not None
        if due and intent.decides_at is not None and self.clock.now() >= intent.decides_at:
            assert intent.card is not None
            self._decide(intent, intent.card)

    def _shown(self, intent: PaymentIntent) -> IntentAnswer:
        succeeded, awaits = (
            intent.status is IntentStatus.SUCCEEDED,
            intent.status is IntentStatus.REQUIRES_ACTION,
        )
        charge = self._facts(intent.charge) if succeeded and intent.charge is not None else None
        url = None if intent.authentication.return_url is None else BANK_URL + intent.id
        handover = Handover(intent.secret, NextAction(url)) if awaits else None
        return IntentAnswer(intent.id, intent.status, charge, intent.failure, handover)

    def _facts(self, charge: Charge) -> ChargeFacts:
        refunded = self.is_refunded(charge)
        return ChargeFacts(charge.id, refunded, charge.dispute != "", charge.amount if refunded else 0)

    # ---------------------------------------------------------------------------------- browsers, banks, the dashboard

    def authenticate(self, intent_id: str, completes: bool) -> IntentStatus:
        """Let the customer complete the bank's page or fail there. Returns the intent's status."""
        intent = self._current(intent_id)
        assert intent is not None
        if intent.status is IntentStatus.REQUIRES_ACTION:
            if completes:
                self._try(intent)
            else:
                self._fail(intent, NOT_AUTHENTICATED)
        return intent.status

    def browser_confirm(
        self, secret: str, instrument: Instrument
    ) -> IntentAnswer | Declined | Refused | UnexpectedState:
        """The customer's browser confirms by the client secret and a publishable key. It sends no idempotency key."""
        intent = self.with_secret(secret)
        assert intent is not None, "no such client secret"
        return self._confirm(intent, instrument, DEFAULT_AUTHENTICATION, BROWSER)

    def with_secret(self, secret: str) -> PaymentIntent | None:
        intent = self.intents.get(secret.partition("_secret_")[0])
        return self._current(intent.id) if intent is not None and intent.secret == secret else None

    def cancel_by_hand(self, intent_id: str) -> bool:
        """Cancel an intent as an operator in the dashboard. Returns whether that succeeded."""
        return isinstance(self.cancel(intent_id), IntentAnswer)

    def refund_by_hand(self, charge_id: str) -> bool:
        """Refund a charge as an operator in the dashboard. Returns whether that succeeded."""
        charge = next((each for each in self.charges if each.id == charge_id), None)
        if charge is None or not charge.succeeded or self.is_disputed(charge) or self.is_refunded(charge):
            return False
        self._refund(charge)
        return True

    def fail_refund(self, refund: Refund) -> None:
        """Let the bank return a succeeded refund."""
        refund.ends, refund.settles_at = "failed", self.clock.now()
        self.changed(refund)

    def dispute(self, charge: Charge, status: str) -> None:
        """Let the bank dispute a charge, or decide its dispute."""
        charge.dispute = status
        self.changed(Dispute(charge.id, status))

    def is_disputed(self, charge: Charge) -> bool:
        """Whether a charge can't be refunded because of an open or lost dispute."""
        return charge.dispute in (OPEN, LOST)

    def charge_of_release_0_1_0(self, order_id: str, payment_id: str, attempt: int, amount: int, currency: str) -> str:
        """A charge without an intent, as `POST /v1/charges` made them. Returns its id."""
        name = f"ch_{len(self.charges) + 1}"
        about = (order_id, payment_id, None, amount, currency)
        self.charges.append(Charge(name, *about, f"charge-{payment_id}-{attempt}", CARDS["visa"], "succeeded", attempt))
        self.changed(self.charges[-1])
        return name

    # ------------------------------------------------------------------------------------------------ refunds and keys

    def refund(self, request: RefundCharge, fails_before: bool, fails_after: bool) -> RefundOutcome:
        """POST /v1/refunds."""
        asked = (request.order_id, request.payment_id, request.attempt, request.charge_id)
        kept = self._kept_under(request.key)
        if kept is not None:
            if kept.fingerprint != asked:
                return OTHER_PARAMETERS
            return self._replayed(kept.answer) if isinstance(kept.answer, Refund) else Unclear("a 500", stored=True)
        made: Refund | None = None
        if not fails_before:
            charge = next((each for each in self.charges if each.id == request.charge_id), None)
            if charge is None or not charge.succeeded:
                return Blocked("it can't be refunded")
            if self.is_disputed(charge):
                found = self.find_refund(charge.id)
                return found if isinstance(found, Refunded | ChargedBack) else Blocked("it is disputed")
            if self.is_refunded(charge):
                found = self.find_refund(charge.id)
                return Unclear("refunded, and not listed") if isinstance(found, NotRefunded) else found
            made = self._refund(charge)
        self._keep(request.key, asked, None if fails_after else made)
        return Unclear("a 500") if fails_after or made is None else self._as_it_began(made)

    def _refund(self, charge: Charge) -> Refund:
        card = charge.card
        settles_at = self.clock.now() + self.refund_settles_after(card.refund_ends)
        made = Refund(f"re_{len(self.refunds) + 1}", charge.id, card.refund_begins, card.refund_ends, settles_at)
        self.refunds.append(made)
        self.changed(made)
        return made

    def _as_it_began(self, refund: Refund) -> RefundOutcome:
        """Returns the stored answer, with the refund's first status: only a read shows the result of a pending one."""
        return Refunded(refund.id) if refund.begins == "succeeded" else self._replayed(refund)

    def _replayed(self, refund: Refund) -> RefundOutcome:
        found = self.find_refund(refund.charge_id)
        if isinstance(found, Refunded | ChargedBack):
            return found
        return Blocked(f"the refund is {self.status_of(refund)}", refund.id)

    def find_refund(self, charge_id: str, known: str | None = None) -> FindRefundOutcome:
        """GET /v1/refunds?charge=…, the charge, and its disputes."""
        charge = next((each for each in self.charges if each.id == charge_id), None)
        if charge is None:
            return Unclear("No such charge", alarm=True)
        mine = [each for each in reversed(self.refunds) if each.charge_id == charge_id]
        for refund in sorted(mine, key=lambda each: each.id != known):
            if (status := self.status_of(refund)) != "failed":
                return Refunded(refund.id) if status == "succeeded" else Blocked("the refund is under way", refund.id)
        if charge.dispute == LOST:
            return ChargedBack(charge.dispute_id)
        return Blocked("the bank disputes the charge (needs_response)") if charge.dispute == OPEN else NotRefunded()

    def recheck_refund(self, request: RecheckRefund) -> FindRefundOutcome:
        """GET /v1/refunds/{id}, and all of the charge where that refund does not stand."""
        return self.find_refund(request.charge_id, request.given_back_by)

    def is_refunded(self, charge: Charge) -> bool:
        """Whether Stripe shows a charge as fully refunded: a pending refund counts, a failed one does not."""
        return any(each.charge_id == charge.id and self.status_of(each) != "failed" for each in self.refunds)

    def status_of(self, refund: Refund) -> str:
        return refund.ends if self.clock.now() >= refund.settles_at else refund.begins

    def _kept_under(self, key: str) -> Kept | None:
        kept = self._kept.get(key)
        return None if kept is None or self.clock.now() - kept.at >= KEY_LIFE else kept

    def _keep(
        self, key: str, parameters: tuple[object, ...], answer: CreateOutcome | ConfirmOutcome | Refund | None
    ) -> None:
        self._kept[key] = Kept(parameters, self.clock.now(), answer)

    def _replay(self, kept: Kept, parameters: tuple[object, ...]) -> CreateOutcome:
        """Returns the stored answer. An intent is shown as it was, marked as replayed."""
        if kept.fingerprint != parameters:
            return OTHER_PARAMETERS
        if kept.answer is None:
            return Unclear("a 500, replayed", stored=True)
        if isinstance(kept.answer, IntentAnswer):
            return structs.replace(kept.answer, replayed=True)
        return kept.answer  # type: ignore[return-value]


def confirm_key(asked: ConfirmIntent, intent_id: str) -> str:
    """Returns the idempotency key of a confirm."""
    return f"confirm-{intent_id}-{asked.attempt}"


def _amount_refused(asked: IntentReference) -> Refused | None:
    try:
        check_currency(asked.currency)
    except ApiError:
        return Refused(RefusalReason.REQUEST, "Invalid currency")
    try:
        check_amount(asked.amount, asked.currency)
    except ApiError:
        return Refused(RefusalReason.AMOUNT, "the amount can't be charged")
    return None


def _unexpected(what: str, intent: PaymentIntent) -> UnexpectedState:
    return UnexpectedState(f"You cannot {what} this PaymentIntent because it has a status of {intent.status.value}.")


class FakeCards:
    """One process's `payment.ports.cards.CardProcessor` of that account."""

    def __init__(self, stripe: FakeStripe) -> None:
        self.closed = False
        self._stripe = stripe

    async def create(self, intent: IntentReference) -> CreateOutcome:
        return await self._stripe.meet("create", intent.key, lambda *fails: self._stripe.create(intent, *fails))

    async def confirm(self, request: ConfirmIntent, intent_id: str) -> ConfirmOutcome:
        key = confirm_key(request, intent_id)
        self._stripe.sent.append(key)
        return await self._stripe.meet("confirm", key, lambda *fails: self._stripe.confirm(request, intent_id, *fails))

    async def retrieve(self, intent_id: str) -> RetrieveOutcome:
        return await self._without_key("retrieve", lambda: self._stripe.retrieve(intent_id))

    async def cancel(self, intent_id: str) -> CancelOutcome:
        def act(fails_before: bool, fails_after: bool) -> CancelOutcome:
            if fails_before:
                return Unclear("a 500")
            done = self._stripe.cancel(intent_id)
            return Unclear("a 500") if fails_after else done

        return await self._stripe.meet("cancel", None, act)

    async def list_charges(self, order_id: str, payment_id: str) -> ListOutcome:
        return await self._without_key("list", lambda: self._stripe.list_charges(order_id, payment_id))

    async def refund(self, request: RefundCharge) -> RefundOutcome:
        return await self._stripe.meet("refund", request.key, lambda *fails: self._stripe.refund(request, *fails))

    async def find_refund(self, charge_id: str) -> FindRefundOutcome:
        return await self._without_key("find_refund", lambda: self._stripe.find_refund(charge_id))

    async def recheck_refund(self, request: RecheckRefund) -> FindRefundOutcome:
        return await self._without_key("find_refund", lambda: self._stripe.recheck_refund(request))

    async def check(self) -> StripeAccount | NotYet | Unclear:
        return await self._without_key("check", lambda: self._stripe.account)

    async def check_permission(self, permission: Permission) -> NotYet | Unclear | None:
        def read() -> NotYet | None:
            text = self._stripe.forbidden.get(permission)
            return None if text is None else NotYet(Obstacle.KEY_REFUSED, text)

        return await self._without_key("permission", read)

    async def close(self) -> None:
        self.closed = True

    async def _without_key(self, kind: str, read: Callable[[], R]) -> R | NotYet | Unclear:
        """A read has no key, so its 500 is not stored."""

        def act(fails_before: bool, fails_after: bool) -> R | Unclear:
            return Unclear("a 500") if fails_before or fails_after else read()

        return await self._stripe.meet(kind, None, act)
