"""The settings of one process, read from its environment once. No other module reads `os.environ`.

A value is checked by using it as the service will: an address is parsed, a certificate loaded, a key used to sign.

`VARIABLES` lists every variable: its meaning, what a valid value is, and how it is read. The table in
docs/configuration.md is generated from it. Each variable has a field of its name in `Settings`, except `DYNO`, which
becomes a part of `nats_client_id`. A message about a bad value never holds a secret.

Change together: `VARIABLES`, `Settings`, and `app.json`. `payment.settings.doubts` has settings that are valid and
probably a mistake; `payment.settings.secrets` decides which values may be shown.
"""

from collections.abc import Mapping

from msgspec import Struct

from payment.adapters.nats import login as nats_login
from payment.adapters.nats.login import NatsLogin
from payment.ops.secret import Secret
from payment.process import listening
from payment.settings import values
from payment.settings.conflicts import conflicts
from payment.settings.variable import Problem, Variable, checked, hidden, redactor_of

EX_CONFIG = 78
"""The exit code of a process whose settings are wrong (sysexits.h)."""

NAME_CHARS_MAX = 100
"""Longest client id, queue group, cluster id or stream. Brokers make file names of them, and those end at 255 bytes."""

CHARGE_WAIT_S_MAX = 29.0
"""Longest wait of a POST for its outcome: a Heroku router gives up after 30 s."""

STRIPE_RATE_PER_S_MAX = 10_000
"""Highest ceiling: a hundred times the rate that Stripe allows a live account by default."""

DECLINES_PER_USER_LIMIT = 40
"""Declined attempts of one user over all orders, within the window. Twice the attempts that one order may have (20): no
customer has that many, and a card tester needs hundreds."""

DECLINES_WINDOW_S = 3_600.0
"""Seconds for which a declined attempt counts."""

DECLINES_PER_USER_LIMIT_MAX = 1_000
DECLINES_WINDOW_S_MAX = 86_400.0
"""Largest values: a process keeps a time for each of a user's declines, and few processes run longer than a day."""


class SettingsError(Exception):
    """The environment is not a valid configuration. `problems` has one entry for every bad variable."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Settings(Struct, frozen=True, kw_only=True):
    """The checked settings. Fields are named after their variables.

    `nats_url` holds one address with its port for each server (`nats://`, `tls://`, `ws://` or `wss://`);
    `nats_client_id` is unique to this process, with its dyno; `nats_cluster_id` is None for JetStream, `host` None for
    every interface, `stripe_api_base` None for Stripe's own address. Names that end in `_s` are seconds.
    """

    nats_url: tuple[Secret, ...]
    nats_cluster_id: str | None
    nats_client_id: str
    queue_group_name: str
    mongo_url: Secret
    jwt_key: Secret
    stripe_key: Secret
    port: int
    host: str | None
    stripe_api_base: str | None
    currency: str
    charge_wait_s: float
    stripe_rate_per_s: int
    stripe_prepare: bool
    nats_stream: str
    log_level: str
    jwt_key_previous: Secret | None = None
    ops_key: Secret | None = None
    declines_per_user_limit: int = DECLINES_PER_USER_LIMIT
    declines_window_s: float = DECLINES_WINDOW_S
    nats_creds: Secret | None = None
    nats_nkey_seed: Secret | None = None
    nats_tls_cert: Secret | None = None
    nats_tls_key: Secret | None = None
    nats_tls_ca: Secret | None = None

    @property
    def nats_login(self) -> NatsLogin:
        """The credentials for NATS that the addresses do not contain."""
        return NatsLogin(self.nats_creds, self.nats_nkey_seed, self.nats_tls_cert, self.nats_tls_key, self.nats_tls_ca)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """Returns the settings of an environment. A variable that is empty or blank counts as not set.

        Raises:
            SettingsError: with the problems of all variables at once.
        """
        redactor = redactor_of(VARIABLES, environ)
        found = {variable.name.lower(): variable.value_in(environ, redactor) for variable in VARIABLES}
        problems = [value for value in found.values() if isinstance(value, Problem)]
        if problems:
            raise SettingsError(problems)
        dyno = found.pop("dyno")
        if dyno is not None:
            found["nats_client_id"] = f"{found['nats_client_id']}-{dyno}"
        settings = cls(**found)  # type: ignore[arg-type]  # a test compares VARIABLES with the fields above
        if problems := conflicts(settings):
            raise SettingsError(problems)
        return settings


_PLAIN_NAME = values.matching(rf"[A-Za-z0-9_-]{{1,{NAME_CHARS_MAX}}}")
_PLAIN_NAME_WANTS = f"a name of up to {NAME_CHARS_MAX} letters, digits, - and _"
# JetStream makes subjects and file names of a durable, and NATS Streaming separates its own fields by colons.
_DURABLE = values.matching(rf"(?:(?![:.*>/\\])[!-~]){{1,{NAME_CHARS_MAX}}}")
_DURABLE_WANTS = f"a name of up to {NAME_CHARS_MAX} ASCII characters without blanks and without : . * > / \\"

VARIABLES = (
    Variable(
        name="NATS_URL",
        meaning=(
            "The addresses of NATS, separated by commas. `http://` means `nats://`, `https://` `tls://`. "
            "Where the address says `tls://`, nothing is sent to a server that offers no TLS. `ws://` and `wss://` are "
            "websockets. User, password or token are percent-encoded (`%2F` for a slash)."
        ),
        example="http://nats-srv:4222",
        wants="addresses like nats://host:4222, separated by commas; user and password may stand before the host",
        read=values.nats_servers,
        required=True,
        show=values.masked,
    ),
    Variable(
        name="NATS_CREDS",
        meaning="Credentials of NATS (a user's JWT and nkey seed): a `.creds` file's path, or its whole text.",
        example="/run/secrets/nats.creds",
        wants="the path or the text of a .creds file",
        read=checked(nats_login.read_creds),
        show=nats_login.shown_path,
    ),
    Variable(
        name="NATS_NKEY_SEED",
        meaning="An nkey's seed (`SU…`), or the path of the file that holds it.",
        example="/run/secrets/nats.nk",
        wants="a user's nkey seed (SU…), or the path of its file",
        read=checked(nats_login.read_nkey_seed),
        show=nats_login.shown_path,
    ),
    Variable(
        name="NATS_TLS_CERT",
        meaning="The certificate that NATS wants of its clients, in PEM: a path, or its whole text.",
        example="/run/secrets/nats.crt",
        wants="the path or the text of a certificate in PEM",
        read=checked(nats_login.read_pem),
        show=nats_login.shown_path,
    ),
    Variable(
        name="NATS_TLS_KEY",
        meaning="That certificate's private key, where it is not in the same file: a path, or its whole text.",
        example="/run/secrets/nats.key",
        wants="the path or the text of a private key in PEM",
        read=checked(nats_login.read_pem),
        show=nats_login.shown_path,
    ),
    Variable(
        name="NATS_TLS_CA",
        meaning="The CA of NATS's own certificate, instead of the system's: a path, or its whole text. "
        "With any of these three, nothing is sent to a server that offers no TLS.",
        example="/run/secrets/nats-ca.crt",
        wants="the path or the text of a CA's certificate in PEM",
        read=checked(nats_login.read_pem),
        show=nats_login.shown_path,
    ),
    Variable(
        name="NATS_CLUSTER_ID",
        meaning="Set: events travel over NATS Streaming, with this cluster id. Not set: over JetStream.",
        example="ticketing",
        wants=_PLAIN_NAME_WANTS,
        read=_PLAIN_NAME,
    ),
    Variable(
        name="NATS_CLIENT_ID",
        meaning="This process's name among all clients of NATS.",
        example="payment-service",
        wants=_PLAIN_NAME_WANTS,
        read=_PLAIN_NAME,
        required=True,
    ),
    Variable(
        name="QUEUE_GROUP_NAME",
        meaning="The queue group and durable name, the same for all processes of this service.",
        example="payment-service",
        wants=_DURABLE_WANTS,
        read=_DURABLE,
        required=True,
    ),
    Variable(
        name="MONGO_URL",
        meaning="MongoDB's connection string, with the database in its path.",
        example="mongodb://payment-mongo-srv:27017/payment",
        wants="a valid string like mongodb://host:27017/database; user and password may stand before the host",
        read=values.mongo_url,
        required=True,
        show=values.masked_mongo,
    ),
    Variable(
        name="JWT_KEY",
        meaning="The secret that the platform signs its tokens with (HS256).",
        example="your-jwt-secret",
        wants="a secret that is neither a public key nor a certificate",
        read=values.jwt_key,
        required=True,
        show=hidden,
        may_be_quoted=True,
    ),
    Variable(
        name="JWT_KEY_PREVIOUS",
        meaning="The former key, while `JWT_KEY` is being changed: tokens signed with it are accepted too.",
        example="your-former-jwt-secret",
        wants="a secret that is neither a public key nor a certificate",
        read=values.jwt_key,
        show=hidden,
        may_be_quoted=True,
    ),
    Variable(
        name="STRIPE_KEY",
        meaning="Stripe's secret key.",
        example="sk_test_...",
        wants="a secret key: sk_… or rk_…, without blanks",
        read=values.stripe_key,
        required=True,
        show=hidden,
    ),
    Variable(
        name="PORT",
        meaning="The port to listen on; 0 takes a free one.",
        example="8080",
        wants="a whole number from 0 to 65535",
        read=listening.read_port,
        default=listening.PORT_DEFAULT,
    ),
    Variable(
        name="HOST",
        meaning="The address to listen on. Not set: every interface, IPv4 and IPv6.",
        example="127.0.0.1",
        wants="an IP address or a host name",
        read=listening.read_host,
    ),
    Variable(
        name="STRIPE_API_BASE",
        meaning="Another address for Stripe's API: a sandbox, a proxy. A live key needs `https://`.",
        example="http://127.0.0.1:12111",
        wants="an http:// or https:// address without credentials, and without the /v1 that we append",
        read=values.http_base,
        show=values.masked,
    ),
    Variable(
        name="CURRENCY",
        meaning="The currency (ISO 4217) of prices of orders that name none.",
        example="usd",
        wants="the code of a currency that Stripe charges in",
        read=values.currency,
        default="usd",
    ),
    Variable(
        name="CHARGE_WAIT_S",
        meaning="Seconds that a POST waits for its outcome before the answer is 202.",
        example="20",
        wants=f"a number of seconds above 0 and up to {CHARGE_WAIT_S_MAX:g}",
        read=values.seconds(CHARGE_WAIT_S_MAX),
        default="20",
    ),
    Variable(
        name="STRIPE_RATE_PER_S",
        meaning="The most requests a second of this process to one Stripe endpoint; it finds the allowed rate itself.",
        example="100",
        wants=f"a whole number from 1 to {STRIPE_RATE_PER_S_MAX}",
        read=values.whole(1, STRIPE_RATE_PER_S_MAX),
        default="100",
    ),
    Variable(
        name="STRIPE_PREPARE",
        meaning=(
            "`true`: create the PaymentIntent when the order arrives, so that a charge is one call to Stripe instead "
            "of two. Stripe's dashboard shows an order that is never paid as incomplete."
        ),
        example="true",
        wants="true or false",
        read=values.yes_or_no,
        default="false",
    ),
    Variable(
        name="NATS_STREAM",
        meaning="The JetStream stream to create for those of our subjects that no stream holds yet.",
        example="ticketing",
        wants=_DURABLE_WANTS,
        read=_DURABLE,
        default="ticketing",
    ),
    Variable(
        name="LOG_LEVEL",
        meaning="The lowest level that is logged.",
        example="info",
        wants="debug, info, warning, error or critical",
        read=values.one_of("debug", "info", "warning", "error", "critical"),
        default="info",
    ),
    Variable(
        name="OPS_KEY",
        meaning=(
            "Where set, `/metrics` and the reasons in `/readyz` are only for clients that send it as "
            "`Authorization: Bearer …`; otherwise they are for every client."
        ),
        example="a-long-random-text",
        wants=f"at least {values.OPS_KEY_CHARS_MIN} printable ASCII characters, without blanks",
        read=values.ops_key,
        show=hidden,
    ),
    Variable(
        name="DECLINES_PER_USER_LIMIT",
        meaning=(
            "Declined attempts of one user within the window, over all orders, after which this process refuses "
            "further ones (429). 0: no limit."
        ),
        example="40",
        wants=f"a whole number from 0 to {DECLINES_PER_USER_LIMIT_MAX}",
        read=values.whole(0, DECLINES_PER_USER_LIMIT_MAX),
        default=str(DECLINES_PER_USER_LIMIT),
    ),
    Variable(
        name="DECLINES_WINDOW_S",
        meaning="Seconds for which a declined attempt counts.",
        example="3600",
        wants=f"a number of seconds above 0 and up to {DECLINES_WINDOW_S_MAX:g}",
        read=values.seconds(DECLINES_WINDOW_S_MAX),
        default=f"{DECLINES_WINDOW_S:g}",
    ),
    Variable(
        name="DYNO",
        meaning="Set by Heroku: the process's name there, which is appended to `NATS_CLIENT_ID`.",
        example="web.1",
        wants=f"a name of up to {values.DYNO_CHARS_MAX} characters",
        read=values.dyno,
    ),
)
"""Every variable that is read, in the order of the table in docs/configuration.md."""
