"""The checks of a document that is read: whatever an edit makes of it, it is called corrupt, or no function raises.

The documents are those of every story and state, of this release and of 0.1.0. A corruption replaces any field by any
value that a document may hold, or by one of another document, deletes it, or exchanges two.
"""

import copy
import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from msgspec import structs

from payment.core.decide import decide
from payment.core.legacy import upgraded
from payment.core.messages import ChargeRequested, Context, Due, LeaseRenewed, OrderCancelled
from payment.core.order import AttemptState, CancelReason, IntentState, Order, OrderStatus, TaskKind
from payment.core.pending import pending, reindexed
from payment.core.replies import payment_status, reply_to
from payment.core.validity import LARGEST_NUMBER, LATEST, flaw
from tests.unit.core import builders
from tests.unit.core.builders import BY_STATE, DOCUMENTS, GROUP, ORDER, T0, VERSION, A, B, Story, cancelled, of_0_1_0
from tests.unit.core.test_properties import MESSAGE, SPANS

S = AttemptState


def _plain(order: Order) -> dict[str, Any]:
    plain: dict[str, Any] = _lists(msgspec.to_builtins(structs.replace(order, rev=1), builtin_types=(datetime,)))
    return plain


def _lists(value: Any) -> Any:
    """The value with lists for tuples, as BSON has them."""
    if isinstance(value, dict):
        return {key: _lists(each) for key, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, list | tuple) else value


STORIES: list[Callable[[], Story]] = [
    *(story for story in BY_STATE.values()),
    builders.open_order,
    builders.sent_twice,
    builders.taken_over,
    builders.retrieving,
    builders.exposed,
    builders.given_back_by_hand,
    lambda: Story(builders.created(), prepare=True),
    lambda: Story(cancelled()),
    lambda: builders.confirming().decide(cancelled()),
    lambda: builders.exposed().decide(builders.request("tok_2")),
    lambda: builders.paid().decide(builders.CREATED_IS_OUT),
    *(functools.partial(of_0_1_0, name) for name in DOCUMENTS),
]
STORED = [_plain(story().doc) for story in STORIES]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each field and each entry of a document."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, each in entries for found in ((*path, key), *_paths(each, (*path, key)))]


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


WORDS = [each.value for kind in (AttemptState, OrderStatus, TaskKind, IntentState, CancelReason) for each in kind]
FIELDS = sorted({str(path[-1]) for document in STORED for path in _paths(document)})
OTHERS = {name: [_at(doc, path) for doc in STORED for path in _paths(doc) if str(path[-1]) == name] for name in FIELDS}
"""The values of a field in all documents, by its name."""
DATES = [
    T0,
    T0.replace(tzinfo=None),
    T0 + timedelta(days=400),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
]
NUMBERS = [0, 1, 2, 3, 7, -1, -(2**63), 2**31, 2**53, 2**63 - 1, 0.0, 1.5, float("nan"), float("inf")]
VALUES = st.sampled_from(
    [*NUMBERS, *DATES, *WORDS, None, True, False, "", "\r\n", "ü", "x" * 300, "2026-03-01T12:00:00", b"", [], {}, [1]]
)


@st.composite
def corrupted(draw: st.DrawFn) -> Any:
    """A document with one field or up to three replaced, deleted, added or exchanged."""
    document = copy.deepcopy(draw(st.sampled_from(STORED)))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        paths = _paths(document)
        path = draw(st.sampled_from(paths)) if paths else ()
        if not path:
            return document
        holder, key = _at(document, path[:-1]), path[-1]
        match draw(st.sampled_from(["any", "other", "other", "delete", "exchange", "add", "twice"])):
            case "any":
                holder[key] = draw(VALUES)
            case "other":
                holder[key] = copy.deepcopy(draw(st.sampled_from(OTHERS.get(str(key), [None]))))
            case "delete":
                del holder[key]
            case "exchange":
                other = draw(st.sampled_from(paths))
                if other[: len(path)] != path and path[: len(other)] != other:
                    theirs = _at(document, other[:-1])
                    holder[key], theirs[other[-1]] = theirs[other[-1]], holder[key]
            case "add":
                name = draw(st.sampled_from(FIELDS))
                if isinstance(holder, dict):
                    holder[name] = copy.deepcopy(draw(st.sampled_from(OTHERS[name])))
            case _:
                if isinstance(holder, list):
                    holder.append(copy.deepcopy(holder[key]))
    return document


def read(document: Any) -> Order | None:
    """The order as a store reads it; None where it can't be decoded."""
    try:
        return msgspec.convert(upgraded(document), Order, builtin_types=(datetime,))
    except msgspec.ValidationError:
        return None


def all_of(order: Order, message: Any, context: Context) -> Order:
    """Run everything that the ledger does with an order: nothing may raise."""
    before = reindexed(order)
    after = decide(before, message, context).order
    assert after is not None
    pending(after)
    payment_status(after, context.now)
    if isinstance(message, ChargeRequested):
        reply_to(after, message, context.now)
    return after


@given(
    corrupted(),
    st.lists(st.tuples(MESSAGE, st.sampled_from([A, A, B]), st.sampled_from(SPANS)), min_size=1, max_size=8),
)
@settings(max_examples=700, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example({**STORED[0], "payment": {**STORED[0]["payment"], "kept": 7}}, [(Due(ORDER), A, SPANS[0])])
def test_any_document_is_called_corrupt_or_nothing_raises(document: Any, steps: Any) -> None:
    """F50: a document that follows from one without a flaw has none either."""
    order = read(document)
    if order is None or (found := flaw(order)) is not None:
        assert order is None or (found and "tok_" not in found)
        return
    now = T0
    for message, process, span in steps:
        now += span
        order = all_of(order, message, Context(now, process, VERSION, GROUP))
        assert flaw(order) is None


@pytest.mark.parametrize("number", range(len(STORIES)))
def test_no_document_of_this_service_has_a_flaw(number: int) -> None:
    """F50: nor have those of 0.1.0, once they are upgraded."""
    order = read(STORED[number])
    assert order is not None
    assert flaw(order) is None


PAID, REFUNDED, CONFIRMING = (_plain(BY_STATE[state]().doc) for state in (S.PAID, S.REFUNDED, S.CONFIRMING))
AWAITING, REFUNDING = (_plain(BY_STATE[state]().doc) for state in (S.AWAITING, S.REFUNDING))
CHARGED_BACK = _plain(BY_STATE[S.CHARGED_BACK]().doc)
DECLINED, CHARGING = (_plain(BY_STATE[state]().doc) for state in (S.DECLINED, S.CHARGING))
ANNOUNCED = _plain(Story(cancelled()).doc)
EXPOSED, PREPARED = _plain(builders.exposed().doc), _plain(Story(builders.created(), prepare=True).doc)
TASK = REFUNDING["payment"]["attempts"][0]["task"]
WATCH = {**TASK, "kind": "watch"}

EDITS: list[tuple[str, Any, str, Any]] = [
    ("`rev`", PAID, "rev", 0),
    ("`rev`", PAID, "rev", LARGEST_NUMBER + 1),
    ("`version`", PAID, "version", 2**60),
    ("some are missing", PAID, "userId", None),
    ("`status` is not cancelled", ANNOUNCED, "status", "created"),
    ("there is a `payment`", ANNOUNCED, "payment", {"id": "p1"}),
    ("`amount` is out", PAID, "amount", -1),
    ("`currency`", PAID, "currency", "USD"),
    ("`expiresAt`", PAID, "expiresAt", T0.replace(tzinfo=None)),
    ("`received`", PAID, "received", T0.replace(tzinfo=None)),
    ("`received`", PAID, "received", LATEST + timedelta(days=1)),
    ("`payment.attempts[0].task.notBefore`", REFUNDING, "payment.attempts.0.task.notBefore", T0.replace(year=1)),
    ("there is no `payment`", PAID, "payment", None),
    ("`payment.id`", PAID, "payment.id", "a\r\nb"),
    ("do not count", PAID, "payment.attempts.0.number", 2),
    ("is not the order's", PAID, "payment.attempts.0.amount", 1998),
    ("`payment.kept` is no", PAID, "payment.kept", 7),
    ("`payment.kept` is no", PAID, "payment.kept", 0),
    ("has not charged", DECLINED, "payment.kept", 1),
    (".sends`", PAID, "payment.attempts.0.sends", 0),
    (".apiVersion`", PAID, "payment.attempts.0.apiVersion", ""),
    (".chargeId` is there, and", PAID, "payment.attempts.0.chargeId", None),
    (".chargeId` is no id", PAID, "payment.attempts.0.chargeId", "ch 1"),
    (".state` is paid", PAID, "status", "cancelled"),
    (".refund` is there, and", REFUNDING, "payment.attempts.0.refund", None),
    (".refund` has no key", REFUNDING, "payment.attempts.0.refund.blocked", -1),
    (".task` is of a kind", REFUNDING, "payment.attempts.0.state", "refunded"),
    (".task` is there, and its", PAID, "payment.attempts.0.task", WATCH),
    (".recheck` is there, and its `task`", REFUNDED, "payment.attempts.0.task", {**TASK, "kind": "recheck"}),
    (".recheck` is there, and its `state`", PAID, "payment.attempts.0.recheck", T0),
    ("`payment.attempts[0].recheck`", REFUNDED, "payment.attempts.0.recheck", T0.replace(tzinfo=None)),
    (".task` is missing", REFUNDING, "payment.attempts.0.task", None),
    (".task` is missing", REFUNDING, "payment.attempts.0.task.kind", "confirm"),
    (
        "one `chargeId`",
        REFUNDED,
        "payment.attempts",
        [REFUNDED["payment"]["attempts"][0], {**REFUNDED["payment"]["attempts"][0], "number": 2}],
    ),
    (
        "is an earlier one",
        DECLINED,
        "payment.attempts",
        [DECLINED["payment"]["attempts"][0], {**DECLINED["payment"]["attempts"][0], "number": 2, "intent": 0}],
    ),
    ("is charging, as release", CHARGING, "payment.attempts.0.intent", 1),
    ("`payment.intent` is missing", PAID, "payment.intent", None),
    ("no number of 1", PAID, "payment.intent.number", 0),
    ("`payment.intent.id`", PAID, "payment.intent.id", "pi 1"),
    ("`payment.intent.id` is missing", EXPOSED, "payment.intent.id", None),
    ("no attempt has it", EXPOSED, "payment.intent.number", 2),
    ("is below", PAID, "payment.attempts.0.intent", 2),
    (
        "more than one attempt is unsettled",
        CONFIRMING,
        "payment.attempts",
        [CONFIRMING["payment"]["attempts"][0], {**CONFIRMING["payment"]["attempts"][0], "number": 2}],
    ),
    ("or that is not open", CONFIRMING, "payment.intent.state", "canceled"),
    ("`payment.intent.task` is missing, or of", CONFIRMING, "payment.intent.task", None),
    ("`payment.intent.task` is missing, or of", AWAITING, "payment.intent.task.kind", "confirm"),
    ("its client secret is out", EXPOSED, "payment.intent.task", None),
    ("has not charged, and `payment.intent.state`", DECLINED, "payment.intent.state", "succeeded"),
    ("no attempt or `state` needs it", PAID, "payment.intent.task", WATCH),
    ("needs an attempt", PREPARED, "payment.intent.task.kind", "look"),
    ("`outbox[0].subject`", PAID, "outbox.0.subject", "payment:deleted"),
    ("`outbox[1].refundId`", REFUNDED, "outbox.1.refundId", None),
    ("`outbox[1].disputeId`", CHARGED_BACK, "outbox.1.disputeId", None),
    (
        "the event before it is not",
        PAID,
        "outbox",
        [PAID["outbox"][0], {**PAID["outbox"][0], "task": None, "published": T0}],
    ),
    ("`outbox[0].task`", PAID, "outbox.0.task", None),
    ("`outbox[0].task`", PAID, "outbox.0.task.kind", "watch"),
]


@pytest.mark.parametrize(
    ("words", "document", "path", "value"), EDITS, ids=[f"{e[2]}={n}" for n, e in enumerate(EDITS)]
)
def test_flaw_names_what_an_operator_did_to_a_document(words: str, document: Any, path: str, value: Any) -> None:
    """F50: the flaw names the field and the expected value."""
    edited = copy.deepcopy(document)
    *way, last = (int(key) if key.isdigit() else key for key in path.split("."))
    _at(edited, tuple(way))[last] = value
    order = read(edited)
    assert order is not None
    assert words in (flaw(order) or "")


def test_a_deadline_that_was_edited_away_is_put_back() -> None:
    """F50: it is derived, so it is corrected rather than refused; an order that is right stays identical."""
    order = read(CONFIRMING)
    assert order is not None
    assert reindexed(order) is order
    for edited in (structs.replace(order, due=None), structs.replace(order, holder="web-9")):
        assert reindexed(edited) == order
    at_rest = read(DECLINED)
    assert at_rest is not None
    assert reindexed(structs.replace(at_rest, due=T0)) == at_rest


def test_messages_about_nothing_leave_an_order_as_it_was_read() -> None:
    """F50: the next message, of any kind, writes a deadline that was edited."""
    order = read(CONFIRMING)
    assert order is not None
    message, context = LeaseRenewed(ORDER, ()), Context(T0, B, VERSION, GROUP)
    assert all_of(structs.replace(order, due=None), message, context).due == order.due
    assert all_of(order, OrderCancelled(ORDER, 1), context).cancelled
