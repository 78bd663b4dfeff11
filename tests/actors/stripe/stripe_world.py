"""A Stripe actor over the fake Stripe, with the ledger's end of its mailboxes in the test's hands."""

import asyncio
from datetime import timedelta
from typing import TypeVar

from msgspec import structs
from payment.actors.forecast import Forecast

from payment.actors.letters import (
    EffectEnded,
    LedgerLetter,
    StripeLetter,
    Withdraw,
)
from payment.actors.mailbox import Mailbox
from payment.actors.stripe import StripeActor
from payment.core.effects import ChargeCard, FindCharges, FindRefund, RefundCharge
from payment.core.messages import Evidence, Message
from payment.ops.health import Dependency, Health
from payment.ops.metrics import Metrics
from tests.fakes.cards import FakeStripe
from tests.fakes.clock import FakeClock

M = TypeVar("M")
VERSION = "2026-10-28.endive"


class StripeWorld:
    """`ended` is what the ledger heard, in order: effect id and message."""

    def __init__(self, *, ledger_limit: int = 100_000, ceiling_per_s: float = 100.0) -> None:
        self.clock = FakeClock()
        self.stripe = FakeStripe(self.clock)
        self.mailbox: Mailbox[StripeLetter] = Mailbox("stripe", 16_000)
        self.ledger: Mailbox[LedgerLetter] = Mailbox("mongo", ledger_limit)
        self.forecast = Forecast(per_s=25.0)
        self.health = Health(self.clock)
        self.metrics = Metrics()
        self._ceiling_per_s = ceiling_per_s
        self._heard: list[EffectEnded] = []

    async def start(self) -> "StripeWorld":
        self.actor = StripeActor(
            self.mailbox,
            self.ledger,
            self.stripe.cards(),
            self.forecast,
            self._ceiling_per_s,
            self.health,
            self.metrics,
            self.clock,
        )
        await self.actor.setup()
        self._running = asyncio.create_task(self.actor.run())
        await self.clock.settle()
        return self

    async def stop(self) -> None:
        """End the actor as a crash or a stop does; its mailbox and the forecast live on."""
        self._running.cancel()
        await asyncio.wait([self._running])
        await self.actor.close()
        if not self._running.cancelled():
            self._running.result()

    def charge(self, name: str = "1", *, send: int = 1, token: str = "tok_visa", **fields: object) -> ChargeCard:
        """A charge of order o<name> under key k<name>, issued now and good for an hour."""
        now = self.clock.now()
        made = ChargeCard(
            f"o{name}",
            f"p{name}",
            1,
            send,
            f"k{name}",
            1999,
            "usd",
            token,
            VERSION,
            now,
            now,
            not_after=now + timedelta(hours=1),
        )
        return structs.replace(made, **fields)

    def ask(self, *letters: StripeLetter) -> None:
        """Hand over as the ledger does: each charge has a place in the forecast."""
        for letter in letters:
            assert self.mailbox.offer(letter)
            if isinstance(letter, ChargeCard):
                self.forecast.place()

    def withdraw(self, effect: ChargeCard) -> None:
        self.ask(Withdraw(effect.id))

    def now_ended(self) -> list[Message]:
        """What the ledger has heard since the last look."""
        heard: list[Message] = []
        while (letter := self.ledger.get_nowait()) is not None:
            assert isinstance(letter, EffectEnded)
            self._heard.append(letter)
            heard.append(letter.message)
        return heard

    @property
    def ended(self) -> list[EffectEnded]:
        self.now_ended()
        return self._heard

    async def until_ended(self, count: int, limit_s: float = 3_600.0) -> list[Message]:
        """Move time until the ledger has heard of so many ends in all."""
        before = len(self._heard)
        await self.clock.until(lambda: len(self.ended) >= count, limit_s)
        return [each.message for each in self._heard[before:]]

    @property
    def stripe_up(self) -> bool:
        return self.health.is_up(Dependency.STRIPE)

    @property
    def forecast_queue(self) -> int:
        """How many charges the forecast believes to wait."""
        return self.forecast.placed - self.forecast.passed


def finding(name: str = "1", evidence: Evidence = Evidence.PROBE) -> FindCharges:
    return FindCharges(f"o{name}", f"p{name}", 1, evidence)


def refunding(charge_id: str, key: str = "r1", name: str = "1") -> RefundCharge:
    return RefundCharge(f"o{name}", f"p{name}", 1, charge_id, key, VERSION)


def finding_refund(charge_id: str, key: str = "r1", name: str = "1") -> FindRefund:
    return FindRefund(f"o{name}", charge_id, key)
