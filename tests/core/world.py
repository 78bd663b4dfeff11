"""A small world around the core: a Stripe that keeps its own books, and processes that hold, lose and delay.

It is harsh where the world is: requests land late or never, answers get lost or wait, errors are stored for keys,
processes die with work in their hands or wake up with it. It is honest where the design counts on it: no request
leaves after its `not_after`, and none lands more than `WIRE` after it left.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from payment.core.decide import decide
from payment.core.effects import ChargeCard, Effect, FindCharges, FindRefund, PublishEvent, RefundCharge, Watch
from payment.core.messages import (
    CardCharged,
    CardDeclined,
    ChargeErrorStored,
    ChargeRefunded,
    ChargeRefused,
    ChargesFound,
    ChargeUnclear,
    ChargeWithheld,
    EffectReturned,
    EventPublished,
    FoundCharge,
    Message,
    Moment,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefusalReason,
)
from payment.core.order import Order
from payment.core.pending import pending
from payment.core.schedule import KEY_LIFE
from tests.core.builders import ORDER, T0, VERSION
from tests.core.checks import check_step

WIRE = timedelta(hours=24)
"""The longest life of a request on the wire: no longer than keys live."""


@dataclass
class Charge:
    """A succeeded charge on Stripe's books."""

    id: str
    attempt: int
    refund: str | None = None


@dataclass
class Stripe:
    """Stripe's own books. `stored` is what it keeps for a key: a charge, None for a decline, or an error."""

    charges: list[Charge] = field(default_factory=list)
    stored: dict[str, Charge | str] = field(default_factory=dict)
    parameters: dict[str, tuple[int, str, str, str]] = field(default_factory=dict)
    first_sent: dict[str, datetime] = field(default_factory=dict)
    failed_refund_keys: set[str] = field(default_factory=set)

    def charge(self, effect: ChargeCard, will: str) -> Charge | str:
        """Execute a request: what is stored for its key, or else as `will` says."""
        asked = (effect.amount, effect.currency, effect.token, effect.api_version)
        assert self.parameters.setdefault(effect.key, asked) == asked, "F16: one key, other parameters"
        if effect.key in self.stored:
            known = self.stored[effect.key]
            return "error replayed" if known == "error" else known
        if will == "refused":
            return "refused"  # nothing is stored for the key
        outcome: Charge | str = will
        if will in ("charged", "error after charging"):
            outcome = Charge(f"ch_{len(self.charges) + 1}", effect.attempt)
            self.charges.append(outcome)
        self.stored[effect.key] = "error" if will.startswith("error") else outcome
        return self.stored[effect.key]

    def refund(self, charge_id: str) -> str:
        """Give a charge back; one that was given back says so, whatever the key."""
        charge = next(charge for charge in self.charges if charge.id == charge_id)
        charge.refund = charge.refund or f"re_{charge_id}"
        return charge.refund


@dataclass
class Hand:
    """An effect that a process has in its hands, and whether its request may have left."""

    process: str
    effect: Effect


class World:
    """One order, its document, the processes' hands, the mail on its way to the ledger, and Stripe."""

    def __init__(self) -> None:
        self.now = T0
        self.order: Order | None = None
        self.stripe = Stripe()
        self.hands: list[Hand] = []
        self.mail: list[tuple[Hand, Message]] = []
        self.on_wire: list[tuple[datetime, ChargeCard, str]] = []
        self.published: list[PublishEvent] = []
        self.runs = {"web-1": 1, "web-2": 1}

    def process(self, client: str) -> str:
        return f"{client}#run{self.runs[client]}"

    def decide(self, message: Message, process: str) -> None:
        """A write: the decision, and the release of what the document owes this process and it hasn't yet in hand."""
        step = decide(self.order, message, Moment(self.now, process, VERSION))
        check_step(self.order, step.order)
        self.order = step.order
        held = {hand.effect.id for hand in self.hands if hand.process == process}
        for item in pending(self.order) if self.order else ():
            if item.holder == process and item.effect.id not in held and not isinstance(item.effect, Watch):
                self.hands.append(Hand(process, item.effect))

    def crash(self, client: str) -> None:
        """The process dies with what it has in hand and has not told; requests on the wire go on. A new run begins."""
        process = self.process(client)
        self.hands = [hand for hand in self.hands if hand.process != process]
        self.mail = [(hand, message) for hand, message in self.mail if hand.process != process]
        self.runs[client] += 1

    def deliver(self, index: int) -> None:
        """One outcome reaches the ledger, in whatever order."""
        hand, message = self.mail.pop(index)
        self.hands.remove(hand)
        self.decide(message, hand.process)

    def land(self, index: int) -> None:
        """A request that was on the wire is executed after all; nobody hears the answer."""
        _, effect, will = self.on_wire.pop(index)
        self.stripe.charge(effect, will)

    def advance(self, span: timedelta) -> None:
        """Time passes; what has been on the wire for too long has landed before."""
        self.now += span
        while late := [n for n, (left, _, _) in enumerate(self.on_wire) if left + WIRE <= self.now]:
            self.land(late[0])

    def idle(self) -> list[Hand]:
        """What is in hands and has not ended yet."""
        ended = {id(hand) for hand, _ in self.mail}
        return [hand for hand in self.hands if id(hand) not in ended]

    def perform(self, hand: Hand, will: str, answer: str = "told") -> None:
        """Carry an effect out. `will` is what Stripe would do, `answer` what becomes of the request and its answer."""
        for message in self._performed(hand.effect, will, answer):
            self.mail.append((hand, message))

    def _performed(self, effect: Effect, will: str, answer: str) -> Iterator[Message]:
        match effect:
            case ChargeCard():
                yield self._send(effect, will, answer)
            case FindCharges():
                listed = tuple(FoundCharge(charge.id, charge.attempt) for charge in self.stripe.charges)
                yield ChargesFound(ORDER, effect.attempt, effect.evidence, listed)
            case RefundCharge():
                yield self._refund(effect, will, answer)
            case FindRefund():
                charge = next(charge for charge in self.stripe.charges if charge.id == effect.charge_id)
                found = ChargeRefunded(ORDER, charge.id, charge.refund) if charge.refund else None
                yield found or RefundNotFound(ORDER, charge.id, effect.key)
            case PublishEvent():
                self.published.append(effect)
                yield EffectReturned(ORDER, effect.id) if answer == "lost" else EventPublished(ORDER, effect.subject)
            case Watch():
                raise AssertionError("a watch is in nobody's hands")

    def _send(self, effect: ChargeCard, will: str, answer: str) -> Message:
        """As the Stripe actor sends: too late is withheld; what it does not hear is unclear."""
        wanted = self.order is not None and any(item.effect == effect for item in pending(self.order))
        if self.now >= effect.not_after or answer == "withheld" or (answer == "withdrawn" and not wanted):
            return ChargeWithheld(ORDER, effect.attempt, effect.send)
        assert self.now < self.stripe.first_sent.setdefault(effect.key, self.now) + KEY_LIFE, "F17: an old key was sent"
        if answer == "late":
            self.on_wire.append((self.now, effect, will))
            return ChargeUnclear(ORDER, effect.attempt, effect.send)
        result = self.stripe.charge(effect, will)
        if answer == "lost" or result == "error":
            return ChargeUnclear(ORDER, effect.attempt, effect.send)
        if isinstance(result, Charge):
            return CardCharged(ORDER, effect.attempt, result.id)
        if result == "declined":
            return CardDeclined(ORDER, effect.attempt, "card_declined", None, "Declined.")
        if result == "refused":
            return ChargeRefused(ORDER, effect.attempt, effect.send, RefusalReason.TOKEN_USED, "Used before.")
        return ChargeErrorStored(ORDER, effect.attempt)

    def _refund(self, effect: RefundCharge, will: str, answer: str) -> Message:
        if effect.key in self.stripe.failed_refund_keys:
            return RefundErrorStored(ORDER, effect.charge_id, effect.key)
        if will == "refused":
            return RefundBlocked(ORDER, effect.charge_id, None, "disputed")
        if will == "error":
            self.stripe.failed_refund_keys.add(effect.key)
            return EffectReturned(ORDER, effect.id)
        refund_id = self.stripe.refund(effect.charge_id)
        if will == "error after charging":
            self.stripe.failed_refund_keys.add(effect.key)
            return EffectReturned(ORDER, effect.id)
        return (
            EffectReturned(ORDER, effect.id) if answer == "lost" else ChargeRefunded(ORDER, effect.charge_id, refund_id)
        )
