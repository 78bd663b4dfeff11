"""The laws: what must hold at every step of a journal, and what must hold once the world is at rest.

A check is a small function under `@step(EntryType, law=…)` or `@rest(law=…)`. It gets the entry and the accounts before
that entry, and yields the order and the contradiction in words. A newcomer adds a check in five lines, with a test of a
planted journal that it catches: a check that can't fail proves nothing.

Owns: the register and the verdict. The laws are in `laws_of_documents`, `laws_of_money`, `laws_of_the_store`,
`laws_at_rest` and `history`. Must never read anything but the journal. Change together: those files,
`tests/simulation/test_checks.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from msgspec import Struct

from tests.simulation.accounts import Accounts
from tests.simulation.journal import AnyEntry

Breach = tuple[str, str]
"""The order (or a process, or "" for neither), and the contradiction in words."""
StepCheck = Callable[[Any, Accounts], Iterator[Breach]]
RestCheck = Callable[[Accounts], Iterator[Breach]]
S = TypeVar("S", bound=StepCheck)
R = TypeVar("R", bound=RestCheck)


class Violation(Struct, frozen=True):
    """A law that was broken. `index` is the number of the journal's entry that shows it."""

    law: str
    about: str
    words: str
    at_s: float
    index: int

    def __str__(self) -> str:
        about = f" ({self.about})" if self.about else ""
        return f"{self.law}{about} at {self.at_s:.3f} s: {self.words}"


STEP_CHECKS: defaultdict[type, list[tuple[str, StepCheck]]] = defaultdict(list)
REST_CHECKS: list[tuple[str, RestCheck]] = []
AFTER_A_RESTORE: set[str] = set()
"""Laws at rest that also hold after the store was restored to an earlier state: only the first law can."""
OF_CORRUPT_ORDERS: set[str] = set()
"""Laws at rest that also hold for an order whose document was edited and never corrected (F50): the service does
nothing for such an order, but its card is not charged twice, and no customer gets a false answer."""


def step(*entries: type, law: str) -> Callable[[S], S]:
    """Register a check of entries of these types."""

    def register(check: S) -> S:
        for entry in entries:
            STEP_CHECKS[entry].append((law, check))
        return check

    return register


def rest(*, law: str, restored: bool = False, corrupt: bool = False) -> Callable[[R], R]:
    """Register a check of the accounts at rest.

    `restored`: also where the store was restored meanwhile; `corrupt`: also for orders whose documents stay corrupt.
    """

    def register(check: R) -> R:
        REST_CHECKS.append((law, check))
        if restored:
            AFTER_A_RESTORE.add(law)
        if corrupt:
            OF_CORRUPT_ORDERS.add(law)
        return check

    return register


def violations(journal: Iterable[AnyEntry], trouble: str | None = None) -> Iterator[Violation]:
    """Yields every breach of a law in a journal, in sequence. `trouble` is why the world never came to rest, or
    None."""
    accounts = Accounts()
    at_s = 0.0
    for entry in journal:
        at_s = entry.at_s
        for law, check in STEP_CHECKS.get(type(entry), ()):
            for about, words in check(entry, accounts):
                yield Violation(law, about, words, at_s, accounts.index)
        accounts.note(entry)
    if trouble is not None:
        yield Violation("L4: the world comes to rest", "", trouble, at_s, accounts.index)
    elif accounts.rested:
        for law, rests in REST_CHECKS:
            if accounts.restored and law not in AFTER_A_RESTORE:
                continue
            for about, words in rests(accounts):
                if about in accounts.corrupt and law not in OF_CORRUPT_ORDERS:
                    continue
                yield Violation(law, about, words, at_s, accounts.index)


def judge(journal: Iterable[AnyEntry], trouble: str | None = None) -> Violation | None:
    """The first breach, or None where every law held."""
    return next(violations(journal, trouble), None)


# The laws register themselves: this import stands last, because the laws import this module.
from tests.simulation import history, laws_at_rest, laws_of_documents, laws_of_money, laws_of_the_store  # noqa: E402, F401
