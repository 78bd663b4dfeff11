"""Orders for the core's tests, made as the service makes them: `decide` gets one message after another.

A `Story` is one order, a clock that the test moves, and two processes. Each step must pass `checks.check_step`, so each
test that uses a story tests that too.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from payment.core.attempts import payment_id_of
from payment.core.decide import decide
from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED, Effect, PendingEffect
from payment.core.legacy import upgraded
from payment.core.messages import (
    ActionRequired,
    Authentication,
    CardDeclined,
    ChargeFacts,
    ChargeRefunded,
    ChargeRequested,
    ChargesListed,
    ConfirmRefused,
    ConfirmUnclear,
    ConfirmWithheld,
    Context,
    CreateErrorStored,
    CreateRefused,
    DisputeLost,
    Due,
    EventPublished,
    Failure,
    Instrument,
    InstrumentKind,
    IntentCreated,
    IntentPrepared,
    IntentRetrieved,
    IntentStatus,
    IntentSucceeded,
    ListedCharge,
    Message,
    OrderCancelled,
    OrderCreated,
    RecheckRequested,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefundRechecked,
    RefusalReason,
    RetrieveReason,
)
from payment.core.order import Attempt, AttemptState, Intent, Order, TaskKind
from payment.core.pending import pending
from payment.core.replies import Reply, Start
from payment.core.schedule import RETRIEVALS_APART
from tests.unit.core.checks import check_step

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
GROUP = "payment-service"
ORDER, USER = "order-1", "user-1"
PAYMENT = payment_id_of(GROUP, ORDER)
A, A_AGAIN, B = "web-1#run1", "web-1#run2", "web-2#run1"
VERSION, NEWER_VERSION = "2026-01-01", "2027-01-01"
EXPIRES = T0 + timedelta(days=10)
"""Far enough off that a key grows old first; a test about expiry passes its own."""

BROWSER = Authentication(use_stripe_sdk=True)
REQUIRES_ACTION = IntentStatus.REQUIRES_ACTION
REQUIRES_CARD = IntentStatus.REQUIRES_PAYMENT_METHOD
PROCESSING = IntentStatus.PROCESSING
CANCELED = IntentStatus.CANCELED
OPEN = [status for status in IntentStatus if status not in (IntentStatus.SUCCEEDED, IntentStatus.CANCELED)]
"""Statuses in which an intent is not settled."""

DOCUMENTS: dict[str, Any] = json.loads((Path(__file__).parent / "documents_0_1_0.json").read_text())["documents"]
"""Orders as release 0.1.0 stored them, by their histories."""

E = TypeVar("E")


def present(value: E | None) -> E:
    """Returns a value that the test needs, where its type allows None."""
    if value is None:
        raise AssertionError("the value is None, and the test needs it")
    return value


def of_kind(kind: type[E], value: object) -> E:
    """Returns a value that the test knows to be of one kind, where its type allows several."""
    assert isinstance(value, kind), value
    return value


def created(
    *, expires_at: datetime = EXPIRES, amount: int = 1999, currency: str = "usd", version: int = 0
) -> OrderCreated:
    return OrderCreated(ORDER, version, USER, expires_at, amount, currency)


def cancelled(version: int = 1) -> OrderCancelled:
    return OrderCancelled(ORDER, version)


def request(token: str = "tok_1", user: str = USER, authentication: Authentication = BROWSER) -> ChargeRequested:
    kinds = {"pm": InstrumentKind.PAYMENT_METHOD, "ctoken": InstrumentKind.CONFIRMATION_TOKEN}
    kind = kinds.get(token.partition("_")[0], InstrumentKind.TOKEN)
    return ChargeRequested(ORDER, user, Instrument(kind, token), authentication)


def prepared(intent: int = 1) -> IntentPrepared:
    return IntentPrepared(ORDER, intent, f"pi_{intent}")


def intent_created(send: int = 1, attempt: int = 1, intent: int = 1) -> IntentCreated:
    return IntentCreated(ORDER, attempt, send, intent, f"pi_{intent}")


def create_error(intent: int = 1) -> CreateErrorStored:
    return CreateErrorStored(ORDER, intent)


def create_refused(intent: int = 1, reason: RefusalReason = RefusalReason.AMOUNT) -> CreateRefused:
    return CreateRefused(ORDER, intent, reason, "Amount too small.")


def succeeded(
    charge: str = "ch_1", intent: int = 1, *, replayed: bool = False, refunded: bool = False
) -> IntentSucceeded:
    return IntentSucceeded(ORDER, intent, f"pi_{intent}", ChargeFacts(charge, refunded), replayed)


def charge_listed(charge: str = "ch_1", intent: int = 1) -> IntentSucceeded:
    """A list before a create shows a charge, of any intent."""
    return IntentSucceeded(ORDER, intent, None, ChargeFacts(charge))


def action(attempt: int = 1, intent: int = 1, *, processing: bool = False, replayed: bool = False) -> ActionRequired:
    return ActionRequired(ORDER, attempt, intent, f"pi_{intent}", processing, replayed)


def declined(attempt: int = 1, intent: int = 1) -> CardDeclined:
    failure = Failure("card_declined", "insufficient_funds", "Your card has insufficient funds.")
    return CardDeclined(ORDER, attempt, intent, f"pi_{intent}", failure)


def refused(
    send: int = 1, reason: RefusalReason = RefusalReason.TOKEN, attempt: int = 1, intent: int = 1
) -> ConfirmRefused:
    return ConfirmRefused(ORDER, attempt, send, intent, f"pi_{intent}", reason, "No such token.")


def unclear(
    send: int = 1, attempt: int = 1, intent: int = 1, *, id: str | None = "pi_1", stored: bool = False
) -> ConfirmUnclear:
    return ConfirmUnclear(ORDER, attempt, send, intent, id and f"pi_{intent}", stored)


def withheld(send: int = 1, attempt: int = 1, intent: int = 1) -> ConfirmWithheld:
    return ConfirmWithheld(ORDER, attempt, send, intent)


def retrieved(
    status: IntentStatus,
    reason: RetrieveReason = RetrieveReason.RECHECK,
    *,
    intent: int = 1,
    id: str | None = None,
    failure: Failure | None = None,
    attempt: int | None = None,
) -> IntentRetrieved:
    return IntentRetrieved(ORDER, intent, id or f"pi_{intent}", reason, status, None, failure, attempt)


def retrieved_success(
    charge: str = "ch_1", reason: RetrieveReason = RetrieveReason.RECHECK, *, intent: int = 1, refunded: bool = False
) -> IntentRetrieved:
    return IntentRetrieved(
        ORDER, intent, f"pi_{intent}", reason, IntentStatus.SUCCEEDED, ChargeFacts(charge, refunded), attempt=None
    )


def unexpected(status: IntentStatus, attempt: int = 1, intent: int = 1) -> IntentRetrieved:
    """Stripe refused a confirm for the intent's state, and the retrieval then showed this."""
    return retrieved(status, RetrieveReason.UNEXPECTED_STATE, intent=intent, attempt=attempt)


def now_canceled(intent: int = 1) -> IntentRetrieved:
    """The answer to a cancel: the intent is canceled."""
    return retrieved(CANCELED, RetrieveReason.CANCEL, intent=intent)


def listed(*charges: tuple[str, int], attempt: int = 1, refunded: bool = False) -> ChargesListed:
    return ChargesListed(
        ORDER, attempt, tuple(ListedCharge(ChargeFacts(charge, refunded), number) for charge, number in charges)
    )


def refunded(charge_id: str = "ch_1", refund_id: str = "re_1") -> ChargeRefunded:
    return ChargeRefunded(ORDER, charge_id, refund_id)


def blocked(charge_id: str = "ch_1", refund_id: str | None = "re_1") -> RefundBlocked:
    return RefundBlocked(ORDER, charge_id, refund_id, "the refund is pending")


def refund_error_stored(charge_id: str = "ch_1", number: int = 1) -> RefundErrorStored:
    return RefundErrorStored(ORDER, charge_id, f"refund-{charge_id}-{number}")


def refund_not_found(charge_id: str = "ch_1", number: int = 1) -> RefundNotFound:
    return RefundNotFound(ORDER, charge_id, f"refund-{charge_id}-{number}")


def dispute_lost(charge_id: str = "ch_1", dispute_id: str = "du_1", text: str | None = None) -> DisputeLost:
    return DisputeLost(ORDER, charge_id, dispute_id, text)


def stands(given_back_by: str = "re_1", charge_id: str = "ch_1") -> RefundRechecked:
    return RefundRechecked(ORDER, charge_id, given_back_by, stands=True)


def undone(given_back_by: str = "re_1", charge_id: str = "ch_1") -> RefundRechecked:
    return RefundRechecked(ORDER, charge_id, given_back_by, stands=False, text="the refund has failed after all")


DUE = Due(ORDER)
RECHECK_REQUESTED = RecheckRequested(ORDER)
CREATED_IS_OUT = EventPublished(ORDER, f"{PAYMENT_CREATED}:{PAYMENT}")
REFUNDED_IS_OUT = EventPublished(ORDER, f"{PAYMENT_REFUNDED}:{PAYMENT}")


class Story:
    """One order and its history. `later` moves `now`; process A decides messages."""

    def __init__(self, *messages: Message, prepare: bool = False) -> None:
        self.order: Order | None = None
        self.now = T0
        self.prepare = prepare
        self.decide(*messages)

    def context(self, by: str = A, *, api_version: str = VERSION) -> Context:
        return Context(self.now, by, api_version, GROUP, self.prepare)

    def decide(self, *messages: Message, by: str = A) -> "Story":
        """Decide each message in turn, in one process."""
        for message in messages:
            self._step(message, by)
        return self

    def ask(
        self, token: str = "tok_1", user: str = USER, by: str = A, authentication: Authentication = BROWSER
    ) -> Reply | Start:
        """A request to charge, and its reply."""
        reply = self._step(request(token, user, authentication), by)
        assert reply is not None
        return reply

    def later(self, **span: float) -> "Story":
        self.now += timedelta(**span)
        return self

    def due(self, by: str = A) -> "Story":
        """Move the clock to the stored deadline, if it isn't there yet, and let a process sweep."""
        assert self.doc.due is not None
        self.now = max(self.now, self.doc.due)
        return self.decide(DUE, by=by)

    def recheck(self, by: str = A) -> "Story":
        """Move the clock to the time of the next recheck, and let a process take it up."""
        assert self.doc.recheck is not None
        self.now = max(self.now, self.doc.recheck)
        return self.decide(DUE, by=by)

    def retrieve(self, by: str = A) -> "Story":
        """A client requests the retrieval of an intent that awaits its customer, after the least time between two."""
        self.now += RETRIEVALS_APART
        return self.decide(RECHECK_REQUESTED, by=by)

    def dead(self) -> "Story":
        """Let the order expire."""
        assert self.doc.expires_at is not None
        self.now = self.doc.expires_at
        return self

    @property
    def doc(self) -> Order:
        assert self.order is not None
        return self.order

    @property
    def intent(self) -> Intent:
        assert self.doc.intent is not None
        return self.doc.intent

    @property
    def kind(self) -> TaskKind | None:
        """The kind of the intent's task, in flight or to come."""
        return self.intent.task.kind if self.intent.task else None

    def attempt(self, number: int = 1) -> Attempt:
        return self.doc.attempts[number - 1]

    def state(self, number: int = 1) -> AttemptState:
        return self.attempt(number).state

    def owed(self, kind: type[E]) -> list[E]:
        """The pending effects of one kind."""
        return [item.effect for item in pending(self.doc) if isinstance(item.effect, kind)]

    def one(self, kind: type[E]) -> E:
        """The one effect that is pending, and of this kind."""
        (item,) = pending(self.doc)
        assert isinstance(item.effect, kind), item.effect
        return item.effect

    def one_of(self, kind: type[E]) -> E:
        """The one effect of this kind that is pending, perhaps among others."""
        (effect,) = self.owed(kind)
        return effect

    def pending_of(self, effect: Effect) -> PendingEffect:
        """When and in which process an effect is pending."""
        return next(item for item in pending(self.doc) if item.effect == effect)

    def history(self) -> list[str]:
        return [entry.what for entry in self.doc.history]

    def _step(self, message: Message, by: str) -> Reply | Start | None:
        step = decide(self.order, message, self.context(by))
        check_step(self.order, step.order)
        self.order = step.order
        return step.reply


def with_dates(value: Any) -> Any:
    """A stored document with dates, which JSON does not have."""
    if isinstance(value, dict):
        return {key: with_dates(each) for key, each in value.items()}
    if isinstance(value, list):
        return [with_dates(each) for each in value]
    if isinstance(value, str) and value[:5] == "2026-" and value.endswith("+00:00"):
        return datetime.fromisoformat(value)
    return value


def of_0_1_0(name: str) -> Story:
    """The story of an order that release 0.1.0 stored, as this release reads it."""
    stored = with_dates(DOCUMENTS[name])
    story = Story()
    story.now = stored["now"]
    story.order = msgspec.convert(upgraded(stored["document"]), Order, builtin_types=(datetime,))
    return story


def open_order() -> Story:
    return Story(created())


def confirming() -> Story:
    return Story(created(), request())


def sent_twice() -> Story:
    """Confirming; the first send ended unclear, the second is counted in the document."""
    return confirming().decide(unclear())


def taken_over() -> Story:
    """Confirming; process A's lease has run out, and B retrieves the intent before it sends."""
    return confirming().due(by=B)


def awaiting() -> Story:
    return confirming().decide(action())


def retrieving() -> Story:
    """Awaiting its customer; a client has requested a retrieval, which is in flight."""
    return awaiting().retrieve()


def cancelling() -> Story:
    """A client asked for another card while the first attempt awaited its customer."""
    return awaiting().decide(request("tok_2"))


def exposed() -> Story:
    """Declined after its customer failed to authenticate: the intent is open, and its secret is out."""
    return retrieving().decide(retrieved(REQUIRES_CARD))


def paid() -> Story:
    return confirming().decide(succeeded())


def refunding() -> Story:
    """Paid, and cancelled after payment:created went out."""
    return paid().decide(CREATED_IS_OUT, cancelled())


def refund_blocked() -> Story:
    return refunding().decide(blocked())


def given_back() -> Story:
    return refunding().decide(refunded())


def given_back_by_hand() -> Story:
    """An operator refunded the charge in the dashboard before any answer of it came."""
    return taken_over().decide(retrieved_success(refunded=True), by=B)


def charged_back() -> Story:
    """The refund is blocked by a dispute, which the bank decides for its customer."""
    return refund_blocked().decide(dispute_lost())


def refund_failed() -> Story:
    """Given back, announced, and an hour later the refund has failed."""
    return given_back().decide(REFUNDED_IS_OUT).recheck().decide(undone())


BY_STATE = {
    AttemptState.CONFIRMING: confirming,
    AttemptState.AWAITING: awaiting,
    AttemptState.CANCELLING: cancelling,
    AttemptState.CHARGING: lambda: of_0_1_0("charging"),
    AttemptState.DECLINED: lambda: confirming().decide(declined()),
    AttemptState.REFUSED: lambda: confirming().decide(refused()),
    AttemptState.CLOSED: lambda: awaiting().dead().decide(DUE, now_canceled()),
    AttemptState.PAID: paid,
    AttemptState.REFUNDING: refunding,
    AttemptState.BLOCKED: refund_blocked,
    AttemptState.REFUNDED: given_back,
    AttemptState.CHARGED_BACK: charged_back,
}
"""A story in which the first attempt has come to each state."""
