"""Mutants of the ledger while an intent awaits its customer: which request gets the secret, and another card."""

from tests.mutants.mutant import Edit, Mutant

COMMIT = "payment/actors/ledger/commit.py"
MONGO = "payment/actors/ledger/actor.py"
VIEWS = "payment/actors/ledger/payment_views.py"
CHARGES = "payment/actors/ledger/pending_charges.py"

NO_LAW = "It costs calls and time, and no law is about either."

MUTANTS = (
    Mutant(
        name="retrieved-for-another-user",
        wrong="A request of another user has the intent retrieved, and gets its client secret.",
        endangers="F45",
        test="tests/unit/actors/ledger/test_awaiting.py::TestViews::test_another_user_makes_the_ledger_retrieve_nothing",
        edits=(Edit(VIEWS, " and view.user_id == message.user_id:", ":"),),
    ),
    Mutant(
        name="view-secret-on-a-dead-order",
        wrong="A request to see a payment gets the client secret of an order that has expired.",
        endangers="L3 F46",
        test="tests/unit/actors/ledger/test_awaiting.py::TestViews::test_an_order_that_expired_meanwhile_brings_no_secret",
        edits=(
            Edit(
                VIEWS,
                "    awaiting = view.status is PaymentStatus.REQUIRES_ACTION and order.open_at(self._clock.now())\n",
                "    awaiting = view.status is PaymentStatus.REQUIRES_ACTION\n",
            ),
        ),
    ),
    Mutant(
        name="view-before-the-intent",
        wrong="A request to see a payment is answered by any write of its order, before the intent is retrieved.",
        endangers="F45",
        test="tests/unit/actors/ledger/test_awaiting.py::TestViews::test_the_owner_gets_the_secret_once_the_intent_is_retrieved",
        edits=(
            Edit(
                VIEWS,
                "if view.status is PaymentStatus.REQUIRES_ACTION and not retrieved and handover is None:",
                "if view.status is PaymentStatus.PENDING and not retrieved and handover is None:",
            ),
        ),
    ),
    Mutant(
        name="view-waits-for-ever",
        wrong="A request to see a payment waits until the intent is retrieved, however long that takes.",
        endangers="L4 F45",
        test="tests/unit/actors/ledger/test_awaiting.py::TestViews::test_without_the_intent_in_time_it_is_answered_without_the_secret",
        edits=(
            Edit(
                VIEWS,
                "                if now >= min(message.deadline, self._answer_by):\n",
                "                if now >= min(message.deadline + 1e9, self._answer_by):\n",
            ),
        ),
    ),
    Mutant(
        name="accepted-while-superseding",
        wrong="A request whose card supersedes another is answered with 202 while nothing of it is in the document.",
        endangers="L4 F45",
        test="tests/unit/actors/ledger/test_awaiting.py::TestAnotherCard::test_a_cancel_that_lasts_too_long_is_under_way",
        edits=(
            Edit(
                CHARGES,
                "                    self.answer(charge, Conflict.UNDER_WAY)\n",
                '                    self.answer(charge, OutcomePending("", order.id))\n',
            ),
        ),
    ),
    Mutant(
        name="superseding-request-waits-on",
        wrong="A request whose card supersedes another waits past its deadline for the cancel.",
        endangers="L4 F45",
        test="tests/unit/actors/ledger/test_awaiting.py::TestAnotherCard::test_a_cancel_that_lasts_too_long_is_under_way",
        edits=(
            Edit(CHARGES, "                return late\n", "                return False\n"),
            Edit(
                CHARGES,
                "                    self.answer(charge, Conflict.UNDER_WAY)\n",
                "                    self._recheck_wanted.pop(order.id, None)\n",
            ),
        ),
    ),
    Mutant(
        name="superseding-request-unknown",
        wrong="A request whose card supersedes another is answered with an unknown outcome once it could be charged.",
        endangers="L4 F45",
        test="tests/unit/actors/ledger/test_awaiting.py::TestAnotherCard::test_the_intent_is_cancelled_and_the_next_one_confirmed",
        edits=(
            Edit(
                CHARGES,
                "            case Start() if superseding:\n                self.decide_again(charge)\n",
                "",
            ),
        ),
    ),
    Mutant(
        name="requires-action-without-the-secret",
        wrong="A request gets `requires_action` without the client secret that the browser needs.",
        endangers="L4 F45",
        test="tests/unit/actors/ledger/test_awaiting.py::TestSecret::test_the_same_request_again_retrieves_the_intent_and_gets_it",
        edits=(
            Edit(
                CHARGES,
                "            case RequiresAction() if handover is not None:\n",
                "            case RequiresAction():\n",
            ),
        ),
    ),
    Mutant(
        name="recheck-not-asked-for",
        wrong="A request that needs its intent waits for a recheck that is not asked for.",
        endangers="L4 F45",
        test="tests/unit/actors/ledger/test_awaiting.py::TestSecret::test_an_intent_is_retrieved_at_most_every_two_seconds",
        edits=(Edit(CHARGES, "                self._recheck_wanted[order.id] = None\n", ""),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="awaiting-request-held",
        wrong="A request of a client that can't authenticate is held until its deadline while its order "
        "awaits a customer.",
        endangers="F45",
        test="tests/unit/actors/ledger/test_awaiting.py::TestSecret::test_a_client_that_cant_authenticate_is_answered_at_once",
        edits=(Edit(CHARGES, "            return math.inf\n", "            return 0.0\n"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="secret-of-the-write-lost",
        wrong="The write that makes an attempt awaiting does not bring the client secret to its request.",
        endangers="F45",
        test="tests/unit/actors/ledger/test_awaiting.py::TestSecret::test_the_write_that_makes_it_awaiting_brings_the_secret",
        edits=(
            Edit(
                COMMIT,
                "self._charges.written, order, handover)",
                "self._charges.written, order)",
            ),
        ),
        beyond=NO_LAW,
    ),
)
