"""A small world around the core: a Stripe with its own accounts, customers with their banks, and processes that hold,
lose and delay.

It is harsh where the world is: requests land late or never, answers are lost or wait, errors are stored for keys, the
dashboard cancels and refunds, browsers confirm with other cards, processes die with effects in flight or wake up with
them. It keeps the protocol's assumptions: no create or confirm leaves after its `not_after`, none lands more than
`WIRE` after it left, and Stripe keeps a key for `KEY_MEMORY`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from payment.core.decide import decide
from payment.core.effects import (
    CancelIntent,
    ConfirmIntent,
    CreateIntent,
    Effect,
    FindRefund,
    IntentReference,
    PublishEvent,
    RecheckLater,
    RecheckRefund,
    RefundCharge,
    RetrieveIntent,
)
from payment.core.messages import (
    ActionRequired,
    CardDeclined,
    ChargeFacts,
    ChargeRefunded,
    ChargeRequested,
    ConfirmRefused,
    ConfirmUnclear,
    ConfirmWithheld,
    Context,
    CreateErrorStored,
    EffectReturned,
    EventPublished,
    Failure,
    IntentCreated,
    IntentPrepared,
    IntentRetrieved,
    IntentStatus,
    IntentSucceeded,
    Message,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefundRechecked,
    RefusalReason,
    RetrieveReason,
)
from payment.core.order import AttemptState, Order
from payment.core.pending import pending
from payment.core.replies import Start
from tests.unit.core.builders import GROUP, ORDER, T0, VERSION, present
from tests.unit.core.checks import check_step

WIRE = timedelta(hours=11)
"""The longest time of a request on the wire: with its key's 12 h it ends before Stripe forgets the key."""

KEY_MEMORY = timedelta(hours=24)

FINAL = (IntentStatus.SUCCEEDED, IntentStatus.CANCELED)
UNCONFIRMABLE = (*FINAL, IntentStatus.PROCESSING)
DECLINE = Failure("card_declined", None, "Declined.")


@dataclass
class Charge:
    """A succeeded charge at Stripe."""

    id: str
    refund: str | None = None
    failed: int = 0
    """The number of its refunds that failed after they succeeded."""


@dataclass
class StripeIntent:
    """An intent at Stripe. `secret_out`: a browser has its client secret."""

    id: str
    made: datetime
    status: IntentStatus = IntentStatus.REQUIRES_PAYMENT_METHOD
    charge: Charge | None = None
    secret_out: bool = False


@dataclass
class Stripe:
    """Stripe's own accounts. `stored` is the outcome that it keeps for a key, with the card of the request and the
    time.

    `double`: two charges were kept at one time, which must never be.
    """

    intents: dict[str, StripeIntent] = field(default_factory=dict)
    charges: list[Charge] = field(default_factory=list)
    stored: dict[str, tuple[datetime, str, str]] = field(default_factory=dict)
    failed_refund_keys: set[str] = field(default_factory=set)
    double: bool = False

    def recall(self, key: str, card: str, now: datetime) -> str | None:
        """The outcome that is stored for a key: "error" also where a request had another card."""
        since, asked_with, outcome = self.stored.get(key, (now, card, ""))
        if not outcome or now >= since + KEY_MEMORY:
            return None
        return outcome if asked_with == card else "error"

    def create(self, key: str, will: str, now: datetime) -> str | None:
        """The id of the intent that the key brings, "stored error", or None for an error that is stored now."""
        known = self.recall(key, "", now)
        if known is not None:
            return "stored error" if known == "error" else known
        if will == "create error":
            self.stored[key] = (now, "", "error")
            return None
        made = StripeIntent(f"pi_{len(self.intents) + 1}", now)
        self.intents[made.id] = made
        self.stored[key] = (now, "", made.id)
        return made.id

    def confirm(self, intent: StripeIntent, key: str, card: str, will: str, now: datetime) -> tuple[str, bool]:
        """Execute a confirm. Returns its outcome, and whether the outcome was stored for its key before."""
        known = self.recall(key, card, now)
        if known is not None:
            return ("stored error" if known == "error" else known), True
        if intent.status in UNCONFIRMABLE:
            return "unexpected", False
        if will == "refused":
            return will, False  # nothing is stored for the key
        failed = will.startswith("error")
        self.happen(intent, will.removeprefix("error after "))
        self.stored[key] = (now, card, "error" if failed else will)
        return ("error" if failed else will), False

    def happen(self, intent: StripeIntent, what: str) -> None:
        """Charge or decline a card, let the bank ask for the customer or decide later, or do nothing."""
        match what:
            case "charged":
                intent.charge = Charge(f"ch_{len(self.charges) + 1}")
                intent.status = IntentStatus.SUCCEEDED
                self.charges.append(intent.charge)
                never_returned = [charge for charge in self.kept() if not charge.failed]
                self.double = self.double or len(never_returned) > 1
            case "declined":
                intent.status = IntentStatus.REQUIRES_PAYMENT_METHOD
            case "action":
                intent.status = IntentStatus.REQUIRES_ACTION
            case "processing":
                intent.status = IntentStatus.PROCESSING

    def cancel(self, intent: StripeIntent) -> None:
        """Cancel an intent; one that is settled or processing stays as it is."""
        if intent.status not in UNCONFIRMABLE:
            intent.status = IntentStatus.CANCELED

    def refund(self, charge_id: str) -> str:
        """Give a charge back; a charge that was given back is reported so, for any key."""
        charge = next(charge for charge in self.charges if charge.id == charge_id)
        charge.refund = charge.refund or f"re_{charge_id}_{charge.failed + 1}"
        return charge.refund

    def fail_refund(self, charge: Charge) -> None:
        """The bank returns a refund that had succeeded."""
        charge.refund, charge.failed = None, charge.failed + 1

    def kept(self) -> list[Charge]:
        return [charge for charge in self.charges if charge.refund is None]

    def in_status(self, *statuses: IntentStatus, secret_out: bool = False) -> list[StripeIntent]:
        """The intents in one of these statuses, all of them or those whose secret is out."""
        return [each for each in self.intents.values() if each.status in statuses and each.secret_out >= secret_out]


@dataclass
class InFlight:
    """An effect that a process has in flight."""

    process: str
    effect: Effect


@dataclass
class OnWire:
    """A request that left and has not been executed: a create, a confirm, or (without a key) a cancel."""

    left: datetime
    intent_id: str | None
    key: str | None
    card: str = ""
    will: str = ""


class World:
    """One order, its document, the processes' effects in flight, the messages to the ledger, and Stripe."""

    def __init__(self, *, prepare: bool = False) -> None:
        self.now = T0
        self.prepare = prepare
        self.order: Order | None = None
        self.restored = False
        self.backups: list[Order] = []
        self.stripe = Stripe()
        self.in_flight: list[InFlight] = []
        self.mail: list[tuple[InFlight, Message]] = []
        self.on_wire: list[OnWire] = []
        self.waiting: list[tuple[ChargeRequested, str]] = []
        self.published: list[PublishEvent] = []
        self.runs = {"web-1": 1, "web-2": 1}

    @property
    def doc(self) -> Order:
        return present(self.order)

    # --------------------------------------------------------------------------------------------------- the ledgers

    def process(self, client: str) -> str:
        return f"{client}#run{self.runs[client]}"

    def decide(self, message: Message, process: str) -> None:
        """Write, and release the effects that this process has to carry out; requests that wait for a cancel are
        decided again."""
        reply = self._write(message, process)
        if isinstance(message, ChargeRequested) and isinstance(reply, Start):
            self.waiting.append((message, process))
        waiting, self.waiting = self.waiting, []
        for request, waits_at in waiting:
            if isinstance(self._write(request, waits_at), Start):
                self.waiting.append((request, waits_at))

    def _write(self, message: Message, process: str) -> object:
        step = decide(self.order, message, Context(self.now, process, VERSION, GROUP, self.prepare))
        check_step(self.order, step.order)
        if step.order is not None and step.order is not self.order:
            self.backups.append(step.order)
        self.order = step.order
        self._release()
        held = {each.effect.id for each in self.in_flight if each.process == process}
        for item in pending(self.order) if self.order else ():
            if item.holder == process and item.effect.id not in held and not isinstance(item.effect, RecheckLater):
                self.in_flight.append(InFlight(process, item.effect))
        return step.reply

    def _release(self) -> None:
        """While an attempt awaits its customer, the owner's browser may have been given the client secret."""
        order = self.order
        if order is None or order.unsettled is None or order.unsettled.state is not AttemptState.AWAITING:
            return
        assert order.intent is not None
        assert order.intent.id is not None
        self.stripe.intents[order.intent.id].secret_out = True

    def crash(self, client: str) -> None:
        """The process dies with its effects in flight; requests on the wire go on. A new run begins."""
        process = self.process(client)
        self.in_flight = [each for each in self.in_flight if each.process != process]
        self.mail = [(each, message) for each, message in self.mail if each.process != process]
        self.waiting = [(request, waits_at) for request, waits_at in self.waiting if waits_at != process]
        self.runs[client] += 1

    def restore(self, which: int) -> None:
        """The database is restored to one of its earlier states, with all processes stopped."""
        for client in self.runs:
            self.crash(client)
        self.order = self.backups[which % len(self.backups)]
        self.restored = True

    def deliver(self, index: int) -> None:
        """One outcome reaches the ledger, in any order."""
        done, message = self.mail.pop(index)
        self.in_flight.remove(done)
        self.decide(message, done.process)

    def idle(self) -> list[InFlight]:
        """Effects in flight that have not ended yet."""
        ended = {id(each) for each, _ in self.mail}
        return [each for each in self.in_flight if id(each) not in ended]

    # ------------------------------------------------------------------------------------------------- time and wires

    def land(self, index: int) -> None:
        """A request that was on the wire is executed after all; no process gets the answer."""
        late = self.on_wire.pop(index)
        if late.intent_id is None:
            assert late.key is not None
            self.stripe.create(late.key, late.will, self.now)
        elif late.key is None:
            self.stripe.cancel(self.stripe.intents[late.intent_id])
        else:
            self.stripe.confirm(self.stripe.intents[late.intent_id], late.key, late.card, late.will, self.now)

    def advance(self, span: timedelta) -> None:
        """Let time pass; requests that have been on the wire for too long have landed before."""
        until = self.now + span
        while late := [n for n, request in enumerate(self.on_wire) if request.left + WIRE <= until]:
            self.now = max(self.now, self.on_wire[late[0]].left + WIRE)
            self.land(late[0])
        self.now = until
        for intent in self.stripe.intents.values() if self.restored else ():
            # An operator reconciles within a day: Stripe forgets the key of a create by then, so that no
            # process can find an intent any more that the restored document does not know.
            intent.secret_out = intent.secret_out and self.now < intent.made + KEY_MEMORY

    # --------------------------------------------------------------------------------------------------- the effects

    def perform(self, work: InFlight, will: str, answer: str = "answered") -> None:
        """Carry an effect out. `will` is what Stripe would do, `answer` is the fate of the request and its answer."""
        for message in self._performed(work.effect, will, answer):
            self.mail.append((work, message))

    def _performed(self, effect: Effect, will: str, answer: str) -> Iterator[Message]:
        match effect:
            case ConfirmIntent():
                yield from self._confirm(effect, will, answer)
            case CreateIntent():
                if self.now >= effect.not_after or answer == "lost":
                    yield EffectReturned(ORDER, effect.id)
                    return
                made = self._intent_id(effect.intent, will)
                if made is None:
                    yield EffectReturned(ORDER, effect.id)
                else:
                    yield made if isinstance(made, Message) else IntentPrepared(ORDER, effect.intent.number, made)
            case RetrieveIntent():
                yield from self._retrieve(effect, RetrieveReason.RECHECK, will, answer)
            case CancelIntent():
                yield from self._retrieve(effect, RetrieveReason.CANCEL, will, answer)
            case RefundCharge():
                yield self._refund(effect, will, answer)
            case FindRefund():
                charge = next(charge for charge in self.stripe.charges if charge.id == effect.charge_id)
                found = ChargeRefunded(ORDER, charge.id, charge.refund) if charge.refund else None
                yield found or RefundNotFound(ORDER, charge.id, effect.key)
            case RecheckRefund():
                charge = next(charge for charge in self.stripe.charges if charge.id == effect.charge_id)
                stands = charge.refund == effect.given_back_by
                yield RefundRechecked(ORDER, charge.id, effect.given_back_by, stands)
            case PublishEvent():
                self.published.append(effect)
                lost = answer == "lost"
                yield EffectReturned(ORDER, effect.id) if lost else EventPublished(ORDER, effect.message_id)
            case _:
                raise AssertionError("a later recheck is never in flight")

    def _intent_id(self, intent: IntentReference, will: str) -> Message | str | None:
        """The intent's id, or the outcome of its list or its create. None: no outcome yet, and it is tried again
        later."""
        if intent.id is not None:
            return intent.id
        if self.now >= intent.list_after:
            if kept := self.stripe.kept():
                return IntentSucceeded(ORDER, intent.number, None, ChargeFacts(kept[0].id))
            if self.stripe.in_status(IntentStatus.PROCESSING):
                return None
        made = self.stripe.create(intent.key, will, self.now)
        return CreateErrorStored(ORDER, intent.number) if made == "stored error" else made

    def _confirm(self, effect: ConfirmIntent, will: str, answer: str) -> Iterator[Message]:
        """As the Stripe actor sends: a late request is withheld, a request without an answer is unclear."""
        attempt, send, number = effect.attempt, effect.send, effect.intent.number
        wanted = self.order is not None and any(item.effect == effect for item in pending(self.order))
        if self.now >= effect.not_after or answer == "withheld" or (answer == "withdrawn" and not wanted):
            yield ConfirmWithheld(ORDER, attempt, send, number, effect.intent.id)
            return
        if answer == "late create" and effect.intent.id is None and self.now < effect.intent.list_after:
            self.on_wire.append(OnWire(self.now, None, effect.intent.key, "", will))
            yield ConfirmUnclear(ORDER, attempt, send, number, None)
            return
        intent_id = self._intent_id(effect.intent, will)
        if isinstance(intent_id, Message):
            yield intent_id
        elif intent_id is None:
            yield ConfirmUnclear(ORDER, attempt, send, number, None)
        elif effect.id_first:
            yield IntentCreated(ORDER, attempt, send, number, intent_id)
        else:
            key = f"confirm-{intent_id}-{attempt}"
            if answer == "late":
                self.on_wire.append(OnWire(self.now, intent_id, key, effect.instrument.value, will))
                yield ConfirmUnclear(ORDER, attempt, send, number, intent_id)
                return
            intent = self.stripe.intents[intent_id]
            outcome = self.stripe.confirm(intent, key, effect.instrument.value, will, self.now)
            yield self._confirmed(effect, intent, *outcome, lost=answer == "lost")

    def _confirmed(
        self, effect: ConfirmIntent, intent: StripeIntent, outcome: str, replayed: bool, *, lost: bool
    ) -> Message:
        attempt, send, number = effect.attempt, effect.send, effect.intent.number
        if lost or outcome == "error":
            return ConfirmUnclear(ORDER, attempt, send, number, intent.id)
        match outcome:
            case "charged":
                assert intent.charge is not None
                refunded = intent.charge.refund is not None and not replayed
                return IntentSucceeded(ORDER, number, intent.id, ChargeFacts(intent.charge.id, refunded), replayed)
            case "action" | "processing":
                return ActionRequired(ORDER, attempt, number, intent.id, outcome == "processing", replayed)
            case "declined":
                return CardDeclined(ORDER, attempt, number, intent.id, DECLINE)
            case "refused":
                return ConfirmRefused(ORDER, attempt, send, number, intent.id, RefusalReason.TOKEN_USED, "Used before.")
            case "unexpected":
                return self._retrieved(number, intent, RetrieveReason.UNEXPECTED_STATE, attempt)
            case _:
                return ConfirmUnclear(ORDER, attempt, send, number, intent.id, stored=True)

    def _retrieve(
        self, effect: RetrieveIntent | CancelIntent, reason: RetrieveReason, will: str, answer: str
    ) -> Iterator[Message]:
        if answer in ("withheld", "withdrawn"):
            answer = "answered"
        intent_id = self._intent_id(effect.intent, will)
        if isinstance(intent_id, Message):
            yield intent_id
            return
        if intent_id is None:
            yield EffectReturned(ORDER, effect.id)
            return
        intent = self.stripe.intents[intent_id]
        if reason is RetrieveReason.CANCEL and answer == "late":
            self.on_wire.append(OnWire(self.now, intent_id, None))
        elif reason is RetrieveReason.CANCEL:
            self.stripe.cancel(intent)
        if answer == "lost":
            yield EffectReturned(ORDER, effect.id)
        else:
            yield self._retrieved(effect.intent.number, intent, reason, None)

    def _retrieved(
        self, number: int, intent: StripeIntent, reason: RetrieveReason, attempt: int | None
    ) -> IntentRetrieved:
        charge = ChargeFacts(intent.charge.id, intent.charge.refund is not None) if intent.charge else None
        return IntentRetrieved(ORDER, number, intent.id, reason, intent.status, charge, attempt=attempt)

    def _refund(self, effect: RefundCharge, will: str, answer: str) -> Message:
        if effect.key in self.stripe.failed_refund_keys:
            return RefundErrorStored(ORDER, effect.charge_id, effect.key)
        if will == "refused":
            return RefundBlocked(ORDER, effect.charge_id, None, "disputed")
        if will == "error":
            self.stripe.failed_refund_keys.add(effect.key)
            return EffectReturned(ORDER, effect.id)
        refund_id = self.stripe.refund(effect.charge_id)
        if will == "error after charged":
            self.stripe.failed_refund_keys.add(effect.key)
            return EffectReturned(ORDER, effect.id)
        lost = answer == "lost"
        return EffectReturned(ORDER, effect.id) if lost else ChargeRefunded(ORDER, effect.charge_id, refund_id)
