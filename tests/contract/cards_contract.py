"""The contract of `CardProcessor`: the fake, the simulated Stripe, and the real adapter over the sandbox keep it.

Texts, ids and timing differ between them; kinds of outcome, their reasons and the account do not.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeVar

import pytest
from msgspec import structs

from payment.core.account import StripeAccount
from payment.core.effects import ConfirmIntent, IntentReference, RecheckRefund, RefundCharge
from payment.core.messages import Authentication, Instrument, InstrumentKind, IntentStatus, RefusalReason
from payment.ports.cards import (
    Blocked,
    CardProcessor,
    ChargedBack,
    Charges,
    Declined,
    Handover,
    IntentAnswer,
    NotRefunded,
    NotYet,
    Obstacle,
    Permission,
    Refunded,
    Refused,
    Unclear,
    UnexpectedState,
)

R = TypeVar("R")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
VERSION = "2026-10-28.endive"
NO_AUTHENTICATION = Authentication()
BY_SDK = Authentication(use_stripe_sdk=True)
BY_REDIRECT = Authentication(return_url="https://shop.test/back")
WRITES = ("create", "confirm", "cancel", "refund")


def making(order_id: str = "o1", number: int = 1, **fields: object) -> IntentReference:
    """The intent of an order over 19.99 USD."""
    key = f"intent-{order_id}-{number}"
    made = IntentReference(order_id, f"p-{order_id}", number, key, None, 1999, "usd", VERSION, list_after=NOON)
    return structs.replace(made, **fields)


def confirming(
    instrument: Instrument,
    attempt: int = 1,
    authentication: Authentication = NO_AUTHENTICATION,
    order_id: str = "o1",
) -> ConfirmIntent:
    return ConfirmIntent(
        making(order_id), attempt, 1, instrument, authentication, NOON, NOON, NOON + timedelta(hours=1)
    )


def token(value: str) -> Instrument:
    return Instrument(InstrumentKind.TOKEN, value)


def giving_back(charge_id: str, key: str = "r1") -> RefundCharge:
    return RefundCharge("o1", "p-o1", 1, charge_id, key, VERSION)


class Bench(Protocol):
    """A Stripe with faults. A fault strikes the next call of a kind (`tests.support.fakes.cards.KINDS`)."""

    cards: CardProcessor

    async def run(self, call: Awaitable[R]) -> R:
        """Run a call to its end, and let its time pass."""

    async def fault(self, kind: str, name: str) -> None: ...

    async def skip(self, seconds: float) -> None: ...

    async def limit(self, per_s: float) -> None: ...

    async def instrument(self, kind: InstrumentKind, card: str) -> Instrument:
        """Returns a new instrument of this kind for one of Stripe's test cards, by its name."""

    async def authenticate(self, intent_id: str, completes: bool) -> None:
        """Let the customer complete the bank's page, or fail there."""

    async def browser_confirm(self, handover: Handover, card: str) -> None:
        """Let the customer's browser confirm by the client secret, with another card."""

    async def cancel_by_hand(self, intent_id: str) -> None: ...

    async def refund_by_hand(self, charge_id: str) -> None: ...

    async def fail_refund(self, refund_id: str) -> None:
        """Let the bank return a succeeded refund."""

    async def dispute(self, charge_id: str) -> None:
        """Let the bank dispute a charge."""

    async def decide(self, charge_id: str, *, won: bool) -> None:
        """Let the bank decide the dispute of a charge."""


class CardsContract:
    """One suite for all card processors."""

    async def made(self, bench: Bench, order_id: str = "o1", number: int = 1, **fields: object) -> str:
        outcome = await bench.run(bench.cards.create(making(order_id, number, **fields)))
        assert isinstance(outcome, IntentAnswer)
        return outcome.id

    async def charged(self, bench: Bench, card: str = "visa", order_id: str = "o1") -> tuple[str, str]:
        """Returns the ids of a paid intent and its charge."""
        intent_id = await self.made(bench, order_id)
        outcome = await bench.run(bench.cards.confirm(confirming(token(f"tok_{card}"), order_id=order_id), intent_id))
        assert isinstance(outcome, IntentAnswer)
        assert outcome.status is IntentStatus.SUCCEEDED
        assert outcome.charge is not None
        return intent_id, outcome.charge.charge_id

    async def awaiting(self, bench: Bench, card: str = "threeDSecureRequired") -> tuple[str, Handover]:
        """Returns an intent that awaits its customer."""
        intent_id = await self.made(bench)
        asked = confirming(token(f"tok_{card}"), authentication=BY_SDK)
        outcome = await bench.run(bench.cards.confirm(asked, intent_id))
        assert isinstance(outcome, IntentAnswer)
        assert outcome.status is IntentStatus.REQUIRES_ACTION
        assert outcome.handover is not None
        return intent_id, outcome.handover

    async def retrieved(self, bench: Bench, intent_id: str) -> IntentAnswer:
        outcome = await bench.run(bench.cards.retrieve(intent_id))
        assert isinstance(outcome, IntentAnswer)
        assert outcome.id == intent_id
        return outcome

    async def listed(self, bench: Bench, order_id: str = "o1") -> list[str]:
        outcome = await bench.run(bench.cards.list_charges(order_id, f"p-{order_id}"))
        assert isinstance(outcome, Charges)
        return [each.charge.charge_id for each in outcome.charges]

    # ---------------------------------------------------------------------------------------------------------- create

    async def test_a_key_creates_one_intent_and_charges_nothing(self, bench: Bench) -> None:
        """It is unconfirmed; the same key returns the same intent, marked as replayed."""
        first = await bench.run(bench.cards.create(making()))
        second = await bench.run(bench.cards.create(making()))
        assert isinstance(first, IntentAnswer)
        assert (first.status, first.charge, first.handover) == (IntentStatus.REQUIRES_PAYMENT_METHOD, None, None)
        assert isinstance(second, IntentAnswer)
        assert (first.id, first.replayed, second.id, second.replayed) == (second.id, False, first.id, True)
        assert await self.listed(bench) == []

    async def test_each_number_is_another_intent(self, bench: Bench) -> None:
        """Each number has its own key, and so its own intent."""
        assert await self.made(bench, number=1) != await self.made(bench, number=2)

    @pytest.mark.parametrize(
        ("intent", "reason"),
        [
            (making(amount=10), RefusalReason.AMOUNT),
            (making(amount=100_000_000), RefusalReason.AMOUNT),
            (making(currency="zzz"), RefusalReason.REQUEST),
        ],
    )
    async def test_a_card_that_can_not_be_charged_is_refused(
        self, bench: Bench, intent: IntentReference, reason: RefusalReason
    ) -> None:
        """F35: there is no intent then."""
        outcome = await bench.run(bench.cards.create(intent))
        assert isinstance(outcome, Refused)
        assert outcome.reason is reason

    async def test_a_key_with_other_parameters_is_an_alarm(self, bench: Bench) -> None:
        """F16: nothing is executed, and the outcome is an alarm."""
        intent_id = await self.made(bench)
        await bench.run(bench.cards.confirm(confirming(token("tok_visa")), intent_id))
        outcomes = [
            await bench.run(bench.cards.create(making(amount=2000))),
            await bench.run(bench.cards.confirm(confirming(token("tok_amex")), intent_id)),
        ]
        assert [isinstance(each, Unclear) and (each.stored, each.alarm) for each in outcomes] == [(True, True)] * 2
        assert len(await self.listed(bench)) == 1

    async def test_keys_are_forgotten_after_a_day(self, bench: Bench) -> None:
        """F17, F47: then the key of a create makes another intent, and that of a confirm is a new request."""
        intent_id, charge_id = await self.charged(bench)
        await bench.skip(23 * 3600)
        assert await self.made(bench) == intent_id
        await bench.skip(3600 + 1)
        assert await self.made(bench) != intent_id
        outcome = await bench.run(bench.cards.confirm(confirming(token("tok_visa")), intent_id))
        assert isinstance(outcome, UnexpectedState)
        assert await self.listed(bench) == [charge_id]

    # --------------------------------------------------------------------------------------------------------- confirm

    async def test_a_confirm_charges_once(self, bench: Bench) -> None:
        """F02: the same key returns the same charge, marked as replayed; there is one charge."""
        intent_id, charge_id = await self.charged(bench)
        again = await bench.run(bench.cards.confirm(confirming(token("tok_visa")), intent_id))
        assert isinstance(again, IntentAnswer)
        assert again.replayed
        assert again.charge is not None
        assert again.charge.charge_id == charge_id
        assert await self.listed(bench) == [charge_id]

    async def test_an_intent_makes_one_charge(self, bench: Bench) -> None:
        """L1: another attempt on an intent that has succeeded is refused for its state."""
        intent_id, charge_id = await self.charged(bench)
        outcome = await bench.run(bench.cards.confirm(confirming(token("tok_amex"), attempt=2), intent_id))
        assert isinstance(outcome, UnexpectedState)
        assert await self.listed(bench) == [charge_id]
        intent = await self.retrieved(bench, intent_id)
        assert (intent.status, intent.charge and intent.charge.charge_id) == (IntentStatus.SUCCEEDED, charge_id)

    async def test_a_decline_is_stored_and_the_intent_serves_the_next_attempt(self, bench: Bench) -> None:
        """F15: declined stays declined for its key; the next attempt's card is charged by the same intent."""
        intent_id = await self.made(bench)
        poor = confirming(token("tok_chargeDeclinedInsufficientFunds"))
        for _ in range(2):
            outcome = await bench.run(bench.cards.confirm(poor, intent_id))
            assert isinstance(outcome, Declined)
            assert (outcome.failure.code, outcome.failure.decline_code) == ("card_declined", "insufficient_funds")
        intent = await self.retrieved(bench, intent_id)
        assert intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD
        assert intent.failure is not None
        assert intent.failure.decline_code == "insufficient_funds"
        assert await self.listed(bench) == []
        outcome = await bench.run(bench.cards.confirm(confirming(token("tok_visa"), attempt=2), intent_id))
        assert isinstance(outcome, IntentAnswer)
        assert outcome.status is IntentStatus.SUCCEEDED

    @pytest.mark.parametrize("kind", list(InstrumentKind))
    async def test_each_kind_of_instrument_charges(self, bench: Bench, kind: InstrumentKind) -> None:
        """A card token, a payment method, a confirmation token."""
        intent_id = await self.made(bench)
        asked = confirming(await bench.instrument(kind, "visa"))
        outcome = await bench.run(bench.cards.confirm(asked, intent_id))
        assert isinstance(outcome, IntentAnswer)
        assert outcome.status is IntentStatus.SUCCEEDED

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            (InstrumentKind.TOKEN, "tok_nothing"),
            (InstrumentKind.PAYMENT_METHOD, "pm_nothing"),
            (InstrumentKind.CONFIRMATION_TOKEN, "ctoken_nothing"),
        ],
    )
    async def test_an_instrument_that_is_not_there_is_refused(
        self, bench: Bench, kind: InstrumentKind, value: str
    ) -> None:
        """Nothing was tried, and the intent serves the next attempt."""
        intent_id = await self.made(bench)
        outcome = await bench.run(bench.cards.confirm(confirming(Instrument(kind, value)), intent_id))
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.TOKEN
        outcome = await bench.run(bench.cards.confirm(confirming(token("tok_visa"), attempt=2), intent_id))
        assert isinstance(outcome, IntentAnswer)

    async def test_a_token_is_used_once(self, bench: Bench) -> None:
        """Another order's confirm with a used token is refused; its own key brings its charge again."""
        first, second = await self.made(bench), await self.made(bench, "o2")
        asked, other = confirming(token("tok_once_a")), confirming(token("tok_once_a"), order_id="o2")
        assert isinstance(await bench.run(bench.cards.confirm(asked, first)), IntentAnswer)
        outcome = await bench.run(bench.cards.confirm(other, second))
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.TOKEN_USED
        assert isinstance(await bench.run(bench.cards.confirm(asked, first)), IntentAnswer)

    # -------------------------------------------------------------------------------------------------- authentication

    async def test_a_client_that_can_not_authenticate_gets_a_decline(self, bench: Bench) -> None:
        """Neither field: the card that asks is declined, and the intent serves the next attempt."""
        intent_id = await self.made(bench)
        outcome = await bench.run(bench.cards.confirm(confirming(token("tok_threeDSecureRequired")), intent_id))
        assert isinstance(outcome, Declined)
        assert outcome.failure.code == "authentication_required"
        assert (await self.retrieved(bench, intent_id)).status is IntentStatus.REQUIRES_PAYMENT_METHOD

    async def test_a_card_that_need_not_ask_is_charged_at_once(self, bench: Bench) -> None:
        """3-D Secure is optional for it."""
        intent_id = await self.made(bench)
        asked = confirming(token("tok_threeDSecureOptional"), authentication=BY_SDK)
        outcome = await bench.run(bench.cards.confirm(asked, intent_id))
        assert isinstance(outcome, IntentAnswer)
        assert outcome.status is IntentStatus.SUCCEEDED

    @pytest.mark.parametrize(("authentication", "redirects"), [(BY_SDK, False), (BY_REDIRECT, True)])
    async def test_the_bank_asks_for_the_customer(
        self, bench: Bench, authentication: Authentication, redirects: bool
    ) -> None:
        """The answer has the client secret and the next action, and so has every later read; nothing is charged yet."""
        intent_id = await self.made(bench)
        asked = confirming(token("tok_threeDSecureRequired"), authentication=authentication)
        answers = [await bench.run(bench.cards.confirm(asked, intent_id)), await self.retrieved(bench, intent_id)]
        for answer in answers:
            assert isinstance(answer, IntentAnswer)
            assert answer.status is IntentStatus.REQUIRES_ACTION
            assert answer.handover is not None
            assert answer.handover.client_secret.startswith(f"{intent_id}_secret_")
            assert (answer.handover.next_action.url is not None) == redirects
        again = await bench.run(bench.cards.confirm(asked, intent_id))
        assert isinstance(again, IntentAnswer)
        assert again.replayed
        assert await self.listed(bench) == []

    async def test_a_customer_who_authenticates_pays(self, bench: Bench) -> None:
        """The intent has succeeded, and shows its charge."""
        intent_id, _ = await self.awaiting(bench)
        await bench.authenticate(intent_id, completes=True)
        intent = await self.retrieved(bench, intent_id)
        assert intent.status is IntentStatus.SUCCEEDED
        assert intent.charge is not None
        assert await self.listed(bench) == [intent.charge.charge_id]

    async def test_the_stored_answer_of_a_confirm_is_a_fact_about_the_past(self, bench: Bench) -> None:
        """After the customer has paid, the confirm's key still returns requires_action, marked as replayed."""
        intent_id, _ = await self.awaiting(bench)
        await bench.authenticate(intent_id, completes=True)
        asked = confirming(token("tok_threeDSecureRequired"), authentication=BY_SDK)
        again = await bench.run(bench.cards.confirm(asked, intent_id))
        assert isinstance(again, IntentAnswer)
        assert (again.status, again.replayed) == (IntentStatus.REQUIRES_ACTION, True)

    async def test_a_customer_who_fails_at_the_bank_is_declined(self, bench: Bench) -> None:
        """The intent asks for another card, and serves the next attempt."""
        intent_id, _ = await self.awaiting(bench)
        await bench.authenticate(intent_id, completes=False)
        intent = await self.retrieved(bench, intent_id)
        assert intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD
        assert intent.failure is not None
        assert intent.failure.code == "payment_intent_authentication_failure"
        outcome = await bench.run(bench.cards.confirm(confirming(token("tok_visa"), attempt=2), intent_id))
        assert isinstance(outcome, IntentAnswer)
        assert outcome.status is IntentStatus.SUCCEEDED

    async def test_a_card_may_be_declined_after_its_customer_authenticated(self, bench: Bench) -> None:
        """The customer authenticates, and the bank declines all the same."""
        intent_id, _ = await self.awaiting(bench, "threeDSecureRequiredChargeDeclined")
        await bench.authenticate(intent_id, completes=True)
        intent = await self.retrieved(bench, intent_id)
        assert intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD
        assert intent.failure is not None
        assert intent.failure.code == "card_declined"
        assert await self.listed(bench) == []

    async def test_a_browser_confirms_by_the_secret_with_another_card(self, bench: Bench) -> None:
        """It is the intent's charge, though no confirm of the service made it."""
        intent_id, handover = await self.awaiting(bench)
        await bench.authenticate(intent_id, completes=False)
        await bench.browser_confirm(handover, "visa")
        intent = await self.retrieved(bench, intent_id)
        assert intent.status is IntentStatus.SUCCEEDED
        assert len(await self.listed(bench)) == 1

    # ---------------------------------------------------------------------------------------------------------- cancel

    async def test_a_canceled_intent_never_charges(self, bench: Bench) -> None:
        """A cancel is a fence against every later confirm."""
        intent_id, _ = await self.awaiting(bench)
        outcome = await bench.run(bench.cards.cancel(intent_id))
        assert isinstance(outcome, IntentAnswer)
        assert outcome.status is IntentStatus.CANCELED
        await bench.authenticate(intent_id, completes=True)
        late = await bench.run(bench.cards.confirm(confirming(token("tok_visa"), attempt=2), intent_id))
        assert isinstance(late, UnexpectedState)
        assert (await self.retrieved(bench, intent_id)).status is IntentStatus.CANCELED
        assert await self.listed(bench) == []

    async def test_a_second_cancel_finds_it_canceled(self, bench: Bench) -> None:
        """A cancel is idempotent, and has no key."""
        intent_id = await self.made(bench)
        await bench.run(bench.cards.cancel(intent_id))
        again = await bench.run(bench.cards.cancel(intent_id))
        assert isinstance(again, UnexpectedState) or (
            isinstance(again, IntentAnswer) and again.status is IntentStatus.CANCELED
        )
        assert (await self.retrieved(bench, intent_id)).status is IntentStatus.CANCELED

    async def test_a_succeeded_intent_can_not_be_canceled(self, bench: Bench) -> None:
        """The error of a cancel does not show the intent's state: a read does."""
        intent_id, charge_id = await self.charged(bench)
        assert isinstance(await bench.run(bench.cards.cancel(intent_id)), UnexpectedState)
        assert await self.listed(bench) == [charge_id]

    async def test_an_intent_is_canceled_by_hand(self, bench: Bench) -> None:
        """An operator cancels it in the dashboard while its customer authenticates."""
        intent_id, _ = await self.awaiting(bench)
        await bench.cancel_by_hand(intent_id)
        assert (await self.retrieved(bench, intent_id)).status is IntentStatus.CANCELED

    # ---------------------------------------------------------------------------------------------------------- faults

    @pytest.mark.parametrize(("fault", "happened"), [("drop_before", False), ("drop_after", True)])
    async def test_a_lost_request_and_a_lost_answer_look_alike(self, bench: Bench, fault: str, happened: bool) -> None:
        """F09, F10: both are unclear; the same key shows which it was, and executes once."""
        await bench.fault("create", fault)
        lost = await bench.run(bench.cards.create(making()))
        assert isinstance(lost, Unclear)
        assert (lost.stored, lost.alarm) == (False, False)
        intent_id = await self.made(bench)
        await bench.fault("confirm", fault)
        unclear = await bench.run(bench.cards.confirm(confirming(token("tok_visa")), intent_id))
        assert isinstance(unclear, Unclear)
        assert (unclear.stored, unclear.alarm) == (False, False)
        assert len(await self.listed(bench)) == int(happened)
        answer = await bench.run(bench.cards.confirm(confirming(token("tok_visa")), intent_id))
        assert isinstance(answer, IntentAnswer)
        assert answer.replayed is happened
        assert len(await self.listed(bench)) == 1

    @pytest.mark.parametrize(("fault", "happened"), [("drop_before", False), ("drop_after", True)])
    async def test_a_lost_cancel_is_unclear(self, bench: Bench, fault: str, happened: bool) -> None:
        """A read shows its result."""
        intent_id = await self.made(bench)
        await bench.fault("cancel", fault)
        assert isinstance(await bench.run(bench.cards.cancel(intent_id)), Unclear)
        assert ((await self.retrieved(bench, intent_id)).status is IntentStatus.CANCELED) is happened

    @pytest.mark.parametrize(("fault", "happened"), [("error_before", False), ("error_after", True)])
    async def test_a_stored_500_differs_from_a_first_one(self, bench: Bench, fault: str, happened: bool) -> None:
        """F12: the first proves nothing, the replay shows that the error is stored, whatever was executed."""
        await bench.fault("create", fault)
        outcomes = [await bench.run(bench.cards.create(making())) for _ in range(3)]
        assert [isinstance(each, Unclear) and each.stored for each in outcomes] == [False, True, True]
        intent_id = await self.made(bench, number=2)
        await bench.fault("confirm", fault)
        asked = confirming(token("tok_visa"))
        answers = [await bench.run(bench.cards.confirm(asked, intent_id)) for _ in range(3)]
        assert [isinstance(each, Unclear) and each.stored for each in answers] == [False, True, True]
        assert ((await self.retrieved(bench, intent_id)).status is IntentStatus.SUCCEEDED) is happened

    @pytest.mark.parametrize(
        ("fault", "obstacle"),
        [
            ("rate_limit", Obstacle.RATE_LIMITED),
            ("lock_timeout", Obstacle.LOCKED),
            ("unauthorized", Obstacle.KEY_REFUSED),
        ],
    )
    @pytest.mark.parametrize("kind", ["create", "confirm", "retrieve", "cancel", "list", "refund"])
    async def test_an_obstacle_reports_that_nothing_happened(
        self, bench: Bench, fault: str, obstacle: Obstacle, kind: str
    ) -> None:
        """F14, F36: the outcome names the obstacle; the same call may be made again."""
        _, charge_id = await self.charged(bench)
        other = await self.made(bench, number=2)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "create": lambda: bench.cards.create(making(number=3)),
            "confirm": lambda: bench.cards.confirm(confirming(token("tok_visa")), other),
            "retrieve": lambda: bench.cards.retrieve(other),
            "cancel": lambda: bench.cards.cancel(other),
            "list": lambda: bench.cards.list_charges("o1", "p-o1"),
            "refund": lambda: bench.cards.refund(giving_back(charge_id)),
        }
        await bench.fault(kind, fault)
        outcome = await bench.run(calls[kind]())
        assert isinstance(outcome, NotYet)
        assert outcome.obstacle is obstacle
        assert not isinstance(await bench.run(calls[kind]()), NotYet | Unclear)

    async def test_the_rate_is_limited_for_each_kind(self, bench: Bench) -> None:
        """F14: a request past the rate is refused and not executed; another endpoint has its own rate."""
        intent_id = await self.made(bench)
        await bench.limit(1)
        outcomes = [
            await bench.run(bench.cards.confirm(confirming(token("tok_chargeDeclined"), attempt=attempt), intent_id))
            for attempt in (1, 2)
        ]
        assert isinstance(outcomes[0], Declined)
        assert isinstance(outcomes[1], NotYet)
        assert isinstance(await bench.run(bench.cards.retrieve(intent_id)), IntentAnswer)

    @pytest.mark.parametrize("kind", ["retrieve", "cancel", "confirm"])
    async def test_an_intent_that_is_not_there_is_an_alarm(self, bench: Bench, kind: str) -> None:
        """Its id came from Stripe, so the secret key must be another account's."""
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "retrieve": lambda: bench.cards.retrieve("pi_none"),
            "cancel": lambda: bench.cards.cancel("pi_none"),
            "confirm": lambda: bench.cards.confirm(confirming(token("tok_visa")), "pi_none"),
        }
        outcome = await bench.run(calls[kind]())
        assert isinstance(outcome, NotYet | Unclear)
        assert outcome.alarm

    # ---------------------------------------------------------------------------------------------------- the list

    async def test_an_order_s_charges_are_listed(self, bench: Bench) -> None:
        """Newest first, one of each intent; another order's is not there."""
        _, first = await self.charged(bench)
        await bench.run(bench.cards.refund(giving_back(first)))
        second = await self.made(bench, number=2)
        await bench.run(bench.cards.confirm(confirming(token("tok_visa")), second))
        await self.charged(bench, order_id="o2")
        outcome = await bench.run(bench.cards.list_charges("o1", "p-o1"))
        assert isinstance(outcome, Charges)
        assert not outcome.pending
        assert [each.charge.refunded for each in outcome.charges] == [False, True]
        assert [each.attempt for each in outcome.charges] == [0, 0]
        assert outcome.charges[1].charge.charge_id == first

    # --------------------------------------------------------------------------------------------------------- refunds

    async def test_a_charge_is_given_back_once(self, bench: Bench) -> None:
        """F21, F23: the same key, or another one, finds the existing refund; the intent shows it."""
        intent_id, charge_id = await self.charged(bench)
        assert isinstance(await bench.run(bench.cards.find_refund(charge_id)), NotRefunded)
        outcomes = [await bench.run(bench.cards.refund(giving_back(charge_id, key))) for key in ("r1", "r1", "r2")]
        assert isinstance(outcomes[0], Refunded)
        assert outcomes == [outcomes[0]] * 3
        assert await bench.run(bench.cards.find_refund(charge_id)) == outcomes[0]
        seen = await self.retrieved(bench, intent_id)
        assert seen.charge is not None
        assert seen.charge.refunded

    async def test_the_stored_answer_of_a_confirm_does_not_know_of_the_refund(self, bench: Bench) -> None:
        """So the service accepts a replayed success only after it has read the charge."""
        intent_id, charge_id = await self.charged(bench)
        await bench.run(bench.cards.refund(giving_back(charge_id)))
        again = await bench.run(bench.cards.confirm(confirming(token("tok_visa")), intent_id))
        assert isinstance(again, IntentAnswer)
        assert again.replayed
        assert again.charge is not None
        assert not again.charge.refunded

    async def test_a_refund_by_hand_is_found(self, bench: Bench) -> None:
        """An operator refunded it in the dashboard."""
        intent_id, charge_id = await self.charged(bench)
        await bench.refund_by_hand(charge_id)
        assert isinstance(await bench.run(bench.cards.find_refund(charge_id)), Refunded)
        intent = await self.retrieved(bench, intent_id)
        assert intent.charge is not None
        assert intent.charge.refunded

    async def test_a_lost_refund_is_made_once(self, bench: Bench) -> None:
        """F23: the first answer is unclear, and the same key returns the refund."""
        _, charge_id = await self.charged(bench)
        await bench.fault("refund", "drop_after")
        assert isinstance(await bench.run(bench.cards.refund(giving_back(charge_id))), Unclear)
        assert isinstance(await bench.run(bench.cards.refund(giving_back(charge_id))), Refunded)

    async def test_a_refund_that_waits_is_blocked_until_it_is_done(self, bench: Bench) -> None:
        """F44: a dispute blocks it; a refund that fails later does not count."""
        intent_id, disputed = await self.charged(bench, "createDispute")
        intent = await self.retrieved(bench, intent_id)
        assert intent.charge is not None
        assert intent.charge.disputed
        assert isinstance(await bench.run(bench.cards.refund(giving_back(disputed, "r2"))), Blocked)
        assert isinstance(await bench.run(bench.cards.find_refund(disputed)), Blocked)
        _, failing = await self.charged(bench, "refundFail", "o2")
        assert isinstance(await bench.run(bench.cards.refund(giving_back(failing, "r3"))), Refunded)
        await bench.skip(30 * 86_400)
        assert isinstance(await bench.run(bench.cards.find_refund(failing)), NotRefunded)

    async def test_a_refund_stands_until_it_fails(self, bench: Bench) -> None:
        """F44: the recheck returns the refund exactly while it has not failed."""
        _, charge_id = await self.charged(bench)
        made = await bench.run(bench.cards.refund(giving_back(charge_id)))
        assert isinstance(made, Refunded)
        recheck = RecheckRefund("o1", charge_id, 1999, made.refund_id)
        assert await bench.run(bench.cards.recheck_refund(recheck)) == made
        await bench.fail_refund(made.refund_id)
        assert isinstance(await bench.run(bench.cards.recheck_refund(recheck)), NotRefunded)
        replayed = await bench.run(bench.cards.refund(giving_back(charge_id)))
        assert isinstance(replayed, Blocked), "the answer stored for the key is of the past"
        again = await bench.run(bench.cards.refund(giving_back(charge_id, "r2")))
        assert isinstance(again, Refunded)
        assert again.refund_id != made.refund_id
        assert await bench.run(bench.cards.recheck_refund(recheck)) == again

    async def test_a_lost_dispute_gives_the_charge_back(self, bench: Bench) -> None:
        """It can't be refunded, unless the bank decides again."""
        _, charge_id = await self.charged(bench)
        await bench.dispute(charge_id)
        assert isinstance(await bench.run(bench.cards.refund(giving_back(charge_id, "r1"))), Blocked)
        await bench.decide(charge_id, won=False)
        lost = await bench.run(bench.cards.refund(giving_back(charge_id, "r2")))
        assert isinstance(lost, ChargedBack)
        assert await bench.run(bench.cards.find_refund(charge_id)) == lost
        recheck = RecheckRefund("o1", charge_id, 1999, lost.dispute_id, charged_back=True)
        assert await bench.run(bench.cards.recheck_refund(recheck)) == lost
        await bench.decide(charge_id, won=True)
        assert isinstance(await bench.run(bench.cards.recheck_refund(recheck)), NotRefunded)
        assert isinstance(await bench.run(bench.cards.refund(giving_back(charge_id, "r3"))), Refunded)

    async def test_a_won_dispute_lets_the_charge_be_given_back(self, bench: Bench) -> None:
        """The merchant has the money again, and the order's cancel still requires a refund."""
        intent_id, charge_id = await self.charged(bench)
        await bench.dispute(charge_id)
        await bench.decide(charge_id, won=True)
        intent = await self.retrieved(bench, intent_id)
        assert intent.charge is not None
        assert intent.charge.disputed, "it has been"
        assert isinstance(await bench.run(bench.cards.find_refund(charge_id)), NotRefunded)
        assert isinstance(await bench.run(bench.cards.refund(giving_back(charge_id))), Refunded)

    async def test_an_unknown_charge_can_not_be_refunded(self, bench: Bench) -> None:
        """A refund of a missing charge is blocked, a search for it an alarm: the charge's id came from Stripe."""
        assert isinstance(await bench.run(bench.cards.refund(giving_back("ch_none"))), Blocked)
        outcome = await bench.run(bench.cards.find_refund("ch_none"))
        assert isinstance(outcome, Unclear)
        assert outcome.alarm

    async def test_check_finds_the_keys_account(self, bench: Bench) -> None:
        """The cheapest call passes, and returns the same account each time."""
        account = await bench.run(bench.cards.check())
        assert isinstance(account, StripeAccount)
        assert (account.id is not None, account.live) == (True, False)
        assert await bench.run(bench.cards.check()) == account

    @pytest.mark.parametrize("permission", list(Permission))
    async def test_a_check_of_a_permission_changes_nothing(self, bench: Bench, permission: Permission) -> None:
        """None: the key may make such calls. The check can be repeated."""
        for _ in range(2):
            assert await bench.run(bench.cards.check_permission(permission)) is None
        assert await self.listed(bench) == []
