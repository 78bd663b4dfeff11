"""Settings that are valid and probably a mistake: logged at start, printed by `run.py --check`, and no reason to exit.

Pure. A sentence shows nothing of a value but its length.
"""

import re
import unicodedata

from payment.settings.environment import Settings

HS256_BYTES = 32
"""RFC 7518, 3.2: a key of HS256 has at least as many bytes as its hash."""

QUOTES = frozenset({"''", '""', "``", "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"}) | {
    "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
}
"""Pairs of quotes that may surround a pasted value."""
LINE_BREAKS = frozenset("\n\r\v\f\x85\u2028\u2029")
INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp"})
"""Categories of characters that an editor does not show: a byte order mark, a zero-width space, a control character."""

_UNREPLACED = re.compile(r"\$\w+|\$?\{+[^{}]*\}+|<[^<>]*>|%\w+%")
_WRITTEN_BREAK = re.compile(r"\\[nrt]\Z")


def doubts(settings: Settings) -> list[str]:
    """Returns a sentence for each doubtful setting. A sentence begins with the variable's name."""
    key = settings.jwt_key.reveal()
    found = _doubts_of_key("JWT_KEY", key)
    if settings.jwt_key_previous is not None:
        previous = settings.jwt_key_previous.reveal()
        found += _doubts_of_key("JWT_KEY_PREVIOUS", previous)
        if previous == key:
            found.append("JWT_KEY_PREVIOUS is the same as JWT_KEY: it is for the former key")
    for name, other in (("STRIPE_KEY", settings.stripe_key), ("MONGO_URL", settings.mongo_url)):
        if other.reveal() == key:
            found.append(f"JWT_KEY holds the value of {name}")
    return found


def _doubts_of_key(name: str, key: str) -> list[str]:
    found = []
    if key.strip() != key:
        edge = "a line break" if LINE_BREAKS & {key[0], key[-1]} else "a blank"
        found.append(f"{name} begins or ends with {edge}, which is a part of the key: tokens signed without it get 401")
    inner = key.strip()
    if len(inner) > 1 and inner[0] + inner[-1] in QUOTES:
        found.append(
            f"{name} stands in quotes, which are a part of the key (docker --env-file keeps them): "
            "tokens signed without them get 401"
        )
    if any(unicodedata.category(each) in INVISIBLE for each in inner):
        found.append(
            f"{name} holds an invisible character, which is a part of the key: tokens signed without it get 401"
        )
    if _WRITTEN_BREAK.search(inner):
        found.append(
            f"{name} ends with a backslash and a letter, which are a part of the key: no line break is made of it"
        )
    if _UNREPLACED.fullmatch(inner):
        found.append(f"{name} looks like the name of a variable, or a placeholder, that was not replaced")
    if inner.startswith("-----BEGIN"):
        found.append(f"{name} begins like a PEM file: HS256 needs the secret with which the platform signs")
    length = len(key.encode())
    if length < HS256_BYTES:
        found.append(f"{name} has {length} bytes: below {HS256_BYTES} it can be guessed from one token (RFC 7518, 3.2)")
    return found
