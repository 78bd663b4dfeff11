"""What readiness, the log and the answers report of a store that charges can't use (F52).

Change together with: `checks`, `payment.actors.ledger.store_state`, `payment.actors.ledger.telemetry`.
"""

from collections.abc import Iterator

from tests.simulation.accounts import Accounts
from tests.simulation.checks import Breach, step
from tests.simulation.journal import ChargeAnswered, LineLogged, Readiness

WITHIN_S = 10.0
LOSSES_LIMIT = 6
"""Losses of the store that one ledger may log in ten seconds: at least 0.5, 1, 2 and 4 s lie between them."""
COMMIT_LINES_LIMIT = 2
"""Lines of one kind about failed commits that one ledger may log in less than ten seconds."""
OURS_ALONE = {"store refuses writes", "store refuses orders"}


@step(Readiness, law="readiness is wrong about the store for ten seconds at most (F52)")
def readiness_is_right(entry: Readiness, accounts: Accounts) -> Iterator[Breach]:
    """Except for a process that stood still itself."""
    if entry.up and "actor hangs" not in accounts.struck and not accounts.clock_jumped:
        yield entry.who, f"it is ready, and the store is one that {entry.condition} for {WITHIN_S:g} s"


@step(LineLogged, law="an outage of the store is a few lines (F52)")
def outages_are_a_few_lines(entry: LineLogged, accounts: Accounts) -> Iterator[Breach]:
    lines = accounts.lines[entry.who, entry.event]
    lately = [at_s for at_s in lines if at_s > entry.at_s - WITHIN_S]
    if entry.event == "dependency_lost" and entry.fields.get("dependency") == "mongodb" and len(lately) >= LOSSES_LIMIT:
        yield entry.who, f"it has logged {len(lately) + 1} losses in {WITHIN_S:g} s"
    if entry.event in ("commit_unknown", "commit_refused"):
        if len(lately) >= COMMIT_LINES_LIMIT:
            yield entry.who, f"it has logged {len(lately) + 1} lines {entry.event} in {WITHIN_S:g} s"
        if not (entry.fields.get("order_id") and entry.fields.get("reason")):
            yield entry.who, f"a line {entry.event} names no order or no reason: {entry.fields}"


@step(ChargeAnswered, law='a request that the store refuses is answered "nothing was charged" (F52)')
def refusals_are_certain(entry: ChargeAnswered, accounts: Accounts) -> Iterator[Breach]:
    """Where the store refuses writes, and nothing else fails, the outcome of a write before may be unknown, and no
    other."""
    struck, order = set(accounts.struck), accounts.orders.get(entry.order_id)
    unknown = entry.status == 503 and b"outcome_unknown" in entry.body
    if unknown and struck and struck <= OURS_ALONE and (order is None or not order.attempts):
        yield entry.order_id, f"{entry.who} got outcome_unknown"
