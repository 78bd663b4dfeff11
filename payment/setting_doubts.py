"""Settings that are valid and probably not meant: said at start and by `run.py --check`, and no reason not to run.

Pure. A sentence holds nothing of a value but its length.
"""

from payment.settings import Settings

HS256_BYTES = 32
"""RFC 7518, 3.2: a key of HS256 has at least as many bytes as its hash."""


def doubts(settings: Settings) -> list[str]:
    """A sentence for each, which begins with the variable's name."""
    key = settings.jwt_key.reveal()
    found = _doubts_of_key("JWT_KEY", key)
    if settings.jwt_key_previous is not None:
        previous = settings.jwt_key_previous.reveal()
        found += _doubts_of_key("JWT_KEY_PREVIOUS", previous)
        if previous == key:
            found.append("JWT_KEY_PREVIOUS is the same as JWT_KEY: it is for the key of before")
    for name, other in (("STRIPE_KEY", settings.stripe_key), ("MONGO_URL", settings.mongo_url)):
        if other.reveal() == key:
            found.append(f"JWT_KEY holds the value of {name}")
    return found


def _doubts_of_key(name: str, key: str) -> list[str]:
    found = []
    if key.strip() != key:
        edge = "a line break" if key.strip(" \t") == key or key[-1] in "\r\n" else "a blank"
        found.append(f"{name} begins or ends with {edge}, which is a part of the key: tokens signed without it get 401")
    inner = key.strip()
    if len(inner) > 1 and inner[0] == inner[-1] and inner[0] in "'\"`":
        found.append(
            f"{name} stands in quotes, which are a part of the key (docker --env-file keeps them): "
            "tokens signed without them get 401"
        )
    length = len(key.encode())
    if length < HS256_BYTES:
        found.append(f"{name} has {length} bytes: below {HS256_BYTES} it can be guessed from one token (RFC 7518, 3.2)")
    return found
