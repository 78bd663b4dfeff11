"""What must hold at every step of a journal, and what must hold once all rests: the judge of the simulation.

A check is a small function under `@step(EntryType, law=…)` or `@rest(law=…)`. It gets the entry and the books as they
stood before it, and yields the order and, in words, what contradicts what. A newcomer adds one in five lines, with a
test of a journal made by hand that it catches: a check that can't fail is none.

Owns: the register and the verdict. The laws stand in `laws_of_paper`, `laws_of_money`, `laws_of_the_store`,
`laws_at_rest` and `history`.
Must never look at anything but the journal. Change together: those files, `tests/simulation/test_checks.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from msgspec import Struct

from tests.simulation.accounts import Accounts
from tests.simulation.journal import AnyEntry

Breach = tuple[str, str]
"""The order (or process, or "" for none), and in words what contradicts what."""
StepCheck = Callable[[Any, Accounts], Iterator[Breach]]
RestCheck = Callable[[Accounts], Iterator[Breach]]
S = TypeVar("S", bound=StepCheck)
R = TypeVar("R", bound=RestCheck)


class Violation(Struct, frozen=True):
    """A law that was broken. `index` is the entry of the journal at which it showed."""

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
"""Laws of the rest that hold after the store was put back to an earlier state, too: only the first one can."""
OF_CORRUPT_ORDERS: set[str] = set()
"""Laws of the rest that hold of an order too whose document was edited and never corrected (F50): nothing is done for
such an order, but its card is not charged twice, and nobody was told what is not so."""


def step(*entries: type, law: str) -> Callable[[S], S]:
    """Register a check of entries of these types."""

    def register(check: S) -> S:
        for entry in entries:
            STEP_CHECKS[entry].append((law, check))
        return check

    return register


def rest(*, law: str, restored: bool = False, corrupt: bool = False) -> Callable[[R], R]:
    """Register a check of the books at rest.

    `restored`: also where the store was put back meanwhile; `corrupt`: also of orders whose documents stay corrupt.
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
    """Every breach of a law in a journal, as it shows. `trouble` is the world's own: it never came to rest."""
    accounts = Accounts()
    at_s = 0.0
    for entry in journal:
        at_s = entry.at_s
        for law, check in STEP_CHECKS.get(type(entry), ()):
            for about, words in check(entry, accounts):
                yield Violation(law, about, words, at_s, accounts.index)
        accounts.note(entry)
    if trouble is not None:
        yield Violation("L4: things come to rest", "", trouble, at_s, accounts.index)
    elif accounts.rested:
        for law, rests in REST_CHECKS:
            if accounts.restored and law not in AFTER_A_RESTORE:
                continue
            for about, words in rests(accounts):
                if about in accounts.corrupt and law not in OF_CORRUPT_ORDERS:
                    continue
                yield Violation(law, about, words, at_s, accounts.index)


def judge(journal: Iterable[AnyEntry], trouble: str | None = None) -> Violation | None:
    """The first breach, or None: every law held."""
    return next(violations(journal, trouble), None)


# The laws register themselves. They stand last, for they import this module.
from tests.simulation import history, laws_at_rest, laws_of_money, laws_of_paper, laws_of_the_store  # noqa: E402, F401
