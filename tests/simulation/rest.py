"""The rest: faults are off, and time runs until nothing is due, nothing is in flight and no customer waits.

Nothing happens for most of that time: the rest jumps to just before the next due time, with all processes paused, or
one restarted. So an idle day costs nothing, and the rest is full of processes that stood still for long. Change
together: what "at rest" means, and the laws that hold then (`checks`).
"""

from typing import TYPE_CHECKING

from payment.core.order import AttemptState, Order, TaskKind
from tests.simulation.accounts import tasks_of
from tests.simulation.clock import BEGINNING
from tests.simulation.journal import RestChanged, StayedReachable

if TYPE_CHECKING:
    from tests.simulation.world import World

STEP_S = 0.6
"""Between checks whether all is at rest, in seconds: as long as a process that wakes needs for its due work."""
CALM_STEP_S = 1.3
"""The last check comes after each process has swept once more, in seconds."""
JUMP_OVER_S = 6.0
"""The rest jumps to work that is due later than this, in seconds."""
HANG_SHOWS_S = 100.0
"""A supervisor does not judge a process that stands still now and then: the rest waits for a hang, and does not skip
it."""
LIMIT_S = 300 * 86_400.0
"""Past this nothing of a schedule can be due any more: a bank takes 60 days to decide, and a charge that was given back
is rechecked for 30; three times, where refunds fail."""
CALM_STEPS = 1
"""This many checks in a row must find everything at rest, before the last."""
KNOWN_AFTER_S = 31.0
"""The rest waits this long for unknown outcomes, without a break: the law says 30 s."""
GROWING = 0.4
"""While the rest waits for customers alone, each jump is longer by this share of the time that has passed: an intent
may await its customer for a day, and is retrieved once a minute."""
AHEAD = "clock jumps ahead"
"""The work that a process with a clock ahead has planned is due as much later."""
STEPS_LIMIT = 4_000


class NoRest(Exception):
    """The world does not come to rest."""


class Rest:
    """Runs the world from the end of the faults to its end."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._calm = 0
        self._steps = 0
        self._began_s = 0.0
        self._broken = False
        """Whether a process has been paused or killed since the rest began, or may be from now on."""
        self._limit_s = LIMIT_S + sum(strike.for_s for strike in world.plan.strikes if strike.fault == AHEAD)

    def begin(self) -> None:
        world = self._world
        world.journal.add(RestChanged(world.now_s, "world", False))
        self._began_s = world.now_s
        world.faults_off()
        for customer in world.customers:
            customer.repeat_at_rest()
        world.later(STEP_S, self._step)

    def _step(self) -> None:
        world = self._world
        self._steps += 1
        if world.now_s - self._began_s > self._limit_s or self._steps > STEPS_LIMIT:
            raise NoRest(self.why())
        if self._at_rest():
            return self._calm_down()
        self._calm = 0
        for customer in world.customers:
            customer.repeat_at_rest()
        next_s = self._next_s()
        if not self._broken and self._stays_awake():
            pass
        elif next_s is None:
            self._wake_all()
        elif next_s > world.now_s + (HANG_SHOWS_S if world.carrier.hung else JUMP_OVER_S):
            return self._jump(next_s)
        world.later(STEP_S, self._step)
        return None

    def _stays_awake(self) -> bool:
        """Whether an outcome is unknown, or the law on unknown outcomes has not been checked yet."""
        world = self._world
        awake_s = world.now_s - self._began_s
        if awake_s < KNOWN_AFTER_S and any(unknown(order) for order in world.orders()):
            return True
        self._broken = True
        if awake_s >= KNOWN_AFTER_S:
            world.journal.add(StayedReachable(world.now_s, "world", 30.0))
        return False

    def _calm_down(self) -> None:
        """All is at rest. Paused processes wake, and nothing may come of that."""
        self._calm += 1
        if self._calm > CALM_STEPS:
            return self._end()
        self._wake_all()
        self._world.later(CALM_STEP_S, self._step)
        return None

    def _at_rest(self) -> bool:
        world = self._world
        busy = bool(world.carrier.in_flight or world.bus.unsettled or world.stripe.coming or world.edits.coming)
        busy = busy or any(customer.waits for customer in world.customers)
        busy = busy or any(order.recheck is not None for order in world.database.orders())
        return not busy and world.next_event_s() is None and all(self._blocked(order) for order in world.orders_due())

    def why(self) -> str:
        """Returns what keeps the world from its rest."""
        world = self._world
        due = [f"{order.id} is due at {order.due}" for order in world.orders_due() if not self._blocked(order)]
        due += [
            f"{order.id} is rechecked at {order.recheck}"
            for order in world.database.orders()
            if order.recheck is not None
        ]
        waiting = ["a customer waits" for customer in world.customers if customer.waits]
        unsettled = ["the bus has unacknowledged events"] if world.bus.unsettled else []
        unsettled += ["a charge is to come"] if world.stripe.coming else []
        unsettled += ["a document is to be corrected"] if world.edits.coming else []
        in_flight = [f"{len(world.carrier.in_flight)} requests are on their way"] if world.carrier.in_flight else []
        return "; ".join((*due, *waiting, *unsettled, *in_flight))

    def _wake_all(self) -> None:
        for process in self._world.processes:
            process.wake()

    def _next_s(self) -> float | None:
        """When the next awaited event happens; None: at once."""
        world = self._world
        if any(customer.under_way for customer in world.customers):
            return None
        repeats = [customer.again_at_s for customer in world.customers if customer.waits and not customer.known]
        repeats += [customer.bank_at_s for customer in world.customers if customer.bank_at_s is not None]
        # A refund that Stripe blocks is rechecked each hour, and nothing changes: that is no reason to wake.
        due = [order.due for order in world.orders_due() if not self._blocked(order)]
        due += [order.recheck for order in world.database.orders()]
        times = [(at - BEGINNING).total_seconds() for at in due if at is not None]
        landing = [at_s - world.loop.time() + world.now_s for at_s in world.carrier.in_flight.values()]
        event_s = world.next_event_s()
        events = [] if event_s is None else [event_s]
        coming = (*world.stripe.coming, *world.edits.coming.values())
        return min((*times, *landing, *repeats, *events, *coming, *world.bus.next_s()), default=None)

    def _blocked(self, order: Order) -> bool:
        """Whether all due work of an order is a refund that Stripe itself keeps blocking (F44)."""
        attempts = [each for each in order.attempts if each.task is not None]
        events = [event for event in order.outbox if event.task is not None]
        intent = order.intent is not None and order.intent.task is not None
        blocked = all(each.state is AttemptState.BLOCKED and self._world.stripe.blocks(each) for each in attempts)
        return not events and not intent and blocked

    def _jump(self, next_s: float) -> None:
        """Let time pass with no process running, to shortly before or after the next event."""
        world = self._world
        for process in world.processes:
            process.pause()
        until_s = next_s - 0.3 + 1.5 * world.chances.next("jump")
        due = world.orders_due()
        if due and all(awaits_a_customer(order) for order in due):
            until_s += GROWING * (world.now_s - self._began_s)
        world.later(max(until_s - world.now_s, 0.0), self._go_on)

    def _go_on(self) -> None:
        """One process is enough for the due work; which one, and whether it is a new one, is drawn."""
        world = self._world
        process = world.processes[int(world.chances.next("awake") * len(world.processes))]
        if world.chances.next("anew") < 0.2:
            process.kill()
            process.start()
        process.wake()
        world.later(STEP_S, self._step)

    def _end(self) -> None:
        world = self._world
        world.journal.add(RestChanged(world.now_s, "world", True))
        world.loop.end()


def unknown(order: Order) -> bool:
    """Whether the outcome of an attempt is not known, and it awaits no customer."""
    attempt = order.unsettled
    return attempt is not None and attempt.state in (AttemptState.CONFIRMING, AttemptState.CANCELLING)


def awaits_a_customer(order: Order) -> bool:
    """Whether all due work of an order is the retrieval of an intent that a customer may pay by."""
    tasks = tasks_of(order)
    intent = order.intent
    return intent is not None and tasks == [intent.task] and tasks[0].kind is TaskKind.RECHECK_LATER
