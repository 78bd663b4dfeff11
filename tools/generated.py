"""The generated parts of the documents: tables, lists and a diagram in Markdown, each read off the code.

A document calls a function of this module in a comment, and cog writes the result below it (`make docs`):

    <!-- [[[cog cog.outl(generated.variables()) ]]] -->
    ...
    <!-- [[[end]]] -->

Names, meanings, numbers and states are the code's own; only the reasons beside the limits are repeated from the
constants' comments, in fewer words. Change together: `LIMITS`, and a constant there that is renamed or moved.
"""

import ast
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from types import ModuleType

from payment.actors import json_text
from payment.actors.http import actor as http
from payment.actors.http import admission as http_admission
from payment.actors.http import connections as http_wire
from payment.actors.http import pending_requests as http_waiting
from payment.actors.http import refusals as http_refusals
from payment.actors.http import requests as http_requests
from payment.actors.http import responses as answers
from payment.actors.http import routes
from payment.actors.ledger import actor as mongo
from payment.actors.ledger import backlog
from payment.actors.ledger import stuck_log as stuck
from payment.actors.runtime import restarts, supervisor
from payment.actors.stripe import rate_limiter
from payment.adapters.mongo import store as mongo_store
from payment.adapters.stripe import cards as stripe_cards
from payment.core import order, schedule
from payment.core.order import TABLE, AttemptState, Trigger
from payment.ops.log_schema import FIELDS, Event
from payment.ops.metrics import Metrics
from payment.settings import environment as settings
from payment.settings.environment import VARIABLES
from payment.settings.variable import Variable
from payment.stripe_sandbox.faults import FaultKind
from payment.stripe_sandbox.tokens import DECLINES
from tests.chaos.report import recorded_table
from tools import fault_table, route
from tools.markdown import first_sentence, table

ROOT = Path(__file__).parents[1]


def variables() -> str:
    """Every variable that is read."""
    return table("variable | meaning | example | default", map(_variable, VARIABLES))


def _variable(variable: Variable) -> str:
    absent = "required" if variable.required else ""
    absent = absent if variable.default is None else f"`{variable.default}`"
    return f"`{variable.name}` | {variable.meaning} | `{variable.example}` | {absent}"


def routes_of_http() -> str:
    """Every address that the service answers at."""
    rows = (
        f"`{route.method} {route.template}` | {route.summary} | {_statuses(route.cases)}" for route in routes.ROUTES
    )
    return table("route | what it does | statuses", rows)


def _statuses(cases: Iterable[answers.Case]) -> str:
    return ", ".join(map(str, sorted({case.value.status for case in cases})))


def charge_answers() -> str:
    """Every answer to a request to charge."""
    charge = next(route for route in routes.ROUTES if route.operation is routes.Operation.CHARGE)
    cases = sorted((*charge.cases, *routes.ANY_REQUEST), key=lambda case: case.value.status)
    rows = (f"{case.value.status} | {_code(case)} | {case.value.meaning} | {_headers(case)}" for case in cases)
    return table("status | `code` | meaning | headers", rows)


def _code(case: answers.Case) -> str:
    return f"`{case.value.code.value}`" if case.value.code else ""


def _headers(case: answers.Case) -> str:
    return ", ".join(f"`{name}`" for name in case.value.headers)


def states() -> str:
    """The diagram of an attempt's states, in Mermaid. A trigger that leaves a state as it is has no arrow."""
    arrows: dict[tuple[AttemptState, AttemptState], list[Trigger]] = {}
    for (state, trigger), after in TABLE.items():
        if after is not state:
            arrows.setdefault((state, after), []).append(trigger)
    lines = [
        f"    {state.name.lower()} --> {after.name.lower()}: {'<br/>'.join(trigger.value for trigger in triggers)}"
        for (state, after), triggers in arrows.items()
    ]
    starts = [
        f"    [*] --> {AttemptState.CONFIRMING.name.lower()}: ChargeRequested",
        f"    [*] --> {AttemptState.CHARGING.name.lower()}: begun by release 0.1.0",
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *starts, *lines, "```"])


def log_events() -> str:
    """Every log event."""
    return table("event | logged when", (f"`{event.value}` | {event.meaning}" for event in Event))


def log_fields() -> str:
    """Every field that a log line may have."""
    return table("field | meaning", (f"`{name}` | {meaning}" for name, meaning in FIELDS.items()))


def metrics() -> str:
    """Every metric of ours."""
    rows = (
        f"`{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help}"
        for metric in Metrics().table()
    )
    return table("metric | type | labels | meaning", rows)


def torture() -> str:
    """Every round of the torture rig that was recorded, in sums."""
    return recorded_table()


def faults() -> str:
    """The table of faults, with what covers each of them."""
    return fault_table.markdown()


def tree() -> str:
    """The packages of `payment/`, and the modules beside them, each with the first sentence of its docstring."""
    package = ROOT / "payment"
    modules = sorted(path for path in package.glob("*.py") if path.name != "__init__.py")
    folders = sorted(path.parent for path in package.rglob("__init__.py") if path.parent != package)
    rows = [f"`{_from_root(folder)}/` | {first_sentence(_docstring(folder / '__init__.py'))}" for folder in folders]
    rows += [f"`{_from_root(module)}` | {first_sentence(_docstring(module))}" for module in modules]
    return table("where | what", rows)


def _from_root(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def route_of_a_charge() -> str:
    """The main steps of a charge. `python -m tools.route --check` holds that a charge takes them."""
    return route.steps()


def sandbox_faults() -> str:
    """What can be asked of the sandbox."""
    return ", ".join(f"`{kind.value}`" for kind in FaultKind) + "."


def sandbox_declines() -> str:
    """The sandbox's declining tokens, with their decline codes."""
    return ", ".join(f"`tok_{name}` ({decline.decline_code})" for name, (_, decline) in DECLINES.items()) + "."


LIMITS: tuple[tuple[ModuleType, str, str, str], ...] = (
    (order, "ATTEMPTS_LIMIT", "{} attempts on one order", "More is card testing."),
    (settings, "CHARGE_WAIT_S_MAX", "{} s that a POST may wait", "Heroku's router gives up after 30 s."),
    (
        http_waiting,
        "WAITING_REQUESTS",
        "{} requests that wait at once",
        "10,000 may be charges when a sale begins; the others are look-ups. One more gets 503 at once.",
    ),
    (
        mongo,
        "CHARGES_IN_FLIGHT_LIMIT",
        "{} orders under way at once",
        "Memory. Requests past that get 503 before anything of them is written.",
    ),
    (
        mongo,
        "BEHIND_LIMIT_S",
        "{} s that orders wait for their turn to be decided",
        "Past that requests come faster than this process can decide them, and more of them get 503 at once.",
    ),
    (
        http_admission,
        "QUEUE_MAX",
        "{} requests for a charge that wait to be handled",
        "When a sale begins as many come in a second. One more gets 503 at once, unless all wait for Stripe "
        "afterwards: then as many are kept as may wait at all.",
    ),
    (
        http_admission,
        "QUEUE_WAIT_S",
        "{} s that the last of them may expect to wait",
        "At the present rate. A request that would wait for longer gets 503 at once.",
    ),
    (
        rate_limiter,
        "START_PER_S",
        "{} requests a second to one Stripe endpoint at first",
        "What every account has. The rate rises until Stripe answers 429, never above `STRIPE_RATE_PER_S`.",
    ),
    (
        rate_limiter,
        "ACCOUNT_START_PER_S",
        "{} requests a second to Stripe in all at first",
        "What every live account has. It rises like the others, to `STRIPE_RATE_PER_S` where that is more.",
    ),
    (
        stripe_cards,
        "CALL_TIMEOUT_S",
        "{} s for one call to Stripe",
        "Confirms take 1 to 3 s; one that hangs is repeated with its key.",
    ),
    (
        schedule,
        "KEY_LIFE",
        "{} in which a confirm may be sent",
        "Stripe keeps keys for 24 h; half of that is left for clocks that are wrong.",
    ),
    (
        schedule,
        "CREATE_KEY_LIFE",
        "{} after which an order's charges are listed before an intent is created",
        "Stripe may have forgotten the create's key by then.",
    ),
    (
        schedule,
        "AUTHENTICATION_LIFE",
        "{} in which a customer may authenticate, if the order does not expire before",
        "Then the intent is cancelled.",
    ),
    (
        schedule,
        "RETRIEVALS_APART",
        "{} between two retrieves of one order's intent that clients cause",
        "However many processes are asked.",
    ),
    (
        http,
        "LOOK_WAIT_S",
        "{} s that a GET may wait",
        "For a read and, where the payment awaits its customer, for one call to Stripe.",
    ),
    (
        schedule,
        "CHARGE_LIFE",
        "{} that the outcome of an attempt of release 0.1.0 may stay unknown",
        "A key's life, and an hour: until then its charge may land.",
    ),
    (
        schedule,
        "LEASE",
        "{} until another process takes work over",
        "Longer than a call to Stripe. A process that starts again takes its own work at once.",
    ),
    (
        mongo_store,
        "WRITE_CONCERN_TIMEOUT_MS",
        "{} ms for a majority to journal a write",
        "Past it the write is unknown, and read again.",
    ),
    (
        backlog,
        "READ_EVERY_S",
        "{} s between two reads of what is not settled",
        "A gauge may be that far behind the database; up to a minute where 10,000 orders are pending.",
    ),
    (
        stuck,
        "NAMED_LIMIT",
        "{} stuck charges, refunds and events with a log line each",
        "More at a time have one cause: one line counts them and names the ten oldest.",
    ),
    (
        http_refusals,
        "USER_LINES_PER_S",
        "{} log lines a second about one user's refused requests",
        "What is past that, or past 200 a second of all users, is counted in one line.",
    ),
    (http_requests, "BODY_BYTES_MAX", "{} bytes of body", "A charge's is about 100 bytes."),
    (http_wire, "LINE_BYTES_MAX", "{} bytes of one header", "What the platform's router lets through."),
    (http_wire, "HEAD_BYTES_MAX", "{} bytes of a head", "Eight headers of the largest size."),
    (http_wire, "HEAD_S", "{} s for a head to arrive", "Slower is an attack, not a phone."),
    (http_requests, "BODY_S", "{} s for a body to arrive", "One packet is the rule."),
    (http_wire, "UNREAD_S", "{} s that an answer may stay unread", "Then the client is cut off."),
    (
        http_admission,
        "CONNECTIONS_MAX",
        "{} connections",
        "Fewer where the process may open few files. More than requests may wait.",
    ),
    (
        settings,
        "DECLINES_PER_USER_LIMIT",
        "{} declined attempts of one user within an hour",
        "Twice what one order may take; `DECLINES_PER_USER_LIMIT` changes it.",
    ),
    (http_wire, "KEEPALIVE_S", "{} s of an idle connection", "Longer than the router's 90 s: we must not close first."),
    (json_text, "ID_BYTES_MAX", "{} bytes of an id", "What MongoDB, Stripe's metadata and headers all carry."),
    (restarts, "RESTARTS_MAX", "{} restarts of actors in a minute", "More means that the whole process does not work."),
    (supervisor, "STOP_TOTAL_S", "{} s from SIGTERM to the end", "Platforms kill after 30 s."),
)
"""The numbers that a user or an operator meets: module, constant, what it limits, and why there is a limit."""


def limits() -> str:
    """The table of limits."""
    rows = (
        f"{what.format(_shown(getattr(module, name)))} | `{module.__name__}.{name}` | {why}"
        for module, name, what, why in LIMITS
    )
    return table("limit | constant | why", rows)


def _shown(value: float | timedelta) -> str:
    if isinstance(value, timedelta):
        return f"{value / timedelta(hours=1):g} h" if value >= timedelta(hours=1) else f"{value.seconds} s"
    return f"{value:,}".removesuffix(".0")
