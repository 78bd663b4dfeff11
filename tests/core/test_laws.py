"""The laws, in a small world that Hypothesis drives: whatever happens, once things rest the books agree.

Every rule is one thing that the world can do next. The invariants of single documents and steps are checked inside
`World.decide`; the laws at the end, after everybody who still owes something has had the time to do it.
"""

import itertools
from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from payment.core.effects import PAYMENT_CREATED, PAYMENT_REFUNDED
from payment.core.messages import Due
from payment.core.order import UNSETTLED
from tests.core.builders import ORDER, T0, cancelled, created, request
from tests.core.world import WIRE, World

CLIENTS = st.sampled_from(["web-1", "web-2"])
ANY = st.integers(min_value=0, max_value=10)
WILLS = st.sampled_from(["charged", "charged", "declined", "refused", "refused", "error", "error after charging"])
ANSWERS = st.sampled_from(["told", "told", "lost", "late", "late", "withheld", "withdrawn"])
SPANS = st.sampled_from(
    [timedelta(seconds=1), timedelta(seconds=61), timedelta(minutes=9), timedelta(hours=7), timedelta(hours=30)]
)
REST_ROUNDS_LIMIT = 400
"""Looks. Two days of waiting for a final list take about thirty."""


class Payments(RuleBasedStateMachine):
    """One order, two processes, one Stripe."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.tokens = 0

    @initialize(days=st.sampled_from([0.001, 1, 30]))
    def order_comes(self, days: float) -> None:
        self.world.decide(created(expires_at=T0 + timedelta(days=days)), "web-1#run1")
        self.somebody_pays("web-1")

    @rule(client=CLIENTS)
    def somebody_pays(self, client: str) -> None:
        self.tokens += 1
        self.world.decide(request(f"tok_{self.tokens}"), self.world.process(client))

    @rule(client=CLIENTS, token=ANY)
    def somebody_repeats_a_request(self, client: str, token: int) -> None:
        self.world.decide(request(f"tok_{token}"), self.world.process(client))

    @rule(client=CLIENTS)
    def order_is_cancelled(self, client: str) -> None:
        self.world.decide(cancelled(), self.world.process(client))

    @rule(client=CLIENTS)
    def created_comes_again(self, client: str) -> None:
        self.world.decide(created(), self.world.process(client))

    @precondition(lambda self: self.world.idle())
    @rule(which=ANY, will=WILLS, answer=ANSWERS)
    def somebody_does_what_it_has_in_hand(self, which: int, will: str, answer: str) -> None:
        hands = self.world.idle()
        self.world.perform(hands[which % len(hands)], will, answer)

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
        """What is in hand is done and told, else a deadline passes: chance alone seldom gets to the deep states."""
        world = self.world
        for will, answer in turns:
            if world.idle() and not world.mail:
                world.perform(world.idle()[0], will, answer)
                world.deliver(0)
            elif world.order.due is not None:
                world.advance(max(world.order.due - world.now, timedelta(0)))
                world.decide(Due(ORDER), world.process(client))

    @rule(client=CLIENTS)
    def somebody_sweeps(self, client: str) -> None:
        order = self.world.order
        if order is not None and order.due is not None and order.due <= self.world.now:
            self.world.decide(Due(ORDER), self.world.process(client))

    def teardown(self) -> None:
        if self.world.order is not None:
            self.come_to_rest()
            self.check_laws()

    def come_to_rest(self) -> None:
        """Everybody does what it has in hand, Stripe answers all, and time goes from deadline to deadline."""
        world = self.world
        for _ in range(REST_ROUNDS_LIMIT):
            while world.mail or world.idle():
                for hand in world.idle():
                    world.perform(hand, "charged", "withdrawn")
                while world.mail:
                    world.deliver(0)
            if world.order.due is None:
                world.advance(WIRE)  # whatever nobody waits for lands now, and nobody sees it
                break
            world.advance(max(world.order.due - world.now, timedelta(seconds=0)))
            world.decide(Due(ORDER), world.process("web-1"))
        assert world.order.due is None, "it never comes to rest"

    def check_laws(self) -> None:
        order, charges = self.world.order, self.world.stripe.charges
        not_given_back = [charge.id for charge in charges if charge.refund is None]
        told = {event.subject: event for event in self.world.published}
        assert len(not_given_back) <= 1, "L1: charged at most once for what it keeps"
        if PAYMENT_CREATED in told:
            assert told[PAYMENT_CREATED].stripe_id in {charge.id for charge in charges}, "L2: nobody else is told paid"
        for charge_id in not_given_back:
            assert told[PAYMENT_CREATED].stripe_id == charge_id, "L2: who is charged is told so, or is given it back"
        if order.cancelled:
            assert not not_given_back, "L3: a cancelled order keeps no money"
            assert PAYMENT_REFUNDED in told or not [c for c in charges if order.kept and c.id == order.kept.charge_id]
        assert not [attempt for attempt in order.attempts if attempt.state in UNSETTLED], "L4: each 202 resolves"
        subjects = [event.subject for event in self.world.published]
        if PAYMENT_CREATED in subjects and PAYMENT_REFUNDED in subjects:
            assert subjects.index(PAYMENT_CREATED) < subjects.index(PAYMENT_REFUNDED), "created goes out first (F21)"
        assert all(event.published for event in order.outbox), "L4: no event stays behind"


TestLaws = Payments.TestCase
TestLaws.settings = settings(
    max_examples=100, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

TURNS = [("charged", "told"), ("charged", "late"), ("refused", "told"), ("error", "told"), ("charged", "lost")]
"""How the next thing in hand goes; where nothing is in hand the turn lets a deadline pass."""


@pytest.mark.parametrize("cancel", [False, True], ids=["", "cancelled"])
def test_every_course_of_four_turns_keeps_the_laws(cancel):
    """All of them; then another card is tried, perhaps the order cancelled, and what is late lands (F18, F24)."""
    for turns in itertools.product(TURNS, repeat=4):
        world = Payments()
        world.order_comes(1)
        world.work_goes_on("web-2", list(turns))
        world.somebody_pays("web-1")
        if cancel:
            world.order_is_cancelled("web-2")
        world.teardown()
