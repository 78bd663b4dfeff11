"""The base classes of faults. A newcomer adds a fault in ten lines, at the end of the file that it belongs to:

    class AnswerLost(AtCall):
        name = "answer of Stripe lost"
        rows = ("F09",)
        hooks = ("stripe.confirm",)

        def apply(self, call: Call, strike: Strike) -> None:
            call.loses_answer = True

A fault has a name, the rows of the fault table that it exercises, the strikes that a seed draws of it (`draw`), and its
effect (`do`). It acts through the world's methods and through `Call`; its `Strike` holds all that was drawn. A fault
that has a name is in `faults.FAULTS`. One more fault changes what every seed draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tests.simulation.calls import Call
from tests.simulation.dice import Dice
from tests.simulation.plan import Strike

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

ANY_CALL = (
    "store.commit",
    "store.commit",
    "store.commit",
    "stripe.create",
    "stripe.confirm",
    "stripe.confirm",
    "stripe.retrieve",
    "stripe.cancel",
    "stripe.refund",
    "bus.publish",
    "bus.ack",
    "http.request",
)
"""Calls after which a fault may strike a process: each is a step of a charge."""


class Fault:
    """One way in which the world fails."""

    name: ClassVar[str] = ""
    rows: ClassVar[tuple[str, ...]] = ()
    known: ClassVar[dict[str, Fault]] = {}
    """Every fault that has a name, in the order of their definition."""

    def __init_subclass__(cls) -> None:
        if cls.name:
            Fault.known[cls.name] = cls()

    def draw(self, dice: Dice) -> Strike:
        """Returns one strike, drawn for a seed."""
        raise NotImplementedError

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        """Strike. `call` is the call that the strike was drawn for, or None."""
        raise NotImplementedError


class AtCall(Fault):
    """Strikes one call of a kind."""

    hooks: ClassVar[tuple[str, ...]]
    amount: ClassVar[tuple[float, float]] = (0.0, 0.0)
    """The bounds of `Strike.amount`, with each order of magnitude equally likely."""

    def draw(self, dice: Dice) -> Strike:
        hook = dice.one_of(self.hooks)
        return Strike(self.name, on=hook, nth=dice.nth(hook), amount=dice.spread(*self.amount))

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        if call is not None:
            self.apply(call, strike)

    def apply(self, call: Call, strike: Strike) -> None:
        """Change the call."""
        raise NotImplementedError


class Lasting(Fault):
    """A condition that lasts."""

    condition: ClassVar[str]
    longest_s: ClassVar[float] = 15.0

    def draw(self, dice: Dice) -> Strike:
        return Strike(self.name, at_s=dice.time(), for_s=dice.spread(0.2, self.longest_s))

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        world.switch_on(self.condition, strike.for_s)


class AtProcess(Fault):
    """Strikes a process: at a time, or some handles after one of its calls."""

    lasts_s: ClassVar[tuple[float, float]] = (0.0, 0.0)
    handles: ClassVar[int] = 14
    """The most handles between a call and the strike. A call and its consequences run about as many."""

    def draw(self, dice: Dice) -> Strike:
        for_s = dice.spread(*self.lasts_s)
        if dice.chance(0.3):
            return Strike(self.name, at_s=dice.time(), who=dice.process(), for_s=for_s)
        hook = dice.one_of(ANY_CALL)
        return Strike(self.name, on=hook, nth=dice.nth(hook), for_s=for_s, amount=float(dice.below(self.handles)))

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        process = world.target(strike, call)
        if process is None or not process.alive:
            return
        if call is None:
            self.hit(world, process, strike)
        else:
            process.owner.after_handles(int(strike.amount), lambda: self.hit(world, process, strike))

    def hit(self, world: World, process: Process, strike: Strike) -> None:
        """Strike the process. Called in the world's context."""
        raise NotImplementedError
