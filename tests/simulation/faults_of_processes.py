"""The faults of a process: killed, paused, stopped, its clock, its actors, its mailboxes (F03 to F08, F32 to F39)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from payment.service import MailboxLimits
from tests.simulation.calls import Call
from tests.simulation.dice import HOUR_S, Dice
from tests.simulation.fault import AtCall, AtProcess, Fault
from tests.simulation.plan import Strike
from tests.simulation.process import DEPLOY_S

if TYPE_CHECKING:
    from tests.simulation.loop import Owner
    from tests.simulation.process import Process
    from tests.simulation.world import World


class ProcessKilled(AtProcess):
    name, rows = "process killed", ("F03", "F04", "F05", "F06", "F07", "F08", "F33")
    lasts_s = (0.1, 12.0)

    def hit(self, world: World, process: Process, strike: Strike) -> None:
        process.kill()
        world.later(strike.for_s, process.start)


class ProcessPaused(AtProcess):
    name, rows, lasts_s = "process paused", ("F34",), (0.5, 90.0)

    def hit(self, world: World, process: Process, strike: Strike) -> None:
        process.pause()
        world.later(strike.for_s, self._over, world, process, process.owner)

    def _over(self, world: World, process: Process, owner: Owner) -> None:
        """During the rest, `Rest` wakes and pauses processes: a process that ran on would be idle for hours."""
        if process.owner is owner and not world.at_rest:
            process.wake()


class Terminated(AtProcess):
    name, rows = "SIGTERM", ("F33",)

    def hit(self, world: World, process: Process, strike: Strike) -> None:
        process.stop()


class ClockAhead(AtProcess):
    # An attempt that begins then is rechecked until its own time is over: a year of rechecks shows no more than three
    # days.
    name, rows, lasts_s = "clock jumps ahead", ("F38",), (60.0, 72 * HOUR_S)

    def hit(self, world: World, process: Process, strike: Strike) -> None:
        process.jump(strike.for_s)


class ClockBack(AtProcess):
    name, rows, lasts_s = "clock jumps back", ("F38",), (60.0, 400 * 24 * HOUR_S)

    def hit(self, world: World, process: Process, strike: Strike) -> None:
        process.jump(-strike.for_s)


class NoProcessRuns(Fault):
    """Every process is killed, or (`amount` 1) paused, until keys grow old."""

    name, rows = "no process runs for hours", ("F17", "F34")

    def draw(self, dice: Dice) -> Strike:
        for_s = dice.spread(120.0, 30 * HOUR_S) if dice.chance(0.5) else dice.between(22 * HOUR_S, 27 * HOUR_S)
        return Strike(self.name, at_s=dice.time(), for_s=for_s, amount=float(dice.below(2)))

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        world.halt_all(strike.for_s, paused=bool(strike.amount))


class OtherKey(Fault):
    """A process starts with the key of another account, and later with the right one again."""

    name, rows = "key of another account", ("F48",)

    def draw(self, dice: Dice) -> Strike:
        return Strike(self.name, at_s=dice.time(), who=dice.process(), for_s=dice.spread(0.5, 20.0))

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        process = world.target(strike, call)
        if process is None or world.halted:
            return
        process.other_key = True
        process.kill()
        world.later(DEPLOY_S, process.start)
        world.later(DEPLOY_S + strike.for_s, process.use_right_key)


class ActorCrash(AtCall):
    name, rows = "actor crashes", ("F32",)
    hooks = (
        "store.commit",
        "store.load",
        "store.due",
        "stripe.create",
        "stripe.confirm",
        "stripe.retrieve",
        "stripe.cancel",
        "stripe.refund",
        "bus.publish",
    )

    def apply(self, call: Call, strike: Strike) -> None:
        call.surprises = True


class ActorHang(AtCall):
    name, rows = "actor hangs", ("F32",)
    hooks = ("store.commit", "stripe.create", "stripe.confirm", "stripe.cancel", "stripe.refund", "bus.publish")

    def apply(self, call: Call, strike: Strike) -> None:
        call.hangs = True


class NarrowMailboxes(Fault):
    """A process begins with mailboxes that are nearly always full. `amount` is the capacity of the ledger's for
    requests."""

    name, rows = "narrow mailboxes", ("F39",)

    def draw(self, dice: Dice) -> Strike:
        return Strike(self.name, who=dice.process(), amount=float(dice.one_of((1, 2, 258, 259))))

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        process = world.target(strike, call)
        if process is not None:
            process.limits = MailboxLimits(ledger=int(strike.amount), stripe=1, nats=1)
