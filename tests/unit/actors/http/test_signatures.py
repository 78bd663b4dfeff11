"""When it is said that our own key is probably wrong."""

from payment.actors.http.auth import NotAuthenticated, SignatureWrong
from payment.actors.http.signatures import WRONG_SIGNATURES, Signatures


def test_it_is_said_once_when_every_signature_is_wrong() -> None:
    signatures = Signatures()
    said = [signatures.failed(SignatureWrong()) for _ in range(3 * WRONG_SIGNATURES)]
    assert said.index(True) == WRONG_SIGNATURES - 1
    assert said.count(True) == 1


def test_one_good_token_shows_that_the_key_is_right() -> None:
    """Whatever comes later is forged."""
    signatures = Signatures()
    signatures.failed(SignatureWrong())
    signatures.held()
    assert not any(signatures.failed(SignatureWrong()) for _ in range(3 * WRONG_SIGNATURES))


def test_other_failures_say_nothing_of_the_key() -> None:
    signatures = Signatures()
    assert not any(signatures.failed(NotAuthenticated("no token was sent")) for _ in range(3 * WRONG_SIGNATURES))
