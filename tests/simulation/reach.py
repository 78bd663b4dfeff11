"""What a run has met: rows of the fault table, faults, states, pairs of state and trigger; and what it should have met.

Pairs are counted from `PairMet` entries: `simulate` replaces `payment.core.order.TABLE` by a dict that records each
look-up, because a pair lies between two documents and no document shows it, and a counter inside the core would serve
the simulation alone.

A run of at least `SEEDS_THAT_MEET_ALL` seeds fails where it never met one of these, unless this file excuses it with a
reason, or report.json shows it so rarely that such a run may miss it by chance. A pair that is not in the table fails
its seed (`laws_of_documents`). Change together with: `rows`, `payment.core.order.TABLE`.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from payment.core.order import ANSWERS, LISTED, REFUND_ENDS, TABLE, AttemptState, Trigger
from tests.simulation.journal import AnyEntry, FaultStruck, PairMet
from tests.simulation.rows import EXPRESSED, rows_met

CHARGED_WITH = (Trigger.SUCCEEDED, Trigger.UNWANTED, Trigger.GIVEN_BACK)

REPORT = Path(__file__).with_name("report.json")
"""The report of the last full run. tests/FAULTS.md is generated from it."""
SEEDS_THAT_MEET_ALL = 5_000
"""Seeds. A shorter run need not meet everything."""
SURELY_MET = 10
"""Times. A run misses by chance what report.json lets it expect this often once in 22,000 runs (e^-10)."""

ALL_ROWS = tuple(f"F{number:02d}" for number in range(1, 55))

ELSEWHERE: dict[str, tuple[str, str]] = {
    "F16": ("impossible by design: every journal is checked for it", "tests/contract/cards_contract.py"),
    "F31": (
        "it is about the time that others take, and here time costs nothing",
        "tests/unit/actors/ledger/test_order_queues.py",
    ),
    "F37": ("identities end at the edge, before any order", "tests/unit/actors/http/test_auth.py"),
    "F51": ("sockets, turns and descriptors are below its network", "tests/unit/actors/http/test_hostile_clients.py"),
    "F40": (
        "sessions are the NATS Streaming client's, below the port",
        "tests/unit/adapters/nats/test_streaming_losses.py",
    ),
    "F53": ("settings are JetStream's, below the port", "tests/unit/adapters/nats/test_jetstream_made_by_others.py"),
}
"""Rows that the simulation does not express: the reason, and the test that covers each."""

STALE = "a late outcome of another process for an attempt that has moved on: it changes nothing, and it is rare"
FENCED = "a canceled intent never charges, and Stripe has not tried what it refused at its only send"
AT_ONCE = "a cancel ends it at once, and no other attempt begins beside it: only one batch with both meets it"
RARE = "several rare events in a row: a browser that pays late, or an operator's refund, and then a cancel"
OLD = "attempts of release 0.1.0 are rare, a second list of their charges is rarer: tests/unit/core has these rules"
UNMET_PAIRS: dict[tuple[AttemptState, Trigger], str] = {
    (state, trigger): STALE
    for (state, trigger), after in TABLE.items()
    if after is state and trigger in (*ANSWERS, *REFUND_ENDS) and state is not AttemptState.CONFIRMING
}
UNMET_PAIRS |= {
    (state, trigger): OLD for state, trigger in TABLE if trigger in LISTED and state is not AttemptState.CHARGING
}
UNMET_PAIRS |= {(AttemptState.CHARGING, Trigger.GIVEN_BACK): OLD}
UNMET_PAIRS |= {
    (state, trigger): FENCED for state in (AttemptState.CLOSED, AttemptState.REFUSED) for trigger in CHARGED_WITH
}
UNMET_PAIRS |= {
    (AttemptState.AWAITING, Trigger.UNWANTED): AT_ONCE,
    (AttemptState.DECLINED, Trigger.UNWANTED): RARE,
    (AttemptState.DECLINED, Trigger.GIVEN_BACK): RARE,
    (AttemptState.AWAITING, Trigger.CANCELED_UNPAYABLE): RARE,
    (AttemptState.AWAITING, Trigger.GIVEN_BACK): RARE,
    (AttemptState.CANCELLING, Trigger.GIVEN_BACK): RARE,
    (AttemptState.BLOCKED, Trigger.CANCELLED): RARE,
    (AttemptState.BLOCKED, Trigger.REFUND_NOT_FOUND): RARE,
    (AttemptState.REFUNDED, Trigger.CANCELLED): RARE,
    (AttemptState.CHARGED_BACK, Trigger.CANCELLED): RARE,
    (AttemptState.CHARGED_BACK, Trigger.UNDONE): RARE,
    (AttemptState.REFUNDING, Trigger.DISPUTE_LOST): RARE,
    (AttemptState.REFUNDING, Trigger.CANCELLED): RARE,
}
"""Pairs of the table that a run of `SEEDS_THAT_MEET_ALL` seeds need not meet, each with the reason.
`tests/unit/core/test_table.py` walks all of them. They are counted and reported like all others.
"""


def pair_name(state: AttemptState, trigger: Trigger) -> str:
    return f"{state.value} + {trigger.value}"


class Reach(Struct):
    """How often a run met each item. Rows and faults count seeds, states and pairs count occurrences."""

    seeds: int = 0
    entries: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)

    def note(self, journal: Iterable[AnyEntry]) -> None:
        """Count one schedule."""
        entries = list(journal)
        self.seeds += 1
        self.entries += len(entries)
        self.rows.update(rows_met(entries))
        self.faults.update({entry.fault for entry in entries if isinstance(entry, FaultStruck)})
        for entry in entries:
            if isinstance(entry, PairMet):
                self.states[entry.state.value] += 1
                self.pairs[pair_name(entry.state, entry.trigger)] += 1

    def add(self, other: "Reach") -> None:
        """Count another part of the same run."""
        self.seeds += other.seeds
        self.entries += other.entries
        for mine, theirs in ((self.rows, other.rows), (self.faults, other.faults)):
            mine.update(theirs)
        for mine, theirs in ((self.states, other.states), (self.pairs, other.pairs)):
            mine.update(theirs)

    def unmet(self, faults: Iterable[str], report: dict[str, Any] | None = None) -> list[str]:
        """Returns the items that should have been met and were not, in words.

        `faults` are all that can strike. `report` is an earlier run's (`as_report`): without it everything should have
        been met; with it, what it never met, or met often enough for a run of this size (`SURELY_MET`).
        """

        def missing(group: str, counts: Counter[str], names: Iterable[str]) -> list[str]:
            known = report[group] if report else {}
            expected = {name: known.get(name, 0) * self.seeds / report["seeds"] if report else 0.0 for name in names}
            return [n for n, times in expected.items() if not counts[n] and (times == 0 or times >= SURELY_MET)]

        pairs = sorted(pair_name(*pair) for pair in TABLE if pair not in UNMET_PAIRS)
        return [
            *(f"row {name}" for name in missing("rows", self.rows, (n for n in ALL_ROWS if n in EXPRESSED))),
            *(f"fault {name!r}" for name in missing("faults", self.faults, faults)),
            *(f"state {name!r}" for name in missing("states", self.states, (s.value for s in AttemptState))),
            *(f"pair {name!r}" for name in missing("pairs", self.pairs, pairs)),
        ]

    def as_report(self) -> dict[str, Any]:
        """Plain values, with a zero for each item that was not met."""
        pairs = (pair_name(*pair) for pair in TABLE)
        return {
            "seeds": self.seeds,
            "entries": self.entries,
            "rows": {name: self.rows[name] for name in ALL_ROWS if name in EXPRESSED},
            "faults": dict(sorted(self.faults.items())),
            "states": {state.value: self.states[state.value] for state in AttemptState},
            "pairs": {name: self.pairs[name] for name in pairs},
        }


def last_report() -> dict[str, Any]:
    """Returns report.json."""
    report: dict[str, Any] = json.loads(REPORT.read_text())
    return report
