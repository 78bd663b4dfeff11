"""Reads Stripe's successful answers: evidence, out of JSON that may be anything.

Owns the reading of intent, charge, refund and list bodies. It never calls Stripe and never raises on a strange body:
what is not there, or is of another type, is no evidence. Change together with the parameters that
`payment.adapters.stripe.cards` sends.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct

from payment.core.effects import IntentReference, RefundCharge
from payment.core.messages import ChargeFacts, Failure, IntentStatus, ListedCharge
from payment.ports.cards import (
    Blocked,
    ChargedBack,
    Charges,
    Handover,
    IntentAnswer,
    NextAction,
    NotRefunded,
    Refunded,
    Unclear,
)

Body = dict[str, object]

ID_MAX_CHARS = 255
"""Longest id that Stripe promises to use."""

SECRET_MAX_CHARS = 5_000
"""Longest client secret, and longest address of a bank's page, by Stripe's own specification."""

ATTEMPT_MAX_DIGITS = 9
"""Attempts are counted from 1; a longer number is not one of ours."""

UNDER_WAY = frozenset({"pending", "requires_action"})
"""Refund statuses that may yet become a success. `failed` and `canceled` are over: the money is ours again."""

REFUNDABLE = frozenset({"won", "warning_needs_response", "warning_under_review", "warning_closed", "charge_refunded"})
"""Dispute statuses with which a charge can be refunded, whatever `is_charge_refundable` says. `warning_…` is a bank's
inquiry, which withdraws no money, and `charge_refunded` what earlier versions said after a refund."""

STATUSES = {status.value: status for status in IntentStatus}

OWN = ("orderId", "paymentId")
"""The metadata by which an intent and its charges are known as ours. `attempt` is on charges of release 0.1.0."""


class Success(Struct, frozen=True):
    """A 2xx with a JSON object. `replayed`: Stripe repeats what it stored for the key.

    The body may hold a client secret: the repr leaves it out.
    """

    body: Body
    replayed: bool = False

    def __repr__(self) -> str:
        return f"Success(replayed={self.replayed})"


class ListPage(Struct, frozen=True):
    """One page of a list. `ids` are those of `items`, in order."""

    items: tuple[Body, ...]
    ids: tuple[str, ...]
    has_more: bool


def tags_of(intent: IntentReference) -> dict[str, str]:
    """The metadata of an intent, which Stripe copies to its charges."""
    return {"orderId": intent.order_id, "paymentId": intent.payment_id}


def refund_tags_of(request: RefundCharge) -> dict[str, str]:
    """The metadata by which a refund is known as ours later."""
    return {"orderId": request.order_id, "paymentId": request.payment_id, "attempt": str(request.attempt)}


def read_created(answer: Success, asked: IntentReference) -> IntentAnswer | Unclear:
    """The answer to a create: the intent's id and status, and nothing that a confirm or a retrieve has to bring."""
    read = _read_head(answer, None, asked)
    if isinstance(read, Unclear):
        return read
    intent_id, status = read
    return IntentAnswer(id=intent_id, status=status, replayed=answer.replayed)


def read_intent(
    answer: Success, intent_id: str, asked: IntentReference | None, redact: Callable[[str], str]
) -> IntentAnswer | Unclear:
    """The answer to a confirm, a retrieve or a cancel of this intent. `asked` is None where only its id is known.

    Unclear where it is no intent, or not the one asked for; where it succeeded and its charge is not shown (only its
    id) or is not one that was paid; where it succeeded with a charge of another amount or order; where it waits to be
    captured, which we never ask for; and where it requires action and brings no client secret.
    """
    read = _read_head(answer, intent_id, asked)
    if isinstance(read, Unclear):
        return read
    body, (_, status) = answer.body, read
    charge = _charge_of(answer, intent_id, asked) if status is IntentStatus.SUCCEEDED else None
    if isinstance(charge, Unclear):
        return charge
    handover = _handover_of(body) if status is IntentStatus.REQUIRES_ACTION else None
    if status is IntentStatus.REQUIRES_ACTION and handover is None:
        return Unclear(text="Stripe wants the customer, and shows no client secret", stored=answer.replayed)
    return IntentAnswer(
        id=intent_id,
        status=status,
        charge=charge,
        failure=_failure_of(body.get("last_payment_error"), redact),
        handover=handover,
        replayed=answer.replayed,
    )


def read_listed(charges: Sequence[Body], order_id: str, payment_id: str) -> Charges:
    """The succeeded charges among those of a transfer group that belong to this order, newest first.

    Another service may use the same transfer group: what carries neither our payment id nor our order id is not ours.
    """
    found: list[ListedCharge] = []
    pending = False
    for charge in charges:
        attempt = _attempt_of(_mapping(charge.get("metadata")), order_id, payment_id)
        charge_id = read_id(charge)
        if attempt is None or charge_id is None:
            continue
        pending = pending or charge.get("status") == "pending"
        if charge.get("status") == "succeeded":
            found.append(ListedCharge(charge=_facts_of(charge, charge_id), attempt=attempt))
    return Charges(charges=tuple(found), pending=pending)


def read_refunds(
    refunds: Sequence[Body], charge_amount: int, known: str | None = None
) -> Refunded | Blocked | NotRefunded | Unclear:
    """Whether these refunds give the whole charge back: what has succeeded counts, what is under way doesn't yet.

    It is named by the `known` refund where that one has succeeded, else by the newest one that has.
    """
    given_back, done, waiting = 0, None, None
    for refund in refunds:
        status, amount = refund.get("status"), refund.get("amount")
        if type(amount) is not int or not isinstance(status, str):
            return Unclear(text="Stripe listed a refund without an amount or a status")
        if status == "succeeded":
            named = read_id(refund)
            given_back, done = given_back + amount, named if named == known else done or named
        elif status in UNDER_WAY:
            waiting = waiting or read_id(refund)
    if done is not None and given_back >= charge_amount:
        return Refunded(refund_id=done)
    if waiting is not None:
        return Blocked(text="the refund is under way", refund_id=waiting)
    return NotRefunded()


def gives_all_back(refund: Body, refund_id: str, charge_id: str, amount: int) -> bool:
    """Whether this is that refund, and by itself gives the whole charge back."""
    given_back = refund.get("amount")
    right = read_id(refund) == refund_id and refund.get("charge") == charge_id
    return right and refund.get("status") == "succeeded" and type(given_back) is int and given_back >= amount


def is_lost(dispute: Body) -> bool:
    """Lost; or settled with the customer before it became a chargeback (`prevented`, case type `resolution`:
    docs.stripe.com/changelog/basil/2025-08-27/add-preventions-to-dispute)."""
    status = dispute.get("status")
    return status == "lost" or (status == "prevented" and _case_of(dispute) == "resolution")


def read_disputes(disputes: Sequence[Body], left: int, currency: object) -> ChargedBack | Blocked | NotRefunded:
    """Returns whether a bank has given back a charge that no refund does, or prevents a refund.

    `left` is what refunds have not given back, in minor units of `currency`. A dispute may be about a part of it; then
    Stripe refunds the rest no more either, and the text says so. An unknown status of a dispute prevents a refund.
    """
    lost = {name: each for each in disputes if is_lost(each) and (name := read_id(each)) is not None}
    if lost:
        given_back = sum(value for each in lost.values() if type(value := each.get("amount")) is int)
        same = all(each.get("currency") == currency for each in lost.values())
        partly = f"the bank gave back {given_back} of {left}" if same and given_back < left else None
        return ChargedBack(dispute_id=next(iter(lost)), text=partly)
    for dispute in disputes:
        status = dispute.get("status")
        prevented = status == "prevented" and _case_of(dispute) == "block"
        if not (status in REFUNDABLE or prevented or dispute.get("is_charge_refundable") is True):
            return Blocked(text=f"the bank disputes the charge ({status})")
    return NotRefunded()


def _case_of(dispute: Body) -> object:
    return _mapping(_mapping(dispute.get("payment_method_details")).get("card")).get("case_type")


def read_page(body: Body) -> ListPage | None:
    """A page of a list, or None where it is not one in every part: a shorter list would be a false proof."""
    data, has_more = body.get("data"), body.get("has_more")
    if not isinstance(data, list) or not isinstance(has_more, bool) or (has_more and not data):
        return None
    items = tuple(item for item in data if isinstance(item, dict))
    ids = tuple(item_id for item in items if (item_id := read_id(item)) is not None)
    return ListPage(items=items, ids=ids, has_more=has_more) if len(ids) == len(data) else None


def read_id(body: Body) -> str | None:
    """The object's id."""
    value = body.get("id")
    return value if isinstance(value, str) and 0 < len(value) <= ID_MAX_CHARS else None


def _read_head(
    answer: Success, intent_id: str | None, asked: IntentReference | None
) -> tuple[str, IntentStatus] | Unclear:
    """Returns which intent this is and its status; Unclear, with an alarm, where it is not the one asked for."""
    body = answer.body
    given_id, given_status = read_id(body), body.get("status")
    status = STATUSES.get(given_status) if isinstance(given_status, str) else None
    if given_id is None or status is None or body.get("object", "payment_intent") != "payment_intent":
        return Unclear(text="Stripe answered 200, and not with a PaymentIntent", stored=answer.replayed)
    other = intent_id is not None and given_id != intent_id
    if other or (asked is not None and _contradicts(body, _expected(asked))):
        text = f"Stripe answered with another intent than the one asked for: {given_id}"
        return Unclear(text=text, stored=answer.replayed, alarm=True)
    if status is IntentStatus.REQUIRES_CAPTURE:
        text = f"the intent {given_id} waits to be captured, by hand or by another program"
        return Unclear(text=text, stored=answer.replayed, alarm=True)
    return given_id, status


def _expected(asked: IntentReference) -> Body:
    return {
        "amount": asked.amount,
        "currency": asked.currency,
        "transfer_group": asked.order_id,
        "metadata": tags_of(asked),
    }


def _charge_of(answer: Success, intent_id: str, asked: IntentReference | None) -> ChargeFacts | Unclear:
    """The facts of a succeeded intent's charge, where it is paid and contradicts neither its intent nor our order."""
    body, charge = answer.body, _mapping(answer.body.get("latest_charge"))
    charge_id = read_id(charge)
    if charge_id is None or charge.get("status") != "succeeded" or charge.get("paid") is not True:
        return Unclear(text="Stripe calls the intent succeeded, and shows no succeeded charge", stored=answer.replayed)
    metadata = _mapping(body.get("metadata"))
    expected: Body = {
        name: body[name] for name in ("amount", "currency", "transfer_group") if body.get(name) is not None
    }
    expected |= {"metadata": {name: metadata[name] for name in OWN if metadata.get(name) is not None}}
    expected |= {} if asked is None else _expected(asked)
    expected |= {"captured": True, "payment_intent": intent_id}
    if _contradicts(charge, expected):
        text = f"the intent's charge is not of the order that was to be paid: {charge_id}"
        return Unclear(text=text, stored=answer.replayed, alarm=True)
    return _facts_of(charge, charge_id)


def _facts_of(charge: Body, charge_id: str) -> ChargeFacts:
    amount, refunded = charge.get("amount"), charge.get("amount_refunded")
    in_full = type(amount) is int and type(refunded) is int and refunded >= amount > 0
    return ChargeFacts(
        charge_id=charge_id,
        refunded=in_full or charge.get("refunded") is True,
        disputed=charge.get("disputed") is True,
        amount_refunded=refunded if type(refunded) is int else 0,
    )


def _failure_of(error: object, redact: Callable[[str], str]) -> Failure | None:
    """`last_payment_error`: it may be of an earlier attempt, or of a card that the customer's browser tried."""
    if not isinstance(error, dict):
        return None
    code, decline_code, message = (_text(error, name) for name in ("code", "decline_code", "message"))
    return Failure(
        code=code or "card_declined", decline_code=decline_code, text=redact(message or "The card was declined.")
    )


def _handover_of(body: Body) -> Handover | None:
    """Returns the data that the customer's browser needs. Stripe.js handles every action other than a redirect."""
    secret, action = _text(body, "client_secret"), _mapping(body.get("next_action"))
    if secret is None:
        return None
    url = _text(_mapping(action.get("redirect_to_url")), "url") if action.get("type") == "redirect_to_url" else None
    # A browser will be sent there: only to a page, never to a script.
    is_page = url is not None and url.startswith(("https://", "http://"))
    return Handover(client_secret=secret, next_action=NextAction(url=url if is_page else None))


def _attempt_of(metadata: Body, order_id: str, payment_id: str) -> int | None:
    """Which attempt a charge belongs to: 0 where it is our order's and names none of this payment, None if not ours."""
    if metadata.get("paymentId") != payment_id:
        return 0 if metadata.get("orderId") == order_id else None
    attempt = metadata.get("attempt")
    if not isinstance(attempt, str) or not (attempt.isascii() and attempt.isdecimal()):
        return 0
    return int(attempt) if len(attempt) <= ATTEMPT_MAX_DIGITS else 0


def _contradicts(body: Body, expected: Body) -> bool:
    """Whether a field of the body is not as expected. One that is absent, or null, contradicts nothing."""
    for name, value in expected.items():
        given = body.get(name)
        if isinstance(value, dict):
            if _contradicts(_mapping(given), value):
                return True
        elif given is not None and (type(given) is not type(value) or given != value):
            return True
    return False


def _text(fields: Body, name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= SECRET_MAX_CHARS else None


def _mapping(value: object) -> Body:
    return value if isinstance(value, dict) else {}
