"""What every `CardProcessor` does alike: the fake, the simulated Stripe, and the real adapter over the real sandbox.

Texts, ids and the order of time are each one's own; kinds of outcome, their reasons and the books are not.
"""

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

import pytest
from msgspec import structs

from payment.core.effects import ChargeCard, RefundCharge
from payment.core.messages import RefusalReason
from payment.ports.cards import (
    Blocked,
    CardProcessor,
    Charged,
    Declined,
    Found,
    NotRefunded,
    NotYet,
    Obstacle,
    Refunded,
    Refused,
    Unclear,
)

R = TypeVar("R")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
VERSION = "2026-10-28.endive"


def asking(key: str, token: str = "tok_visa", **fields: object) -> ChargeCard:
    """A charge of 19.99 USD for order o1."""
    made = ChargeCard(
        "o1", "p1", 1, 1, key, 1999, "usd", token, VERSION, NOON, NOON, not_after=NOON + timedelta(hours=1)
    )
    return structs.replace(made, **fields)


def giving_back(charge_id: str, key: str = "r1") -> RefundCharge:
    return RefundCharge("o1", "p1", 1, charge_id, key, VERSION)


class Bench(Protocol):
    """A Stripe that can be troubled. Faults strike the next call of a kind: charge, find or refund."""

    cards: CardProcessor

    async def run(self, call: Awaitable[R]) -> R:
        """Make a call and let its time pass."""

    async def fault(self, kind: str, name: str) -> None: ...

    async def skip(self, seconds: float) -> None: ...

    async def limit(self, per_s: float) -> None: ...


class CardsContract:
    """One suite for all card processors."""

    async def charged(self, bench: Bench, key: str = "k1", token: str = "tok_visa", **fields: object) -> str:
        outcome = await bench.run(bench.cards.charge(asking(key, token, **fields)))
        assert isinstance(outcome, Charged)
        return outcome.charge_id

    async def found(self, bench: Bench) -> list[int]:
        outcome = await bench.run(bench.cards.find("o1", "p1"))
        assert isinstance(outcome, Found)
        return [charge.attempt for charge in outcome.charges]

    async def test_a_key_charges_once(self, bench: Bench) -> None:
        """F02: the same key brings the same charge, and one is on the books."""
        assert await self.charged(bench) == await self.charged(bench)
        assert await self.found(bench) == [1]

    async def test_a_decline_is_kept_for_its_key_and_is_no_charge(self, bench: Bench) -> None:
        """F15: declined stays declined; a new key with a good card charges."""
        for _ in range(2):
            outcome = await bench.run(bench.cards.charge(asking("k1", "tok_chargeDeclinedInsufficientFunds")))
            assert isinstance(outcome, Declined)
            assert (outcome.code, outcome.decline_code) == ("card_declined", "insufficient_funds")
        assert await self.found(bench) == []
        await self.charged(bench, "k2", attempt=2)
        assert await self.found(bench) == [2]

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"token": "tok_nothing"}, RefusalReason.TOKEN),
            ({"amount": 10}, RefusalReason.AMOUNT),
            ({"amount": 100_000_000}, RefusalReason.AMOUNT),
            ({"currency": "zzz"}, RefusalReason.REQUEST),
        ],
    )
    async def test_a_refusal_leaves_no_trace_on_the_key(
        self, bench: Bench, fields: dict[str, object], reason: RefusalReason
    ) -> None:
        """F35: refused for what is wrong with it; the key is free for the mended request."""
        outcome = await bench.run(bench.cards.charge(asking("k1", **fields)))
        assert isinstance(outcome, Refused)
        assert outcome.reason is reason
        await self.charged(bench, "k1")

    async def test_a_token_is_used_once(self, bench: Bench) -> None:
        """Another key with a used token is refused; its own key brings its charge again."""
        first = await self.charged(bench, "k1", "tok_once_a")
        outcome = await bench.run(bench.cards.charge(asking("k2", "tok_once_a", attempt=2)))
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.TOKEN_USED
        assert await self.charged(bench, "k1", "tok_once_a") == first

    async def test_a_key_with_other_parameters_is_an_alarm(self, bench: Bench) -> None:
        """F16: nothing is charged, and it is said that it can't be."""
        await self.charged(bench)
        outcome = await bench.run(bench.cards.charge(asking("k1", amount=2000)))
        assert isinstance(outcome, Unclear)
        assert (outcome.alarm, outcome.stored) == (True, False)
        assert await self.found(bench) == [1]

    @pytest.mark.parametrize(("fault", "charges"), [("drop_before", []), ("drop_after", [1])])
    async def test_a_lost_request_and_a_lost_answer_look_alike(
        self, bench: Bench, fault: str, charges: list[int]
    ) -> None:
        """F09, F10: both are unclear; the books and the same key tell which it was."""
        await bench.fault("charge", fault)
        outcome = await bench.run(bench.cards.charge(asking("k1")))
        assert isinstance(outcome, Unclear)
        assert (outcome.stored, outcome.alarm) == (False, False)
        assert await self.found(bench) == charges
        await self.charged(bench, "k1")
        assert await self.found(bench) == [1]

    @pytest.mark.parametrize(("fault", "charges"), [("error_before", []), ("error_after", [1])])
    async def test_a_stored_500_is_told_from_a_first_one(self, bench: Bench, fault: str, charges: list[int]) -> None:
        """F12: the first proves nothing, the replay says that it is stored, whatever has happened."""
        await bench.fault("charge", fault)
        outcomes = [await bench.run(bench.cards.charge(asking("k1"))) for _ in range(3)]
        assert [isinstance(each, Unclear) and each.stored for each in outcomes] == [False, True, True]
        assert await self.found(bench) == charges

    @pytest.mark.parametrize(
        ("fault", "obstacle"),
        [
            ("rate_limit", Obstacle.RATE_LIMITED),
            ("lock_timeout", Obstacle.LOCKED),
            ("unauthorized", Obstacle.KEY_REFUSED),
        ],
    )
    @pytest.mark.parametrize("kind", ["charge", "find", "refund"])
    async def test_an_obstacle_says_that_nothing_happened(
        self, bench: Bench, fault: str, obstacle: Obstacle, kind: str
    ) -> None:
        """F14, F36: which obstacle it was; the same call may be made again."""
        charge_id = await self.charged(bench)
        calls = {
            "charge": lambda: bench.cards.charge(asking("k2", attempt=2)),
            "find": lambda: bench.cards.find("o1", "p1"),
            "refund": lambda: bench.cards.refund(giving_back(charge_id)),
        }
        await bench.fault(kind, fault)
        outcome = await bench.run(calls[kind]())
        assert isinstance(outcome, NotYet)
        assert outcome.obstacle is obstacle
        assert not isinstance(await bench.run(calls[kind]()), NotYet | Unclear)

    async def test_the_rate_is_limited_for_each_kind(self, bench: Bench) -> None:
        """F14: what is past the rate is refused and did nothing."""
        await bench.limit(1)
        outcomes = [await bench.run(bench.cards.charge(asking(f"k{n}", attempt=n))) for n in (1, 2)]
        assert isinstance(outcomes[0], Charged)
        assert isinstance(outcomes[1], NotYet)
        assert await self.found(bench) == [1]

    async def test_keys_are_forgotten_after_a_day(self, bench: Bench) -> None:
        """F17: which is why none is sent that is older than 23 h: it would charge again."""
        await self.charged(bench)
        await bench.skip(23 * 3600)
        await self.charged(bench)
        assert await self.found(bench) == [1]
        await bench.skip(3600 + 1)
        await self.charged(bench)
        assert await self.found(bench) == [1, 1]

    async def test_charges_are_found_with_their_attempts(self, bench: Bench) -> None:
        """Newest first; another payment's charge carries no attempt of ours, another order's is not there."""
        await self.charged(bench, "k1")
        await self.charged(bench, "k2", attempt=2)
        await self.charged(bench, "k3", payment_id="p9", attempt=7)
        await self.charged(bench, "k4", order_id="o2", attempt=3)
        assert await self.found(bench) == [0, 2, 1]

    async def test_a_charge_is_given_back_once(self, bench: Bench) -> None:
        """F21, F23: the same key, or another one, finds the refund that there is."""
        charge_id = await self.charged(bench)
        assert isinstance(await bench.run(bench.cards.find_refund(charge_id)), NotRefunded)
        outcomes = [await bench.run(bench.cards.refund(giving_back(charge_id, key))) for key in ("r1", "r1", "r2")]
        outcomes.append(await bench.run(bench.cards.find_refund(charge_id)))
        assert isinstance(outcomes[0], Refunded)
        assert outcomes == [outcomes[0]] * 4

    async def test_a_lost_refund_is_made_once(self, bench: Bench) -> None:
        """F23: unclear, and the same key brings it."""
        charge_id = await self.charged(bench)
        await bench.fault("refund", "drop_after")
        assert isinstance(await bench.run(bench.cards.refund(giving_back(charge_id))), Unclear)
        assert isinstance(await bench.run(bench.cards.refund(giving_back(charge_id))), Refunded)

    async def test_a_refund_that_waits_is_blocked_until_it_is_done(self, bench: Bench) -> None:
        """F44: a dispute blocks; what fails later was never a refund."""
        disputed = await self.charged(bench, "k2", "tok_createDispute", attempt=2)
        assert isinstance(await bench.run(bench.cards.refund(giving_back(disputed, "r2"))), Blocked)
        failing = await self.charged(bench, "k3", "tok_refundFail", attempt=3)
        assert isinstance(await bench.run(bench.cards.refund(giving_back(failing, "r3"))), Refunded)
        await bench.skip(3)
        assert isinstance(await bench.run(bench.cards.find_refund(failing)), NotRefunded)

    async def test_what_is_not_there_can_not_be_given_back(self, bench: Bench) -> None:
        """A refund of nothing is blocked, a look for it an alarm: that charge came from Stripe."""
        assert isinstance(await bench.run(bench.cards.refund(giving_back("ch_none"))), Blocked)
        outcome = await bench.run(bench.cards.find_refund("ch_none"))
        assert isinstance(outcome, Unclear)
        assert outcome.alarm

    async def test_check_finds_it_well(self, bench: Bench) -> None:
        assert await bench.run(bench.cards.check()) is None
