"""The plan of a round, drawn from its seed alone: its servers, its customers, Stripe's faults, and the strikes.

Owns: every number that makes a round hard. Must never depend on a clock or on the machine: the same seed is the same
plan on every machine. Change together with: `chaos` and `load`, which execute it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from random import Random

LOAD_S = 9.0  # orders begin within this time
CHAOS_S = 11.0  # strikes begin within this time: the last ones hit what the first ones left behind
QUIET_START_S = 0.3  # before the first strike, so that there is something to lose
ORDERS = (40, 80)
STRIKES = (5, 9)
LATE_MS = 9_500  # longer than a call to Stripe may take (8 s): the confirm lands after its caller has given up
PROCESSING_MS = 2_500  # the delay of a bank's decision
AT_BANK_S = 6.0  # the longest that a customer takes to authenticate: processes die and come back meanwhile
FINAL_BLOW_SHARE = 0.4  # of rounds end with kill -9 of every process of the service at once
CHARGE_WAITS_S = (2, 3, 8, 20)
LIMITED_RATE_PER_S = 25.0  # Stripe's own limit for a sandbox account

SERVERS = (
    ("jetstream", "nx"),
    ("streaming", "nx"),
    ("jetstream", "java"),
    ("jetstream", "nx"),
    ("streaming", "nx"),
    ("jetstream", "nx"),
    ("streaming", "java"),
    ("jetstream", "java"),
)
"""Broker and store alternate, so that any eight seeds in a row use every pair."""
PROCESSES = (3, 1, 2)

FAULT_RATES = {
    "drop_before": 0.06,
    "drop_after": 0.08,
    "error_after": 0.04,
    "cut_body": 0.06,
    "rate_limit": 0.04,
    "lock_timeout": 0.03,
    "html": 0.03,
    "html_after": 0.04,
    "hang": 0.02,
    "hang_after": 0.02,
    "error_before": 0.02,
}
"""Probability of each fault for a request to any endpoint, where a round has the fault."""
FAULT_SHARE = 0.7  # faults of a round: rare ones then strike without the frequent ones


class Way(enum.Enum):
    """How a process is struck."""

    KILL = "kill -9"
    PAUSE = "SIGSTOP"
    TERMINATE = "SIGTERM"


class Style(enum.Enum):
    """How a customer behaves."""

    STEADY = "repeats the request until there is an answer"
    TWICE = "sends the same request twice at once"
    OTHER_CARD = "sends a second request with another card while the first is under way"
    DECLINED = "tries a card that is declined, then another"
    BAD_TOKEN = "tries a token that is unknown to Stripe, then another"
    AUTHENTICATES = "is asked by the bank, and authenticates"
    FAILS = "is asked by the bank and fails, then pays with another card"
    WALKS_AWAY = "is asked by the bank, and never comes back"
    CHANGES_CARD = "is asked by the bank, and pays with another card instead"
    BY_SECRET = "is asked by the bank, and confirms in the browser with another card"
    ONCE = "sends one request only"


STYLES = {
    Style.STEADY: 28,
    Style.TWICE: 10,
    Style.OTHER_CARD: 13,
    Style.DECLINED: 9,
    Style.ONCE: 9,
    Style.BAD_TOKEN: 4,
    Style.AUTHENTICATES: 12,
    Style.FAILS: 4,
    Style.WALKS_AWAY: 4,
    Style.CHANGES_CARD: 4,
    Style.BY_SECRET: 3,
}
"""How many of a hundred customers are of each style."""


class CancelAt(enum.Enum):
    """When the order is cancelled."""

    NEVER = "never"
    BEFORE_CREATED = "before it is created"
    BEFORE_PAID = "before it is paid"
    WHILE_PAYING = "while it is being paid"
    AFTER_PAID = "after an answer"


@dataclass(frozen=True)
class Strike:
    """A strike: `targets` (names of `site.Site`) are struck together at `at_s` seconds, and are away for `for_s`
    seconds.
    """

    at_s: float
    targets: tuple[str, ...]
    way: Way
    for_s: float


@dataclass(frozen=True)
class Fault:
    """A fault of the sandbox, for each request with a probability."""

    name: str
    probability: float
    endpoint: str = "*"
    delay_ms: int = 0


@dataclass(frozen=True)
class Customer:
    """One order and its customer. Times are in seconds: `at_s` from the round's start, the others from the step before.

    `seed` is for the customer's random decisions.
    """

    number: int
    at_s: float
    style: Style
    cancel: CancelAt
    cancel_after_s: float
    minor: int
    created_twice: bool
    asks_again: bool
    at_bank_s: float
    """How long the customer stays at the bank's page, each time, in seconds."""
    redirected: bool
    """Whether the bank's page is reached by a redirect instead of by Stripe.js."""
    seed: int


@dataclass(frozen=True)
class Plan:
    """A whole round."""

    seed: int
    broker: str
    store: str
    processes: int
    charge_wait_s: int
    rate_per_s: float
    customers: tuple[Customer, ...]
    faults: tuple[Fault, ...]
    strikes: tuple[Strike, ...]
    final_blow: bool

    @property
    def latest_landing_s(self) -> float:
        """Returns how long after the faults' end a request may still be executing at Stripe, in seconds."""
        return max((fault.delay_ms for fault in self.faults), default=0) / 1000


def plan_of(seed: int, broker: str | None = None, store: str | None = None) -> Plan:
    """Returns the plan of a seed; a given broker or store replaces the seed's own."""
    random = Random(seed)
    own_broker, own_store = SERVERS[seed % len(SERVERS)]
    processes = PROCESSES[seed % len(PROCESSES)]
    return Plan(
        seed=seed,
        broker=broker or own_broker,
        store=store or own_store,
        processes=processes,
        charge_wait_s=random.choice(CHARGE_WAITS_S),
        rate_per_s=random.choice((0.0, 0.0, LIMITED_RATE_PER_S)),
        customers=tuple(_customer(number, random) for number in range(random.randint(*ORDERS))),
        faults=_faults(random),
        strikes=_strikes(processes, random),
        final_blow=random.random() < FINAL_BLOW_SHARE,
    )


def _customer(number: int, random: Random) -> Customer:
    cancels = tuple(CancelAt)
    return Customer(
        number=number,
        at_s=random.uniform(0, LOAD_S),
        style=random.choices(tuple(STYLES), tuple(STYLES.values()))[0],
        cancel=random.choices(cancels, (64, 4, 6, 15, 11))[0],
        cancel_after_s=random.choice((random.uniform(0, 0.3), random.uniform(0, 3.0))),
        minor=random.choice((1999, 57, 110, 435, 820, random.randint(50, 30_000))),
        created_twice=random.random() < 0.2,
        asks_again=random.random() < 0.3,
        at_bank_s=random.choice((0.0, random.uniform(0, 1.0), random.uniform(1.0, AT_BANK_S))),
        redirected=random.random() < 0.4,
        seed=random.getrandbits(32),
    )


def _faults(random: Random) -> tuple[Fault, ...]:
    chosen = [Fault(name, rate) for name, rate in FAULT_RATES.items() if random.random() < FAULT_SHARE]
    for name, delay_ms in (("delay", LATE_MS), ("late", LATE_MS), ("processing", PROCESSING_MS)):
        if random.random() < FAULT_SHARE / 2:
            chosen.append(Fault(name, 0.03, "payment_intents.confirm", delay_ms))
    # Last, because it strikes only requests without another fault: most requests in transit at a kill have it.
    return (*chosen, Fault("delay", 0.3, delay_ms=random.choice((100, 300, 600))))


def _strikes(processes: int, random: Random) -> tuple[Strike, ...]:
    drawn = [_strike(processes, random) for _ in range(random.randint(*STRIKES))]
    return tuple(sorted(drawn, key=lambda strike: strike.at_s))


def _strike(processes: int, random: Random) -> Strike:
    at_s = random.uniform(QUIET_START_S, CHAOS_S)
    services = [f"service-{number}" for number in range(processes)]
    target = random.choices(("service", "nats", "mongo", "stripe"), (60, 14, 14, 12))[0]
    if target != "service":
        way = random.choices((Way.KILL, Way.PAUSE), (65, 35))[0]
        return Strike(at_s, (target,), way, random.uniform(0.1, 2.5))
    victims = random.sample(services, 2 if processes == 3 and random.random() < 0.5 else 1)
    way = random.choices((Way.KILL, Way.PAUSE, Way.TERMINATE), (68, 24, 8))[0]
    away_s = random.uniform(0.5, 5.0) if way is Way.PAUSE else random.choice((0.0, 0.0, random.uniform(0, 1.5)))
    return Strike(at_s, tuple(sorted(victims)), way, away_s)
