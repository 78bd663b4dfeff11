"""When a journal really met a row of the fault table; a fault that was drawn proves nothing.

A fault that strikes where nothing was under way meets nothing. So each row has a small function under `@row`, which
gets an entry and the accounts before it and returns whether the entry meets the row. Its docstring describes that case.
The functions are in the `rows_of_*` files. Change together with: the table in docs/faults.md, `reach`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from tests.simulation.accounts import Accounts
from tests.simulation.journal import AnyEntry

RowCheck = Callable[[Any, Accounts], bool]
ROW_CHECKS: defaultdict[type, list[tuple[str, RowCheck]]] = defaultdict(list)


def row(name: str, *entries: type) -> Callable[[RowCheck], RowCheck]:
    """Register the check of a row, for entries of these types."""

    def register(check: RowCheck) -> RowCheck:
        for entry in entries:
            ROW_CHECKS[entry].append((name, check))
        return check

    return register


def rows_met(journal: Iterable[AnyEntry]) -> set[str]:
    """The rows of the fault table that a journal met."""
    accounts, met = Accounts(), set()
    for entry in journal:
        for name, check in ROW_CHECKS.get(type(entry), ()):
            if name not in met and check(entry, accounts):
                met.add(name)
        accounts.note(entry)
    return met


# The checks register themselves: this import stands last, because these files import this module.
from tests.simulation import rows_of_crashes, rows_of_peer_services, rows_of_stripe  # noqa: E402, F401

EXPRESSED = frozenset(name for checks in ROW_CHECKS.values() for name, _ in checks)
