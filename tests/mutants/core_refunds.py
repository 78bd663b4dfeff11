"""Wrongs in giving charges back and in who has what in hand (payment/core): refunds, events, leases."""

from tests.mutants.mutant import Edit, Mutant

ATTEMPTS = "payment/core/attempts.py"
CHARGES = "payment/core/charges.py"
REFUNDS = "payment/core/refunds.py"
TASKS = "payment/core/tasks.py"
T = "tests/core/test_refunds_and_events.py"

NO_HARM = "It costs calls and time, and no law is about either."

MUTANTS = (
    Mutant(
        name="two-refunds-announced",
        wrong="Where two charges of a cancelled order are given back, payment:refunded is owed twice.",
        endangers="L3 F21",
        test=f"{T}::test_payment_is_announced_as_given_back_once",
        edits=(
            Edit(
                REFUNDS,
                " or any(event.subject == PAYMENT_REFUNDED for event in order.outbox)",
                "",
            ),
        ),
    ),
    Mutant(
        name="stray-stands-for-its-payment",
        wrong="payment:refunded names a stray charge that was given back first, and the payment's own is never told.",
        endangers="L3 F18 F21",
        test=f"{T}::test_stray_given_back_first_does_not_stand_for_what_its_order_gives_back",
        edits=(
            Edit(
                REFUNDS,
                "    return given_back.charge_id not in claimed and not STILL_KEPT.isdisjoint(claimed.values())\n",
                "    return given_back in order.strays and not STILL_KEPT.isdisjoint(claimed.values())\n",
            ),
        ),
        beyond="It takes a second charge under one key, which Stripe never makes.",
    ),
    Mutant(
        name="refund-id-not-kept",
        wrong="A refund is noted as done without its id.",
        endangers="L3 F21",
        test=f"{T}::test_refund_that_is_done_is_kept_with_its_id",
        edits=(Edit(REFUNDS, "refund=structs.replace(refund, id=refund_id))\n    order", "refund=refund)\n    order"),),
    ),
    Mutant(
        name="stray-without-its-amount",
        wrong="Of a stray charge it is not noted how much it was.",
        endangers="F18",
        test=f"{T}::test_stray_is_kept_with_what_is_known_of_it",
        edits=(Edit(CHARGES, "amount=order.amount or 0", "amount=0"),),
        beyond="Only a person reads it: a refund is always in full.",
    ),
    Mutant(
        name="other-charges-hide-an-empty-list",
        wrong="A list that shows only charges of others is not taken as an empty one: its attempt is never settled.",
        endangers="L4 F18",
        test="tests/core/test_how_attempts_end.py::test_list_of_other_charges_is_an_empty_one",
        edits=(
            Edit(
                CHARGES,
                "any(charge.attempt == message.attempt for charge in message.charges)",
                "bool(message.charges)",
            ),
        ),
    ),
    Mutant(
        name="settled-anew-at-the-refund",
        wrong="When an attempt was settled is written over by when it was given back.",
        endangers="F21",
        test="tests/core/test_attempts.py::test_settled_says_when_an_attempt_was_settled_first",
        edits=(Edit(ATTEMPTS, "settled = attempt.settled or moment.at", "settled = moment.at"),),
        beyond="Only a person reads it.",
    ),
    Mutant(
        name="send-without-its-time",
        wrong="An attempt that is sent again still counts as last sent when it was first sent.",
        endangers="F12 F38",
        test="tests/core/test_attempts.py::test_second_send_waits_a_little",
        edits=(
            Edit(
                ATTEMPTS,
                "        last_sent=moment.at,\n        task=in_hand(TaskKind.CHARGE, moment, not_before),\n",
                "        task=in_hand(TaskKind.CHARGE, moment, not_before),\n",
            ),
        ),
    ),
    Mutant(
        name="looked-for-without-a-pause",
        wrong="An attempt that can't be sent any more is looked for again at once, whenever a list was empty.",
        endangers="F38 F39",
        test="tests/core/test_attempts.py::test_key_of_unknown_age_is_never_sent_again",
        edits=(
            Edit(
                ATTEMPTS,
                "if attempt.state is AttemptState.CHARGING and attempt.token and may_send(",
                "if attempt.state is AttemptState.CHARGING and may_send(",
            ),
        ),
        beyond=NO_HARM,
    ),
    Mutant(
        name="stored-delay-for-every-attempt",
        wrong="Every attempt that was looked for in vain waits the minute that only a stored error asks for.",
        endangers="F10 F20",
        test="tests/core/test_attempts.py::test_key_of_unknown_age_is_never_sent_again",
        edits=(
            Edit(
                ATTEMPTS,
                "if attempt.state is AttemptState.ERROR_STORED and moment.at < attempt.last_sent + STORED",
                "if moment.at < attempt.last_sent + STORED",
            ),
        ),
        beyond=NO_HARM,
    ),
    Mutant(
        name="old-age-outlives-a-doubt",
        wrong="That a key was seen to be old counts on, though a look in between found that the clock was wrong.",
        endangers="L2 F38",
        test="tests/core/test_attempts.py::test_old_age_seen_before_the_clock_went_back_counts_no_more",
        edits=(Edit(ATTEMPTS, "token=None, unsendable_since=None, last_sent", "token=None, last_sent"),),
    ),
    Mutant(
        name="withheld-word-takes-a-look-away",
        wrong="Word of a send that was withheld gives back whatever its attempt has in hand, a look too.",
        endangers="F20 F36",
        test="tests/core/test_attempts.py::test_send_that_was_withheld_takes_no_look_out_of_anybodys_hands",
        edits=(
            Edit(
                ATTEMPTS,
                "case Trigger.WITHHELD if _holds(attempt, TaskKind.CHARGE, moment):",
                "case Trigger.WITHHELD:",
            ),
        ),
        beyond=NO_HARM,
    ),
    Mutant(
        name="event-taken-before-its-lease-ends",
        wrong="Whoever sweeps takes an event over that another process is about to publish.",
        endangers="F08 F28",
        test=f"{T}::test_due_before_its_time_changes_nothing",
        edits=(
            Edit(
                TASKS,
                "        if event.task is not None and takeable(event.task, moment)\n",
                "        if event.task is not None\n",
            ),
        ),
    ),
    Mutant(
        name="waiting-event-taken-over",
        wrong="A second event behind one that waits in another's hands takes that one over.",
        endangers="F21 F28",
        test=f"{T}::test_event_that_waits_in_anothers_hands_stays_there",
        edits=(Edit(TASKS, "if first is None or first.task is not None:", "if first is None:"),),
        beyond=NO_HARM,
    ),
    Mutant(
        name="all-effects-given-back-with-one",
        wrong="Where one effect of an order is given back or renewed, so is every other.",
        endangers="F28 F33",
        test=f"{T}::test_only_what_is_named_is_renewed_or_given_back",
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
        test=f"{T}::test_only_what_is_named_is_renewed_or_given_back",
        edits=(
            Edit(
                TASKS,
                "        if event.task and publication(order, payment, event).id in effect_ids\n",
                "        if event.task\n",
            ),
        ),
        beyond=NO_HARM,
    ),
)
