"""Which values of the environment may be shown: none that is a secret, whichever variable holds it.

An operator may paste a key into the wrong variable, and the message about it is read in a terminal, a release log or a
log collector. Pure. Only `payment.settings` and the log's list of secrets use it.
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote

from payment.ops.redaction import Redactor
from payment.settings.values import NOT_SHOWN

SHOWN_CHARS_MAX = 80
"""Characters of a bad value that a message repeats, at most."""
PLAIN_CHARS_MAX = 24
"""Longest value that a message repeats, except for addresses: names, numbers and words are short, keys are not."""
MIXED_CHARS_MIN = 8
"""A text of at least this length with digits and letters in both cases is taken for a password, not for a name."""
KNOWN_CHARS_MIN = 16
"""Shortest key that is searched for in the values of other variables: a name may contain a shorter one by chance."""

_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]"  # Stripe's keys
    r"|(?<![A-Za-z0-9])whsec_[A-Za-z0-9]"  # a webhook's signing secret
    r"|eyJ[A-Za-z0-9_-]{8,}\."  # a JSON Web Token
    r"|(?<![A-Z2-7])S[UAO][A-Z2-7]{56}(?![A-Z2-7])"  # an nkey's seed
    r"|://[^/@\s]*:[^/@\s]+@"  # user and password of an address
    r"|-----BEGIN"  # PEM, and credentials of NATS
)

_MIXED = ("[a-z]", "[A-Z]", "[0-9]")


class Hider:
    """Recognizes the secrets of one environment: its keys, and the passwords in its addresses."""

    def __init__(self, keys: Iterable[str], passwords: Iterable[str]) -> None:
        self._long_keys = tuple(key for key in keys if len(key) >= KNOWN_CHARS_MIN)
        self._known = frozenset(secret for secret in (*keys, *passwords) if secret)
        self._redactor = Redactor(self._known)

    def is_secret(self, text: str) -> bool:
        """Whether a value is certainly a secret, so that it is refused in a variable whose value is shown."""
        return _SECRET.search(text) is not None or any(key in text for key in self._long_keys)

    def fit(self, shown: str) -> str:
        """Returns what a message may repeat of a value: itself, cut, or (in doubt) only that there is one."""
        bare = shown.replace("***@", "").encode("utf-8", "replace").decode()
        words = {bare, bare.strip("'\"")}
        if self.is_secret(bare) or not self._known.isdisjoint(words) or self._redactor.scrub(bare) != bare:
            return NOT_SHOWN
        return shown[:SHOWN_CHARS_MAX]


def plain(text: str) -> str:
    """Returns what may be shown of a name, a number or a word: itself, or only its length if it may be a password."""
    mixed = len(text) >= MIXED_CHARS_MIN and all(map(re.search, _MIXED, [text] * len(_MIXED)))
    return f"a text of {len(text)} characters" if mixed or len(text) > PLAIN_CHARS_MAX else repr(text)


def passwords_in(urls: str) -> list[str]:
    """Returns the passwords and tokens in an address or a list of addresses, as written and percent-decoded."""
    found = [part.rpartition("@")[0].rpartition("://")[2] for part in urls.split(",") if "@" in part]
    parts = [userinfo.partition(":")[2] or userinfo for userinfo in found]
    return [form for part in parts if part for form in (part, unquote(part))]
