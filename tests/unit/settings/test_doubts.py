"""Settings that are valid and probably a mistake."""

import pytest

from payment.settings.doubts import doubts
from tests.unit.settings.test_environment import settings_with

LONG = "0123456789abcdef0123456789abcdef"


def test_a_good_key_is_in_no_doubt() -> None:
    assert doubts(settings_with(JWT_KEY=LONG, JWT_KEY_PREVIOUS=LONG[::-1])) == []


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (f"{LONG}\n", "a line break"),
        (f"{LONG}\r\n", "a line break"),
        (f" {LONG}", "a blank"),
        (f"{LONG}\t", "a blank"),
        (f'"{LONG}"', "stands in quotes"),
        (f"'{LONG}'", "stands in quotes"),
        (f"{LONG}\u00a0", "a blank"),
        (f"{LONG}\u2028", "a line break"),
        (f"\u201c{LONG}\u201d", "stands in quotes"),
        (f"\ufeff{LONG}", "an invisible character"),
        (f"{LONG}\u200b", "an invisible character"),
        (f"{LONG}\\n", "a backslash and a letter"),
        (f"${{{LONG}}}", "not replaced"),
        (f"<{LONG}>", "not replaced"),
        (f"-----BEGIN PUBLIC KEY-----{LONG}", "a PEM file"),
        ("your-jwt-secret", "has 15 bytes"),
        ("é" * 15, "has 30 bytes"),
    ],
)
@pytest.mark.parametrize("name", ["JWT_KEY", "JWT_KEY_PREVIOUS"])
def test_a_doubtful_key_is_reported_without_its_value(name: str, key: str, words: str) -> None:
    """It is only a warning: the key may be right, and only the platform's tokens can show that."""
    other = {"JWT_KEY": LONG} if name == "JWT_KEY_PREVIOUS" else {}
    [doubt] = doubts(settings_with(**other, **{name: key}))
    assert doubt.startswith(f"{name} ")
    assert words in doubt
    assert key.strip("\"' \r\n\t") not in doubt


def test_several_doubts_are_all_reported() -> None:
    assert len(doubts(settings_with(JWT_KEY='"short"\n'))) == 3


def test_a_key_that_is_another_variables_value() -> None:
    found = doubts(settings_with(JWT_KEY=LONG, JWT_KEY_PREVIOUS=LONG, STRIPE_KEY=f"sk_test_{LONG}"))
    assert found == ["JWT_KEY_PREVIOUS is the same as JWT_KEY: it is for the former key"]
    assert doubts(settings_with(JWT_KEY=f"sk_test_{LONG}", STRIPE_KEY=f"sk_test_{LONG}")) == [
        "JWT_KEY holds the value of STRIPE_KEY"
    ]
