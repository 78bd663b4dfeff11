"""Checks of variables against one another, each of which is valid by itself.

Pure, except that it reads the files that the variables name. Change together: `payment.settings.environment.VARIABLES`.
"""

from typing import TYPE_CHECKING

from payment.adapters.nats.login import LoginError
from payment.settings import values
from payment.settings.variable import Problem

if TYPE_CHECKING:
    from payment.settings.environment import Settings

LIVE_KEYS = ("sk_live_", "rk_live_")
"""Prefixes of Stripe keys that move real money."""


def conflicts(settings: "Settings") -> list[Problem]:
    """Returns a problem for each conflict between variables."""
    return [*_problems_of_stripe(settings), *_problems_of_nats(settings)]


def _problems_of_stripe(settings: "Settings") -> list[Problem]:
    base = settings.stripe_api_base
    if base is None or not base.startswith("http://") or not settings.stripe_key.reveal().startswith(LIVE_KEYS):
        return []
    # On loopback too: a sandbox listens there more often than a proxy, and would report every order as paid.
    wants = "an https:// address where STRIPE_KEY is a live key"
    return [Problem("STRIPE_API_BASE", wants, values.masked(base), "a test key takes http:// too")]


def _problems_of_nats(settings: "Settings") -> list[Problem]:
    """The conflicts between the variables about NATS."""
    login, urls = settings.nats_login, [url.reveal() for url in settings.nats_url]
    keys = [name for name, key in (("NATS_CREDS", login.creds), ("NATS_NKEY_SEED", login.nkey_seed)) if key]
    found = []
    if len(keys) > 1:
        found.append(Problem("NATS_CREDS", "to stand alone", "NATS_NKEY_SEED too", "which of the two is this user?"))
    elif keys and any("@" in url for url in urls):
        found.append(Problem(keys[0], "NATS_URL to name no user", "both", "which of the two is this user?"))
    if login.tls_key is not None and login.tls_cert is None:
        found.append(Problem("NATS_TLS_CERT", "the certificate of NATS_TLS_KEY", None))
    if login.wants_tls and any(url.startswith("ws://") for url in urls):
        found.append(Problem("NATS_URL", "wss:// where the NATS_TLS_… variables are set", "ws://"))
    if not found:
        try:
            login.tls()
        except LoginError as error:
            found.append(Problem(error.variable, "a certificate and its key in PEM", "others", str(error)))
    return found
