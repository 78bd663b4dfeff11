"""What the ledger is told of a call to Stripe: outcome in, message out. Pure.

It must never conclude anything from silence, nor from a refusal that may be the answer to another send than ours.
Change together: the outcomes in `payment.ports.cards`, and the messages in `payment.core.messages`.
"""

from payment.core.effects import ChargeCard, FindCharges, FindRefund, RefundCharge, StripeEffect
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
    Message,
    RefundBlocked,
    RefundErrorStored,
    RefundNotFound,
    RefusalReason,
)
from payment.ops.vocabulary import Event
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

Outcome = ChargeOutcome | FindOutcome | RefundOutcome | FindRefundOutcome

SETTLING = (CardCharged, CardDeclined, ChargeErrorStored, ChargeRefunded)
"""After these the key that they are about brings nothing new: asking again would only repeat them."""


def message_of(effect: StripeEffect, outcome: Outcome, *, maybe_sent: bool) -> Message | None:
    """What the ledger is told. None: nothing yet, it is safe to repeat and will be (never so for a charge).

    `maybe_sent`: Stripe spoke of an earlier request with this key while this very send was being tried.
    """
    match effect, outcome:
        case ChargeCard(), _:
            return _charge_ended(effect, outcome, maybe_sent)
        case FindCharges(), Found(charges):
            return ChargesFound(effect.order_id, effect.attempt, effect.evidence, charges)
        case ((RefundCharge() | FindRefund()), _):
            return _refund_ended(effect, outcome)
        case _:
            return None


def undone(effect: StripeEffect, *, maybe_sent: bool) -> Message:
    """What is said of an effect that is given back: of a charge, whether this send was ever made."""
    if not isinstance(effect, ChargeCard):
        return EffectReturned(effect.order_id, effect.id)
    if maybe_sent:
        return ChargeUnclear(effect.order_id, effect.attempt, effect.send)
    return ChargeWithheld(effect.order_id, effect.attempt, effect.send)


def alarm_of(effect: StripeEffect, outcome: Outcome) -> Event | None:
    """Which alarm an outcome gives, if any: it can't happen, or it is ours to mend."""
    match outcome:
        case Refused(reason=RefusalReason.REQUEST):
            return Event.REQUEST_ALARM
        case NotYet(obstacle=Obstacle.KEY_REFUSED) if not isinstance(effect, ChargeCard):
            return Event.REQUEST_ALARM
        case Unclear(alarm=True):
            writes = isinstance(effect, ChargeCard | RefundCharge)
            return Event.IDEMPOTENCY_ALARM if writes else Event.REQUEST_ALARM
        case _:
            return None


def _charge_ended(effect: ChargeCard, outcome: Outcome, maybe_sent: bool) -> Message:
    order_id, attempt = effect.order_id, effect.attempt
    match outcome:
        case Charged():
            return CardCharged(order_id, attempt, outcome.charge_id)
        case Declined():
            return CardDeclined(order_id, attempt, outcome.code, outcome.decline_code, outcome.text)
        case Refused() if maybe_sent:
            # A refusal proves nothing about the other request with this key: the next send is counted on paper.
            return ChargeUnclear(order_id, attempt, effect.send)
        case Refused():
            return ChargeRefused(order_id, attempt, effect.send, outcome.reason, outcome.text)
        case Unclear(stored=True):
            return ChargeErrorStored(order_id, attempt)
        case Unclear():
            return ChargeUnclear(order_id, attempt, effect.send)
        case _:
            raise AssertionError(f"a charge can't end as {type(outcome).__name__}")


def _refund_ended(effect: RefundCharge | FindRefund, outcome: Outcome) -> Message | None:
    order_id, charge_id = effect.order_id, effect.charge_id
    match outcome:
        case Refunded():
            return ChargeRefunded(order_id, charge_id, outcome.refund_id)
        case Blocked():
            return RefundBlocked(order_id, charge_id, outcome.refund_id, outcome.text)
        case NotRefunded():
            return RefundNotFound(order_id, charge_id, effect.key)
        case Unclear(stored=True) if isinstance(effect, RefundCharge):
            return RefundErrorStored(order_id, charge_id, effect.key)
        case _:
            return None
