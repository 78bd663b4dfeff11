"""The faults of an operator with access to the database (F50)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payment.core.order import FORMAT
from tests.simulation.calls import Call
from tests.simulation.dice import Dice
from tests.simulation.edits import Change
from tests.simulation.fault import Fault
from tests.simulation.plan import Strike

if TYPE_CHECKING:
    from tests.simulation.world import World

AFTER_A_CALL_S = 0.05
"""This long after a write left its process, in seconds, it has most likely arrived, and its answer has not."""


def _of_last_attempt(name: str, value: Any) -> Change:
    def change(document: dict[str, Any]) -> bool:
        attempts = document.get("payment", {}).get("attempts", [])
        if not attempts or attempts[-1][name] == value:
            return False
        attempts[-1][name] = value
        return True

    return change


def _of_payment(name: str, value: Any) -> Change:
    def change(document: dict[str, Any]) -> bool:
        if "payment" not in document or (value is None and not document["payment"].get("attempts")):
            return False
        document["payment"][name] = value
        return True

    return change


def _of_order(name: str, value: Any) -> Change:
    def change(document: dict[str, Any]) -> bool:
        document[name] = value
        return True

    return change


CHANGES: tuple[Change, ...] = (
    _of_order("status", "perhaps"),
    _of_order("amount", "1999"),
    _of_order("expiresAt", "2030-01-01T12:00:00"),
    _of_order("rev", None),
    _of_order("format", FORMAT + 1),
    _of_payment("kept", 77),
    _of_payment("kept", 0),
    _of_last_attempt("state", "refunded"),
    _of_last_attempt("state", "paid"),
    _of_last_attempt("number", 99),
)
"""The edits: each makes a corrupt document of any order that has the field."""


class DocumentEdited(Fault):
    """An operator makes an order's document corrupt, and corrects it `for_s` later; 0: never."""

    name, rows = "document edited", ("F50",)
    never_corrected = 0.2

    def draw(self, dice: Dice) -> Strike:
        for_s = 0.0 if dice.chance(self.never_corrected) else dice.spread(0.3, 100.0)
        change = float(dice.below(2 * len(CHANGES)))
        if dice.chance(0.4):
            return Strike(self.name, at_s=dice.time(), for_s=for_s, amount=change)
        return Strike(self.name, on="store.commit", nth=dice.nth("store.commit"), for_s=for_s, amount=change)

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        if call is None:
            self._edit(world, strike)
        else:
            world.later(AFTER_A_CALL_S, self._edit, world, strike)

    def _edit(self, world: World, strike: Strike) -> None:
        names = [name for name in sorted(world.database.documents) if not world.edits.is_corrupt(name)]
        if names and not world.at_rest:
            name = names[int(world.chances.next("edited") * len(names))]
            place, counted = divmod(int(strike.amount), 2)
            world.edits.edit(name, CHANGES[place], strike.for_s, counted=bool(counted))
