"""The rules that a stored document must keep besides its types. The rest of the core relies on them.

An operator can edit a document, and an order that contradicts itself would make `decide` or `pending` raise, or charge
what it must not. So the store passes each document that it reads to `flaw`. The rules are as strict as the core needs,
and no stricter: fields that decide nothing (texts, the history, `settled`) are not checked, and `due` and `holder`,
which are derived, are corrected by the next write (`payment.core.pending.reindexed`).

Change together: `payment.core.order`, its states, their tasks, and `tests/unit/core/checks.py`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from payment.core.effects import OUTGOING_SUBJECTS, PAYMENT_DISPUTED, PAYMENT_REFUND_FAILED, PAYMENT_REFUNDED
from payment.core.money import LARGEST_AMOUNT_MINOR
from payment.core.order import (
    GIVEN_BACK,
    GIVING_BACK,
    UNSETTLED,
    Attempt,
    AttemptState,
    Intent,
    IntentState,
    Order,
    Payment,
    Task,
    TaskKind,
)

EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""Bounds of every date that the core adds to, far from the bounds of the type: no sum overflows."""

NAME_CHARS_MAX = 255
"""Characters of an id or a key, in printable ASCII: Stripe's limit for idempotency keys. All of them go into
headers."""

LARGEST_NUMBER = LARGEST_AMOUNT_MINOR
"""The largest value of every number: a JSON number holds it exactly, and a 64-bit integer holds one more."""

CURRENCY_CHARS = 3

_S, _K = AttemptState, TaskKind

CHARGED = GIVING_BACK | {_S.PAID}

TASKS_OF_ATTEMPTS = {
    _S.CHARGING: frozenset({_K.LIST, _K.RECHECK_LATER}),
    _S.REFUNDING: frozenset({_K.REFUND, _K.FIND_REFUND, _K.RECHECK_LATER}),
    _S.BLOCKED: frozenset({_K.REFUND, _K.FIND_REFUND, _K.RECHECK_LATER}),
}
"""By state, the kinds of task of which an attempt must have one. In every other state it has none, except that a charge
that was given back may have a recheck."""

OF_REFUNDS = frozenset({PAYMENT_REFUNDED, PAYMENT_REFUND_FAILED})
"""The subjects whose events name a refund."""

TASKS_OF_INTENTS = {
    _S.CONFIRMING: frozenset({_K.CONFIRM, _K.RETRIEVE, _K.RECHECK_LATER}),
    _S.AWAITING: frozenset({_K.RECHECK_LATER, _K.RETRIEVE}),
    _S.CANCELLING: frozenset({_K.CANCEL, _K.RETRIEVE, _K.RECHECK_LATER}),
}
"""By the state of its unsettled attempt, the kinds of task of which an intent must have one."""

TASKS_AT_REST = frozenset({_K.CREATE, _K.RETRIEVE, _K.CANCEL, _K.RECHECK_LATER})
"""The kinds of task of which an intent that no attempt needs may have one."""


def flaw(order: Order) -> str | None:
    """Returns the first rule that a document breaks: the field and what it should be, never a value.

    None: it breaks none. It raises for no order that could be decoded.
    """
    return next(_flaws(order), None)


def _flaws(order: Order) -> Iterator[str]:
    """The rules in this order: later ones rely on earlier ones."""
    yield from _order_flaws(order)
    yield from _date_flaws(order)
    payment = order.payment
    if payment is None:
        if order.outbox:
            yield "`outbox` has events, and there is no `payment`"
        return
    yield from _payment_flaws(order, payment)
    for attempt in payment.attempts:
        yield from _attempt_flaws(order, payment, attempt)
    yield from _charge_flaws(payment)
    yield from _intent_flaws(payment)
    yield from _outbox_flaws(order)


# ----------------------------------------------------------------------------------------------------------- the order


def _order_flaws(order: Order) -> Iterator[str]:
    if not _counts(order.rev, 1):
        yield "`rev` is no revision of 1 or more, by which a write could be fenced"
    if not _counts(order.version, -LARGEST_NUMBER):
        yield "`version` is out of bounds"
    created = (order.user_id, order.amount, order.currency, order.expires_at)
    if any(each is None for each in created):
        if any(each is not None for each in created):
            yield "of `userId`, `amount`, `currency` and `expiresAt` some are missing"
        if not order.cancelled:
            yield "`userId`, `amount`, `currency` and `expiresAt` are missing, and `status` is not cancelled"
        if order.payment is not None:
            yield "`userId` is missing, and there is a `payment`"
    if order.amount is not None and not _counts(order.amount, 0):
        yield "`amount` is out of bounds"
    if order.currency is not None and not _is_currency(order.currency):
        yield "`currency` is no ISO code in lower case"


def _date_flaws(order: Order) -> Iterator[str]:
    if order.expires_at is not None and order.expires_at.tzinfo is None:
        yield "`expiresAt` has no zone"
    for name, at in _dates(order):
        if at is not None and (at.tzinfo is None or not EARLIEST <= at <= LATEST):
            yield f"`{name}` has no zone, or is not between {EARLIEST.year} and {LATEST.year}"


def _dates(order: Order) -> Iterator[tuple[str, datetime | None]]:
    """Every date that the core adds to, with its field. `due` is not among them: the next write derives it."""
    yield "received", order.received
    if order.intent is not None:
        yield from _task_dates("payment.intent", order.intent.task)
    for position, attempt in enumerate(order.attempts):
        name = f"payment.attempts[{position}]"
        yield f"{name}.firstSent", attempt.first_sent
        yield f"{name}.lastSent", attempt.last_sent
        yield f"{name}.notAfter", attempt.not_after
        yield f"{name}.recheck", attempt.recheck
        yield from _task_dates(name, attempt.task)
    for position, event in enumerate(order.outbox):
        yield from _task_dates(f"outbox[{position}]", event.task)


def _task_dates(name: str, task: Task | None) -> Iterator[tuple[str, datetime | None]]:
    if task is not None:
        yield f"{name}.task.due", task.due
        yield f"{name}.task.issued", task.issued
        yield f"{name}.task.notBefore", task.not_before


# --------------------------------------------------------------------------------------------------------- the payment


def _payment_flaws(order: Order, payment: Payment) -> Iterator[str]:
    if not _is_name(payment.id):
        yield "`payment.id` is no id"
    if any(attempt.number != position for position, attempt in enumerate(payment.attempts, 1)):
        yield "the numbers of `payment.attempts` do not count from 1 on"
    if any((each.amount, each.currency) != (order.amount, order.currency) for each in payment.attempts):
        yield "an attempt's `amount` or `currency` is not the order's"
    if payment.kept is not None:
        if not 1 <= payment.kept <= len(payment.attempts):
            yield "`payment.kept` is no attempt's number"
        elif payment.attempts[payment.kept - 1].state not in CHARGED:
            yield "the attempt that `payment.kept` names has not charged"


def _attempt_flaws(order: Order, payment: Payment, attempt: Attempt) -> Iterator[str]:
    name, state = f"payment.attempts[{attempt.number - 1}]", attempt.state
    if not (_counts(attempt.sends, 1) and _counts(attempt.intent, 0)):
        yield f"`{name}.sends` or `{name}.intent` is out of bounds"
    if not _is_name(attempt.api_version):
        yield f"`{name}.apiVersion` is no version"
    if (attempt.charge_id is not None) != (state in CHARGED):
        yield f"`{name}.chargeId` is there, and its `state` is one without a charge, or the other way round"
    if attempt.charge_id is not None and not _is_name(attempt.charge_id):
        yield f"`{name}.chargeId` is no id"
    if (state is _S.PAID) != (payment.kept == attempt.number and not order.cancelled):
        yield f"`{name}.state` is paid, and `payment.kept` or `status` says otherwise, or the other way round"
    refund = attempt.refund
    if (refund is not None) != (state in GIVING_BACK):
        yield f"`{name}.refund` is there, and its `state` is one without a refund, or the other way round"
    if refund is not None:
        numbers = (refund.blocked, refund.undone, refund.rechecks)
        if not (_is_name(refund.key) and _counts(refund.number, 1) and all(_counts(number, 0) for number in numbers)):
            yield f"`{name}.refund` has no key, or a number out of bounds"
    yield from _task_flaws(name, attempt)


def _task_flaws(name: str, attempt: Attempt) -> Iterator[str]:
    state, kinds = attempt.state, TASKS_OF_ATTEMPTS.get(attempt.state)
    if state in GIVEN_BACK:
        if attempt.task is not None and attempt.task.kind is not _K.RECHECK_REFUND:
            yield f"`{name}.task` is of a kind that its `state` has not"
        if attempt.task is not None and attempt.recheck is not None:
            yield f"`{name}.recheck` is there, and its `task` is the recheck"
        return
    if attempt.recheck is not None:
        yield f"`{name}.recheck` is there, and its `state` is one that is not rechecked"
    if kinds is None and attempt.task is not None:
        yield f"`{name}.task` is there, and its `state` is one without a task"
    if kinds is not None and (attempt.task is None or attempt.task.kind not in kinds):
        yield f"`{name}.task` is missing, or of a kind that its `state` has not"


def _charge_flaws(payment: Payment) -> Iterator[str]:
    charges = [attempt.charge_id for attempt in payment.attempts if attempt.charge_id is not None]
    if len(set(charges)) != len(charges):
        yield "two attempts have one `chargeId`"


def _intent_flaws(payment: Payment) -> Iterator[str]:
    numbers = [attempt.intent for attempt in payment.attempts]
    if numbers != sorted(numbers):
        yield "an attempt's `intent` is an earlier one than that of the attempt before it"
    if any((each.state is _S.CHARGING) and each.intent for each in payment.attempts):
        yield "an attempt is charging, as release 0.1.0 did, and has an `intent`"
    unsettled = [attempt for attempt in payment.attempts if attempt.state in UNSETTLED]
    of_intents = [attempt for attempt in unsettled if attempt.state is not _S.CHARGING]
    intent = payment.intent
    if intent is None:
        if any(numbers) or of_intents:
            yield "`payment.intent` is missing, and an attempt needs it"
        return
    if not (_counts(intent.number, 1) and _is_name(intent.key) and _is_name(intent.api_version)):
        yield "`payment.intent` has no number of 1 or more, no key or no version"
    if intent.id is not None and not _is_name(intent.id):
        yield "`payment.intent.id` is no id"
    if intent.id is None and intent.exposed:
        yield "`payment.intent.id` is missing, and its client secret is out"
    if intent.exposed and intent.number not in numbers:
        yield "the client secret of `payment.intent` is out, and no attempt has it"
    if numbers and numbers[-1] > intent.number:
        yield "`payment.intent.number` is below an attempt's `intent`"
    charged = [each.state in CHARGED for each in payment.attempts if each.intent == intent.number]
    if intent.state is IntentState.SUCCEEDED and not (charged and charged[-1]):
        yield "the last attempt has not charged, and `payment.intent.state` is succeeded"
    if not unsettled:
        yield from _intent_at_rest_flaws(payment, intent)
    elif len(unsettled) > 1 or not of_intents or unsettled[0] is not payment.attempts[-1]:
        yield "more than one attempt is unsettled, or one that is not the last"
    elif unsettled[0].intent != intent.number or intent.state is not IntentState.OPEN:
        yield "the unsettled attempt's `intent` is not `payment.intent`, or that is not open"
    elif intent.task is None or intent.task.kind not in TASKS_OF_INTENTS[unsettled[0].state]:
        yield "`payment.intent.task` is missing, or of a kind that its attempt's `state` has not"


def _intent_at_rest_flaws(payment: Payment, intent: Intent) -> Iterator[str]:
    task = intent.task
    if task is None:
        if intent.exposed and intent.state is IntentState.OPEN:
            yield "`payment.intent.task` is missing: it is open, and its client secret is out"
        return
    if task.kind not in TASKS_AT_REST or intent.state is IntentState.SUCCEEDED:
        yield "`payment.intent.task` is there, and no attempt or `state` needs it"
    if task.kind is not TaskKind.CREATE and not payment.attempts:
        yield "`payment.intent.task` is of a kind that needs an attempt"


# ---------------------------------------------------------------------------------------------------------- the outbox


def _outbox_flaws(order: Order) -> Iterator[str]:
    """Each event waits for the one before it: exactly the first unpublished event has a task."""
    waiting = False
    for position, event in enumerate(order.outbox):
        name = f"outbox[{position}]"
        if event.subject not in OUTGOING_SUBJECTS:
            yield f"`{name}.subject` is none that is published"
        if event.subject in OF_REFUNDS and event.refund_id is None:
            yield f"`{name}.refundId` is missing"
        if event.subject == PAYMENT_DISPUTED and (event.dispute_id is None or event.status is None):
            yield f"`{name}.disputeId` or `{name}.status` is missing"
        if event.published is not None and waiting:
            yield f"`{name}` is published, and the event before it is not"
        first = event.published is None and not waiting
        if (event.task is not None) != first or (event.task is not None and event.task.kind is not TaskKind.PUBLISH):
            yield f"`{name}.task` is not there for the first event that is not published, and for that alone"
        waiting = waiting or event.published is None


# ------------------------------------------------------------------------------------------------------------- a value


def _counts(number: int, least: int) -> bool:
    return least <= number <= LARGEST_NUMBER


def _is_currency(code: str) -> bool:
    return len(code) == CURRENCY_CHARS and code.isascii() and code.isalpha() and code.islower()


def _is_name(text: str) -> bool:
    """Whether a text may go into a header or an address as it is."""
    return 0 < len(text) <= NAME_CHARS_MAX and text.isascii() and text.isprintable() and " " not in text
