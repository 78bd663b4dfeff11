"""docs/front-end.md and the shop's page cover every answer that the service can give, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import payment.devstack.shop
from payment.actors.http.responses import Case, ErrorCode
from payment.core.replies import PaymentStatus

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "front-end.md").read_text(encoding="utf-8")
PAGE = Path(payment.devstack.shop.__file__).with_name("shop.js").read_text(encoding="utf-8")
OTHER_ERRORS = {
    ErrorCode.INVALID_JSON,
    ErrorCode.INVALID_FIELD,
    ErrorCode.INVALID_HTTP,
    ErrorCode.METHOD_NOT_ALLOWED,
    ErrorCode.BODY_TOO_LARGE,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.UNSUPPORTED_EXPECTATION,
    ErrorCode.HEADERS_TOO_LARGE,
    ErrorCode.OPS_KEY_REQUIRED,
    ErrorCode.INTERNAL_ERROR,
}
"""Codes of bugs of a page or of the service, for which the page has one sentence."""


def table(section: str) -> list[list[str]]:
    """Returns the rows of the first table below a text of the guide, without its head, as cells."""
    lines = GUIDE[GUIDE.index(section) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    rows = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def keys_of(name: str) -> set[str]:
    """Returns the keys of one of the page's tables of sentences."""
    body = re.search(rf"^const {name} = {{\n(.*?)^}}", PAGE, re.DOTALL | re.MULTILINE)
    assert body is not None
    return set(re.findall(r"^  (\w+):", body[1], re.MULTILINE))


def test_the_guide_has_a_row_for_each_code_and_its_status() -> None:
    """Every error of the service stands in the table, under each status that it comes with."""
    listed = {
        (int(status), word)
        for statuses, words, *_ in table("## What to show for each answer")
        for status in re.findall(r"\d+", statuses)
        for word in re.findall(r"`(\w+)`", words)
    }
    given = {(case.value.status, case.value.code.value) for case in Case if case.value.code is not None}
    codes = {code.value for code in ErrorCode}
    assert given <= listed
    assert {word for _, word in listed} - codes == {"paid", "pending", "requires_action"}


def test_the_guide_has_a_row_for_each_status_of_a_payment() -> None:
    """Every status that a GET can return is there."""
    listed = {word for words, *_ in table("And for the `status` of a GET") for word in re.findall(r"`(\w+)`", words)}
    assert listed == {status.value for status in PaymentStatus}


def test_the_page_has_a_sentence_for_each_answer() -> None:
    """A sentence for each code that a customer can cause, and for each status of a payment."""
    assert keys_of("ERRORS") == {code.value for code in set(ErrorCode) - OTHER_ERRORS}
    assert keys_of("STATES") == {status.value for status in PaymentStatus}
