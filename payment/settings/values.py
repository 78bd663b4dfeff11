"""Readers that turn the text of an environment variable into a value, one for each kind. Pure; for `payment.settings`.

A reader returns the value or raises ValueError, whose text is not shown; only an `Unfit` has a text that is. This
module also decides what may be shown of a bad value: of an address, what is left without its credentials and options;
of any other value that may hold a secret, nothing.
"""

import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import jwt
from jwt.algorithms import HMACAlgorithm
from pymongo.common import URI_OPTIONS_VALIDATOR_MAP
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from payment.adapters.mongo.options import fit_words as mongo_text
from payment.adapters.mongo.options import problem_of as mongo_problem
from payment.core.money import is_currency
from payment.ops.secret import Secret
from payment.process.listening import Unfit, is_host

NATS_PORT = 4222
"""The port of a NATS address that names none."""
WEBSOCKET_PORTS = {"ws": 80, "wss": 443}
"""The ports of websocket addresses that name none, as nats-py takes them."""

DYNO_CHARS_MAX = 100
"""Longest dyno name. Heroku's are a process type and one or two numbers."""

DATABASE_BYTES_MAX = 63
"""Longest name of a database that MongoDB accepts, in bytes."""

OPS_KEY_CHARS_MIN = 16
"""Shortest ops key, in characters: 64 bits as hexadecimal digits, too many to guess over a network."""

NOT_SHOWN = "a value that is not shown"
"""The text that replaces a value which may hold a secret."""


def matching(pattern: str) -> Callable[[str], str]:
    """Returns a reader of text that matches a pattern as a whole."""
    compiled = re.compile(pattern)

    def read(value: str) -> str:
        _check(compiled.fullmatch(value) is not None)
        return value

    return read


def whole(least: int, most: int) -> Callable[[str], int]:
    """Returns a reader of whole numbers between two limits, both included."""

    def read(value: str) -> int:
        number = int(_DIGITS(value))
        _check(least <= number <= most)
        return number

    return read


def seconds(most: float) -> Callable[[str], float]:
    """Returns a reader of seconds above 0 and up to `most`."""

    def read(value: str) -> float:
        number = float(_DECIMALS(value))
        _check(0 < number <= most)
        return number

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Returns a reader of one of these lower-case words; the value may have any case."""

    def read(value: str) -> str:
        _check(value.lower() in words)
        return value.lower()

    return read


def yes_or_no(value: str) -> bool:
    """True for `true` and False for `false`, in upper or lower case."""
    return _TRUE_OR_FALSE(value) == "true"


def currency(value: str) -> str:
    """Returns the code of a currency that Stripe charges in, in lower case."""
    _check(is_currency(value.lower()))
    return value.lower()


def unquoted(value: str) -> None:
    """Raises Unfit where quotes surround a value: they would be a part of it, which is never intended."""
    inner = value.strip()
    if len(inner) > 1 and inner[0] == inner[-1] and inner[0] in "'\"`":
        raise Unfit("the quotes around it are a part of the value (docker --env-file keeps them): remove them")


def unpadded(value: str) -> None:
    """Raises Unfit where a value that is bad for another reason begins or ends with blanks or line breaks."""
    if value != value.strip():
        raise Unfit("it begins or ends with a blank or a line break: remove it")


def dyno(value: str) -> str:
    """A dyno's name as part of a client id: `web-1` of `web.1`."""
    _check(len(value) <= DYNO_CHARS_MAX)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", value)


def nats_servers(value: str) -> tuple[Secret, ...]:
    """Returns the addresses of one or more NATS servers, which commas separate in the text."""
    servers = [server.strip() for server in value.split(",")]
    try:
        return tuple(map(_nats_server, servers))
    except Unfit:
        raise
    except ValueError:
        if "@" in value and "@" not in servers[0]:  # A comma in a password has split it.
            raise Unfit(_ENCODE) from None
        raise


def mongo_url(value: str) -> Secret:
    """Returns a connection string with a database in its path."""
    if value.startswith("mongodb+srv://"):
        # DNS holds its servers and further options, and is not queried here: only the shape can be checked.
        _MONGO_SRV(value)
        _check(not _bad_options(value) and mongo_problem(value) is None)
        return Secret(value, masked(value))
    try:
        with _silenced():
            parts = parse_uri(_printable(value))
    except (PyMongoError, OSError) as error:
        raise _mongo_refusal(value, error) from None
    _check(bool(parts["database"]) and not parts["collection"])
    if len(parts["database"].encode()) > DATABASE_BYTES_MAX:
        raise Unfit(f"a database's name has at most {DATABASE_BYTES_MAX} bytes")
    _check(mongo_problem(value) is None)
    return Secret(value, masked(value))


def jwt_key(value: str) -> Secret:
    """Returns a key that PyJWT accepts. It refuses a public key, with which, as the secret, every client could sign."""
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(value)
    except jwt.InvalidKeyError:
        raise ValueError from None
    return Secret(value)


def stripe_key(value: str) -> Secret:
    """Returns a secret or restricted key. A publishable one (`pk_…`) can't charge."""
    return Secret(_STRIPE_KEY(value))


def ops_key(value: str) -> Secret:
    """Returns a key that can be sent as a bearer token and is too long to guess."""
    return Secret(_OPS_KEY(value))


def http_base(value: str) -> str:
    """Returns an address to which an API's paths are appended; the paths begin with `/v1` themselves."""
    url = _address(value)
    _check(url.scheme in ("http", "https") and not (url.query or url.fragment or "@" in url.netloc))
    _check(not url.path.rstrip("/").endswith("/v1"))
    # The scheme in lower case, as `conflicts` compares it: `HTTP://` is no more encrypted than `http://`.
    return f"{url.scheme}://{value.partition('://')[2].rstrip('/')}"


def masked(value: str) -> str:
    """Returns what may be shown of an address, or of a list of them."""
    # Greedy: a password may contain an `@`, a slash or a comma.
    rest = re.sub(r"^((?:[A-Za-z0-9+]{1,20}://)?).*@", r"\1***@", value, flags=re.DOTALL)
    rest = rest.partition("?")[0]
    return rest if _SHOWABLE.fullmatch(rest) else NOT_SHOWN


def masked_mongo(value: str) -> str:
    """Returns what may be shown of a connection string, with the names of the options that the driver refuses."""
    bad = _bad_options(value)
    if bad:
        return masked(value) + f" with a bad value of {', '.join(bad)}"
    problem = mongo_problem(value) if _is_well_formed(value) else None
    return masked(value) if problem is None else f"{problem}: {masked(value)}"


def _mongo_refusal(value: str, error: Exception) -> ValueError:
    """Returns why the driver refuses a connection string, in the driver's words where these can't hold a secret."""
    address, _, options = value.partition("?")
    if "@" in options or not _is_well_formed(address) or _bad_options(value):
        return ValueError()
    if not all(_is_known_option(name) for name, _ in parse_qsl(options, keep_blank_values=True)):
        return Unfit("one of its options is none that the driver knows")
    return Unfit(mongo_text(str(error), value))


def _silenced() -> AbstractContextManager[object]:
    """Suppresses the driver's warnings on stderr: they are logged when the connection string is used."""
    return warnings.catch_warnings(action="ignore")


def _is_well_formed(value: str) -> bool:
    """Whether a connection string can be parsed: the driver's text about one that can't may hold a secret."""
    if value.startswith("mongodb+srv://"):
        return True
    try:
        with _silenced():
            parse_uri(value, warn=False)
    except (PyMongoError, OSError, ValueError):
        return False
    return True


def _bad_options(value: str) -> list[str]:
    named = ((name, text) for name, text in parse_qsl(value.rpartition("?")[2]) if _is_known_option(name))
    # Options of SRV addresses are checked with the address as a whole.
    return [name for name, text in named if not name.lower().startswith("srv") and _is_bad(name, text)]


def _is_known_option(name: str) -> bool:
    """Whether the driver knows the option. Another name may be a part of a password."""
    return name.lower() in URI_OPTIONS_VALIDATOR_MAP


def _is_bad(name: str, text: str) -> bool:
    try:
        with _silenced():
            parse_uri(f"mongodb://host/database?{urlencode({name: text})}")
    except (PyMongoError, OSError, ValueError):
        return True
    return False


def _nats_server(server: str) -> Secret:
    """One address as nats-py understands it, which by itself takes `http://…` for a host named "http"."""
    try:
        url = _address(server if "://" in server else f"nats://{server}")
    except ValueError:
        if "@" in server:
            raise Unfit(_ENCODE) from None
        raise
    scheme = _NATS_SCHEMES.get(url.scheme, "")
    _check(bool(scheme) and not url.query and not url.fragment and url.hostname != "none")  # nats-py has no such host
    if "@" in f"{url.path}{url.query}{url.fragment}":
        raise Unfit(_ENCODE)
    websocket = scheme in WEBSOCKET_PORTS
    _check(websocket or url.path in ("", "/"))
    credentials, at, _ = url.netloc.rpartition("@")
    if "@" in credentials:
        raise Unfit(_ENCODE)
    unquote(credentials, errors="strict")
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    address = f"{host}:{url.port or WEBSOCKET_PORTS.get(scheme, NATS_PORT)}{url.path if websocket else ''}"
    return Secret(f"{scheme}://{credentials}{at}{address}", f"{scheme}://{'***@' if at else ''}{address}")


def _address(value: str) -> SplitResult:
    """The parts of an address. It has a host and, if it names one, a valid port."""
    url = urlsplit(_printable(value))
    _check(is_host(url.hostname or "") and url.port != 0)
    return url


def _printable(value: str) -> str:
    _check(value.isprintable() and " " not in value)
    return value


def _check(holds: bool) -> None:
    if not holds:
        raise ValueError


_NATS_SCHEMES = {"nats": "nats", "http": "nats", "tls": "tls", "https": "tls", "ws": "ws", "wss": "wss"}
_ENCODE = "in a user or password write / as %2F, @ as %40, : as %3A, ? as %3F, # as %23, a comma as %2C, % as %25"
_TRUE_OR_FALSE = one_of("true", "false")
_DIGITS = matching("[0-9]{1,9}")
_DECIMALS = matching(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_OPS_KEY = matching(rf"[!-~]{{{OPS_KEY_CHARS_MIN},512}}")
_STRIPE_KEY = matching("[sr]k_[!-~]+")
_MONGO_SRV = matching(r"mongodb\+srv://([^/?#@:\s]+(:[^/?#@:\s]*)?@)?[A-Za-z0-9.-]+/[^/?#@.$\"\s]+(\?[^\s#]*)?")
_HOST_AND_PORT = r"(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])?(?::[0-9]{0,9})?"
_SHOWABLE = re.compile(
    rf"(?:[A-Za-z0-9+]{{1,20}}://)?(?:\*\*\*@)?{_HOST_AND_PORT}(?:,{_HOST_AND_PORT})*(?:/[A-Za-z0-9._~-]*)*"
)
