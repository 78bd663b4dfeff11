"""The breaches that are planted in hand-made records, by law. Each decorator names the text that the judge must find.

Owns: the list. Change together with: `judge`; a check without a planted breach is not tested.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.chaos.hand_made import (
    AWAITED_ORDER,
    CANCELLED_ORDER,
    CARD,
    DECLINED_ORDER,
    PAID_ORDER,
    POISON,
    asked,
    charge,
    declined,
    intent,
    log_line,
    paid,
    paid_event,
    pending,
    refund,
    refunded_event,
    refused,
    requires_action,
)
from tests.chaos.judge import RoundRecords
from tests.chaos.load import ASKS_TOKEN, DECLINED_TOKEN, UNKNOWN_TOKEN
from tests.e2e.bus import Published
from tests.e2e.client import JWT_KEY, Answer

PLANTED: dict[str, list[tuple[str, Callable[[RoundRecords], object], str]]] = {}
"""By law: name, planted breach, and a part of the text that the judge must find."""
Plant = Callable[[RoundRecords], object]


def planted(law: str, expected: str) -> Callable[[Plant], Plant]:
    def note(plant: Plant) -> Plant:
        PLANTED.setdefault(law, []).append((plant.__name__, plant, expected))
        return plant

    return note


def charges(found: RoundRecords) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = found.evidence.audit["charges"]
    return listed


def the_charge(found: RoundRecords, order: str) -> dict[str, Any]:
    return next(each for each in charges(found) if each["transfer_group"] == order)


def answer_also(found: RoundRecords, order: str, answer: Answer, token: str = CARD, began: float = 200.0) -> None:
    """Add one more request on an order, and its answer."""
    found.histories[order].asked.append(asked(token, answer, began))
    found.histories[order].answers.append(answer)


def only_answer(found: RoundRecords, order: str, answer: Answer, token: str = CARD) -> None:
    found.histories[order].asked.clear()
    found.histories[order].answers.clear()
    answer_also(found, order, answer, token)


def without(found: RoundRecords, event: Published) -> None:
    found.evidence.events.remove(event)


@planted("L1", "2 charges were made")
def charged_twice(found: RoundRecords) -> None:
    charges(found).append(charge(PAID_ORDER, 2))


@planted("L1", "parameter sets")
def one_key_for_two_requests(found: RoundRecords) -> None:
    found.evidence.audit["keys"]["parameter_sets"] = {"k": 2}


@planted("L1", "after their life")
def a_key_sent_late(found: RoundRecords) -> None:
    found.evidence.audit["keys"]["reused_late"] = 1


@planted("L1", "charged 100000 usd")
def charged_too_much(found: RoundRecords) -> None:
    the_charge(found, PAID_ORDER)["amount"] = 100_000


@planted("L1", "charged 1999 eur")
def charged_in_another_currency(found: RoundRecords) -> None:
    the_charge(found, PAID_ORDER)["currency"] = "eur"


@planted("L1", "more than one intent can charge it")
def two_open_intents(found: RoundRecords) -> None:
    for status in ("requires_action", "requires_payment_method"):
        found.evidence.audit["intents"].append(intent(DECLINED_ORDER, 2, status=status))


@planted("L1", "more than one intent can charge it")
def an_open_intent_beside_the_charge(found: RoundRecords) -> None:
    found.evidence.audit["intents"].append(intent(PAID_ORDER, 2, status="requires_action", latest_charge=None))


@planted("L3", "left open on a cancelled order")
def a_secret_out_on_a_cancelled_order(found: RoundRecords) -> None:
    found.histories[AWAITED_ORDER].cancelled = True


@planted("L3", "left open on a cancelled order")
def a_secret_out_after_the_customer_failed(found: RoundRecords) -> None:
    found.histories[AWAITED_ORDER].cancelled = True
    next(each for each in found.evidence.audit["intents"] if each["transfer_group"] == AWAITED_ORDER).update(
        status="requires_payment_method"
    )


@planted("L2", "never announced")
def charged_and_silent(found: RoundRecords) -> None:
    without(found, paid_event(PAID_ORDER))


@planted("L2", "announced without a charge")
def announced_though_declined(found: RoundRecords) -> None:
    found.evidence.events.append(paid_event(DECLINED_ORDER))


@planted("L2", "two different payments")
def announced_as_two_payments(found: RoundRecords) -> None:
    found.evidence.events.append(paid_event(PAID_ORDER, id="pay_other"))


@planted("L2", "more than one payment")
def an_answer_names_another_payment(found: RoundRecords) -> None:
    answer_also(found, PAID_ORDER, paid(PAID_ORDER, 200, id="pay_other"))


@planted("L2", "with the fields")
def an_event_with_a_field_too_many(found: RoundRecords) -> None:
    without(found, paid_event(PAID_ORDER))
    found.evidence.events.append(paid_event(PAID_ORDER, amount=1999))


@planted("L2", "refunded though it was not cancelled")
def announced_and_given_back(found: RoundRecords) -> None:
    the_charge(found, PAID_ORDER).update(refunded=True, amount_refunded=1999)
    charges(found).append(charge(PAID_ORDER, 2))


@planted("L2", "was never placed")
def a_charge_of_an_unknown_order(found: RoundRecords) -> None:
    charges(found).append(charge("stranger"))


@planted("L2", "was never placed")
def an_event_of_an_unknown_order(found: RoundRecords) -> None:
    found.evidence.events.append(paid_event("stranger"))


@planted("L2", "still to be published")
def an_event_left_in_the_outbox(found: RoundRecords) -> None:
    del found.evidence.orders[PAID_ORDER]["outbox"][0]["published"]


@planted("L3", "kept by a cancelled order")
def cancelled_and_kept(found: RoundRecords) -> None:
    the_charge(found, CANCELLED_ORDER).update(refunded=False, amount_refunded=0)


@planted("L3", "given back and not announced")
def given_back_in_silence(found: RoundRecords) -> None:
    without(found, refunded_event(CANCELLED_ORDER))


@planted("L3", "before the payment")
def refunded_before_created(found: RoundRecords) -> None:
    found.evidence.events.reverse()


@planted("L3", "no such refund")
def a_refund_that_stripe_does_not_know(found: RoundRecords) -> None:
    found.evidence.audit["refunds"].clear()


@planted("L3", "that Stripe has otherwise")
def a_refund_announced_that_failed(found: RoundRecords) -> None:
    found.evidence.audit["refunds"][0]["status"] = "failed"


@planted("L3", "in two ways")
def refunded_in_two_ways(found: RoundRecords) -> None:
    found.evidence.events.append(refunded_event(CANCELLED_ORDER, refundId="re_other"))


@planted("L3", "given back in part")
def given_back_in_part(found: RoundRecords) -> None:
    found.evidence.audit["refunds"][0]["amount"] = 1


@planted("L3", "given back 2 times")
def given_back_twice(found: RoundRecords) -> None:
    found.evidence.audit["refunds"].append(refund(CANCELLED_ORDER, id="re_again"))


@planted("L3", "refunded too much")
def given_back_more_than_charged(found: RoundRecords) -> None:
    the_charge(found, CANCELLED_ORDER)["amount_refunded"] = 2 * 1999


@planted("L3", "a refund is announced of an order that was not cancelled")
def a_refund_announced_for_a_paid_order(found: RoundRecords) -> None:
    found.histories[CANCELLED_ORDER].cancelled = False


@planted("L3", "is still refunding")
def a_refund_left_unfinished(found: RoundRecords) -> None:
    found.evidence.orders[CANCELLED_ORDER]["payment"]["attempts"][0]["state"] = "refunding"


@planted("L4", "its events are lost")
def an_order_lost(found: RoundRecords) -> None:
    del found.evidence.orders[DECLINED_ORDER]


@planted("L4", "its creation is lost")
def a_creation_lost(found: RoundRecords) -> None:
    del found.evidence.orders[PAID_ORDER]["userId"]


@planted("L4", "its cancel is lost")
def a_cancel_lost(found: RoundRecords) -> None:
    found.evidence.orders[CANCELLED_ORDER]["status"] = "created"


@planted("L4", "its amount is 1")
def an_order_stored_with_another_amount(found: RoundRecords) -> None:
    found.evidence.orders[PAID_ORDER]["amount"] = 1


@planted("L4", "lost: b'")
def a_dead_letter_lost(found: RoundRecords) -> None:
    found.dead_letters.remove(POISON)


@planted("L4", "a valid event")
def a_good_event_in_the_dead_letters(found: RoundRecords) -> None:
    found.dead_letters.append(b'{"id": "good"}')


@planted("L4", "which is no charge of the order")
def a_201_without_a_charge(found: RoundRecords) -> None:
    only_answer(found, PAID_ORDER, paid(PAID_ORDER, stripeId="ch_dreamt"))


@planted("L4", "no charge with this card")
def a_201_for_another_card(found: RoundRecords) -> None:
    answer_also(found, PAID_ORDER, paid(PAID_ORDER), "tok_amex")


@planted("L4", "unexpected body")
def a_201_for_another_order(found: RoundRecords) -> None:
    answer_also(found, PAID_ORDER, paid(PAID_ORDER, orderId="other"))


@planted("L4", "was never announced")
def a_201_never_announced(found: RoundRecords) -> None:
    without(found, paid_event(CANCELLED_ORDER))


@planted("L4", "never resolved")
def an_attempt_never_resolved(found: RoundRecords) -> None:
    found.evidence.orders[DECLINED_ORDER]["payment"]["attempts"][0]["state"] = "charging"


@planted("L4", "its outcome is not known")
def an_intent_that_is_cancelled_for_ever(found: RoundRecords) -> None:
    found.evidence.orders[DECLINED_ORDER]["payment"]["attempts"][0]["state"] = "cancelling"


@planted("L4", "attempt 1 never resolved")
def a_customer_awaited_who_has_come_back(found: RoundRecords) -> None:
    found.histories[AWAITED_ORDER].walked_away = False


@planted("L4", "attempt 1 never resolved")
def a_customer_awaited_on_a_cancelled_order(found: RoundRecords) -> None:
    found.histories[AWAITED_ORDER].cancelled = True


@planted("L4", "Stripe's records mean requires_action")
def a_customer_who_walked_away_is_not_awaited(found: RoundRecords) -> None:
    found.histories[AWAITED_ORDER].views[0].body["status"] = "declined"


@planted("L4", "GET returns 200")
def a_202_that_stays_pending(found: RoundRecords) -> None:
    answer_also(found, DECLINED_ORDER, pending(DECLINED_ORDER), DECLINED_TOKEN)
    found.histories[DECLINED_ORDER].views[0].body["status"] = "pending"


@planted("L4", "Stripe's records mean refunded")
def a_view_that_still_says_paid(found: RoundRecords) -> None:
    found.histories[CANCELLED_ORDER].views[0].body["status"] = "paid"


@planted("L4", "GET returns 404")
def a_payment_that_get_does_not_show(found: RoundRecords) -> None:
    found.histories[PAID_ORDER].views[0] = refused(404, "No such payment")


@planted("L4", "no answer that ends it")
def a_customer_who_still_waits(found: RoundRecords) -> None:
    found.histories[PAID_ORDER].done = False


@planted("L4", "claimed that nothing was")
def nothing_was_charged_and_something_was(found: RoundRecords) -> None:
    answer = refused(503, "Away; nothing was charged by this request", **{"Retry-After": "1"})
    only_answer(found, PAID_ORDER, answer)


@planted("L4", "after it was paid with it")
def a_paid_card_declined_later(found: RoundRecords) -> None:
    answer_also(found, PAID_ORDER, declined(PAID_ORDER, "Nothing could not be completed"))


@planted("L4", "after the order was known")
def a_known_order_forgotten(found: RoundRecords) -> None:
    answer_also(found, DECLINED_ORDER, refused(404, "No such order"), DECLINED_TOKEN)


@planted("L4", "has declined no such card")
def a_good_card_declined(found: RoundRecords) -> None:
    answer_also(found, DECLINED_ORDER, declined(DECLINED_ORDER, "Your card was declined."))


@planted("L4", "has declined no such card")
def a_decline_that_stripe_never_made(found: RoundRecords) -> None:
    the_charge(found, DECLINED_ORDER)["status"] = "succeeded"


@planted("L4", "the money is kept")
def answered_as_failed_and_kept(found: RoundRecords) -> None:
    only_answer(found, PAID_ORDER, declined(PAID_ORDER, "The payment could not be completed."))


@planted("L4", "Stripe knows this token")
def a_good_token_refused(found: RoundRecords) -> None:
    answer_also(found, DECLINED_ORDER, refused(400, "No such token"))


@planted("L4", "it was not cancelled")
def a_conflict_without_a_cancel(found: RoundRecords) -> None:
    answer_also(found, PAID_ORDER, refused(409, "The order has been cancelled"), "tok_amex")


@planted("L4", "it was not paid")
def a_conflict_without_a_payment(found: RoundRecords) -> None:
    answer_also(found, DECLINED_ORDER, refused(409, "The order has already been paid"), "tok_amex")


@planted("HTTP", "not a possible answer")
def an_answer_of_500(found: RoundRecords) -> None:
    answer_also(found, DECLINED_ORDER, refused(500, "Something went wrong"), DECLINED_TOKEN)


@planted("HTTP", "no Retry-After")
def a_503_without_retry_after(found: RoundRecords) -> None:
    answer_also(found, DECLINED_ORDER, refused(503, "Away"), DECLINED_TOKEN)


@planted("HTTP", "no Location")
def a_202_without_location(found: RoundRecords) -> None:
    answer = pending(DECLINED_ORDER)
    answer.headers["Location"] = "/elsewhere"
    answer_also(found, DECLINED_ORDER, answer, DECLINED_TOKEN)


@planted("HTTP", "no Location")
def a_402_without_location(found: RoundRecords) -> None:
    answer = declined(DECLINED_ORDER)
    del answer.headers["Location"]
    answer_also(found, DECLINED_ORDER, answer, DECLINED_TOKEN)


@planted("HTTP", "do not fit each other")
def an_action_without_its_secret(found: RoundRecords) -> None:
    answer = requires_action(AWAITED_ORDER)
    del answer.body["clientSecret"]
    answer_also(found, AWAITED_ORDER, answer, ASKS_TOKEN)


@planted("HTTP", "not the platform's error body")
def an_error_without_a_code(found: RoundRecords) -> None:
    answer_also(found, DECLINED_ORDER, Answer(400, {"errors": [{"message": "bad"}]}, {}, 0.1), UNKNOWN_TOKEN)


@planted("HTTP", "not the platform's error body")
def an_error_in_another_shape(found: RoundRecords) -> None:
    answer_also(found, DECLINED_ORDER, Answer(400, {"error": "bad"}, {}, 0.1), UNKNOWN_TOKEN)


@planted("log", "actor_crashed: KeyError")
def an_actor_that_crashed(found: RoundRecords) -> None:
    found.log.append(log_line("actor_crashed", error="KeyError"))


@planted("log", "idempotency_alarm")
def an_alarm(found: RoundRecords) -> None:
    found.log.append(log_line("idempotency_alarm", reason="two sets"))


@planted("log", "uncaught_exception: ignored by Python: Traceback: KeyError")
def an_uncaught_exception(found: RoundRecords) -> None:
    found.log.append(log_line("uncaught_exception", message="ignored by Python", exception="Traceback: KeyError"))


@planted("log", "a secret is in it")
def a_secret_in_the_log(found: RoundRecords) -> None:
    found.log.append(f"Traceback: {JWT_KEY}")


@planted("log", "a secret is in it")
def a_client_secret_in_the_log(found: RoundRecords) -> None:
    found.log.append(log_line("charge_ended", reason=f"pi_{AWAITED_ORDER}_1_secret_shown"))


@planted("rig", "had ended by itself")
def a_process_that_ended(found: RoundRecords) -> None:
    found.unexplained.append("service-0 had ended by itself")
