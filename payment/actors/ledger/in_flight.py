"""The effects in flight: which were released to which actor, so that none is released twice.

An effect is in flight from its release until the write that its end led to is confirmed, not until its end arrives:
only the written document says whether it is owed again. Renews the lease of what waits long.

Change together: `LEASE` in `payment.core.schedule`, and `RENEW_WITHIN` here.
"""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from payment.actors.messages import (
    CancelEffect,
    NatsMessage,
    StripeMessage,
)
from payment.actors.queue_estimate import EstimateReader
from payment.actors.runtime.mailbox import Mailbox
from payment.core.effects import ConfirmIntent, CreateIntent, Effect, PendingEffect, PublishEvent, RecheckLater
from payment.core.messages import ConfirmUnclear, EffectReturned, LeaseRenewed, Message
from payment.core.order import Order
from payment.core.pending import pending

RENEW_WITHIN = timedelta(seconds=25)
"""What is left of a lease when it is renewed: several ticks of the ledger, and an outage of the store in between."""

CANCELLED_WHEN_OBSOLETE = (ConfirmIntent, CreateIntent)
"""Effects that are cancelled once they are pending no longer: a charge, and an intent that would be of no use."""

NATS = "nats"
STRIPE = "stripe"


class InFlightEffect(Struct, eq=False):
    """One effect in flight at an actor, with its lease. `position` is a confirm's place in the queue estimate."""

    effect: Effect
    actor: str
    until: datetime
    position: int | None = None
    cancelled: bool = False


class InFlightEffects:
    """Releases what is pending to the Stripe and NATS actors, and knows what they have not given back yet."""

    def __init__(
        self, process: str, stripe: Mailbox[StripeMessage], nats: Mailbox[NatsMessage], estimate: EstimateReader
    ) -> None:
        self._process = process
        self._stripe = stripe
        self._nats = nats
        self._estimate = estimate
        self._held: dict[str, dict[str, InFlightEffect]] = {}
        self._forfeited: dict[str, dict[str, datetime]] = {}
        """By order: effects that ended, and whose document can't be written; until when their leases run.

        Kept until the order is written again, however late: one for each effect that was in flight for an order when it
        was set aside.
        """
        self._unreleased: set[str] = set()
        self._count = 0
        self._charges = 0

    def ended(self, order_id: str, effect_id: str) -> None:
        """The write that an effect's end led to is confirmed: it is in flight no longer."""
        held = self._held.get(order_id)
        item = held.pop(effect_id, None) if held is not None else None
        if item is None:
            return
        self._count -= 1
        self._charges -= isinstance(item.effect, ConfirmIntent)
        if not held:
            del self._held[order_id]

    def forfeit(self, order_id: str, effect_id: str) -> None:
        """An effect has ended, and the document that would say so can't be written.

        It must not be released again as if it had never been: a charge was perhaps made. When its lease has run out, a
        process retrieves the intent first, or writes that it sends again.
        """
        item = self._held.get(order_id, {}).get(effect_id)
        if item is not None:
            self._forfeited.setdefault(order_id, {})[effect_id] = item.until
            self.ended(order_id, effect_id)

    def release(self, order: Order) -> bool:
        """Send the actors what the written document owes and this process holds; cancel what it owes no longer.

        False: a mailbox was full. Nothing is lost by that: the ledger asks again soon (`take_unreleased`).
        """
        mine = {item.effect.id: item for item in pending(order) if item.holder == self._process}
        held = self._held.get(order.id, {})
        forfeited = self._still_forfeited(order.id, mine) if order.id in self._forfeited else ()
        complete = True
        for effect_id, item in mine.items():
            if effect_id in held:
                held[effect_id].until = item.at
            elif effect_id not in forfeited and not isinstance(item.effect, RecheckLater):
                complete &= self._hand_over(order.id, item.effect, item.at)
        if held.keys() - mine.keys():
            complete &= self._cancel(held, mine.keys())
        if not complete:
            self._unreleased.add(order.id)
        return complete

    def take_unreleased(self, limit: int) -> list[str]:
        """Orders some of whose effects found no room in a mailbox, taken out."""
        return [self._unreleased.pop() for _ in range(min(len(self._unreleased), limit))]

    def _still_forfeited(self, order_id: str, owed: dict[str, PendingEffect]) -> Collection[str]:
        """The order's forfeited effects that it owes under their old leases; the others are forgotten."""
        forfeited = self._forfeited.pop(order_id)
        still = {name: until for name, until in forfeited.items() if name in owed and owed[name].at <= until}
        if still:
            self._forfeited[order_id] = still
        return still

    def _hand_over(self, order_id: str, effect: Effect, until: datetime) -> bool:
        match effect:
            case RecheckLater():
                return True
            case PublishEvent():
                given, actor = self._nats.offer(effect), NATS
            case _:
                given, actor = self._stripe.offer(effect), STRIPE
        if given:
            position = self._stripe.accepted if isinstance(effect, ConfirmIntent) else None
            self._held.setdefault(order_id, {})[effect.id] = InFlightEffect(effect, actor, until, position)
            self._count += 1
            self._charges += isinstance(effect, ConfirmIntent)
        return given

    def _cancel(self, held: dict[str, InFlightEffect], owed: Collection[str]) -> bool:
        complete = True
        for effect_id, item in held.items():
            if isinstance(item.effect, CANCELLED_WHEN_OBSOLETE) and not item.cancelled and effect_id not in owed:
                item.cancelled = self._stripe.offer(CancelEffect(effect_id))
                complete &= item.cancelled
        return complete

    def wait_s(self, order_id: str) -> float | None:
        """How long the order's charge will wait for its turn yet, in seconds. None: no charge of it is in flight."""
        for item in self._held.get(order_id, {}).values():
            if item.position is not None:
                return self._estimate.latest.wait_s(item.position)
        return None

    def renewals(self, now: datetime) -> Iterator[LeaseRenewed]:
        """For each order whose lease runs out soon: that this process still holds it."""
        for order_id, held in self._held.items():
            ids = tuple(effect_id for effect_id, item in held.items() if item.until - now < RENEW_WITHIN)
            if ids:
                yield LeaseRenewed(order_id, ids)

    def renewal(self, order_id: str) -> LeaseRenewed | None:
        """That this process still holds what it has of an order."""
        held = self._held.get(order_id)
        return LeaseRenewed(order_id, tuple(held)) if held else None

    def lost(self, actor: str) -> list[tuple[str, Message]]:
        """Effect id and outcome of every effect that a dead actor had. They count as in flight still."""
        return [
            (effect_id, _fate_unknown(order_id, item.effect))
            for order_id, held in self._held.items()
            for effect_id, item in held.items()
            if item.actor == actor
        ]

    def holds(self, order_id: str) -> bool:
        """Whether any effect of this order is in flight."""
        return order_id in self._held

    @property
    def charges(self) -> int:
        """How many charges are in flight. What waits for NATS or for a refund is not among them."""
        return self._charges

    def __len__(self) -> int:
        # Asked for each request while thousands are held: counted, not added up.
        return self._count


def _fate_unknown(order_id: str, effect: Effect) -> Message:
    """The outcome of a call that was cancelled, or whose end never came: unclear for a charge, else it is repeated."""
    if isinstance(effect, ConfirmIntent):
        return ConfirmUnclear(order_id, effect.attempt, effect.send, effect.intent.number, effect.intent.id)
    return EffectReturned(order_id, effect.id)
