"""Mutants of refunds, events and their leases (payment/core)."""

from tests.mutants.mutant import Edit, Mutant

ATTEMPTS = "payment/core/attempts.py"
OUTCOMES = "payment/core/outcomes.py"
REFUNDS = "payment/core/refunds.py"
TASKS = "payment/core/attempts.py"

NO_HARM = "It costs calls and time, and no law is about either."

MUTANTS = (
    Mutant(
        name="two-refunds-announced",
        wrong="Where two charges of a cancelled order are given back, payment:refunded is owed twice.",
        endangers="L3 F21",
        test="tests/unit/core/test_refunds_and_events.py::test_payment_is_announced_as_given_back_once",
        edits=(
            Edit(
                REFUNDS,
                "if order.kept is None and any(event",
                "if order.amount is None and any(event",
            ),
        ),
    ),
    Mutant(
        name="refund-id-not-kept",
        wrong="A refund is noted as done without its id.",
        endangers="L3 F21",
        test="tests/unit/core/test_refunds_and_events.py::test_refund_that_is_done_is_kept_with_its_id",
        edits=(Edit(REFUNDS, "refund=structs.replace(refund, id=refund_id))\n    order", "refund=refund)\n    order"),),
    ),
    Mutant(
        name="settled-anew-at-the-refund",
        wrong="When an attempt was settled is written over by when it was given back.",
        endangers="F21",
        test="tests/unit/core/test_attempts.py::test_settled_is_when_an_attempt_was_settled_first",
        edits=(Edit(ATTEMPTS, "settled=attempt.settled or context.now", "settled=context.now"),),
        beyond="Only a person reads it.",
    ),
    Mutant(
        name="send-without-its-time",
        wrong="An attempt that is sent again still counts as last sent when it was first sent.",
        endangers="F12 F38",
        test="tests/unit/core/test_attempts.py::test_second_send_waits_a_little",
        edits=(
            Edit(
                OUTCOMES,
                "sends=attempt.sends + 1, last_sent=context.now)",
                "sends=attempt.sends + 1)",
            ),
        ),
    ),
    Mutant(
        name="withheld-word-takes-a-look-away",
        wrong="The outcome of a withheld send gives back every task that its attempt has in flight, a retrieve too.",
        endangers="F20 F36",
        test="tests/unit/core/test_outcomes.py::test_withheld_send_returns_no_retrieval_that_its_own_process_has_in_flight",
        edits=(
            Edit(
                OUTCOMES,
                "        if not holds(intent, context, TaskKind.CONFIRM):\n            return order  # a",
                "        if intent is None:\n            return order  # it",
            ),
        ),
        beyond=NO_HARM,
    ),
    Mutant(
        name="event-taken-before-its-lease-ends",
        wrong="A sweep takes over an event that another process is about to publish.",
        endangers="F08 F28",
        test="tests/unit/core/test_refunds_and_events.py::test_due_before_its_time_changes_nothing",
        edits=(
            Edit(
                TASKS,
                "        if event.task is not None and takeable(event.task, context):\n",
                "        if event.task is not None:\n",
            ),
        ),
    ),
    Mutant(
        name="waiting-event-taken-over",
        wrong="A second event behind one that another process holds takes that one over.",
        endangers="F21 F28",
        test="tests/unit/core/test_refunds_and_events.py::test_event_that_another_process_publishes_stays_there",
        edits=(Edit(TASKS, "if first is None or first.task is not None:", "if first is None:"),),
        beyond=NO_HARM,
    ),
    Mutant(
        name="all-effects-given-back-with-one",
        wrong="Where one effect of an order is given back or renewed, so is every other.",
        endangers="F28 F33",
        test="tests/unit/core/test_refunds_and_events.py::test_only_the_named_effect_is_renewed_or_given_back",
        edits=(
            Edit(
                TASKS,
                "        if attempt.task and attempt_effect(order, payment, attempt, attempt.task).id in effect_ids:\n",
                "        if attempt.task:\n",
            ),
        ),
        beyond=NO_HARM,
    ),
    Mutant(
        name="event-given-back-with-any-other",
        wrong="Where an effect of an order is given back or renewed, so is its event.",
        endangers="F28 F33",
        test="tests/unit/core/test_refunds_and_events.py::test_only_the_named_effect_is_renewed_or_given_back",
        edits=(
            Edit(
                TASKS,
                "        if event.task and publication(order, payment, event).id in effect_ids:\n",
                "        if event.task:\n",
            ),
        ),
        beyond=NO_HARM,
    ),
    Mutant(
        name="intent-effect-given-back-with-any-other",
        wrong="If one effect of an order is given back or renewed, so are the effects in flight for its intent.",
        endangers="F28 F33",
        test="tests/unit/core/test_refunds_and_events.py::"
        "test_task_of_an_intent_is_not_renewed_or_given_back_with_a_refund",
        edits=(
            Edit(
                TASKS,
                "intent.task and intent_effect(order, payment, intent, intent.task).id in effect_ids:",
                "intent.task:",
            ),
        ),
        beyond=NO_HARM,
    ),
    Mutant(
        name="refund-key-of-a-question-asked",
        wrong="After an error was stored for a refund's key, and no refund found, the same key is asked again.",
        endangers="L3 F23",
        test="tests/unit/core/test_attempts.py::test_third_refund_key_waits",
        edits=(
            Edit(
                REFUNDS,
                "    if attempt.state is AttemptState.REFUNDING:\n        attempt = with_refund(attempt, context)\n",
                "    if attempt.state is AttemptState.REFUNDING:\n"
                "        attempt = structs.replace(attempt, task=in_flight(TaskKind.REFUND, context))\n",
            ),
        ),
    ),
)
