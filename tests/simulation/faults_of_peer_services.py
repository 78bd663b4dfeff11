"""The faults of the store and of the bus (F01, F07, F08, F25, F26, F28, F29, F41, F43, F47, F54)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from payment.core.effects import OUTGOING_SUBJECTS
from tests.simulation.bus import refuses
from tests.simulation.calls import Call
from tests.simulation.dice import HOUR_S, Dice
from tests.simulation.fault import AtCall, Fault, Lasting
from tests.simulation.plan import Strike

if TYPE_CHECKING:
    from tests.simulation.world import World

COMMIT = ("store.commit",)


class StoreAway(Lasting):
    name, rows, condition, longest_s = "store away", ("F25",), "store away", 8.0


class WritesAway(Lasting):
    name, rows, condition, longest_s = "store takes no writes", ("F25",), "store writes away", 8.0


class WriteUnanswered(AtCall):
    name, rows, hooks = "answer of a write lost", ("F26",), COMMIT

    def apply(self, call: Call, strike: Strike) -> None:
        call.loses_answer = True


class WriteLost(AtCall):
    name, rows, hooks = "write lost", ("F26", "F43"), COMMIT

    def apply(self, call: Call, strike: Strike) -> None:
        call.loses_request = True


class WriteHeld(AtCall):
    name, rows, hooks, amount = "write lands late", ("F26", "F34"), COMMIT, (0.5, 40.0)

    def apply(self, call: Call, strike: Strike) -> None:
        call.late_s = strike.amount


class WriteTwice(AtCall):
    name, rows, hooks = "write arrives twice", ("F26",), COMMIT

    def apply(self, call: Call, strike: Strike) -> None:
        call.copies = 2


class ReadLost(AtCall):
    name, rows, hooks = (
        "read fails",
        ("F25",),
        ("store.load", "store.load_by_payment", "store.due", "store.bury"),
    )

    def apply(self, call: Call, strike: Strike) -> None:
        call.loses_answer = True


class DocumentRejected(AtCall):
    name, rows, hooks = "document refused", ("F41",), COMMIT

    def apply(self, call: Call, strike: Strike) -> None:
        call.rejected_document = True


class DatabaseRestored(Fault):
    """The store is restored to its state of `for_s` before. Past `busy_s` no process runs until then."""

    name, rows = "database restored", ("F47",)
    busy_s = 10.0
    """For this long all processes go on after the backup, in seconds; the rest of a long time is skipped."""

    def draw(self, dice: Dice) -> Strike:
        for_s = dice.spread(0.2, 8.0) if dice.chance(0.8) else dice.spread(HOUR_S, 30 * HOUR_S)
        return Strike(self.name, at_s=dice.time(), for_s=for_s)

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        world.take_a_backup()
        if strike.for_s > self.busy_s:
            world.later(self.busy_s, lambda: world.halt_all(strike.for_s - self.busy_s - 1.0, paused=False))
        world.later(strike.for_s, world.put_back)


class BusAway(Lasting):
    name, rows, condition, longest_s = "bus away", ("F28",), "bus away", 10.0


class PublishUnanswered(AtCall):
    name, rows, hooks = "answer to a publish lost", ("F07",), ("bus.publish",)

    def apply(self, call: Call, strike: Strike) -> None:
        call.loses_answer = True


class PublishLost(AtCall):
    name, rows, hooks = "publish lost", ("F28",), ("bus.publish",)

    def apply(self, call: Call, strike: Strike) -> None:
        call.loses_request = True


class PublishesRefused(Fault):
    """The bus is reachable, and rejects the events of one of our subjects, or of both."""

    name, rows, longest_s = "publishes refused", ("F54",), 40.0

    def draw(self, dice: Dice) -> Strike:
        at_s, for_s = dice.time(), dice.spread(0.5, self.longest_s)
        return Strike(self.name, at_s=at_s, for_s=for_s, amount=float(dice.below(len(OUTGOING_SUBJECTS) + 1)))

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        which = int(strike.amount)
        for subject in OUTGOING_SUBJECTS if which == len(OUTGOING_SUBJECTS) else OUTGOING_SUBJECTS[which : which + 1]:
            world.switch_on(refuses(subject), strike.for_s)


class EventRefused(AtCall):
    """The bus rejects one event, at one try."""

    name, rows, hooks = "event refused", ("F54",), ("bus.publish",)

    def apply(self, call: Call, strike: Strike) -> None:
        call.refused = True


class AckLost(AtCall):
    name, rows, hooks = "ack lost", ("F08",), ("bus.ack",)

    def apply(self, call: Call, strike: Strike) -> None:
        call.loses_request = True


class DeliveredTwice(AtCall):
    name, rows, hooks = "event delivered twice", ("F01",), ("bus.deliver",)

    def apply(self, call: Call, strike: Strike) -> None:
        call.copies = 2


class DeliveredLate(AtCall):
    name, rows, hooks, amount = "event delivered late", ("F29",), ("bus.deliver",), (0.5, 20.0)

    def apply(self, call: Call, strike: Strike) -> None:
        call.late_s = strike.amount
