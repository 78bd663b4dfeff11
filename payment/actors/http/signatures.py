"""Whether it is our own key that is wrong: where every token's signature is, the tokens are hardly all forged."""

from payment.actors.http.auth import NotAuthenticated, SignatureWrong

WRONG_SIGNATURES = 10
"""Tokens with a wrong signature, and none with a right one since the start, after which the key itself is in doubt."""
SIGNATURES_HINT = (
    "every token since the start was signed with another key: compare JWT_KEY with the platform's, quotes, blanks and "
    "line breaks included"
)


class Signatures:
    """Counts until a first signature holds; then the key is right, and forged tokens are of no interest here."""

    def __init__(self) -> None:
        self._wrong = 0
        self._in_doubt = True

    def held(self) -> None:
        """A token was good."""
        self._in_doubt = False

    def failed(self, failure: NotAuthenticated) -> bool:
        """Whether it is time for the one warning: this failure makes the doubt complete."""
        if not self._in_doubt or not isinstance(failure, SignatureWrong):
            return False
        self._wrong += 1
        self._in_doubt = self._wrong < WRONG_SIGNATURES
        return not self._in_doubt
