"""The environment becomes settings, or a list of all its problems."""

import ast
import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

import payment
from payment.adapters.nats.link import split_credentials
from payment.ops.secret import Secret
from payment.settings.environment import EX_CONFIG, VARIABLES, Settings, SettingsError
from payment.settings.values import NOT_SHOWN, masked
from payment.settings.variable import Problem
from tests.support.servers.nats_identities import Certificates, NKey, Operator

PROGRAMS_OF_THEIR_OWN = frozenset({"devstack", "stripe_sandbox", "healthcheck.py"})

CONTRACT = {
    "NATS_URL": "http://nats-srv:4222",
    "NATS_CLUSTER_ID": "ticketing",
    "NATS_CLIENT_ID": "payment-service",
    "QUEUE_GROUP_NAME": "payment-service",
    "MONGO_URL": "mongodb://payment-mongo-srv:27017/payment",
    "JWT_KEY": "your-jwt-secret",
    "STRIPE_KEY": "sk_test_...",
    "PORT": "8080",
    "STRIPE_API_BASE": "http://127.0.0.1:12111",
    "CURRENCY": "usd",
    "CHARGE_WAIT_S": "20",
    "STRIPE_RATE_PER_S": "100",
    "STRIPE_PREPARE": "true",
    "NATS_STREAM": "ticketing",
    "LOG_LEVEL": "info",
}
REQUIRED = ("NATS_URL", "NATS_CLIENT_ID", "QUEUE_GROUP_NAME", "MONGO_URL", "JWT_KEY", "STRIPE_KEY")
NAMES = ("NATS_CLIENT_ID", "QUEUE_GROUP_NAME", "NATS_CLUSTER_ID", "NATS_STREAM")
MINIMAL = {name: CONTRACT[name] for name in REQUIRED}


def settings_with(**changes: str) -> Settings:
    return Settings.from_environment(MINIMAL | changes)


def problem_with(**changes: str) -> Problem:
    with pytest.raises(SettingsError) as raised:
        settings_with(**changes)
    (problem,) = raised.value.problems
    return problem


def test_the_contracts_example_values_work_as_they_stand() -> None:
    """Each row of the contract's table, as it is written there."""
    assert Settings.from_environment(CONTRACT) == Settings(
        nats_url=(Secret("nats://nats-srv:4222"),),
        nats_cluster_id="ticketing",
        nats_client_id="payment-service",
        queue_group_name="payment-service",
        mongo_url=Secret("mongodb://payment-mongo-srv:27017/payment"),
        jwt_key=Secret("your-jwt-secret"),
        stripe_key=Secret("sk_test_..."),
        port=8080,
        host=None,
        stripe_api_base="http://127.0.0.1:12111",
        currency="usd",
        charge_wait_s=20.0,
        stripe_rate_per_s=100,
        stripe_prepare=True,
        nats_stream="ticketing",
        log_level="info",
    )


def test_the_tables_own_examples_are_valid() -> None:
    """An operator can copy each example of the documents."""
    files = {"NATS_CREDS", "NATS_NKEY_SEED", "NATS_TLS_CERT", "NATS_TLS_KEY", "NATS_TLS_CA"}
    found = Settings.from_environment({each.name: each.example for each in VARIABLES if each.name not in files})
    assert found.nats_client_id == "payment-service-web-1"


def test_six_variables_suffice() -> None:
    """All others have a default or may be absent; an empty variable counts as absent."""
    found = settings_with(NATS_CLUSTER_ID="", HOST="", STRIPE_API_BASE=" ", PORT="", DYNO="", CHARGE_WAIT_S="")
    assert found == Settings.from_environment(MINIMAL)
    assert (found.nats_cluster_id, found.host, found.stripe_api_base) == (None, None, None)
    assert (found.port, found.currency, found.nats_stream, found.log_level) == (8080, "usd", "ticketing", "info")
    assert (found.charge_wait_s, found.stripe_rate_per_s, found.stripe_prepare) == (20.0, 100, False)


def test_each_variable_has_a_field_of_its_name() -> None:
    """The table and the settings agree; only DYNO is a part of another field."""
    assert {variable.name.lower() for variable in VARIABLES} - {"dyno"} == set(Settings.__struct_fields__)
    assert {variable.name for variable in VARIABLES if variable.required} == set(REQUIRED)


def test_an_empty_environment_names_every_required_variable_at_once() -> None:
    """One start shows all missing variables."""
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment({})
    assert tuple(problem.variable for problem in raised.value.problems) == REQUIRED
    assert all(f"{name} wants " in str(raised.value) for name in REQUIRED)
    assert str(raised.value).count("it is not set") == len(REQUIRED)


def test_missing_and_malformed_are_reported_together() -> None:
    """A problem names the variable, what it wants and what it got."""
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment(MINIMAL | {"PORT": "http", "JWT_KEY": "", "CHARGE_WAIT_S": "30"})
    assert [(problem.variable, problem.got) for problem in raised.value.problems] == [
        ("JWT_KEY", None),
        ("PORT", "'http'"),
        ("CHARGE_WAIT_S", "'30'"),
    ]
    assert "PORT wants a whole number from 0 to 65535; got 'http'" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("http://nats-srv:4222", ["nats://nats-srv:4222"]),
        ("https://nats.example.com", ["tls://nats.example.com:4222"]),
        ("nats://a:4223, tls://b", ["nats://a:4223", "tls://b:4222"]),
        ("nats-srv:4222,nats_srv2", ["nats://nats-srv:4222", "nats://nats_srv2:4222"]),
        ("nats://[::1]:4222/", ["nats://[::1]:4222"]),
        ("http://u:p%40w@h:1", ["nats://u:p%40w@h:1"]),
        ("nats://token@h", ["nats://token@h:4222"]),
        ("u:p@h:5", ["nats://u:p@h:5"]),
    ],
)
def test_nats_addresses_come_in_every_usual_form(text: str, servers: list[str]) -> None:
    """http and https mean nats and tls; lists and bare hosts work; credentials are kept."""
    assert [server.reveal() for server in settings_with(NATS_URL=text).nats_url] == servers


def test_mongo_addresses_may_name_several_servers_options_and_srv() -> None:
    """Every URL that pymongo accepts is accepted; of an SRV address only the shape is checked."""
    for url in (
        "mongodb://u:p%2Fw@a:1,b:2/payment?replicaSet=rs0&authSource=admin",
        "mongodb+srv://u:p@cluster0.example.net/payment?retryWrites=true&w=majority",
        "mongodb+srv://cluster0.example.net/payment",
        "mongodb://[::1]:27017/payment",
    ):
        assert settings_with(MONGO_URL=url).mongo_url.reveal() == url


@pytest.mark.parametrize(
    ("dyno", "client_id"), [("web.1", "payment-service-web-1"), ("run.42é", "payment-service-run-42-")]
)
def test_each_dyno_has_a_client_id_of_its_own(dyno: str, client_id: str) -> None:
    """Two dynos never share an id, and a restarted one has its former id."""
    assert settings_with(DYNO=dyno).nats_client_id == client_id


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PORT", "0", 0),
        ("PORT", "65535", 65535),
        ("HOST", "::1", "::1"),
        ("CURRENCY", "EUR", "eur"),
        ("CHARGE_WAIT_S", "0.5", 0.5),
        ("CHARGE_WAIT_S", "29", 29.0),
        ("STRIPE_RATE_PER_S", "1", 1),
        ("STRIPE_PREPARE", "true", True),
        ("STRIPE_PREPARE", "FALSE", False),
        ("STRIPE_API_BASE", "https://proxy/stripe/", "https://proxy/stripe"),
        ("LOG_LEVEL", "WARNING", "warning"),
        ("QUEUE_GROUP_NAME", "payments_v2", "payments_v2"),
        ("STRIPE_KEY", "rk_live_x", Secret("rk_live_x")),
        ("JWT_KEY", "asdf", Secret("asdf")),
    ],
)
def test_a_valid_value_becomes_its_setting(name: str, text: str, value: object) -> None:
    """Numbers, names and words become values of their types."""
    assert getattr(settings_with(**{name: text}), name.lower()) == value


MALFORMED = [
    *[
        ("NATS_URL", text)
        for text in ("ftp://h", "nats://", "nats://h:0", "nats://h:99999", "nats://h/x", "h h", "a,,b")
    ],
    *[
        ("NATS_URL", text)
        for text in (
            "nats://h?x=1",
            "nats://a..b",
            f"nats://{'a' * 64}",
            "nats://none",
            "nats://h:x",
            "nats://[::1",
            "nats://h\x00",
            "mongodb://h/db",
        )
    ],
    *[("NATS_URL", text) for text in ("nats://a..b", f"nats://{'a' * 64}", "nats://none", "nats://-a")],
    *[("NATS_CLUSTER_ID", text) for text in ("a.b", "a b", "é", "a" * 101)],
    *[("NATS_CLIENT_ID", text) for text in ("a.b", "a:b", "a b", "a/b", "a" * 101)],
    *[("QUEUE_GROUP_NAME", text) for text in ("a:b", "a.b", "a b", "a*", "a>", "a/b", "a\\b", "\té", "a\n", "a" * 101)],
    *[("NATS_STREAM", text) for text in ("a.b", "a b", "a*", "a>")],
    *[("MONGO_URL", text) for text in ("mongodb://h", "mongodb://h/", "http://h/db", "h:27017/db", "mongodb:///db")],
    *[
        ("MONGO_URL", text)
        for text in ("mongodb://h/db?nope=1", "mongodb://h:x/db", "mongodb://h/db.coll", "mongodb://h /d")
    ],
    *[
        ("MONGO_URL", text)
        for text in ("mongodb+srv://h", "mongodb+srv://h:1/db", "mongodb+srv://a,b/db", "mongodb+srv:///d")
    ],
    *[("MONGO_URL", text) for text in ("mongodb://h/db?tlsCAFile=/no/such/file", "mongodb://h/db?w")],
    *[
        ("JWT_KEY", text)
        for text in ('{"kty":"oct","k":"x"}', "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "\udcff")
    ],
    *[("STRIPE_KEY", text) for text in ("pk_test_1", "sk_", "sk_ 1", "sk_test_é", "sk_test_1\n", "test")],
    *[("PORT", text) for text in ("65536", "-1", "8080.0", " 8080", "1e3", "٣", "9" * 5000)],
    *[("HOST", text) for text in ("a b", "h\n", "é")],
    *[
        ("STRIPE_API_BASE", text)
        for text in ("127.0.0.1:12111", "ftp://h", "http://", "http://u:p@h", "http://h?x", "http://h#x")
    ],
    ("STRIPE_API_BASE", "http://h/v1/"),
    ("STRIPE_API_BASE", "http://a..b"),
    *[("CURRENCY", text) for text in ("xxx", "dollar", "$")],
    *[("CHARGE_WAIT_S", text) for text in ("0", "29.1", "-1", "nan", "inf", "1e1", "abc")],
    *[("STRIPE_RATE_PER_S", text) for text in ("0", "-5", "2.5", "10001")],
    *[("STRIPE_PREPARE", text) for text in ("yes", "1", "on", " true")],
    *[("LOG_LEVEL", text) for text in ("loud", "0")],
    *[("OPS_KEY", text) for text in ("x" * 15, "a key with blanks", "x" * 513, "a-key-with-é-in-it")],
    *[("DECLINES_PER_USER_LIMIT", text) for text in ("-1", "1001", "2.5", "none")],
    *[("DECLINES_WINDOW_S", text) for text in ("0", "86401", "-1", "1h")],
    ("DYNO", "w" * 101),
]


@pytest.mark.parametrize(("name", "text"), MALFORMED)
def test_a_malformed_value_is_named(name: str, text: str) -> None:
    """The message names the variable and fits into a log line."""
    problem = problem_with(**{name: text})
    assert problem.variable == name
    assert problem.got is not None
    str(problem).encode()
    assert len(problem.got) <= 80


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("MONGO_URL", "mongodb://u:hunter2@h:27017", "mongodb://***@h:27017"),
        ("MONGO_URL", "mongodb://u:hunter/2@h/db", "mongodb://***@h/db"),
        ("MONGO_URL", "mongodb://u:hunter?2@h/db?nope=1", "mongodb://***@h/db"),
        ("MONGO_URL", "mongodb://u:hunter2,v:hunter2@h/db/x", "mongodb://***@h/db/x"),
        ("MONGO_URL", "mongodb://h/db.x?password=hunter2", "mongodb://h/db.x"),
        ("MONGO_URL", "mongodb://u:hunter2@h/db?tls=maybe", "mongodb://***@h/db with a bad value of tls"),
        (
            "MONGO_URL",
            "mongodb://h/db?tls=hunter2&w=1&maxPoolSize=x",
            "mongodb://h/db with a bad value of tls, maxPoolSize",
        ),
        ("MONGO_URL", "mongodb://h/db?hunter2=1", "mongodb://h/db"),
        (
            "MONGO_URL",
            "mongodb://u:hunter2@h/db?minPoolSize=10",
            "minPoolSize must be smaller or equal to maxPoolSize: mongodb://***@h/db",
        ),
        (
            "MONGO_URL",
            "mongodb+srv://u:hunter2@h.example/db?w=0&journal=true",
            "Cannot set w to 0 and j to True: mongodb+srv://***@h.example/db",
        ),
        ("MONGO_URL", "mongodb://u:hunter2", NOT_SHOWN),
        ("MONGO_URL", "not a url", NOT_SHOWN),
        ("MONGO_URL", "localhost:27017", "localhost:27017"),
        ("NATS_URL", "nats://u:hunter2@h:x", NOT_SHOWN),
        ("NATS_URL", "nats://u:hunter2@a,ftp://v:hunter2@b", "nats://***@b"),
        ("NATS_URL", "u:hunter2@h:70000", "***@h:70000"),
        ("NATS_URL", f"nats://u:{'hunter2' * 20}@h:70000", "nats://***@h:70000"),
        ("STRIPE_API_BASE", "http://u:hunter2@h", "http://***@h"),
        ("STRIPE_API_BASE", "http://stripe-proxy/v1", "http://stripe-proxy/v1"),
        ("STRIPE_KEY", "hunter2", NOT_SHOWN),
        ("JWT_KEY", '{"kty": "hunter2"}', NOT_SHOWN),
        ("OPS_KEY", "hunter2", NOT_SHOWN),
    ],
)
def test_a_bad_value_is_shown_without_its_secrets(name: str, text: str, shown: str) -> None:
    """No secret's value and no credential of an address is ever in a message."""
    problem = problem_with(**{name: text})
    assert problem.got == shown
    assert "hunter" not in str(problem)


@given(user=st.text(min_size=1), password=st.text("!@:/?#[]%,abcP", min_size=1))
def test_no_password_survives_the_mask(user: str, password: str) -> None:
    """A password with any characters, escaped or not, is not in the shown text."""
    shown = masked(f"mongodb://{user}:§{password}§@host/db")
    assert "§" not in shown
    assert shown in ("mongodb://***@host/db", NOT_SHOWN)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[(name, "sk_live_hunter2") for name in (*NAMES, "PORT", "HOST", "CURRENCY", "LOG_LEVEL", "DYNO")],
        *[(name, "sk_live_hunter2") for name in ("NATS_URL", "MONGO_URL")],
        *[(name, "the-key-hunter2-of-the-platform") for name in (*NAMES, "PORT", "MONGO_URL", "NATS_TLS_CERT")],
        *[(name, "mongodb://u:hunter2@h/db") for name in ("PORT", "HOST", "NATS_URL", "STRIPE_API_BASE", *NAMES)],
        *[(name, "eyJhbGciOiJIUzI1NiJ9.hunter2.x") for name in ("PORT", "HOST", "QUEUE_GROUP_NAME")],
        *[(name, "hunter2pw") for name in ("PORT", "LOG_LEVEL", "CURRENCY")],
        ("QUEUE_GROUP_NAME", f"{'long-' * 12}sk_live_hunter2"),
        ("PORT", "hunter2-is-no-key-but-much-too-long-for-a-port"),
        ("STRIPE_API_BASE", "http://sk_live_hunter2"),
        ("NATS_CREDS", "hunter2"),
        ("NATS_NKEY_SEED", "SUhunter2"),
    ],
)
def test_a_secret_in_the_wrong_variable_is_never_shown(name: str, text: str) -> None:
    """In any variable, and also where it would be valid: it would be on every log line."""
    problem = problem_with(
        JWT_KEY="the-key-hunter2-of-the-platform", **{"MONGO_URL": "mongodb://u:hunter2pw@h/db", name: text}
    )
    assert problem.variable == name
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize("quote", ["'", '"', "`"])
def test_quotes_around_a_value_are_named(quote: str) -> None:
    """docker --env-file keeps them. Some of these would be valid with them."""
    for name in ("QUEUE_GROUP_NAME", "NATS_STREAM", "STRIPE_KEY", "NATS_URL", "MONGO_URL", "LOG_LEVEL", "PORT", "HOST"):
        problem = problem_with(**{name: f"{quote}{CONTRACT.get(name, '127.0.0.1')}{quote}"})
        assert problem.variable == name
        assert "docker --env-file keeps them" in problem.hint


@pytest.mark.parametrize("name", ["STRIPE_KEY", "MONGO_URL", "PORT", "LOG_LEVEL", "NATS_STREAM"])
def test_a_line_break_or_blank_at_an_edge_is_named(name: str) -> None:
    """A secret that was made with `echo` ends with a line break."""
    for text in (f"{CONTRACT[name]}\n", f" {CONTRACT[name]}"):
        assert "begins or ends with a blank or a line break" in problem_with(**{name: text}).hint


@pytest.mark.parametrize("key", ["sk_live_x", "rk_live_x"])
@pytest.mark.parametrize("base", ["http://stripe-proxy", "http://127.0.0.1:12111", "HTTP://stripe-proxy"])
def test_a_live_key_is_never_sent_unencrypted(key: str, base: str) -> None:
    """Not on loopback either: a sandbox there would report every order as paid."""
    assert problem_with(STRIPE_KEY=key, STRIPE_API_BASE=base).variable == "STRIPE_API_BASE"
    assert settings_with(STRIPE_KEY=key, STRIPE_API_BASE=base.lower().replace("http:", "https:"))
    assert settings_with(STRIPE_KEY=key.replace("live", "test"), STRIPE_API_BASE=base).stripe_api_base


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mongodb://h/db?hunter2=1", "one of its options is none that the driver knows"),
        ("mongodb://u:hunter2@h/db?nope=1", "one of its options is none that the driver knows"),
        ("mongodb://a,b/db?directConnection=true", "Cannot specify multiple hosts with directConnection=true"),
        ("mongodb://u:hunter2@a,b/db?loadBalanced=true", "Cannot specify multiple hosts with loadBalanced=true"),
        ("mongodb://u:hunter?2@a,b/db?loadBalanced=true", ""),
        ("mongodb://u:hunter/2@h/db", ""),
        (f"mongodb://h/{'d' * 64}", "at most 63 bytes"),
    ],
)
def test_the_drivers_reason_for_refusing_a_url_is_shown_where_it_holds_no_secret(url: str, words: str) -> None:
    """The shown URL ends before its options, so without the reason it would look valid."""
    problem = problem_with(MONGO_URL=url)
    assert words in problem.hint
    assert bool(problem.hint) == bool(words)
    assert "hunter" not in str(problem)


def test_the_driver_s_warnings_are_not_printed(recwarn: pytest.WarningsRecorder) -> None:
    """Before the log is configured it would go to stderr; the driver warns again when the address is used."""
    settings_with(MONGO_URL="mongodb://h/db?compressors=snappy,zstd")
    assert list(recwarn) == []


@pytest.mark.parametrize("text", ["Tr0ub4dor", "0123456789abcdef012345678"])
def test_a_text_like_a_password_is_not_shown_for_a_number(text: str) -> None:
    """A key pasted into a number's variable: no other variable holds it, and only its form shows that it is a key."""
    assert problem_with(PORT=text).got == f"a text of {len(text)} characters"


@pytest.mark.parametrize(
    "text",
    ["nats://u:p/w@h", "nats://u:p#w@h", "nats://u:p?w@h", "nats://u:p@w@h", "nats://u:p,w@h", "nats://u:p:4@w@h"],
)
def test_a_password_that_is_not_encoded_gets_a_hint(text: str) -> None:
    assert "write / as %2F, @ as %40" in problem_with(NATS_URL=text).hint


@pytest.mark.parametrize(
    "text", ["nats://h", "tls://u:p%2F@h:1", "ws://h", "wss://h/nats", "[::1]:4222", "http://h_1:80", "t%20k@h"]
)
def test_nats_py_reads_each_server_as_we_do(text: str) -> None:
    """nats-py parses each address in the end."""
    [server] = settings_with(NATS_URL=text).nats_url
    plain, _ = split_credentials(server.reveal())
    theirs, ours = Client._parse_server_uri(plain), urlsplit(plain)
    assert (theirs.scheme, theirs.hostname, theirs.port) == (ours.scheme, ours.hostname, ours.port)
    assert theirs.port
    assert theirs.username is None


def test_nats_credentials_that_contradict_one_another_are_named(tmp_path: Path) -> None:
    """Missing and contradictory credentials are found before any server is reached."""
    seed, creds = NKey("U").seed, Operator().creds
    made = Certificates(tmp_path)
    cert, key = str(made.client_cert), str(made.client_key)
    for changes, variable in (
        ({"NATS_CREDS": creds, "NATS_NKEY_SEED": seed}, "NATS_CREDS"),
        ({"NATS_NKEY_SEED": seed, "NATS_URL": "nats://u:p@h"}, "NATS_NKEY_SEED"),
        ({"NATS_TLS_KEY": key}, "NATS_TLS_CERT"),
        ({"NATS_TLS_CERT": cert, "NATS_TLS_KEY": str(made.server_key)}, "NATS_TLS_CERT"),
        ({"NATS_TLS_CA": str(made.ca), "NATS_URL": "ws://h"}, "NATS_URL"),
        ({"NATS_TLS_CA": f"{tmp_path}/none.crt"}, "NATS_TLS_CA"),
        ({"NATS_CREDS": f"{tmp_path}/none.creds"}, "NATS_CREDS"),
    ):
        assert problem_with(**changes).variable == variable
    login = settings_with(NATS_CREDS=creds, NATS_TLS_CERT=cert, NATS_TLS_KEY=key, NATS_TLS_CA=str(made.ca)).nats_login
    assert login.signer() is not None
    assert login.tls() is not None
    assert seed not in repr(settings_with(NATS_NKEY_SEED=seed))


def test_settings_show_no_secret() -> None:
    """Neither repr nor str of the settings, or of a secret, shows it; only reveal does."""
    found = settings_with(
        NATS_URL="nats://u:hunter2@h",
        MONGO_URL="mongodb://u:hunter2@h/db?appName=x",
        JWT_KEY="hunter2",
        STRIPE_KEY="sk_test_hunter2",
    )
    assert "hunter2" not in f"{found} {found!r} {found.jwt_key} {found.stripe_key!r} {found.mongo_url}"
    assert str(found.nats_url[0]) == "nats://***@h:4222"
    assert str(found.mongo_url) == "mongodb://***@h/db"
    assert found.jwt_key.reveal() == "hunter2"


@pytest.mark.parametrize("write", [pickle.dumps, copy.deepcopy, lambda secret: vars(secret)])
def test_a_secret_is_not_written_anywhere(write: Callable[[Secret], object]) -> None:
    """Code that serializes objects finds no text in a secret."""
    with pytest.raises(TypeError):
        write(Secret("hunter2"))


def test_secrets_are_compared_by_what_they_hide() -> None:
    """Equal secrets are equal, whatever text they show."""
    assert Secret("a", "x") == Secret("a", "y")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"


def test_the_exit_code_is_the_one_of_sysexits() -> None:
    """EX_CONFIG is 78 by the contract."""
    assert EX_CONFIG == 78


def test_no_other_module_reads_the_environment() -> None:
    """Only entry points for operators, and programs for developers, read `os.environ`."""
    root = Path(payment.__file__).parent
    readers = [
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if PROGRAMS_OF_THEIR_OWN.isdisjoint(path.parts) and _reads_environment(path.read_text())
    ]
    assert readers == ["__main__.py"]


def _reads_environment(source: str) -> bool:
    names = {"environ", "environb", "getenv"}
    return any(
        (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
            and node.attr in names
        )
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and {alias.name for alias in node.names} & names)
        for node in ast.walk(ast.parse(source))
    )


def test_the_app_manifest_offers_what_a_dyno_can_use() -> None:
    """Every variable except those that Heroku sets, and HOST, which a dyno does not need."""
    manifest = json.loads((Path(payment.__file__).parents[1] / "app.json").read_text())["env"]
    assert set(manifest) == {variable.name for variable in VARIABLES} - {"PORT", "HOST", "DYNO"}
    required = {name for name, entry in manifest.items() if entry.get("required", True)}
    assert required == set(REQUIRED)
