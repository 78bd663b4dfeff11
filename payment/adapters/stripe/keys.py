"""What a secret key of Stripe says by itself: its mode, and a digest by which the same key is known again.

It must never let a key, or a part of one, out: a digest is one-way, and a key has far more secrets than can be tried.
"""

import hashlib

FINGERPRINT_CHARS = 32
"""Hexadecimal digits, 128 bits: no two keys have the same by chance."""

LIVE_PREFIXES, TEST_PREFIXES = ("sk_live_", "rk_live_"), ("sk_test_", "rk_test_")
"""docs.stripe.com/keys: secret and restricted keys of both modes."""


def mode_of(secret_key: str) -> bool | None:
    """Whether a key is a live one. None: its prefix is none of Stripe's, as a sandbox's may be."""
    if secret_key.startswith(LIVE_PREFIXES):
        return True
    return False if secret_key.startswith(TEST_PREFIXES) else None


def fingerprint_of(secret_key: str, api_base: str) -> str:
    """A digest of a key and of the address that it is used at: at another address the same text is another key."""
    return hashlib.sha256(f"{api_base}\0{secret_key}".encode()).hexdigest()[:FINGERPRINT_CHARS]
