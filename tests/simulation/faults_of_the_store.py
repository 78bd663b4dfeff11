"""A store that answers and that no charge can use (F52): it refuses writes, has no data, or is away now and then.

Some last until readiness must report them, ten seconds later. `store.py` carries the conditions out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tests.simulation.calls import Call
from tests.simulation.fault import Lasting
from tests.simulation.plan import Strike

if TYPE_CHECKING:
    from tests.simulation.world import World

NOTICED_WITHIN_S = 10.0
"""How long readiness may be wrong, in seconds."""
JUDGED_FOR_S = 12.0
"""A seed waits at most this long for a condition, in seconds: a longer one shows nothing new."""


class Unusable(Lasting):
    """Charges can't use the store, and the journal records readiness where the condition has lasted."""

    longest_s: ClassVar[float] = 15.0
    shows: ClassVar[bool] = True
    """Whether a process without traffic can notice the condition."""

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        super().do(world, strike, call)
        if self.shows and strike.for_s > NOTICED_WITHIN_S:
            world.later(NOTICED_WITHIN_S, world.note_readiness, self.condition)


class WritesRefused(Unusable):
    name, rows, condition = "store refuses writes", ("F52",), "store refuses writes"


class OrdersRefused(Unusable):
    """The store still accepts the writes of probes: a right is missing on one collection."""

    name, rows, condition, shows = "store refuses orders", ("F52",), "store refuses orders", False


class NoData(Unusable):
    """The server that answers pings is alive, and the one that holds the data is not."""

    name, rows, condition = "store has no data", ("F52", "F25"), "store without data"


class Flaps(Unusable):
    """The store is away for a third of a second, again and again."""

    name, rows, condition, shows = "store comes and goes", ("F52", "F25"), "store flaps", False


UNUSABLE = tuple(each.name for each in (WritesRefused, OrdersRefused, NoData, Flaps))
