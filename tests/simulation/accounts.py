"""The state of the world, as a journal's entries show it so far.

The checks, the history check and the reach read it. It never asks the service, the fakes or the world, and judges
nothing. `note` is called once for each entry, after the checks of that entry: a check reads the state before its entry.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from payment.actors.nats.event_payloads import INCOMING_SUBJECTS, ORDER_CREATED
from payment.core.order import GIVEN_BACK, Attempt, AttemptState, Order, Task
from payment.ports.cards import Charges, IntentAnswer
from tests.simulation.clock import BEGINNING
from tests.simulation.events import POISONS
from tests.simulation.journal import (
    AnyEntry,
    BankDecided,
    ChargeAnswered,
    ChargePosted,
    DeadLetterKept,
    DocumentCorrupted,
    EventRejected,
    Exited,
    FaultStruck,
    IntentMoved,
    Killed,
    LineLogged,
    OperatorActed,
    Paused,
    PaymentRead,
    PaymentRequested,
    RequestFailed,
    RestChanged,
    Started,
    Stored,
    StoreRestored,
    StripeAnswered,
    StripeCharged,
    StripeReceived,
    StripeRefunded,
    StripeSent,
    Woken,
    Wrote,
)
from tests.support.fakes.cards import KEY_LIFE

POISONOUS = frozenset(POISONS.values())
CLOCK_FAULTS = frozenset({"clock jumps ahead", "clock jumps back"})

_INTENT, _CHARGES = f"{IntentAnswer.__name__}(", f"{Charges.__name__}("
"""How the repr of an outcome begins that carries an intent, or a list of charges."""


class Revision(NamedTuple):
    """A document as the store held it from one entry on."""

    came_at: int
    at_s: float
    order: Order


class CustomerRequest:
    """One request of a customer (a POST or a GET), and its answer if one came."""

    __slots__ = ("answer", "answered_at", "asked", "began_at", "lost")

    def __init__(self, asked: ChargePosted | PaymentRequested, began_at: int) -> None:
        self.asked = asked
        self.began_at = began_at
        self.answer: ChargeAnswered | PaymentRead | None = None
        self.answered_at: int | None = None
        self.lost = False

    @property
    def open(self) -> bool:
        return self.answer is None and not self.lost


class Accounts:
    """The state of the store, Stripe, the bus, the processes and the customers before the entry at `index`."""

    def __init__(self) -> None:
        self.index = 0
        self.at_s = 0.0
        """The time of the last entry, in seconds."""
        self.orders: dict[str, Order] = {}
        self.revisions: defaultdict[str, list[Revision]] = defaultdict(list)
        self.received_s: dict[str, float] = {}
        """When an order that can be paid first stood in the store, by true time."""
        self.first_stored_s: dict[tuple[str, int], float] = {}
        """When an attempt (order, number) first stood in the store, by true time."""
        self.begun: list[tuple[int, str, Attempt]] = []
        """Each attempt, with the entry that brought it."""
        self.restored = False
        """The store was restored to an earlier state."""
        self.corrupt: set[str] = set()
        """Orders whose stored documents are corrupt: an operator has edited them."""
        self.ever_corrupt: set[str] = set()
        self.fingerprints: dict[str, str] = {}
        self.order_of_key: dict[str, str] = {}
        self.confirms_arrived: set[tuple[str, int]] = set()
        """Attempts (order, number) of which a confirm arrived at Stripe."""
        self.in_flight: dict[tuple[str, str], float] = {}
        """Requests with a key that left a process (its name, the key) and have no answer yet."""
        self.retrieved_at: dict[tuple[str, str], int] = {}
        """The number of the entry in which a process last got an answer about an order's intent."""
        self.awaited_s: dict[tuple[str, str], float] = {}
        """When Stripe last answered a process that an order's intent awaits its customer; a stored answer doesn't
        count."""
        self.failures_retrieved: Counter[tuple[str, int]] = Counter()
        """Retrievals that found no customer awaited any more, by order and attempt that awaits one in its document."""
        self.listed_s: dict[tuple[str, str], float] = {}
        """When a process last got a whole list of an order's charges."""
        self.intents: dict[str, IntentMoved] = {}
        """Each intent, with its status at Stripe."""
        self.made_s: dict[str, float] = {}
        """When Stripe created each intent."""
        self.secrets_out: set[str] = set()
        """Intents whose client secret a customer got."""
        self.by_hand: set[str] = set()
        """Intents that an operator canceled, and charges that an operator refunded."""
        self.charges: dict[str, StripeCharged] = {}
        self.charged_s: dict[str, float] = {}
        """When each charge was made."""
        self.refunds: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.disputes: dict[str, str] = {}
        """The status of each dispute, by its charge."""
        self.returned: set[str] = set()
        """Charges that were given back at least once, also where the refund failed later (F44)."""
        self.given_back_s: dict[tuple[str, int, int], float] = {}
        """When an attempt (order, number, how often its refund was undone before) first counted as given back, by true
        time."""
        self.incoming: dict[tuple[str, int], Stored] = {}
        self.outgoing: list[Stored] = []
        self.dead_letters: dict[str, DeadLetterKept] = {}
        self.asked: dict[int, CustomerRequest] = {}
        self.struck: Counter[str] = Counter()
        self.lines: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        """When each process, or its present ledger, logged each event; of `dependency_lost` only the store's."""
        self.paused: dict[str, float] = {}
        self.ever_paused = False
        self.ever_killed = False
        self.rejected_s: dict[tuple[str, str], float] = {}
        """Since when the bus has rejected a subject's events from a process that has not logged the rejection yet."""
        self.running: set[str] = set()
        self.resting = False
        self.rested = False

    @property
    def clock_jumped(self) -> bool:
        return any(fault in self.struck for fault in CLOCK_FAULTS)

    def charges_of(self, order_id: str) -> list[StripeCharged]:
        """The order's succeeded charges."""
        return [each for each in self.charges.values() if each.order_id == order_id and each.succeeded]

    def has_charged(self, key: str) -> bool:
        """Whether a request with this key has charged."""
        return any(each.by == key and each.succeeded for each in self.charges.values())

    def intent_confirmed_by(self, key: str | None) -> str:
        """The id of the intent that a confirm with this key is about: `pi_3` of `confirm-pi_3-2`."""
        return str(key).partition("-")[2].rpartition("-")[0]

    def intents_of(self, order_id: str) -> list[IntentMoved]:
        """The order's intents at Stripe, oldest first."""
        return [each for each in self.intents.values() if each.order_id == order_id]

    def has_forgotten(self, order_id: str, at_s: float) -> bool:
        """The named exception to L1 (F47): by this time Stripe has forgotten the key of a create, and the store, or a
        clock, has gone back to before it."""
        first_s = min((self.made_s[each.intent_id] for each in self.intents_of(order_id)), default=at_s)
        if self.clock_jumped and any(each.intent_id is None for each in self.charges_of(order_id)):
            # Only a clock bounds the wait for a request of release 0.1.0.
            return True
        return (self.restored or self.clock_jumped) and at_s - first_s > KEY_LIFE.total_seconds() - 1.0

    def is_lost(self, charge: StripeCharged) -> bool:
        """Only a clock bounds the wait for a request of release 0.1.0: by a wrong one its charge may land unnoticed
        (F38)."""
        return charge.intent_id is None and self.clock_jumped

    def attempt(self, order_id: str, number: int) -> Attempt | None:
        """The attempt of this number, in the document as it stands."""
        order = self.orders.get(order_id)
        return order.attempts[number - 1] if order is not None and 1 <= number <= len(order.attempts) else None

    def attempts_of(self, order_id: str) -> int:
        """The number of attempts in the order's document."""
        order = self.orders.get(order_id)
        return len(order.attempts) if order else 0

    def given_back(self, charge_id: str) -> bool:
        """Whether a refund has given the charge back, by its last status at Stripe."""
        return "succeeded" in self.refunds.get(charge_id, {}).values()

    def charged_back(self, charge_id: str) -> bool:
        """Whether the bank has given the charge back, by its last decision."""
        return self.disputes.get(charge_id) == "lost"

    def was_returned(self, charge_id: str) -> bool:
        """Whether a refund or the bank has given the charge back at least once."""
        return charge_id in self.returned

    def on_its_way_back(self, charge_id: str) -> bool:
        """Whether a refund of the charge has succeeded or is pending."""
        return any(status != "failed" for status in self.refunds.get(charge_id, {}).values())

    def requests(self, order_id: str) -> Iterator[CustomerRequest]:
        """The POSTs for an order, in the order in which customers sent them."""
        return (
            each
            for each in self.asked.values()
            if isinstance(each.asked, ChargePosted) and each.asked.order_id == order_id
        )

    def in_force(self, order_id: str, since: int, until: int) -> Iterator[Order | None]:
        """The revisions that the store held at any time between two entries; None where it held no document yet."""
        revisions = self.revisions.get(order_id, [])
        first = max((n for n, each in enumerate(revisions) if each.came_at <= since), default=None)
        if first is None:
            yield None
            first = 0
        for revision in revisions[first:]:
            if revision.came_at <= until:
                yield revision.order

    def note(self, entry: AnyEntry) -> None:
        noter = _NOTERS.get(type(entry))
        if noter is not None:
            noter(self, entry)
        self.index += 1
        self.at_s = entry.at_s

    # ------------------------------------------------------------------------------------------------ one for each type

    def _wrote(self, entry: Wrote) -> None:
        order = entry.order
        self.corrupt.discard(order.id)
        known = len(self.orders[order.id].attempts) if order.id in self.orders else 0
        for attempt in order.attempts[known:]:
            self.first_stored_s[order.id, attempt.number] = entry.at_s
            if attempt.intent:  # release 0.1.0 began its attempts before the journal begins
                self.begun.append((self.index, order.id, attempt))
        for attempt in order.attempts:
            if attempt.state in GIVEN_BACK and attempt.refund is not None:
                self.given_back_s.setdefault((order.id, attempt.number, attempt.refund.undone), entry.at_s)
        if order.user_id is not None:
            self.received_s.setdefault(order.id, entry.at_s)
        self._holds(order, entry.at_s)

    def _holds(self, order: Order, at_s: float) -> None:
        self.orders[order.id] = order
        self.revisions[order.id].append(Revision(self.index, at_s, order))

    def _put_back(self, entry: StoreRestored) -> None:
        self.restored = True
        self.corrupt.clear()
        self.orders.clear()
        for order in entry.orders:
            self._holds(order, entry.at_s)

    def _edited(self, entry: DocumentCorrupted) -> None:
        self.corrupt.add(entry.order_id)
        self.ever_corrupt.add(entry.order_id)

    def _stripe_received(self, entry: StripeReceived) -> None:
        if entry.key is None:
            return
        self.fingerprints.setdefault(entry.key, entry.fingerprint)
        self.order_of_key[entry.key] = entry.order_id
        if entry.kind == "confirm":
            self.confirms_arrived.add((entry.order_id, int(entry.key.rpartition("-")[2])))

    def _sent(self, entry: StripeSent) -> None:
        if entry.key is not None:
            self.in_flight[entry.who, entry.key] = entry.at_s
            self.order_of_key[entry.key] = entry.order_id

    def _answered(self, entry: StripeAnswered) -> None:
        if "requires_action" in entry.outcome and "replayed=True" not in entry.outcome:
            self.awaited_s[entry.who, entry.order_id] = entry.at_s
        order = self.orders.get(entry.order_id)
        attempt = order.unsettled if order is not None else None
        if attempt is not None and entry.kind == "retrieve" and "requires_payment_method" in entry.outcome:
            self.failures_retrieved[entry.order_id, attempt.number] += attempt.state is AttemptState.AWAITING
        if entry.key is not None:
            self.in_flight.pop((entry.who, entry.key), None)
        if entry.kind == "create" or (entry.kind == "retrieve" and entry.outcome.startswith(_INTENT)):
            # A retrieval begins by repeating the create, and ends there where Stripe has stored an error for its key.
            self.retrieved_at[entry.who, entry.order_id] = self.index
        elif entry.kind == "list" and entry.outcome.startswith(_CHARGES):
            self.listed_s[entry.who, entry.order_id] = entry.at_s

    def _moved(self, entry: IntentMoved) -> None:
        self.intents[entry.intent_id] = entry
        self.made_s.setdefault(entry.intent_id, entry.at_s)

    def _operator_acted(self, entry: OperatorActed) -> None:
        self.by_hand.add(entry.id)

    def _charged(self, entry: StripeCharged) -> None:
        self.charges[entry.charge_id] = entry
        self.charged_s[entry.charge_id] = entry.at_s

    def _refunded(self, entry: StripeRefunded) -> None:
        self.refunds[entry.charge_id][entry.refund_id] = entry.status
        if entry.status == "succeeded":
            self.returned.add(entry.charge_id)

    def _disputed(self, entry: BankDecided) -> None:
        self.disputes[entry.charge_id] = entry.status
        if entry.status == "lost":
            self.returned.add(entry.charge_id)

    def _stored(self, entry: Stored) -> None:
        self.rejected_s.pop((entry.who, entry.subject), None)
        if entry.subject in INCOMING_SUBJECTS:
            self.incoming[entry.subject, entry.sequence] = entry
        else:
            self.outgoing.append(entry)

    def _dead_letter_kept(self, entry: DeadLetterKept) -> None:
        self.dead_letters[entry.identity] = entry

    def _began(self, entry: ChargePosted | PaymentRequested) -> None:
        self.asked[entry.request_no] = CustomerRequest(entry, self.index)

    def _answer_received(self, entry: ChargeAnswered | PaymentRead) -> None:
        asked = self.asked[entry.request_no]
        asked.answer, asked.answered_at = entry, self.index
        if (intent_id := exposed_by(entry)) is not None:
            self.secrets_out.add(intent_id)

    def _request_failed(self, entry: RequestFailed) -> None:
        self.asked[entry.request_no].lost = True

    def _event_rejected(self, entry: EventRejected) -> None:
        self.rejected_s.setdefault((entry.who, entry.subject), entry.at_s)

    def _line_logged(self, entry: LineLogged) -> None:
        self._note_rejected_publishes(entry)
        self._count_lines(entry)

    def _note_rejected_publishes(self, entry: LineLogged) -> None:
        """A rejection that is logged is known. A new connection restarts the wait for the others, a new actor for
        all."""
        if entry.event == "publish_refused":
            self.rejected_s[entry.who, str(entry.fields["subject"])] = math.inf
        elif entry.event == "dependency_lost" and entry.fields.get("dependency") == "nats":
            self.rejected_s = {
                key: since_s for key, since_s in self.rejected_s.items() if key[0] != entry.who or since_s == math.inf
            }
        elif entry.event in ("actor_restarted", "actor_crashed"):
            self._counts_anew(entry.who)

    def _counts_anew(self, who: str) -> None:
        for key in [each for each in self.rejected_s if each[0] == who]:
            del self.rejected_s[key]

    def _struck(self, entry: FaultStruck) -> None:
        self.struck[entry.fault] += 1

    def _started(self, entry: Started) -> None:
        self.running.add(entry.who)
        self._forget_lines(entry.who)

    def _count_lines(self, entry: LineLogged) -> None:
        if entry.event != "dependency_lost" or entry.fields.get("dependency") == "mongodb":
            self.lines[entry.who, entry.event].append(entry.at_s)
        if entry.event in ("actor_crashed", "actor_hung"):
            self._forget_lines(entry.who)

    def _forget_lines(self, who: str) -> None:
        for name in [name for name in self.lines if name[0] == who]:
            del self.lines[name]

    def _ended(self, entry: Killed | Exited) -> None:
        self.ever_killed = self.ever_killed or isinstance(entry, Killed)
        self.running.discard(entry.who)
        self._counts_anew(entry.who)
        self.paused.pop(entry.who, None)
        for who, key in [each for each in self.in_flight if each[0] == entry.who]:
            del self.in_flight[who, key]

    def _paused(self, entry: Paused) -> None:
        self.ever_paused = True
        self.paused[entry.who] = entry.at_s

    def _woken(self, entry: Woken) -> None:
        self._counts_anew(entry.who)
        self.paused.pop(entry.who, None)

    def _rests(self, entry: RestChanged) -> None:
        self.resting, self.rested = True, entry.done


_NOTERS: dict[type, Callable[[Accounts, Any], None]] = {
    Wrote: Accounts._wrote,
    StoreRestored: Accounts._put_back,
    DocumentCorrupted: Accounts._edited,
    IntentMoved: Accounts._moved,
    OperatorActed: Accounts._operator_acted,
    StripeReceived: Accounts._stripe_received,
    StripeSent: Accounts._sent,
    StripeAnswered: Accounts._answered,
    StripeCharged: Accounts._charged,
    StripeRefunded: Accounts._refunded,
    BankDecided: Accounts._disputed,
    Stored: Accounts._stored,
    EventRejected: Accounts._event_rejected,
    LineLogged: Accounts._line_logged,
    DeadLetterKept: Accounts._dead_letter_kept,
    ChargePosted: Accounts._began,
    PaymentRequested: Accounts._began,
    ChargeAnswered: Accounts._answer_received,
    PaymentRead: Accounts._answer_received,
    RequestFailed: Accounts._request_failed,
    FaultStruck: Accounts._struck,
    Started: Accounts._started,
    Killed: Accounts._ended,
    Exited: Accounts._ended,
    Paused: Accounts._paused,
    Woken: Accounts._woken,
    RestChanged: Accounts._rests,
}


def true_time(at_s: float) -> datetime:
    """The true time at `at_s` seconds after the world began."""
    return BEGINNING + timedelta(seconds=at_s)


def seconds_of(at: datetime) -> float:
    """The inverse of `true_time`."""
    return (at - BEGINNING).total_seconds()


def tasks_of(order: Order) -> list[Task]:
    """All tasks of an order, in flight or to come."""
    tasks = [*(each.task for each in order.attempts), *(each.task for each in order.outbox)]
    if order.intent is not None:
        tasks.append(order.intent.task)
    return [task for task in tasks if task is not None]


def exposed_by(answer: ChargeAnswered | PaymentRead) -> str | None:
    """The id of the intent whose client secret an answer carries."""
    if b"clientSecret" not in answer.body:
        return None
    return str(json.loads(answer.body)["clientSecret"]).partition("_secret_")[0]


def is_poison(entry: Stored) -> bool:
    return entry.data in POISONOUS


def order_of(entry: Stored) -> str:
    """The order that an event, other than a poison, is about."""
    payload = json.loads(entry.data)
    return str(payload["id"] if entry.subject in INCOMING_SUBJECTS else payload["orderId"])


def is_applied(accounts: Accounts, event: Stored) -> bool:
    """Whether the store's document shows the effect of an event of the orders service."""
    order = accounts.orders.get(order_of(event))
    if order is None:
        return False
    return order.user_id is not None if event.subject == ORDER_CREATED else order.cancelled
