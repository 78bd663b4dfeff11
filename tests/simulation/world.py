"""One world: one store, one Stripe, one bus, the processes, the customers and the orders service, on one virtual clock.

It carries a plan out and judges nothing: the checks judge, by the journal. All that it does is a function of the plan.
Faults act through its few methods: conditions that last (`switch_on`), strikes at a call or at a time, and operations
on a process.
"""

from __future__ import annotations

import random
import re
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from payment.core.account import BoundAccount
from payment.core.order import Order
from payment.ops.health import Dependency
from payment.ports.store import DeadLetter
from tests.simulation import before
from tests.simulation.bus import SimBus
from tests.simulation.calls import Call, Carrier, Surprise
from tests.simulation.clock import Chances, SimClock
from tests.simulation.customers import Customer
from tests.simulation.edits import Edits
from tests.simulation.events import payload, subject_of
from tests.simulation.faults import FAULTS
from tests.simulation.faults_of_the_store import NOTICED_WITHIN_S
from tests.simulation.journal import FaultStruck, Journal, LineLogged, Readiness, StoreRestored, Wrote
from tests.simulation.loop import START_S, Ready, VirtualLoop
from tests.simulation.network import Network
from tests.simulation.plan import EventPlan, OrderPlan, Plan, Strike
from tests.simulation.process import Process
from tests.simulation.stripe import OTHER_ACCOUNT, SimStripe
from tests.support.fakes.store import FakeDatabase

OTHER_KEY = "key of another account"
"""The fault that gives a process such a key: the database then belongs to the right account from the beginning."""
ACK_WAIT_S = 8.0
"""How long the bus waits for an ack, in seconds. The contract asks for 5 s or more."""
RESTART_AFTER_S = 0.5
"""How soon the platform restarts a process that has ended by itself, in seconds."""
ADDRESS = re.compile(r"0x[0-9a-f]{4,}")
FOLDER = re.compile(r'File "[^"]*/(?=(?:payment|tests|asyncio|aiohttp)/)')
"""The location of the code is no part of a world: a copy elsewhere runs the same one."""


class World:
    """The whole world, on a loop of its own or on one that runs already."""

    def __init__(self, plan: Plan, loop: VirtualLoop | None = None) -> None:
        self.plan = plan
        self.loop = loop or VirtualLoop(random.Random(plan.seed).random, self.uncaught)
        self.chances = Chances(plan.seed)
        self.journal = Journal(lambda: self.now_s)
        self.clock = SimClock(self.loop)
        self.database = FakeDatabase()
        self.stripe = SimStripe(self)
        self.other_stripe = SimStripe(self, OTHER_ACCOUNT)
        """Another account, or another environment's: a process may be given its key (F48)."""
        if any(strike.fault == OTHER_KEY for strike in plan.strikes):
            self.database.account = BoundAccount(self.stripe.account, self.clock.now(), "an earlier process")
        self.bus = SimBus(self, ACK_WAIT_S)
        self.network = Network(self.loop, self.chances)
        self.carrier = Carrier(self.loop, self.chances.latency_s)
        self.processes = [Process(self, f"p{number + 1}") for number in range(plan.processes)]
        self.customers = [Customer(self, order, press) for order in plan.orders for press in order.presses]
        self.edits = Edits(self)
        self.at_rest = False
        self._halt_ends_s = 0.0
        self.halted = False
        """No process runs, and none starts or wakes."""
        self.restores = 0
        """How often the store was restored: requests sent to it before are lost."""
        self._backup: tuple[dict[str, bytes], dict[str, DeadLetter]] = ({}, {})
        self.changes = 0
        """Counts relevant changes: while the count stays, nothing happens."""
        self._conditions: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._armed: defaultdict[tuple[str, int], list[Strike]] = defaultdict(list)
        self._requests = 0

    @property
    def now_s(self) -> float:
        return round(self.loop.time() - START_S, 6)

    def later(self, seconds: float, act: Callable[..., object], *args: object) -> Ready:
        """Do something in the world's context."""
        return self.loop.call_later(seconds, act, *args, context=self.loop.world.context)

    # -------------------------------------------------------------------------------------------------- the plan begins

    def begin(self) -> None:
        """Start all that the plan contains. Called in the world's context."""
        for strike in self.plan.strikes:
            if strike.on:
                self._armed[strike.on, strike.nth].append(strike)
            elif strike.at_s <= 0:
                self.strike(strike, None)
            else:
                self.later(strike.at_s, self._strike_in_time, strike)
        for process in self.processes:
            self.later(0.3 * self.chances.next("start"), process.start)
        for order in self.plan.orders:
            if order.left_behind_s is not None:
                self._leave_behind(order, order.left_behind_s)
            for event in order.events:
                self.later(event.at_s, self._publish, order, event)
        for customer, at_s in zip(self.customers, self._press_times(), strict=True):
            self.later(at_s, customer.begin)

    def _leave_behind(self, plan: OrderPlan, charged_at_s: float) -> None:
        """An order that release 0.1.0 was charging when it ended."""
        order = before.left_behind(plan)
        self.database.put(order)
        self.wrote(Wrote(self.now_s, before.WRITER, order, lost_answer=False))
        if charged_at_s >= 0:
            self.stripe.charge_later(plan.id, before.payment_id_of(plan), charged_at_s)

    def _press_times(self) -> list[float]:
        return [press.at_s for order in self.plan.orders for press in order.presses]

    def next_event_s(self) -> float | None:
        """When the orders service publishes next; None: it has published all."""
        times = [event.at_s for order in self.plan.orders for event in order.events]
        return min((at_s for at_s in times if at_s >= self.now_s), default=None)

    def _publish(self, order: OrderPlan, event: EventPlan) -> None:
        for copy in range(event.copies):
            data = payload(order, event)
            self.later(copy * self.chances.next("copy"), self.bus.put, "orders", subject_of(event), data)

    # ------------------------------------------------------------------------------------------------------- the faults

    def happens(self, hook: str, process: Process) -> Call:
        """Count a call, and let the strikes that were planned for it strike."""
        nth = self._counts[hook] = self._counts[hook] + 1
        call = Call(hook, process, nth)
        if hook not in QUIET:
            self.changes += 1
        for strike in self._armed.get((hook, nth), ()):
            self.strike(strike, call)
        return call

    def requested(self, host: str) -> None:
        """A customer sent a request to a process."""
        process = self.named(host)
        if process is not None:
            self.happens("http.request", process)

    def strike(self, strike: Strike, call: Call | None) -> None:
        fault = FAULTS[strike.fault]
        where = f"{strike.on} {strike.nth}" if strike.on else strike.who
        detail = f"{where} for {strike.for_s:g} s, {strike.amount:g}".strip()
        self.journal.add(FaultStruck(self.now_s, "world", fault.name, fault.rows, detail))
        self.changes += 1
        fault.do(self, strike, call)

    def _strike_in_time(self, strike: Strike) -> None:
        if not self.at_rest:
            self.strike(strike, None)

    def is_on(self, condition: str) -> bool:
        return self._conditions[condition] > 0

    def switch_on(self, condition: str, for_s: float) -> None:
        """Let a condition last. Several of one kind may overlap."""
        self._conditions[condition] += 1
        if condition == "bus away":
            self.bus.go_away()
        self.later(for_s, self._switch_off, condition)

    def _switch_off(self, condition: str) -> None:
        if self._conditions[condition] > 0:
            self._conditions[condition] -= 1
            if condition == "bus away" and not self.is_on(condition):
                self.bus.come_back()

    def note_readiness(self, condition: str) -> None:
        """Record what each process's readiness reports of a store that has met a condition for ten seconds."""
        if self.at_rest or not self.is_on(condition):
            return
        for process in self.processes:
            ran_s = self.now_s - process.running_since_s
            if process.service is not None and process.alive and not process.paused and ran_s >= NOTICED_WITHIN_S:
                up = process.service.health.is_up(Dependency.MONGODB)
                self.journal.add(Readiness(self.now_s, process.name, condition, up))

    def halt_all(self, for_s: float, *, paused: bool) -> None:
        """Pause or kill every process. Processes that are to start or wake meanwhile do so at the end."""
        self._halt_ends_s = max(self._halt_ends_s, self.now_s + for_s)
        self.halted = True
        for process in self.processes:
            (process.pause if paused else process.kill)()
        self.later(for_s, self._halt_over)

    def _halt_over(self) -> None:
        """End the halt: of two halts that overlap the longer one counts."""
        if self.now_s < self._halt_ends_s:
            return
        self.halted = False
        for process in self.processes:
            process.wake()
            process.start()

    def take_a_backup(self) -> None:
        """Keep what the store holds now: `put_back` restores it."""
        documents = self.database.documents | self.edits.as_before()
        self._backup = (documents, dict(self.database.dead_letters))

    def put_back(self) -> None:
        """Stop every process, restore the store to its backup, and start the processes again (F47).

        Requests on their way to the store are lost: a server that is being restored accepts nothing.
        """
        for process in self.processes:
            process.kill()
        documents, dead_letters = self._backup
        self.database.documents, self.database.dead_letters = dict(documents), dict(dead_letters)
        self.edits.forgotten()
        self.restores += 1
        self.changes += 1
        self.journal.add(StoreRestored(self.now_s, "world", tuple(self.orders())))
        for process in self.processes:
            self.later(RESTART_AFTER_S, process.start)

    def faults_off(self) -> None:
        """Switch all faults off: everything is reachable, and every process runs by a right clock."""
        self.at_rest = True
        self._armed.clear()
        self._conditions.clear()
        self.halted = False
        self.bus.come_back()
        for process in self.processes:
            process.clock.offset *= 0
            process.owner.at_handle = None
            process.wake()
            if process.limits is not None:
                process.limits = None
                process.stop()
            process.start()
            process.use_right_key()

    def target(self, strike: Strike, call: Call | None) -> Process | None:
        """The process that a strike is about: the one it names, else the one whose call it is."""
        if strike.who:
            return self.named(strike.who)
        return call.process if call is not None else None

    # -------------------------------------------------------------------------------------------------------- queries

    def named(self, name: str) -> Process | None:
        return next((each for each in self.processes if each.name == name), None)

    def some_process(self) -> str:
        """The process that the router sends the next request to."""
        return self.processes[int(self.chances.next("router") * len(self.processes))].name

    def next_request(self) -> int:
        self._requests += 1
        return self._requests

    def wrote(self, entry: Wrote) -> None:
        self.changes += 1
        self.journal.add(entry)

    def exited(self, process: Process) -> None:
        """Restart the process, as the platform does."""
        self.later(RESTART_AFTER_S, process.start)

    def orders(self) -> list[Order]:
        """All stored orders, but for those whose documents were edited."""
        return [order for order in self.database.orders() if not self.edits.is_corrupt(order.id)]

    def orders_due(self) -> list[Order]:
        return [order for order in self.orders() if order.due is not None]

    # ---------------------------------------------------------------------------------------------------------- the log

    def log_line(self, level: str, fields: dict[str, Any]) -> None:
        """Record a line of a process's log."""
        event = str(fields.pop("event", ""))
        error = fields.pop("exc_info", None)
        plain = {name: value if type(value) in PLAIN else str(value) for name, value in fields.items()}
        if isinstance(error, BaseException):
            plain["exception"] = reported(error)
        self.journal.add(LineLogged(self.now_s, self.loop.current.name, level, event, plain))

    def uncaught(self, context: dict[str, Any], name: str | None = None) -> None:
        """Record what asyncio would have printed."""
        fields: dict[str, Any] = {"message": ADDRESS.sub("0x", str(context.get("message", "")))}
        error = context.get("exception")
        if error is not None:
            fields["exception"] = reported(error)
        self.journal.add(
            LineLogged(self.now_s, name or self.loop.current.name, "critical", "uncaught_exception", fields)
        )


PLAIN = (str, int, float, bool, type(None))
QUIET = frozenset(
    {
        "store.account",
        "store.due",
        "store.rechecks",
        "store.prepare",
        "store.probe",
        "store.missing_indexes",
        "store.ping",
        "stripe.check",
        "stripe.permission",
    }
)
"""Calls that an idle process makes again and again."""


def reported(error: BaseException) -> str:
    """An exception with its traceback; an exception of the simulation itself by its message."""
    if isinstance(error, Surprise):
        return f"Surprise: {error}"
    text = FOLDER.sub('File "', "".join(traceback.format_exception(error)))
    return ADDRESS.sub("0x", text.rstrip())
