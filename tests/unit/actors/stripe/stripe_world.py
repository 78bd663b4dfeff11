"""A Stripe actor over a scripted card processor, with the ledger's end of its mailboxes in the test's control."""

import asyncio
from datetime import UTC, datetime, timedelta

from msgspec import structs

from payment.actors.messages import (
    AccountCheck,
    AccountRead,
    CancelEffect,
    EffectCompleted,
    LedgerMessage,
    StripeMessage,
)
from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate
from payment.actors.runtime.mailbox import Mailbox
from payment.actors.stripe.actor import StripeActor
from payment.core.account import StripeAccount
from payment.core.effects import (
    CancelIntent,
    ConfirmIntent,
    CreateIntent,
    FindRefund,
    IntentReference,
    ListCharges,
    RefundCharge,
    RetrieveIntent,
    StripeEffect,
)
from payment.core.messages import Authentication, ChargeFacts, Instrument, InstrumentKind, IntentSucceeded, Message
from payment.ops.health import Dependency, Health
from payment.ops.metrics import Metrics
from tests.support.fakes.clock import FakeClock
from tests.unit.actors.stripe.scripted_cards import ScriptedCards

VERSION = "2026-10-28.endive"
FAR, LONG_AGO = datetime(2100, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)
"""Times for `list_after`: a create whose key is young, and one whose key may be forgotten."""
CARD = Instrument(InstrumentKind.TOKEN, "tok_visa")


class StripeWorld:
    """`ended` is what the ledger has received, in order."""

    def __init__(self, *, ledger_limit: int = 100_000, ceiling_per_s: float = 100.0) -> None:
        self.clock = FakeClock()
        self.cards = ScriptedCards(self.clock)
        self.mailbox: Mailbox[StripeMessage] = Mailbox("stripe", 16_000)
        self.ledger: Mailbox[LedgerMessage] = Mailbox("mongo", ledger_limit)
        self.estimate = PublishedEstimate(QueueEstimate(25.0, 25.0))
        self.health = Health(self.clock)
        self.metrics = Metrics()
        self.verdict = AccountCheck(True)
        """The ledger's answer to every account."""
        self.accounts_seen: list[StripeAccount] = []
        self._ceiling_per_s = ceiling_per_s
        self._received: list[EffectCompleted] = []

    async def start(self) -> "StripeWorld":
        self.actor = StripeActor(
            self.mailbox,
            self.ledger,
            self.cards,
            self.estimate,
            self._ceiling_per_s,
            self.health,
            self.metrics,
            self.clock,
        )
        await self.actor.setup()
        self._running = asyncio.create_task(self.actor.run())
        await self.answer_accounts()
        return self

    async def answer_accounts(self) -> None:
        """The ledger answers what it is asked about accounts; ends stay in its mailbox."""
        await self.clock.settle()
        self.now_ended()
        await self.clock.settle()

    async def stop(self) -> None:
        """End the actor as a crash or a stop does; its mailbox and the estimate live on."""
        self._running.cancel()
        await asyncio.wait([self._running])
        await self.actor.close()
        if not self._running.cancelled():
            self._running.result()

    def confirm(self, name: str = "1", *, send: int = 1, **fields: object) -> ConfirmIntent:
        """A confirm of attempt 1 of order o<name>, issued now and good for an hour. Its intent is to be created."""
        now = self.clock.now()
        made = ConfirmIntent(
            intent(name), 1, send, CARD, Authentication(), now, now, not_after=now + timedelta(hours=1)
        )
        return structs.replace(made, **fields)

    def known(self, name: str = "1", *, send: int = 1, **fields: object) -> ConfirmIntent:
        """The same, with an intent that was created before."""
        return self.confirm(name, send=send, intent=intent(name, intent_id=f"pi_{name}_1"), **fields)

    def prepare(self, name: str = "1", lasts: timedelta = timedelta(hours=1)) -> CreateIntent:
        return CreateIntent(intent(name), self.clock.now() + lasts)

    def cancel_intent(self, name: str = "1", intent_id: str | None = None) -> CancelIntent:
        return CancelIntent(intent(name, intent_id=intent_id), self.clock.now())

    def release(self, *messages: StripeMessage) -> None:
        """Offer effects as the ledger does: the mailbox's count is the position of each in the estimate."""
        for message in messages:
            assert self.mailbox.offer(message)

    def cancel(self, effect: StripeEffect) -> None:
        self.release(CancelEffect(effect.id))

    def now_ended(self) -> list[Message]:
        """Returns the messages that the ledger has received since the last call."""
        received: list[Message] = []
        while (message := self.ledger.get_nowait()) is not None:
            if isinstance(message, AccountRead):
                self.accounts_seen.append(message.account)
                message.answer.set_result(self.verdict)
                continue
            assert isinstance(message, EffectCompleted)
            self._received.append(message)
            received.append(message.message)
        return received

    @property
    def ended(self) -> list[EffectCompleted]:
        self.now_ended()
        return self._received

    async def until_ended(self, count: int, limit_s: float = 3_600.0) -> list[Message]:
        """Move time on until the ledger has received `count` ends in all; returns those since the last call."""
        before = len(self._received)
        await self.clock.until(lambda: len(self.ended) >= count, limit_s)
        return [each.message for each in self._received[before:]]

    @property
    def stripe_up(self) -> bool:
        return self.health.is_up(Dependency.STRIPE)

    @property
    def counts(self) -> tuple[int, int]:
        """How many charges the estimate counts before their create, and before their confirm."""
        estimate = self.estimate.latest
        assert estimate.received == self.mailbox.accepted - self.mailbox.depth
        return estimate.received - estimate.created, estimate.queued

    def last_wait_s(self) -> float:
        """How long the message that was released last will wait for its confirm, in seconds, by the estimate."""
        return self.estimate.latest.wait_s(self.mailbox.accepted)

    def alarms(self, event: str) -> float:
        """How often an alarm was given."""
        return self.metrics.alarms(event)._value.get()  # type: ignore[no-any-return]


def intent(
    name: str = "1", *, intent_id: str | None = None, number: int = 1, list_after: datetime = FAR
) -> IntentReference:
    return IntentReference(
        f"o{name}", f"p{name}", number, f"intent-{name}-{number}", intent_id, 1999, "usd", VERSION, list_after
    )


def paid(name: str = "1") -> IntentSucceeded:
    """How a confirm of order o<name> ends unless it is scripted."""
    return IntentSucceeded(f"o{name}", 1, f"pi_{name}_1", ChargeFacts(f"ch_pi_{name}_1"))


def retrieving(name: str = "1", *, intent_id: str | None = "pi_1_1", list_after: datetime = FAR) -> RetrieveIntent:
    return RetrieveIntent(intent(name, intent_id=intent_id, list_after=list_after))


def listing(name: str = "1") -> ListCharges:
    return ListCharges(f"o{name}", f"p{name}", 1)


def refunding(charge_id: str = "ch_1", key: str = "r1", name: str = "1") -> RefundCharge:
    return RefundCharge(f"o{name}", f"p{name}", 1, charge_id, key, VERSION)


def finding_refund(charge_id: str = "ch_1", key: str = "r1", name: str = "1") -> FindRefund:
    return FindRefund(f"o{name}", charge_id, key)
