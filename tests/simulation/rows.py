"""When a row of the fault table was really met: read off a journal, not off what was drawn.

A fault that strikes where nothing was under way meets nothing. So each row has a small function under `@row`, which
sees an entry and the books before it and says whether this is the row's moment. Its docstring says what that moment is.
The moments stand in the `rows_of_*` files. Change together with: the table in docs/faults.md, `reach`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from tests.simulation.accounts import Accounts
from tests.simulation.journal import AnyEntry

Moment = Callable[[Any, Accounts], bool]
MOMENTS: defaultdict[type, list[tuple[str, Moment]]] = defaultdict(list)


def row(name: str, *entries: type) -> Callable[[Moment], Moment]:
    """Register the moment of a row, in entries of these types."""

    def register(moment: Moment) -> Moment:
        for entry in entries:
            MOMENTS[entry].append((name, moment))
        return moment

    return register


def rows_met(journal: Iterable[AnyEntry]) -> set[str]:
    """The rows of the fault table that a journal met."""
    accounts, met = Accounts(), set()
    for entry in journal:
        for name, moment in MOMENTS.get(type(entry), ()):
            if name not in met and moment(entry, accounts):
                met.add(name)
        accounts.note(entry)
    return met


# The moments register themselves. They stand last, for they import this module.
from tests.simulation import rows_of_crashes, rows_of_neighbours, rows_of_stripe  # noqa: E402, F401

EXPRESSED = frozenset(name for moments in MOMENTS.values() for name, _ in moments)
