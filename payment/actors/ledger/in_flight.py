"""The effects in flight: which effect was released to which actor, so that none is released twice.

An effect is in flight from its release until the write of its outcome is confirmed, not until the outcome arrives: only
the written document says whether the effect is pending again. Leases of effects that wait long are renewed.

Change together: `LEASE` in `payment.core.schedule`, and `RENEW_WITHIN` here.
"""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from itertools import islice

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
"""A lease is renewed when less than this is left: several ticks of the ledger, and a short outage of the store."""

CANCELLED_WHEN_OBSOLETE = (ConfirmIntent, CreateIntent)
"""Effects that are cancelled once they are no longer pending: a charge, and an intent that would not be used."""

NATS = "nats"
STRIPE = "stripe"


class InFlightEffect(Struct, eq=False):
    """One effect in flight at an actor. Its lease ends at `until`; `position` is a confirm's in the queue estimate."""

    effect: Effect
    actor: str
    until: datetime
    position: int | None = None
    cancelled: bool = False


class InFlightEffects:
    """Releases pending effects to the Stripe and NATS actors, and keeps those whose outcome is not written yet."""

    def __init__(
        self, process: str, stripe: Mailbox[StripeMessage], nats: Mailbox[NatsMessage], estimate: EstimateReader
    ) -> None:
        self._process = process
        self._stripe = stripe
        self._nats = nats
        self._estimate = estimate
        self._held: dict[str, dict[str, InFlightEffect]] = {}
        self._forfeited: dict[str, dict[str, datetime]] = {}
        """By order, the effects that ended but whose outcome can't be written, with the ends of their leases.

        They are kept until the order is written again, at most one for each effect that was in flight for an order when
        it was set aside.
        """
        self._unreleased: dict[str, None] = {}
        """Order ids, the oldest first."""
        self._count = 0
        self._charges = 0

    def ended(self, order_id: str, effect_id: str) -> None:
        """The write of an effect's outcome is confirmed: the effect is no longer in flight."""
        held = self._held.get(order_id)
        item = held.pop(effect_id, None) if held is not None else None
        if item is None:
            return
        self._count -= 1
        self._charges -= isinstance(item.effect, ConfirmIntent)
        if not held:
            del self._held[order_id]

    def forfeit(self, order_id: str, effect_id: str) -> None:
        """An effect has ended, and the document with its outcome can't be written.

        It must not be released again under the same lease, because it may have made a charge. After the lease a process
        retrieves the intent first, or writes that it sends the confirm again.
        """
        item = self._held.get(order_id, {}).get(effect_id)
        if item is not None:
            self._forfeited.setdefault(order_id, {})[effect_id] = item.until
            self.ended(order_id, effect_id)

    def release(self, order: Order) -> bool:
        """Send the written document's pending effects that this process holds to the actors; cancel obsolete ones.

        False: a mailbox was full. No effect is lost: the ledger tries again soon (`take_unreleased`).
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
            self._unreleased[order.id] = None
        return complete

    def take_unreleased(self, limit: int) -> list[str]:
        """Returns, and forgets, up to `limit` orders whose effects did not all fit into a mailbox, the oldest first."""
        taken = list(islice(self._unreleased, limit))
        for order_id in taken:
            del self._unreleased[order_id]
        return taken

    def _still_forfeited(self, order_id: str, owed: dict[str, PendingEffect]) -> Collection[str]:
        """Returns the order's forfeited effects that are pending under their old leases; the others are forgotten."""
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
        """Returns how long the order's charge will still wait, in seconds. None: no charge of it is in flight."""
        for item in self._held.get(order_id, {}).values():
            if item.position is not None:
                return self._estimate.latest.wait_s(item.position)
        return None

    def renewals(self, now: datetime) -> Iterator[LeaseRenewed]:
        """Yields a renewal for each order with a lease that ends soon."""
        for order_id, held in self._held.items():
            ids = tuple(effect_id for effect_id, item in held.items() if item.until - now < RENEW_WITHIN)
            if ids:
                yield LeaseRenewed(order_id, ids)

    def renewal(self, order_id: str) -> LeaseRenewed | None:
        """Returns a renewal of all leases of an order's effects. None: none is in flight."""
        held = self._held.get(order_id)
        return LeaseRenewed(order_id, tuple(held)) if held else None

    def lost(self, actor: str) -> list[tuple[str, Message]]:
        """Returns id and outcome of each effect that a dead actor had. They still count as in flight."""
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
        """The number of charges in flight. Publications and refunds are not counted."""
        return self._charges

    def __len__(self) -> int:
        # Read for each request while thousands are in flight: so it is counted, not computed.
        return self._count


def _fate_unknown(order_id: str, effect: Effect) -> Message:
    """Returns the outcome of a call whose actor died: unclear for a charge; any other effect is repeated."""
    if isinstance(effect, ConfirmIntent):
        return ConfirmUnclear(order_id, effect.attempt, effect.send, effect.intent.number, effect.intent.id)
    return EffectReturned(order_id, effect.id)
