"""Which inner names of libraries the service uses, what for, and that they are still there.

Any release may remove an inner name without an entry in a changelog. So setup.cfg has an upper bound for each library
in `INNER` (and a lower one where the upper one is a minor release: the code that was read is the code that is used).
Each name has an entry here; its failure names what to read before the bound is raised. The internals of aiohttp's
server are tested with the HTTP actor; aiohttp has an upper bound as well.
"""

import ast
import configparser
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jwt
import msgspec
import prometheus_client.metrics
import pymongo.common
import pytest
import stripe
from jwt.algorithms import HMACAlgorithm
from nats.aio.client import Client
from nats.aio.transport import TcpTransport, Transport, WebSocketTransport
from packaging.requirements import Requirement

import payment

ROOT = Path(__file__).parents[2]

BOUNDED = frozenset({"aiohttp"})
"""Libraries that are bounded for inner names which another suite tests."""

IMPORTED = {"nats": "nats-py", "stripe": "stripe", "jwt": "pyjwt", "pymongo": "pymongo", "motor": "motor"} | {
    name: name for name in ("structlog", "prometheus_client", "uvloop")
}
"""The packages whose inner names are searched for, and their distributions."""

OTHER_PROGRAMS = ("payment.devstack", "payment.stripe_sandbox")


class Inner(NamedTuple):
    """One inner name of a library. `works` is whether it is there and does what we use it for; it may raise."""

    library: str
    name: str
    used_for: str
    works: Callable[[], bool]


def requestor() -> Any:
    return stripe.StripeClient("sk_test_1")._requestor


def reads(owner: type, name: str) -> bool:
    """Whether the library's own code still reads an attribute that we set."""
    text, attribute = inspect.getsource(owner), rf"\bself\.{name}\b"
    return len(re.findall(attribute, text)) > len(re.findall(rf"{attribute}(: [^=\n]+)? = ", text))


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def error_text(document: dict[str, Any]) -> str:
    class Part(msgspec.Struct):
        count: int

    class Whole(msgspec.Struct):
        history: list[Part]

    try:
        msgspec.convert(document, Whole)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


INNER = (
    Inner(
        "nats-py",
        "Client._process_info",
        "CautiousClient: it gets the server's greeting before a password is sent, and insists on TLS",
        lambda: (
            inspect.iscoroutinefunction(Client._process_info)
            and parameters(Client._process_info) == ["self", "info", "initial_connection"]
            and "self._process_info(" in inspect.getsource(Client)
            and 'self._server_info["tls_required"]' in inspect.getsource(Client)
        ),
    ),
    Inner(
        "nats-py",
        "Client._current_server",
        "CautiousClient: the scheme of the URL that is dialled says whether TLS is asked for",
        lambda: Client()._current_server is None and "self._current_server.uri" in inspect.getsource(Client),
    ),
    Inner(
        "nats-py",
        "Client._auth_configured",
        "CautiousClient: a signature is sent to a server that would take the connection without one",
        lambda: Client()._auth_configured is False and reads(Client, "_auth_configured"),
    ),
    Inner(
        "nats-py",
        "Client._public_nkey",
        "CautiousClient: the nkey whose signature is sent",
        lambda: Client()._public_nkey is None and reads(Client, "_public_nkey"),
    ),
    Inner(
        "nats-py",
        "Client._transport",
        "CautiousClient.drop: what a failed connect leaves open is closed",
        lambda: (
            Client()._transport is None
            and all(issubclass(each, Transport) for each in (TcpTransport, WebSocketTransport))
            and callable(Transport.close)
            and inspect.iscoroutinefunction(Transport.wait_closed)
        ),
    ),
    Inner(
        "stripe",
        "StripeClient._requestor",
        "LeanClient: the headers of a request, which are asked for once",
        lambda: (
            {"Authorization": "Bearer sk_test_2", "Stripe-Version": "2020-08-27"}.items()
            <= requestor()
            .request_headers("get", "V1", {"api_key": "sk_test_2", "stripe_version": "2020-08-27"})
            .items()
        ),
    ),
    Inner(
        "stripe",
        "StripeClient._requestor._interpret_response",
        "LeanClient: the library's own errors, out of an answer that our transport read",
        lambda: requestor()._interpret_response(b'{"id": "pi_1"}', 200, {}, "V1").data == {"id": "pi_1"},
    ),
    Inner(
        "stripe",
        "AIOHTTPClient.request_async",
        "WholeAnswers: an answer is read whole and bounded, and no redirect is followed",
        lambda: (
            parameters(stripe.AIOHTTPClient.request_async)[:5] == ["self", "method", "url", "headers", "post_data"]
            and "session" in parameters(stripe.AIOHTTPClient)
        ),
    ),
    Inner(
        "stripe",
        "_util.STRIPE_LOG",
        "quieten_library: with the environment variable STRIPE_LOG requests, with their card tokens, go to stderr",
        lambda: hasattr(stripe._util, "STRIPE_LOG") and "STRIPE_LOG in" in inspect.getsource(stripe._util),
    ),
    Inner(
        "pyjwt",
        "PyJWS._decode_base64url_segment",
        "PlatformJws: a token's parts are decoded without a loop over its characters in Python",
        lambda: (
            jwt.PyJWS._decode_base64url_segment(b"e30", "header") == b"{}"
            and "self._decode_base64url_segment(" in inspect.getsource(jwt.PyJWS)
        ),
    ),
    Inner(
        "pyjwt",
        "HMACAlgorithm.check_key_length",
        "_PlatformHmac: no warning about the platform's key for each request",
        lambda: (
            HMACAlgorithm(HMACAlgorithm.SHA256).check_key_length(b"short") is not None
            and "alg_obj.check_key_length(" in inspect.getsource(jwt.PyJWS)
        ),
    ),
    Inner(
        "pymongo",
        "common.URI_OPTIONS_VALIDATOR_MAP",
        "settings: which names in MONGO_URL are options of the driver, and may be shown",
        lambda: {"replicaset", "authsource", "tls"} <= set(pymongo.common.URI_OPTIONS_VALIDATOR_MAP),
    ),
    Inner(
        "prometheus_client",
        "metrics.MetricWrapperBase",
        "Family: what counters, gauges and histograms have in common",
        lambda: all(
            issubclass(each, prometheus_client.metrics.MetricWrapperBase)
            for each in (prometheus_client.Counter, prometheus_client.Gauge, prometheus_client.Histogram)
        ),
    ),
    Inner(
        "msgspec",
        "the texts of ValidationError",
        "stored documents: an error that quotes no value, and whether it is about `history` alone",
        lambda: (
            error_text({"history": [{"count": "tok_visa"}]}) == "Expected `int`, got `str` - at `$.history[0].count`"
            and error_text({}) == "Object missing required field `history`"
        ),
    ),
)


@pytest.mark.parametrize("inner", INNER, ids=lambda inner: f"{inner.library}: {inner.name}")
def test_an_inner_name_is_there_and_does_what_it_did(inner: Inner) -> None:
    """Read the library's code before its bound is raised: what has changed may be what we rest on."""
    failure = (
        f"{inner.library} {version(inner.library)}: `{inner.name}` has gone or changed. Used for {inner.used_for}."
    )
    try:
        works = inner.works()
    except (AttributeError, ImportError, LookupError, TypeError, ValueError) as error:
        pytest.fail(f"{failure} ({type(error).__name__}: {error})", pytrace=False)
    assert works, failure


@pytest.mark.parametrize("library", sorted(BOUNDED | {inner.library for inner in INNER}))
def test_a_library_whose_inner_names_are_used_has_an_upper_bound(library: str) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].splitlines()
    required = [Requirement(line) for line in lines if line and not line.startswith("#")]
    operators = [each.operator for found in required if found.name == library for each in found.specifier]
    assert "<" in operators, f"{library} has no upper bound in setup.cfg"


def test_no_other_inner_names_are_used() -> None:
    """One that is not in the table has no test of its own, and perhaps no bound."""
    named = {(inner.library, part) for inner in INNER for part in re.findall(r"\b_[a-z]\w*", inner.name)}
    assert {(library, name, where) for library, name, where in used() if (library, name) not in named} == set()


def used() -> Iterator[tuple[str, str, str]]:
    """Each inner name of a library that the service uses: its distribution, the name, the module that uses it."""
    for found in pkgutil.walk_packages(payment.__path__, "payment."):
        if found.name.startswith(OTHER_PROGRAMS) or found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        for library, name in (*_through_imports(module), *_through_classes(module)):
            yield library, name, found.name


def _through_imports(module: ModuleType) -> Iterator[tuple[str, str]]:
    """`library._name`, and `from library import _name`, wherever they stand in a module."""
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text())
    packages: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages |= {(each.asname or each.name).partition(".")[0]: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            packages |= {each.asname or each.name: node.module for each in node.names}
            for part in (*node.module.split("."), *(each.name for each in node.names)):
                if _is_inner(part) and (library := IMPORTED.get(node.module.partition(".")[0])):
                    yield library, part
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_inner(node.attr):
            root: ast.expr = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and (library := IMPORTED.get(packages.get(root.id, "").partition(".")[0])):
                yield library, node.attr


def _through_classes(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Yields the inner names that a class of ours shares with its base class of a library: overridden, set or read."""
    for _, ours in inspect.getmembers(module, inspect.isclass):
        if ours.__module__ != module.__name__:
            continue
        for base in ours.__mro__:
            library = IMPORTED.get(base.__module__.partition(".")[0])
            if library is None:
                continue
            theirs = {*vars(base), *re.findall(r"\bself\.(_\w+)", inspect.getsource(base))}
            mine = {*vars(ours), *re.findall(r"\bself\.(_\w+)", inspect.getsource(ours))}
            yield from ((library, name) for name in sorted(theirs & mine) if _is_inner(name) and name != "_abc_impl")


def _is_inner(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
