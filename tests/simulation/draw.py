"""How a seed becomes a plan. Plans are small on purpose: small schedules are quick, and rare faults meet in them.

Each seed enables a random subset of the faults, and draws a few strikes of each: two rare faults meet more often than
if all were always possible. Change together: `plan.py`.
"""

from tests.simulation.dice import HOUR_S, Dice
from tests.simulation.events import POISONS
from tests.simulation.faults import FAULTS
from tests.simulation.faults_of_the_store import JUDGED_FOR_S, UNUSABLE
from tests.simulation.plan import EventPlan, OrderPlan, Plan, PressPlan, Strike

BUSY_S = 2.0
"""Customers press pay, events come and most faults strike within this time, in seconds."""
CALM_S = 0.3
"""Between the last press and the rest, in seconds."""
PROCESSES = (1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3)
ORDERS = (1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3)
PRESSES = (1, 1, 1, 1, 1, 2, 2, 3)
RETRIES = (0, 0, 0, 1, 2, 3)
"""The numbers that a seed draws from: a number that stands here twice is twice as likely. Most failures need one order,
one or two processes and one impatient customer: so most schedules are small, and more of them run."""
LONGEST_WAIT_S = 75.0
"""The plan waits for the end of a pause longer than every lease; a longer fault ends with all faults."""
LATE_CANCEL_S = 60 * HOUR_S
"""A cancel may come when the attempt is long over, and closed too: that takes two days."""
NAMES = tuple(FAULTS)
NO_PROCESS_RUNS, RESTORE = "no process runs for hours", "database restored"
LONG = frozenset({NO_PROCESS_RUNS, RESTORE, "actor hangs"})
"""A seed draws each of these once: each takes hours, or a minute in which all other processes are idle."""

GOOD = ("tok_visa", "tok_amex", "pm_card_visa", "ctoken_visa_a")
ASKING = ("tok_threeDSecureRequired", "pm_card_threeDSecureRequired", "ctoken_threeDSecureRequired_a")
TOKENS = (
    *GOOD,
    *GOOD,
    *GOOD,
    *ASKING,
    *ASKING,
    *ASKING,
    "tok_once_a",
    "tok_once_b",
    "tok_chargeDeclined",
    "pm_card_chargeDeclinedExpiredCard",
    "tok_unknown",
    "ctoken_unknown",
    "tok_pendingRefund",
    "tok_refundFail",
    "tok_createDispute",
    "tok_threeDSecureRequiredChargeDeclined",
    "tok_threeDSecureOptional",
    "tok_slow",
    "tok_slowDeclined",
)
CLIENTS = ("", "sdk", "sdk", "redirect")
BANKS = ("completes", "completes", "completes", "fails", "another card", "fails, another card", "")
SOON_S, LATE_S = (0.05, 2.0), (2.0, 2 * HOUR_S)
"""When a customer comes to the bank's page, in seconds: at once, or late, when the order may be over."""
PRICES = ((20.0, "usd"), (19.99, "usd"), (5.0, "eur"), (0.10, "usd"), (1200.0, "jpy"), (4.5, "kwd"), (900.0, "isk"))
"""The fourth price is below Stripe's minimum (F35)."""
LEFT_BEHIND = 0.02
"""The probability that an order is one that release 0.1.0 was charging."""
CARD_TESTER = 0.004
"""The probability that a customer tries one card after another, more than an order may have attempts."""
CARDS_TRIED, CARD_TRIED_EVERY_S = 32, 0.5
EXPIRIES_S = (3.0, 15.0, 900.0, 900.0, 2 * HOUR_S, 240 * HOUR_S, 240 * HOUR_S)


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    processes = PROCESSES[seed % len(PROCESSES)]
    dice = Dice(seed, processes, BUSY_S)
    orders = tuple(_order(dice, f"o{number + 1}") for number in range(dice.one_of(ORDERS)))
    enabled = _enabled(dice)
    strikes = tuple(FAULTS[name].draw(dice) for name in enabled for _ in range(_times(dice, name)))
    return Plan(seed, processes, orders, strikes, enabled, _ends_s(strikes, orders), prepare=dice.chance(0.25))


def _enabled(dice: Dice) -> tuple[str, ...]:
    if dice.chance(0.05):
        return ()
    count = 1 + dice.below(6)
    return tuple(sorted(dice.random.sample(NAMES, count)))


def _times(dice: Dice, name: str) -> int:
    return 1 if name in LONG else 1 + dice.below(3)


def _ends_s(strikes: tuple[Strike, ...], orders: tuple[OrderPlan, ...]) -> float:
    """Returns when the rest begins: after the end of each lasting fault that a seed can afford. A halt of all processes
    is cheap."""
    pressed = [press.at_s for order in orders for press in order.presses]
    ends = [max(BUSY_S, *pressed) + CALM_S]
    for strike in strikes:
        if strike.fault in (NO_PROCESS_RUNS, RESTORE):
            ends.append(strike.at_s + strike.for_s + CALM_S)
        elif strike.fault in UNUSABLE:
            ends.append(strike.at_s + min(strike.for_s, JUDGED_FOR_S) + CALM_S)
        elif strike.fault in ("process paused", "publishes refused"):
            ends.append(min(strike.at_s + strike.for_s, LONGEST_WAIT_S) + CALM_S)
    return round(max(ends), 3)


def _order(dice: Dice, order_id: str) -> OrderPlan:
    user = f"u{1 + dice.below(2)}"
    price, currency = PRICES[0] if dice.chance(0.7) else dice.one_of(PRICES)
    presses = tuple(_press(dice, user, f"c{order_id[1:]}{'abc'[number]}") for number in range(dice.one_of(PRESSES)))
    if dice.chance(CARD_TESTER):
        presses = _card_tester(user, f"c{order_id[1:]}")
    left_behind_s = None
    if dice.chance(LEFT_BEHIND):
        price, currency = PRICES[0]
        left_behind_s = dice.one_of((0.01, 0.01, dice.spread(0.1, 22 * HOUR_S), -1.0))
    expires_in_s, events = dice.one_of(EXPIRIES_S), _events(dice)
    return OrderPlan(order_id, user, price, currency, expires_in_s, events, presses, left_behind_s)


def _card_tester(user: str, customer: str) -> tuple[PressPlan, ...]:
    return tuple(
        PressPlan(1.5 + CARD_TRIED_EVERY_S * number, f"{customer} {number}", user, f"tok_unknown_{number}", 9.0, 0)
        for number in range(CARDS_TRIED)
    )


def _events(dice: Dice) -> tuple[EventPlan, ...]:
    events = []
    created_s = dice.between(0.0, 1.0)
    if not dice.chance(0.04):
        events.append(EventPlan(created_s, "created", 1 + dice.chance(0.15)))
    if dice.chance(0.45):
        cancelled_s = dice.between(0.0, BUSY_S) if dice.chance(0.8) else created_s
        events.append(EventPlan(cancelled_s, "cancelled", 1 + dice.chance(0.15)))
    elif dice.chance(0.1):
        events.append(EventPlan(dice.spread(5.0, LATE_CANCEL_S), "cancelled"))
    if dice.chance(0.1):
        events.append(EventPlan(dice.between(0.0, BUSY_S), dice.one_of(tuple(POISONS))))
    return tuple(events)


def _press(dice: Dice, owner: str, customer: str) -> PressPlan:
    user = owner if dice.chance(0.95) else "somebody else"
    patience_s = dice.one_of((0.3, 2.0, 9.0, 9.0))
    at_s = dice.between(0.4, BUSY_S - 0.5)
    token, retries, reads = dice.one_of(TOKENS), dice.one_of(RETRIES), dice.below(2)
    client, bank = dice.one_of(CLIENTS), dice.one_of(BANKS)
    bank_after_s = dice.spread(*(SOON_S if dice.chance(0.7) else LATE_S))
    gets = token.startswith("ctoken_") or dice.chance(0.3)
    return PressPlan(at_s, customer, user, token, patience_s, retries, reads, client, bank, bank_after_s, gets)
