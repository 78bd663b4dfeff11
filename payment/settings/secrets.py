"""What may be shown of the environment's values: nothing that is a secret, whichever variable it stands in.

A person who sets variables by hand pastes a key into the wrong one, and the message about it is read in a terminal, a
release log, or a log collector. Pure, and only for `settings.py`.
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote

from payment.ops.redaction import Redactor
from payment.settings.values import NOT_SHOWN

SHOWN_CHARS_MAX = 80
"""How much of a bad value a message repeats."""
PLAIN_CHARS_MAX = 24
"""Longest value of a variable that is no address to be repeated: names, numbers and words are short, keys are not."""
MIXED_CHARS_MIN = 8
"""A text of this length or more with digits and letters in both cases is a password rather than a name."""
KNOWN_CHARS_MIN = 16
"""A name may hold a shorter key by chance, of a developer's machine, and is then no reason to refuse the name."""

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
    """Knows the secrets of one environment: its keys, and the passwords in its addresses."""

    def __init__(self, keys: Iterable[str], passwords: Iterable[str]) -> None:
        self._long_keys = tuple(key for key in keys if len(key) >= KNOWN_CHARS_MIN)
        self._known = frozenset(secret for secret in (*keys, *passwords) if secret)
        self._redactor = Redactor(self._known)

    def is_secret(self, text: str) -> bool:
        """Whether a value is certainly a secret, and thus stands in the wrong variable where that shows its value."""
        return _SECRET.search(text) is not None or any(key in text for key in self._long_keys)

    def fit(self, shown: str) -> str:
        """What a message may repeat of it: all, or only that there is something. It errs towards nothing."""
        bare = shown.replace("***@", "").encode("utf-8", "replace").decode()
        words = {bare, bare.strip("'\"")}
        if self.is_secret(bare) or not self._known.isdisjoint(words) or self._redactor.scrub(bare) != bare:
            return NOT_SHOWN
        return shown[:SHOWN_CHARS_MAX]


def plain(text: str) -> str:
    """What may be shown of a name, a number or a word: itself, where it is as short and as plain as these are."""
    mixed = len(text) >= MIXED_CHARS_MIN and all(map(re.search, _MIXED, [text] * len(_MIXED)))
    return f"a text of {len(text)} characters" if mixed or len(text) > PLAIN_CHARS_MAX else repr(text)


def passwords_in(urls: str) -> list[str]:
    """The passwords and tokens of one address or a list of them, as they stand there and decoded."""
    found = [part.rpartition("@")[0].rpartition("://")[2] for part in urls.split(",") if "@" in part]
    parts = [userinfo.partition(":")[2] or userinfo for userinfo in found]
    return [form for part in parts if part for form in (part, unquote(part))]
