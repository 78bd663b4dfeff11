"""The laws, in a small world that Hypothesis drives: after any sequence of events, the accounts agree at rest.

Every rule is one event of the world. `World.decide` checks the invariants of single documents and steps; each rule is
followed by the check that no two charges are ever kept at one time; the other laws are checked at the end, after every
process has had the time for its pending effects.
"""

import itertools
import random
from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED
from payment.core.messages import Authentication, Due, IntentStatus, RecheckRequested
from payment.core.order import UNSETTLED, Attempt, AttemptState
from payment.core.refunds import REFUNDS_UNDONE_LIMIT
from tests.unit.core.builders import BROWSER, ORDER, T0, cancelled, created, request
from tests.unit.core.world import FINAL, WIRE, World

CLIENTS = st.sampled_from(["web-1", "web-2"])
ANY = st.integers(min_value=0, max_value=10)
WILLS = st.sampled_from(
    [
        "charged",
        "charged",
        "declined",
        "refused",
        "action",
        "action",
        "processing",
        "error",
        "error after charged",
        "error after action",
        "create error",
    ]
)
ANSWERS = st.sampled_from(["answered", "answered", "lost", "late", "late", "late create", "withheld", "withdrawn"])
SPANS = st.sampled_from(
    [timedelta(seconds=1), timedelta(seconds=61), timedelta(minutes=9), timedelta(hours=7), timedelta(hours=30)]
)
CUSTOMERS = st.sampled_from([BROWSER, BROWSER, Authentication()])
REST_ROUNDS_LIMIT = 200
"""Retrievals. In this world a sweep comes at most two hours late, and a customer has a day."""

LATE_SWEEP = timedelta(hours=2)


def is_given_up(attempt: Attempt) -> bool:
    """Whether the service asks for no more refunds of its charge."""
    failed = attempt.refund.undone if attempt.refund else 0
    return attempt.state is AttemptState.BLOCKED and failed >= REFUNDS_UNDONE_LIMIT


class Payments(RuleBasedStateMachine):
    """One order, two processes, one Stripe, one customer with two browser tabs."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.tokens = 0
        self.refunded_by_hand = False

    @initialize(days=st.sampled_from([0.001, 1, 30]), prepare=st.booleans())
    def order_comes(self, days: float, prepare: bool) -> None:
        self.world.prepare = prepare
        self.world.decide(created(expires_at=T0 + timedelta(days=days)), "web-1#run1")
        self.a_card_is_tried("web-1", BROWSER)

    # ----------------------------------------------------------------------------------------- customers and platform

    @rule(client=CLIENTS, customer=CUSTOMERS)
    def a_card_is_tried(self, client: str, customer: Authentication) -> None:
        self.tokens += 1
        self.world.decide(request(f"tok_{self.tokens}", authentication=customer), self.world.process(client))

    @rule(client=CLIENTS, token=ANY)
    def a_request_is_repeated(self, client: str, token: int) -> None:
        self.world.decide(request(f"tok_{token}"), self.world.process(client))

    @rule(client=CLIENTS)
    def a_client_asks_for_a_retrieval(self, client: str) -> None:
        self.world.decide(RecheckRequested(ORDER), self.world.process(client))

    @precondition(lambda self: self.world.stripe.in_status(IntentStatus.REQUIRES_ACTION, secret_out=True))
    @rule(what=st.sampled_from(["charged", "declined", "processing"]))
    def a_customer_authenticates(self, what: str) -> None:
        stripe = self.world.stripe
        stripe.happen(stripe.in_status(IntentStatus.REQUIRES_ACTION, secret_out=True)[-1], what)

    @precondition(lambda self: self.world.stripe.in_status(IntentStatus.REQUIRES_PAYMENT_METHOD, secret_out=True))
    @rule(what=st.sampled_from(["charged", "declined", "action"]))
    def a_browser_confirms_with_another_card(self, what: str) -> None:
        stripe = self.world.stripe
        stripe.happen(stripe.in_status(IntentStatus.REQUIRES_PAYMENT_METHOD, secret_out=True)[-1], what)

    @precondition(lambda self: self.world.stripe.in_status(IntentStatus.PROCESSING))
    @rule(what=st.sampled_from(["charged", "declined"]))
    def a_bank_decides(self, what: str) -> None:
        stripe = self.world.stripe
        stripe.happen(stripe.in_status(IntentStatus.PROCESSING)[-1], what)

    @precondition(lambda self: bool(self.world.stripe.intents))
    @rule(which=ANY)
    def an_operator_cancels_an_intent(self, which: int) -> None:
        intents = list(self.world.stripe.intents.values())
        self.world.stripe.cancel(intents[which % len(intents)])

    @precondition(lambda self: self.world.stripe.kept())
    @rule()
    def an_operator_refunds_a_charge(self) -> None:
        self.refunded_by_hand = True
        self.world.stripe.refund(self.world.stripe.kept()[0].id)

    @precondition(lambda self: any(charge.refund for charge in self.world.stripe.charges))
    @rule(which=ANY)
    def a_bank_returns_a_refund(self, which: int) -> None:
        given_back = [charge for charge in self.world.stripe.charges if charge.refund]
        self.world.stripe.fail_refund(given_back[which % len(given_back)])

    @rule(client=CLIENTS)
    def order_is_cancelled(self, client: str) -> None:
        self.world.decide(cancelled(), self.world.process(client))

    @rule(client=CLIENTS)
    def created_comes_again(self, client: str) -> None:
        self.world.decide(created(), self.world.process(client))

    # ------------------------------------------------------------------------------------------- processes and wires

    @precondition(lambda self: self.world.idle())
    @rule(which=ANY, will=WILLS, answer=ANSWERS)
    def an_effect_is_carried_out(self, which: int, will: str, answer: str) -> None:
        idle = self.world.idle()
        self.world.perform(idle[which % len(idle)], will, answer)

    @precondition(lambda self: self.world.mail)
    @rule(which=ANY)
    def an_outcome_is_decided(self, which: int) -> None:
        self.world.deliver(which % len(self.world.mail))

    @precondition(lambda self: self.world.on_wire)
    @rule(which=ANY)
    def a_late_request_lands(self, which: int) -> None:
        self.world.land(which % len(self.world.on_wire))

    @rule(client=CLIENTS)
    def a_process_dies_and_starts_again(self, client: str) -> None:
        self.world.crash(client)
        self.world.decide(Due(ORDER), self.world.process(client))

    @rule(span=SPANS)
    def time_passes(self, span: timedelta) -> None:
        self.world.advance(span)

    @rule(client=CLIENTS, turns=st.lists(st.tuples(WILLS, ANSWERS), min_size=1, max_size=8))
    def work_goes_on(self, client: str, turns: list[tuple[str, str]]) -> None:
        """Effects end and are decided, else a deadline passes: chance alone seldom reaches the deep states."""
        world = self.world
        for will, answer in turns:
            if world.idle() and not world.mail:
                world.perform(world.idle()[0], will, answer)
                if world.mail:
                    world.deliver(0)
            elif world.doc.due is not None:
                world.advance(max(world.doc.due - world.now, timedelta(0)))
                world.decide(Due(ORDER), world.process(client))

    @rule(client=CLIENTS)
    def a_process_sweeps(self, client: str) -> None:
        order = self.world.order
        if order is not None and order.due is not None and order.due <= self.world.now:
            self.world.decide(Due(ORDER), self.world.process(client))

    # ----------------------------------------------------------------------------------------------------- the laws

    @invariant()
    def never_two_charges_are_kept_at_one_time(self) -> None:
        assert not self.world.stripe.double, "L1: charged at most once, at every instant"

    def teardown(self) -> None:
        if self.world.order is not None:
            self.come_to_rest()
            self.never_two_charges_are_kept_at_one_time()
            self.check_laws()

    def come_to_rest(self) -> None:
        """Carry out every effect, with all answers of Stripe, decisions of banks and no customers, while time
        passes."""
        world = self.world
        for _ in range(REST_ROUNDS_LIMIT):
            while world.mail or world.idle():
                for intent in world.stripe.in_status(IntentStatus.PROCESSING):
                    world.stripe.happen(intent, "charged")
                for work in world.idle():
                    world.perform(work, "charged", "withdrawn")
                while world.mail:
                    world.deliver(0)
            at = min((at for at in (world.doc.due, world.doc.recheck) if at is not None), default=None)
            if at is None or self.is_given_up():
                world.advance(WIRE)  # requests that are still on the wire land now, and no process gets the answers
                break
            late = LATE_SWEEP if world.doc.holder is None else timedelta(0)
            world.advance(max(at - world.now, timedelta(0)) + late)
            world.decide(Due(ORDER), world.process("web-1"))
        assert at is None or self.is_given_up(), "the world never comes to rest"

    def is_given_up(self) -> bool:
        """Whether the only pending effects are rechecks of charges whose refunds have failed too often: an alarm
        stays."""
        owed = [attempt for attempt in self.world.doc.attempts if attempt.task or attempt.recheck]
        tasks = [self.world.doc.intent and self.world.doc.intent.task]
        tasks += [event.task for event in self.world.doc.outbox]
        return bool(owed) and not any(tasks) and all(is_given_up(attempt) for attempt in owed)

    def check_laws(self) -> None:
        order, stripe = self.world.doc, self.world.stripe
        given_up = {attempt.charge_id for attempt in order.attempts if is_given_up(attempt)}
        # The service does not search for what an operator refunded of a payment, nor for the failure of that refund.
        kept = [charge.id for charge in stripe.kept() if charge.id not in given_up]
        charges = {charge.id for charge in stripe.charges}
        announced = {event.stripe_id for event in self.world.published if event.subject == PAYMENT_CREATED}
        given_back = {event.stripe_id for event in self.world.published if event.subject == PAYMENT_REFUNDED}
        assert len(announced) <= 1
        assert announced | given_back <= charges, "L2: nothing is announced that did not happen"
        assert set(kept) <= announced, "L2: each kept charge is announced"
        if order.cancelled:
            assert not kept, "L3: a cancelled order keeps no money"
            assert announced <= given_back, "L3: each announced charge is announced as given back"
        assert not [attempt for attempt in order.attempts if attempt.state in UNSETTLED], "L4: each 202 resolves"
        assert not self.world.waiting, "L4: each request is answered"
        subjects = [event.subject for event in self.world.published if event.stripe_id in announced]
        if PAYMENT_CREATED in subjects and PAYMENT_REFUNDED in subjects:
            assert subjects.index(PAYMENT_CREATED) < subjects.index(PAYMENT_REFUNDED), "created goes out first (F21)"
        assert all(event.published for event in order.outbox), "L4: no event stays behind"
        out = [intent for intent in stripe.intents.values() if intent.secret_out]
        assert all(intent.status in FINAL for intent in out), "no browser can confirm an order that is at rest"


TestLaws = Payments.TestCase
TestLaws.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class RestoredPayments(Payments):
    """A database that is restored to an earlier state: the first law holds by itself, the others do not."""

    @rule(which=ANY)
    def the_database_is_restored(self, which: int) -> None:
        self.world.restore(which)

    def check_laws(self) -> None:
        """No client need ask again for what was paid after the backup."""


TestLawOfRestoredDatabases = RestoredPayments.TestCase
TestLawOfRestoredDatabases.settings = settings(
    max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

TURNS = [
    ("charged", "answered"),
    ("charged", "late"),
    ("action", "answered"),
    ("refused", "answered"),
    ("error", "answered"),
    ("create error", "answered"),
    ("charged", "lost"),
]
"""How the next effect goes; where no effect is in flight, the turn lets a deadline pass."""


@pytest.mark.parametrize("cancel", [False, True], ids=["", "cancelled"])
def test_every_course_of_four_turns_keeps_the_laws(cancel: bool) -> None:
    """All of them; then another card is tried, perhaps the order is cancelled, and late requests land (F18, F24)."""
    for turns in itertools.product(TURNS, repeat=4):
        world = Payments()
        world.order_comes(1, prepare=False)
        world.work_goes_on("web-2", list(turns))
        world.a_card_is_tried("web-1", BROWSER)
        if cancel:
            world.order_is_cancelled("web-2")
        world.teardown()


# --------------------------------------------------------------------------------------------- long courses by chance

WILL_NAMES = ["charged", "charged", "declined", "refused", "action", "action", "processing", "error"]
WILL_NAMES += ["error after charged", "error after action", "create error"]
ANSWER_NAMES = ["answered", "answered", "answered", "lost", "late", "late create", "withheld", "withdrawn"]
SPAN_CHOICES = [
    timedelta(seconds=1),
    timedelta(seconds=61),
    timedelta(minutes=9),
    timedelta(hours=7),
    timedelta(hours=30),
]


def course(payments: Payments, chance: random.Random, steps: int) -> None:
    """Take `steps` steps, with probabilities that reach the deep states."""
    world, stripe = payments.world, payments.world.stripe
    payments.order_comes(chance.choice([0.001, 1, 1, 30]), chance.random() < 0.2)
    for _ in range(steps):
        client, what = chance.choice(["web-1", "web-2"]), chance.random()
        idle = world.idle()
        acting = stripe.in_status(IntentStatus.REQUIRES_ACTION, secret_out=True)
        open_tabs = stripe.in_status(IntentStatus.REQUIRES_PAYMENT_METHOD, secret_out=True)
        deciding = stripe.in_status(IntentStatus.PROCESSING)
        if what < 0.36 and idle:
            world.perform(chance.choice(idle), chance.choice(WILL_NAMES), chance.choice(ANSWER_NAMES))
        elif what < 0.6 and world.mail:
            world.deliver(chance.randrange(len(world.mail)))
        elif what < 0.64:
            payments.a_card_is_tried(client, chance.choice([BROWSER, Authentication()]))
        elif what < 0.68:
            payments.a_request_is_repeated(client, chance.randint(1, 5))
        elif what < 0.7:
            payments.a_client_asks_for_a_retrieval(client)
        elif what < 0.74 and acting:
            stripe.happen(acting[-1], chance.choice(["charged", "declined", "processing"]))
        elif what < 0.77 and open_tabs:
            stripe.happen(open_tabs[-1], chance.choice(["charged", "declined", "action"]))
        elif what < 0.79 and deciding:
            stripe.happen(deciding[-1], chance.choice(["charged", "declined"]))
        elif what < 0.8 and stripe.intents:
            stripe.cancel(chance.choice(list(stripe.intents.values())))
        elif what < 0.81 and stripe.kept():
            payments.an_operator_refunds_a_charge()
        elif what < 0.82:
            payments.order_is_cancelled(client)
        elif what < 0.84 and world.on_wire:
            world.land(chance.randrange(len(world.on_wire)))
        elif what < 0.86:
            payments.a_process_dies_and_starts_again(client)
        elif what < 0.92 and world.doc.due is not None:
            world.advance(max(world.doc.due - world.now, timedelta(0)))
            world.decide(Due(ORDER), world.process(client))
        elif what < 0.96:
            world.advance(chance.choice(SPAN_CHOICES))
            payments.a_process_sweeps(client)
        elif what < 0.97 and isinstance(payments, RestoredPayments):
            payments.the_database_is_restored(chance.randrange(1000))
        payments.never_two_charges_are_kept_at_one_time()


@pytest.mark.parametrize("kind", [Payments, RestoredPayments])
@pytest.mark.parametrize("seed", range(0, 200, 50))
def test_long_courses_by_chance_keep_the_laws(kind: type[Payments], seed: int) -> None:
    """Fifty courses of eighty steps from each seed on."""
    for each in range(seed, seed + 50):
        payments = kind()
        course(payments, random.Random(each), 80)
        payments.teardown()
