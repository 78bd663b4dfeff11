"""Reading Stripe's successful answers: never more than they contain, and never an exception."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payment.adapters.stripe.bodies import (
    Body,
    Success,
    read_created,
    read_intent,
    read_listed,
    read_page,
    read_refunds,
)
from payment.adapters.stripe.texts import redacted
from payment.core.effects import IntentReference
from payment.core.messages import ChargeFacts, Failure, IntentStatus, ListedCharge
from payment.ports.cards import (
    Blocked,
    Charges,
    Handover,
    IntentAnswer,
    NextAction,
    NotRefunded,
    Refunded,
    Unclear,
)
from tests.unit.adapters.stripe.world import (
    CLIENT_SECRET,
    INTENT,
    METADATA,
    OLD_METADATA,
    PAYMENT_METHOD,
    a_charge,
    a_paid_intent,
    a_waiting_intent,
    an_intent,
)

ASKED = [pytest.param(INTENT, id="confirm"), pytest.param(None, id="retrieve")]


def read(body: Body, asked: IntentReference | None = None, replayed: bool = False) -> IntentAnswer | Unclear:
    return read_intent(Success(body, replayed), "pi_1", asked, redacted)


# --- an intent


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    "status", [s for s in IntentStatus if s not in (IntentStatus.SUCCEEDED, IntentStatus.REQUIRES_ACTION)]
)
def test_a_status_is_read_as_stripe_gives_it(status: IntentStatus, asked: IntentReference | None) -> None:
    """Only one that waits for its capture is none of ours: an alarm."""
    answer = read(an_intent(status=status.value, latest_charge="ch_0"), asked)
    if status is IntentStatus.REQUIRES_CAPTURE:
        assert isinstance(answer, Unclear)
        assert answer.alarm
    else:
        assert answer == IntentAnswer(id="pi_1", status=status)


@pytest.mark.parametrize("asked", ASKED)
def test_a_success_brings_its_charge(asked: IntentReference | None) -> None:
    """The charge's id and what has become of it since."""
    assert read(a_paid_intent(), asked, replayed=True) == IntentAnswer(
        id="pi_1", status=IntentStatus.SUCCEEDED, charge=ChargeFacts("ch_1"), replayed=True
    )


@pytest.mark.parametrize(
    ("fields", "refunded", "disputed"),
    [
        ({"amount_refunded": 1999}, True, False),
        ({"amount_refunded": 2000}, True, False),
        ({"amount_refunded": 1998}, False, False),
        ({"amount_refunded": "1999"}, False, False),
        ({"amount_refunded": None}, False, False),
        ({"refunded": True}, True, False),
        ({"refunded": "true"}, False, False),
        ({"disputed": True}, False, True),
        ({"disputed": True, "refunded": True}, True, True),
    ],
)
def test_a_charge_is_refunded_in_full_or_not_at_all(fields: Body, refunded: bool, disputed: bool) -> None:
    """Part of the money is not the money."""
    answer = read(a_paid_intent(**fields))
    assert isinstance(answer, IntentAnswer)
    amount = fields.get("amount_refunded", 0)
    facts = ChargeFacts("ch_1", refunded, disputed, amount if isinstance(amount, int) else 0)
    assert answer.charge == facts
    assert read_listed([a_charge(**fields)], "o1", "p1").charges == (ListedCharge(facts, 0),)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    "charge",
    [
        "ch_1",
        None,
        {},
        a_charge(id=None),
        a_charge(id=""),
        a_charge(id="c" * 256),
        a_charge(status="failed", paid=False),
        a_charge(status="pending"),
        a_charge(paid=False),
        a_charge(paid="true"),
    ],
)
def test_a_success_without_its_paid_charge_proves_nothing(charge: object, asked: IntentReference | None) -> None:
    """A charge's id alone, which Stripe gives where nothing is expanded, shows neither paid nor refunded."""
    body = an_intent(status="succeeded", latest_charge=charge)
    assert read(body, asked) == Unclear("Stripe calls the intent succeeded, and shows no succeeded charge")
    replayed = read(body, asked, replayed=True)
    assert isinstance(replayed, Unclear)
    assert replayed.stored, "the same key can bring nothing else"


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    "charge",
    [
        {"amount": 1998},
        {"amount": "1999"},
        {"currency": "eur"},
        {"captured": False},
        {"payment_intent": "pi_2"},
        {"transfer_group": "o2"},
        {"metadata": METADATA | {"orderId": "o2"}},
        {"metadata": METADATA | {"paymentId": "p2"}},
    ],
)
def test_a_charge_that_contradicts_its_order_is_an_alarm(charge: Body, asked: IntentReference | None) -> None:
    """Another amount or order is no payment of this one, whatever the intent shows (F16)."""
    answer = read(a_paid_intent(**charge), asked)
    assert isinstance(answer, Unclear)
    assert answer.alarm
    assert "ch_1" in answer.text


@pytest.mark.parametrize("name", ["amount", "currency", "captured", "payment_intent", "transfer_group", "metadata"])
@pytest.mark.parametrize("asked", ASKED)
def test_a_missing_field_of_a_charge_contradicts_nothing(name: str, asked: IntentReference | None) -> None:
    """Absent or null: the charge is the intent's own all the same."""
    absent = a_charge()
    del absent[name]
    for charge in (absent, a_charge(**{name: None})):
        answer = read(an_intent(status="succeeded", latest_charge=charge), asked)
        assert isinstance(answer, IntentAnswer)
        assert answer.charge is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"amount": 1998},
        {"currency": "eur"},
        {"transfer_group": "o2"},
        {"metadata": {"orderId": "o2"}},
        {"metadata": {"paymentId": "p2"}},
    ],
)
def test_another_intent_than_the_one_asked_for_is_an_alarm(fields: Body) -> None:
    """A key that brings another intent than ours breaks a rule of our own (F16)."""
    for answer in (read(an_intent(**fields), INTENT), read_created(Success(an_intent(**fields)), INTENT)):
        assert isinstance(answer, Unclear)
        assert answer.alarm
    assert isinstance(read(an_intent(**fields)), IntentAnswer), "a retrieve knows the id alone"
    other = read(an_intent(id="pi_2"))
    assert isinstance(other, Unclear)
    assert other.alarm


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": "pi_1"},
        {"status": "succeeded"},
        an_intent(id=None),
        an_intent(id=7),
        an_intent(status=None),
        an_intent(status=["succeeded"]),
        an_intent(status="invented_tomorrow"),
        an_intent(object="charge"),
    ],
)
def test_a_body_that_is_no_intent_proves_nothing(body: Body) -> None:
    """No alarm: it may be a proxy's."""
    for answer in (read(body), read(body, INTENT), read_created(Success(body), INTENT)):
        assert isinstance(answer, Unclear)
        assert not answer.alarm


@pytest.mark.parametrize(
    ("action", "url"),
    [
        ({"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}, None),
        ({"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.test/3ds"}}, "https://bank.test/3ds"),
        ({"type": "redirect_to_url", "redirect_to_url": {"url": "http://127.0.0.1/3ds"}}, "http://127.0.0.1/3ds"),
        ({"type": "redirect_to_url", "redirect_to_url": {"url": "javascript:alert(1)"}}, None),
        ({"type": "redirect_to_url", "redirect_to_url": {"url": None}}, None),
        ({"type": "redirect_to_url"}, None),
        ({"type": "use_stripe_sdk", "redirect_to_url": {"url": "https://bank.test/3ds"}}, None),
        ({"type": "invented_tomorrow"}, None),
        (None, None),
    ],
)
def test_the_next_action_is_a_redirect_or_stripes_library_s_business(action: object, url: str | None) -> None:
    """Stripe.js knows every action but by its intent; only a page may be redirected to."""
    expected = Handover(CLIENT_SECRET, NextAction(url))
    assert read(a_waiting_intent(next_action=action)) == IntentAnswer(
        "pi_1", IntentStatus.REQUIRES_ACTION, handover=expected
    )


def test_an_action_without_its_secret_is_unclear() -> None:
    """Without the secret no customer can act, so there is no handover."""
    for secret in (None, "", 7):
        assert isinstance(read(a_waiting_intent(client_secret=secret)), Unclear)


def test_a_secret_is_handed_over_only_where_the_customer_is_wanted() -> None:
    """Every intent has one."""
    answer = read(an_intent(status="processing"))
    assert isinstance(answer, IntentAnswer)
    assert answer.handover is None


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (
            {"code": "card_declined", "decline_code": "lost_card", "message": "It was declined."},
            Failure("card_declined", "lost_card", "It was declined."),
        ),
        (
            {"code": "payment_intent_authentication_failure", "message": f"{PAYMENT_METHOD} failed."},
            Failure("payment_intent_authentication_failure", None, "[redacted] failed."),
        ),
        ({}, Failure("card_declined", None, "The card was declined.")),
        ("declined", None),
        (None, None),
    ],
)
def test_the_last_payment_error_is_the_failure(error: object, failure: Failure | None) -> None:
    """In Stripe's codes and messages, without secrets."""
    assert read(an_intent(last_payment_error=error)) == IntentAnswer(
        "pi_1", IntentStatus.REQUIRES_PAYMENT_METHOD, failure=failure
    )


@pytest.mark.parametrize("status", ["requires_payment_method", "canceled", "succeeded", "requires_action"])
def test_a_create_brings_the_id_and_the_status_alone(status: str) -> None:
    """Its answer is what was stored for the key: no evidence of a charge, and no customer who waits for a secret."""
    created = read_created(Success(an_intent(status=status, latest_charge="ch_1"), replayed=True), INTENT)
    assert created == IntentAnswer(id="pi_1", status=IntentStatus(status), replayed=True)


def test_no_repr_shows_a_secret() -> None:
    """Neither what was read nor what it was read from."""
    answer = Success(a_waiting_intent())
    assert CLIENT_SECRET not in repr(answer)
    assert CLIENT_SECRET not in repr(read_intent(answer, "pi_1", INTENT, redacted))


# --- lists


@pytest.mark.parametrize(
    ("metadata", "attempt"),
    [
        (OLD_METADATA, 2),
        (METADATA, 0),
        (METADATA | {"attempt": "0012"}, 12),
        (METADATA | {"attempt": ""}, 0),
        (METADATA | {"attempt": "-2"}, 0),
        (METADATA | {"attempt": "2.0"}, 0),
        (METADATA | {"attempt": "\u0662"}, 0),
        (METADATA | {"attempt": "9" * 5000}, 0),
        (METADATA | {"attempt": 2}, 0),
        ({"paymentId": "p1"}, 0),
        ({"orderId": "o1"}, 0),
        ({"orderId": "o1", "paymentId": "p0", "attempt": "2"}, 0),
        ({"orderId": "o2", "paymentId": "p2", "attempt": "2"}, None),
        ({"attempt": "2"}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_a_listed_charge_belongs_by_its_metadata(metadata: object, attempt: int | None) -> None:
    """Our payment id names the attempt; our order id alone makes it the order's; neither makes it another's."""
    expected = () if attempt is None else (ListedCharge(ChargeFacts("ch_1"), attempt),)
    assert read_listed([a_charge(metadata=metadata)], "o1", "p1") == Charges(expected)
    waiting = read_listed([a_charge(metadata=metadata, status="pending")], "o1", "p1")
    assert waiting == Charges((), pending=attempt is not None)


def test_only_succeeded_charges_are_listed_and_a_pending_one_is_reported() -> None:
    """A failed one is neither."""
    listed = read_listed(
        [a_charge(id="ch_3", status="failed"), a_charge(id="ch_2", status="pending"), a_charge()], "o1", "p1"
    )
    assert listed == Charges((ListedCharge(ChargeFacts("ch_1"), 0),), pending=True)
    assert read_listed([a_charge(status="failed")], "o1", "p1") == Charges(())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": []},
        {"data": None, "has_more": False},
        {"data": {}, "has_more": False},
        {"data": [], "has_more": True},
        {"data": [], "has_more": 0},
        {"data": [a_charge(), None], "has_more": False},
        {"data": [a_charge(), a_charge(id=None)], "has_more": False},
        {"data": [[a_charge()]], "has_more": False},
    ],
)
def test_a_page_is_read_whole_or_not_at_all(body: Body) -> None:
    """A shorter list than Stripe's own would be a false proof."""
    assert read_page(body) is None


# --- anything


WORDS = ["succeeded", "requires_action", "canceled", "p1", "o1", "pi_1", "ch_1", "redirect_to_url", "usd"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(WORDS)
    | st.just(a_charge()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*a_charge(), "data", "has_more", "paymentId", "attempt", "type", "url", "code"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
NAMES = sorted({*an_intent(), *a_charge(), "data", "has_more"})
OBJECTS = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8)


@given(body=OBJECTS | OBJECTS.map(lambda fields: a_paid_intent() | fields), asked=st.sampled_from([INTENT, None]))
@settings(max_examples=300, deadline=None)
def test_reading_a_body_never_raises_and_never_makes_up_a_charge(body: Body, asked: IntentReference | None) -> None:
    """For any JSON with a 200 the readers return an outcome, with ids that were in it."""
    answer = read(body, asked)
    if isinstance(answer, IntentAnswer):
        assert answer.id == body["id"]
        assert (answer.charge is not None) == (answer.status is IntentStatus.SUCCEEDED)
        assert (answer.handover is not None) == (answer.status is IntentStatus.REQUIRES_ACTION)
        charge = body.get("latest_charge")
        assert answer.charge is None or (isinstance(charge, dict) and answer.charge.charge_id == charge["id"])
    created = read_created(Success(body), INTENT)
    assert isinstance(created, Unclear) or created.id == body["id"]
    assert all(listed.charge.charge_id == body["id"] for listed in read_listed([body], "o1", "p1").charges)
    assert isinstance(read_refunds([body], 1), Refunded | Blocked | NotRefunded | Unclear)
    page = read_page(body)
    assert page is None or list(page.items) == body["data"]
