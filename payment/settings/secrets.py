"""What may be shown of the environment's values: nothing that is a secret, whichever variable it stands in.

A person who sets variables by hand pastes a key into the wrong one, and the message about it is read in a terminal, a
release log, or a log collector. What secrets look like is in `payment.ops.redaction`. Pure, and only for `settings.py`.
"""

import re
from urllib.parse import unquote

SHOWN_CHARS_MAX = 80
"""How much of a bad value a message repeats."""
PLAIN_CHARS_MAX = 24
"""Longest value of a variable that is no address to be repeated: names, numbers and words are short, keys are not."""
MIXED_CHARS_MIN = 8
"""A text of this length or more with digits and letters in both cases is a password rather than a name."""

_MIXED = ("[a-z]", "[A-Z]", "[0-9]")


def plain(text: str) -> str:
    """What may be shown of a name, a number or a word: itself, where it is as short and as plain as these are."""
    mixed = len(text) >= MIXED_CHARS_MIN and all(map(re.search, _MIXED, [text] * len(_MIXED)))
    return f"a text of {len(text)} characters" if mixed or len(text) > PLAIN_CHARS_MAX else repr(text)


def passwords_in(urls: str) -> list[str]:
    """The passwords and tokens of one address or a list of them, as they stand there and decoded."""
    found = [part.rpartition("@")[0].rpartition("://")[2] for part in urls.split(",") if "@" in part]
    parts = [userinfo.partition(":")[2] or userinfo for userinfo in found]
    return [form for part in parts if part for form in (part, unquote(part))]
