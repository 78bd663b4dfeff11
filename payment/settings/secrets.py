"""Which values of the environment may be shown: none that is a secret, whichever variable holds it.

An operator may paste a key into the wrong variable, and the message about it is read in a terminal, a release log or a
log collector. The shape of secrets is in `payment.ops.redaction`. Pure. Only `payment.settings` uses it.
"""

import re
from urllib.parse import unquote

SHOWN_CHARS_MAX = 80
"""Characters of a bad value that a message repeats, at most."""
PLAIN_CHARS_MAX = 24
"""Longest value that a message repeats, except for addresses: names, numbers and words are short, keys are not."""
MIXED_CHARS_MIN = 8
"""A text of at least this length with digits and letters in both cases is taken for a password, not for a name."""

_MIXED = ("[a-z]", "[A-Z]", "[0-9]")


def plain(text: str) -> str:
    """Returns what may be shown of a name, a number or a word: itself, or only its length if it may be a password."""
    mixed = len(text) >= MIXED_CHARS_MIN and all(map(re.search, _MIXED, [text] * len(_MIXED)))
    return f"a text of {len(text)} characters" if mixed or len(text) > PLAIN_CHARS_MAX else repr(text)


def passwords_in(urls: str) -> list[str]:
    """Returns the passwords and tokens in an address or a list of addresses, as written and percent-decoded."""
    found = [part.rpartition("@")[0].rpartition("://")[2] for part in urls.split(",") if "@" in part]
    parts = [userinfo.partition(":")[2] or userinfo for userinfo in found]
    return [form for part in parts if part for form in (part, unquote(part))]
