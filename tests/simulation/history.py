"""Whether one sequence of events for each order explains the answers that customers got.

The events of an order are the revisions that the store held, in the order in which it held them. A revision explains a
reply where it was in force between the request and its answer and gives that reply: so all replies about one order,
from any process, fit one sequence of events, and none is older than its request (linearizable reads of the document).
This file states the meaning of a reply again, by the contract's table and not by the service's code.

Change together with: the contract's HTTP table, `payment.actors.http.responses`.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from msgspec import structs

from payment.core.messages import InstrumentKind, RefusalReason
from payment.core.money import within_stripe_limits
from payment.core.order import (
    ATTEMPTS_LIMIT,
    GIVEN_BACK,
    GIVING_BACK,
    UNSETTLED,
    Attempt,
    AttemptState,
    CancelReason,
    Order,
    OrderStatus,
)
from tests.simulation.accounts import Accounts, CustomerRequest, exposed_by, seconds_of
from tests.simulation.checks import Breach, rest, step
from tests.simulation.journal import ChargeAnswered, ChargePosted, PaymentRead, PaymentRequested

NOTHING_CHARGED = "nothing was charged by this request"
OUTCOME_UNKNOWN = "outcome unknown: repeat the same request"
JUST_NOW_S = 20.0
"""A retrieved outcome that waits for its write also answers requests that come meanwhile: the store may be away."""
TICK_S = 0.002
"""Wall clocks are read in whole milliseconds."""
WANTED_THE_CUSTOMER = frozenset(
    {"authentication_required", "authentication_failed", "payment_intent_authentication_failure"}
)
"""Codes of attempts that a bank declined because of its customer."""
FIELDS = frozenset(kind.value for kind in InstrumentKind)
CARD_REFUSED = (RefusalReason.TOKEN, RefusalReason.TOKEN_USED)
AMOUNT_REFUSED = (RefusalReason.AMOUNT, RefusalReason.REQUEST)


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Question:
    """The parts of a request and its answer that a revision must explain."""

    def __init__(self, reported: ChargeAnswered, asked: ChargePosted, expired_at_s: float | None) -> None:
        self.user = reported.user
        self.authenticates = asked.authenticates
        self.asked_at_s = None if expired_at_s is None else asked.at_s
        self.hash = token_hash(reported.token)
        self.body: dict[str, Any] = json.loads(reported.body)
        self.expired_at_s = expired_at_s
        """The time by which an order must have expired where an answer calls it expired; None: clocks were wrong, and
        any time will do, also where an answer implies that the order has not expired."""

    @property
    def message(self) -> str:
        return str(self.body["errors"][0]["message"])

    @property
    def code(self) -> str:
        return str(self.body["errors"][0]["code"])

    def attempt(self, order: Order) -> Attempt | None:
        """The last attempt with this token."""
        return next((each for each in reversed(order.attempts) if each.token_hash == self.hash), None)

    def expired(self, order: Order) -> bool:
        if self.expired_at_s is None:
            return True
        return order.expires_at is not None and seconds_of(order.expires_at) <= self.expired_at_s + TICK_S


Meaning = Callable[[Order | None, Question], bool]
"""Whether a revision gives an answer."""


def _owned(order: Order | None, asked: Question) -> bool:
    return order is not None and order.user_id is not None and order.user_id == asked.user


def _paid(order: Order | None, asked: Question) -> bool:
    if order is None or not _owned(order, asked) or order.cancelled or order.payment is None:
        return False
    kept = order.kept
    expected = {
        "id": order.payment.id,
        "orderId": order.id,
        "stripeId": kept.charge_id if kept else "",
        "status": "paid",
    }
    return kept is not None and kept.token_hash == asked.hash and asked.body == expected


def _accepted(order: Order | None, asked: Question) -> bool:
    """202: pending; or the bank requires authentication, and the answer has all that the browser needs."""
    if order is None or not _owned(order, asked) or order.cancelled or order.payment is None:
        return False
    attempt = asked.attempt(order)
    expected = {"id": order.payment.id, "orderId": order.id, "status": "pending"}
    if attempt is None or attempt.state not in UNSETTLED:
        return False
    if asked.body == expected:
        return True
    actions = expected | {"status": "requires_action"}
    if not asked.authenticates or {name: asked.body.get(name) for name in actions} != actions:
        return False
    return attempt.state is AttemptState.AWAITING and _shows_the_secret(order, asked.body, asked.asked_at_s)


def _shows_the_secret(order: Order, body: dict[str, Any], asked_at_s: float | None) -> bool:
    """The secret is that of the order's own intent, and the order was alive when the customer asked.

    `asked_at_s` None: clocks were wrong. By a clock that was set back an order is alive that has expired (F38), and the
    service has only its clock to tell.
    """
    intent, action = order.intent, body.get("nextAction", {})
    if intent is None or intent.id is None or order.expires_at is None:
        return False
    alive = asked_at_s is None or seconds_of(order.expires_at) + TICK_S >= asked_at_s
    ours = str(body.get("clientSecret")).startswith(f"{intent.id}_secret_")
    redirects = action.get("type") == "redirect_to_url" and "url" in action
    return alive and ours and (redirects or action == {"type": "use_stripe_sdk"})


def _settled(order: Order | None, asked: Question) -> Attempt | None:
    """The attempt with the request's token, if it is settled and does not pay the order."""
    if order is None or not _owned(order, asked) or order.cancelled:
        return None
    attempt = asked.attempt(order)
    if attempt is None or attempt.state in UNSETTLED or attempt is order.kept:
        return None
    return attempt


def _declined(order: Order | None, asked: Question) -> bool:
    attempt = _settled(order, asked)
    if attempt is None or attempt.refusal not in (None, RefusalReason.WITHHELD):
        return False
    decline_code = asked.body["errors"][0].get("decline_code")
    if order is None or order.payment is None or asked.body["id"] != order.payment.id:
        return False
    if asked.code == "authentication_required":
        return not WANTED_THE_CUSTOMER.isdisjoint((attempt.code, attempt.decline_code))
    return bool(decline_code == (attempt.decline_code if attempt.code is not None else "processing_error"))


def _bad_token(order: Order | None, asked: Question) -> bool:
    attempt = _settled(order, asked)
    named = asked.body["errors"][0].get("field") in FIELDS
    return named and attempt is not None and attempt.refusal in CARD_REFUSED


def _not_yours(order: Order | None, asked: Question) -> bool:
    return order is not None and order.user_id is not None and order.user_id != asked.user


def _unknown(order: Order | None, _asked: Question) -> bool:
    return order is None or order.user_id is None


def _conflict(order: Order | None, asked: Question) -> bool:
    if order is None or not _owned(order, asked):
        return False
    if asked.code == "order_cancelled":
        return order.cancelled
    other = asked.attempt(order) is None and not order.cancelled
    if asked.code == "already_paid":
        return other and order.kept is not None
    if asked.code == "under_way":
        undone = any(each.undone for each in order.attempts)
        return other and (order.unsettled is not None or order.intent_busy or undone)
    attempt = _settled(order, asked)
    unsent = attempt is not None and attempt.code is None and attempt.refusal in (None, RefusalReason.WITHHELD)
    return asked.code == "order_expired" and asked.expired(order) and (other or unsent)


def _bad_amount(order: Order | None, asked: Question) -> bool:
    if order is None or not _owned(order, asked) or order.cancelled or order.amount is None or order.currency is None:
        return False
    attempt = asked.attempt(order)
    if attempt is not None:
        return attempt.refusal in AMOUNT_REFUSED
    return not within_stripe_limits(order.amount, order.currency)


def _too_many(order: Order | None, asked: Question) -> bool:
    return order is not None and _owned(order, asked) and len(order.attempts) >= ATTEMPTS_LIMIT


def _unavailable(_order: Order | None, asked: Question) -> bool:
    """Every revision gives this answer. `attempts_have_a_request` judges the promise "nothing was charged"."""
    return NOTHING_CHARGED in asked.message or OUTCOME_UNKNOWN in asked.message


MEANINGS: dict[int, Meaning] = {
    200: _paid,
    201: _paid,
    202: _accepted,
    400: _bad_token,
    402: _declined,
    403: _not_yours,
    404: _unknown,
    409: _conflict,
    422: _bad_amount,
    429: _too_many,
    503: _unavailable,
}
"""Whether a revision gives an answer of each status. The contract has no other status for a valid request."""


@step(ChargeAnswered, law="a reply is explained by a revision that was in force while it was asked")
def replies_are_explained(entry: ChargeAnswered, accounts: Accounts) -> Iterator[Breach]:
    meaning = MEANINGS.get(entry.status)
    if accounts.restored:
        return
    if meaning is None:
        yield entry.order_id, f"{entry.who} got {entry.status}: {entry.body!r}"
        return
    pressed = accounts.asked[entry.request_no].asked
    assert isinstance(pressed, ChargePosted)
    asked = Question(entry, pressed, None if accounts.clock_jumped else entry.at_s)
    in_force = list(_with_folds(accounts, entry.order_id, accounts.asked[entry.request_no].began_at))
    if not any(meaning(order, asked) for order in in_force):
        yield entry.order_id, f"{_answer_text(entry)}, and no revision in force gives that: {_shown(in_force)}"
    elif entry.status == 201 and all(_paid(order, asked) for order in in_force):
        yield entry.order_id, f"{_answer_text(entry)}, and had been paid before: 200 is for that"


@step(ChargeAnswered, law='"nothing was charged" is no answer to a request that supersedes another card')
def superseding_is_not_nothing(entry: ChargeAnswered, accounts: Accounts) -> Iterator[Breach]:
    """While the first card's intent is being cancelled it may turn out to have charged."""
    if entry.status != 503 or NOTHING_CHARGED.encode() not in entry.body or accounts.restored:
        return
    began_at = accounts.asked[entry.request_no].began_at
    others = [
        each
        for each in accounts.requests(entry.order_id)
        if each.asked.request_no != entry.request_no and (each.answered_at is None or each.answered_at > began_at)
    ]
    revisions = [each for each in accounts.in_force(entry.order_id, began_at, accounts.index) if each is not None]
    for before, after in pairwise(revisions):
        if not others and _supersedes(before, after) and revisions[-1].unsettled is not None:
            yield entry.order_id, f"{_answer_text(entry)}, and it had superseded a card: {_summary(before)}"


def _supersedes(before: Order, after: Order) -> bool:
    """Whether this write asks for another card, while the attempt before it awaits its customer."""
    attempt = before.unsettled
    if attempt is None or attempt.state is not AttemptState.AWAITING:
        return False
    then = after.attempts[attempt.number - 1]
    return then.state is AttemptState.CANCELLING and then.cancel_reason is CancelReason.SUPERSEDED


@step(
    ChargeAnswered,
    PaymentRead,
    law="a client secret is shown only where Stripe has just answered that the intent awaits its customer",
)
def secrets_are_fresh(entry: ChargeAnswered | PaymentRead, accounts: Accounts) -> Iterator[Breach]:
    asked = accounts.asked[entry.request_no].asked
    if exposed_by(entry) is None or accounts.ever_paused:
        return
    awaited_s = accounts.awaited_s.get((asked.process, entry.order_id))
    if awaited_s is None or awaited_s < asked.at_s - JUST_NOW_S:
        yield (
            entry.order_id,
            f"{entry.who} got the secret from {asked.process}, which last found it awaiting at {awaited_s} s",
        )


def _with_folds(accounts: Accounts, order_id: str, since: int) -> Iterator[Order | None]:
    """The revisions in force; of a write that applied a cancel together with other events, also the order before it."""
    before: Order | None = None
    for number, order in enumerate(accounts.in_force(order_id, since, accounts.index)):
        if number and order is not None and order.cancelled and not (before is not None and before.cancelled):
            yield structs.replace(order, status=OrderStatus.CREATED)
        yield order
        before = order


def _answer_text(entry: ChargeAnswered) -> str:
    return f"{entry.who} got {entry.status} {entry.body.decode()!r} on request {entry.request_no}"


def _shown(in_force: list[Order | None]) -> str:
    return "; ".join("no document" if order is None else _summary(order) for order in in_force)


def _summary(order: Order) -> str:
    states = ", ".join(f"{each.number} {each.state.value}" for each in order.attempts) or "no attempt"
    return f"rev {order.rev} {order.status.value}, {states}"


# ---------------------------------------------------------------------------------------- the beginning of attempts


@rest(law='no attempt begins for a request that was answered "nothing was charged"')
def attempts_have_a_request(accounts: Accounts) -> Iterator[Breach]:
    for index, order_id, attempt in accounts.begun:
        asking = [each for each in accounts.requests(order_id) if each.began_at < index and _asks_for(each, attempt)]
        if not asking:
            yield order_id, f"attempt {attempt.number} was begun, and no request asked for it"
        elif all(_was_denied(each, index) for each in asking):
            yield (
                order_id,
                f'attempt {attempt.number} was begun; each request for it was answered "nothing was charged"',
            )


def _asks_for(asked: CustomerRequest, attempt: Attempt) -> bool:
    return isinstance(asked.asked, ChargePosted) and token_hash(asked.asked.token) == attempt.token_hash


def _was_denied(asked: CustomerRequest, index: int) -> bool:
    """Its own answer says that it did nothing; or it was answered before, and not with "outcome unknown"."""
    if not isinstance(asked.answer, ChargeAnswered) or asked.answered_at is None:
        return False
    if asked.answer.status == 503:
        return NOTHING_CHARGED in asked.answer.body.decode()
    return asked.answered_at < index


# ----------------------------------------------------------------------------------------------------------------- GET


def _statuses(order: Order, *, expired: bool | None) -> set[str]:
    """The statuses that a GET may report of a payment. `expired` None: clocks were wrong, and both may be reported."""
    charged = [each.state for each in order.attempts if each.state in GIVING_BACK]
    if order.cancelled:
        if any(state not in GIVEN_BACK for state in charged):
            return {"refunding"}
        if order.unsettled is not None:
            return {"pending"}
        return {"refunded" if charged else "cancelled"}
    if order.kept is not None:
        return {"paid"}
    if order.unsettled is not None:
        return {"requires_action" if order.unsettled.state is AttemptState.AWAITING else "pending"}
    if order.attempts and order.attempts[-1].state in GIVING_BACK:
        return {"refunded" if order.attempts[-1].state in GIVEN_BACK else "refunding"}
    return {"declined", "expired"} if expired is None else {"expired" if expired else "declined"}


@step(PaymentRead, law="what a GET reports of a payment is explained by a revision that was in force meanwhile")
def views_are_explained(entry: PaymentRead, accounts: Accounts) -> Iterator[Breach]:
    asked = accounts.asked[entry.request_no]
    assert isinstance(asked.asked, PaymentRequested)
    body = json.loads(entry.body)
    if entry.status == 503 or accounts.restored:
        return
    revisions = [
        each for each in accounts.in_force(entry.order_id, asked.began_at, accounts.index) if _shown_to_owner(each)
    ]
    owners = {order.user_id for order in revisions if order is not None}
    if entry.status == 403 and owners - {entry.user}:
        return
    if entry.status != 200 or owners != {entry.user}:
        yield entry.order_id, f"{entry.who} asked for {entry.order_id} and got {entry.status}: {body}"
        return
    possible = {
        status for order in revisions if order is not None for status in _reported_statuses(order, entry.at_s, accounts)
    }
    if body["status"] not in possible or body["orderId"] != entry.order_id:
        yield entry.order_id, f"{entry.who} read {body}; the store allows {sorted(possible)}"
    asked_at_s = None if accounts.clock_jumped else asked.asked.at_s
    if "clientSecret" in body and not any(
        order is not None and not order.cancelled and _shows_the_secret(order, body, asked_at_s) for order in revisions
    ):
        yield entry.order_id, f"{entry.who} read the secret of an intent that does not await its customer: {body}"


def _shown_to_owner(order: Order | None) -> bool:
    return order is not None and order.payment is not None and order.attempts != ()


def _reported_statuses(order: Order, at_s: float, accounts: Accounts) -> set[str]:
    if accounts.clock_jumped or order.expires_at is None:
        return _statuses(order, expired=None)
    # The process read the document some time before the answer came: near its end an order may be either.
    ends_s = seconds_of(order.expires_at)
    return _statuses(order, expired=True if at_s > ends_s + 60 else False if at_s < ends_s else None)
