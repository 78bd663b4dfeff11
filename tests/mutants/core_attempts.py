"""Wrongs in how an attempt to charge goes on and ends: keys, sends, evidence, refunds (payment/core)."""

from tests.mutants.mutant import Edit, Mutant

ATTEMPTS = "payment/core/attempts.py"
CHARGES = "payment/core/charges.py"
DECIDE = "payment/core/decide.py"
ORDER = "payment/core/order.py"
SCHEDULE = "payment/core/schedule.py"

MUTANTS = (
    Mutant(
        name="new-key-on-retry",
        wrong="An unclear charge is sent again under a key of its own.",
        endangers="L1 F09 F10",
        test="tests/core/test_how_attempts_end.py::test_unclear_send_of_a_young_key_is_counted_and_sent_again",
        edits=(
            Edit(
                ATTEMPTS,
                "        sends=attempt.sends + 1,\n",
                '        sends=attempt.sends + 1,\n        key=f"{attempt.key}-{attempt.sends + 1}",\n',
            ),
        ),
    ),
    Mutant(
        name="one-key-for-all-attempts",
        wrong="A new attempt, with another token, is sent under the key of the one before.",
        endangers="L4 F15 F16",
        test="tests/core/test_decide.py::test_new_attempt_after_a_decline_has_a_key_of_its_own_under_the_same_payment",
        edits=(Edit(DECIDE, 'key=f"charge-{payment.id}-{number}"', 'key=f"charge-{payment.id}"'),),
    ),
    Mutant(
        name="key-young-for-25-hours",
        wrong="A key may be sent for 25 hours, though Stripe forgets it after 24.",
        endangers="L1 F17",
        test="tests/core/test_how_attempts_end.py::test_due_charge_of_an_old_key_is_looked_for_as_final_and_never_sent",
        edits=(Edit(SCHEDULE, "KEY_LIFE = timedelta(hours=23)", "KEY_LIFE = timedelta(hours=25)"),),
    ),
    Mutant(
        name="old-key-sent-again",
        wrong="Whether a key is still young is not asked before the next send is counted.",
        endangers="L1 F17",
        test="tests/core/test_how_attempts_end.py::test_due_charge_of_an_old_key_is_looked_for_as_final_and_never_sent",
        edits=(
            Edit(
                SCHEDULE,
                "return order.open_at(at) and at < attempt.not_after and not",
                "return order.open_at(at) and not",
            ),
        ),
    ),
    Mutant(
        name="key-of-unknown-age-sent-again",
        wrong="A clock that went back makes an old key look young, and it is sent again.",
        endangers="L1 F38",
        test="tests/core/test_schedule.py::test_key_may_be_sent_while_it_is_young_and_its_order_open",
        edits=(Edit(SCHEDULE, " and not clock_went_back(attempt, at)", ""),),
    ),
    Mutant(
        name="sent-past-expiry",
        wrong="A charge in hand may still leave after its order has expired.",
        endangers="F36",
        test="tests/core/test_schedule.py::test_last_instant_of_a_send_is_the_earlier_of_key_and_order",
        edits=(
            Edit(
                SCHEDULE,
                "return attempt.not_after if order.expires_at is None else min(attempt.not_after, order.expires_at)",
                "return attempt.not_after",
            ),
        ),
    ),
    Mutant(
        name="take-over-without-a-look",
        wrong="Who takes a charge over from another process sends it again before looking for it.",
        endangers="L1 F05 F34",
        test="tests/core/test_how_attempts_end.py::test_who_takes_an_attempt_over_looks_before_it_sends",
        edits=(Edit(ATTEMPTS, "look_first=not mine)", "look_first=False)"),),
    ),
    Mutant(
        name="never-looks-between-sends",
        wrong="A charge that stays unclear is sent again and again, and never looked for.",
        endangers="F10 F12",
        test="tests/core/test_decide.py::test_second_unclear_end_is_looked_for_before_the_next_send",
        edits=(Edit(ATTEMPTS, "look_first=attempt.sends > 1)", "look_first=False)"),),
    ),
    Mutant(
        name="refusal-of-a-later-send-believed",
        wrong="A refusal of the second send is taken as proof about the first.",
        endangers="L1 L2 F10",
        test="tests/core/test_how_attempts_end.py::test_refusal_of_the_second_send_is_no_proof_about_the_first",
        edits=(Edit(CHARGES, "    if attempt.sends > 1:\n", "    if attempt.sends > 2:\n"),),
    ),
    Mutant(
        name="withheld-later-send-settles",
        wrong="A second send that was never made refuses the attempt, though the first may have charged.",
        endangers="L1 L2 F20 F36",
        test="tests/core/test_decide.py::test_later_send_withheld_on_a_cancelled_order_proves_nothing_about_the_first",
        edits=(Edit(CHARGES, "if attempt.sends > 1 or may_send(", "if may_send("),),
    ),
    Mutant(
        name="send-number-ignored",
        wrong="The end of an earlier send is taken for the end of the one under way.",
        endangers="L1 F34",
        test="tests/core/test_decide.py::test_unclear_end_of_an_earlier_send_changes_nothing",
        edits=(Edit(CHARGES, "if message.send != attempt.sends:", "if message.send > attempt.sends:"),),
    ),
    Mutant(
        name="outcome-to-the-wrong-attempt",
        wrong="An outcome is applied to the newest attempt, whichever it is about.",
        endangers="L1 L2 F15 F18",
        test="tests/core/test_how_attempts_end.py::test_outcome_is_judged_by_its_own_attempts_number",
        edits=(Edit("payment/core/parts.py", "return order.attempts[number - 1] if", "return order.attempts[-1] if"),),
    ),
    Mutant(
        name="empty-list-is-proof",
        wrong="An empty list closes the attempt, whatever it was asked under.",
        endangers="L1 L2 F09 F18",
        test="tests/core/test_how_attempts_end.py::test_key_between_young_and_old_is_neither_sent_nor_judged",
        edits=(Edit(CHARGES, "Evidence.PROBE: Trigger.EMPTY_PROBE", "Evidence.PROBE: Trigger.EMPTY_FINAL"),),
    ),
    Mutant(
        name="stored-error-closes",
        wrong="An empty list asked as stored closes the attempt for good, and nobody watches for a late landing.",
        endangers="L2 F12 F18",
        test="tests/core/test_how_attempts_end.py::test_empty_list_asked_as_stored_abandons_and_the_order_is_payable_again",
        edits=(Edit(CHARGES, "Evidence.STORED: Trigger.EMPTY_STORED", "Evidence.STORED: Trigger.EMPTY_FINAL"),),
    ),
    Mutant(
        name="list-judged-by-its-arrival",
        wrong="What an empty list proves is decided by the clock when it arrives, not by what it was asked under.",
        endangers="L2 F12 F18",
        test="tests/core/test_how_attempts_end.py::test_empty_list_asked_before_the_evidence_and_applied_after_proves_nothing",
        edits=(
            Edit(CHARGES, "import in_hand, may_send", "import STORED_LOOK_DELAY, in_hand, may_send"),
            Edit(
                CHARGES,
                "    return replaced(order, attempt, moved(order, attempt, EMPTY[message.evidence], moment))",
                "    late = attempt.state is AttemptState.ERROR_STORED\n"
                "    late = late and moment.at >= attempt.last_sent + STORED_LOOK_DELAY\n"
                "    trigger = Trigger.EMPTY_STORED if late else EMPTY[message.evidence]\n"
                "    return replaced(order, attempt, moved(order, attempt, trigger, moment))",
            ),
        ),
    ),
    Mutant(
        name="stored-look-without-its-minute",
        wrong="The list that abandons an attempt is asked for at once, without the minute after the stored error.",
        endangers="L2 F12 F18",
        test="tests/core/test_how_attempts_end.py::test_look_taken_over_within_the_minute_after_a_stored_error_proves_nothing",
        edits=(Edit(ATTEMPTS, " and moment.at >= attempt.last_sent + STORED_LOOK_DELAY:", ":"),),
    ),
    Mutant(
        name="closed-by-one-clock",
        wrong="One look at one clock closes an attempt: a clock that is a year ahead closes one that is under way.",
        endangers="L2 F38",
        test="tests/core/test_how_attempts_end.py::test_first_look_by_whatever_clock_is_no_final_one",
        edits=(
            Edit(
                SCHEDULE,
                "return attempt.unsendable_since is not None and at >= attempt.unsendable_since + REQUEST_LIFE",
                "return at >= attempt.not_after + REQUEST_LIFE",
            ),
        ),
    ),
    Mutant(
        name="wrong-clocks-future-believed",
        wrong="The minute after a stored error counts from a time days ahead, written by a clock that was wrong.",
        endangers="L4 F12 F38",
        test="tests/core/test_how_attempts_end.py::"
        "test_error_stored_by_a_clock_that_was_days_ahead_is_judged_within_minutes",
        edits=(Edit(ATTEMPTS, "unsendable_since=None, last_sent=moment.at)", "unsendable_since=None)"),),
    ),
    Mutant(
        name="late-look-believed",
        wrong="A look that comes days late is taken for the second that finds a key old, whatever clocks were between.",
        endangers="L1 L2 F38",
        test="tests/core/test_how_attempts_end.py::test_a_look_that_comes_hours_late_begins_the_wait_anew",
        edits=(Edit(ATTEMPTS, " or came_late(attempt.task, moment.at)", ""),),
    ),
    Mutant(
        name="abandoned-not-watched",
        wrong="An abandoned attempt is not looked for any more.",
        endangers="L1 L2 F18",
        test="tests/core/test_how_attempts_end.py::test_abandoned_attempt_is_watched_until_it_is_old_and_then_closed",
        edits=(Edit(ATTEMPTS, "token=None, settled=settled, task=task)", "token=None, settled=settled)"),),
    ),
    Mutant(
        name="decline-after-stored-error-believed",
        wrong="A decline that comes after an error was stored for its key settles the attempt.",
        endangers="L1 L2 F12",
        test="tests/core/test_decide.py::test_decline_after_an_error_was_stored_is_not_believed",
        edits=(
            Edit(
                ORDER,
                "    (_S.ERROR_STORED, _T.CHARGED): _S.PAID,\n",
                "    (_S.ERROR_STORED, _T.DECLINED): _S.DECLINED,\n    (_S.ERROR_STORED, _T.CHARGED): _S.PAID,\n",
            ),
        ),
    ),
    Mutant(
        name="stray-charge-ignored",
        wrong="A second charge under one attempt's number is seen and left where it is.",
        endangers="L1 L2 F34",
        test="tests/core/test_decide.py::test_second_charge_under_one_attempt_is_a_stray_and_given_back",
        edits=(Edit(CHARGES, "return _with_stray(order, order.payment, number, charge_id, moment)", "return order"),),
    ),
    Mutant(
        name="found-for-its-own-attempt-only",
        wrong="Of a list only the charges of the attempt that asked are read.",
        endangers="L1 L2 F18",
        test="tests/core/test_decide.py::test_charge_that_names_no_attempt_of_ours_is_given_back",
        edits=(
            Edit(
                CHARGES,
                "    for charge in message.charges:\n        order",
                "    for charge in message.charges:\n        if charge.attempt != message.attempt:\n"
                "            continue\n        order",
            ),
        ),
    ),
    Mutant(
        name="late-charge-dropped",
        wrong="A charge of an attempt that was settled without one is dropped for being late.",
        endangers="L1 L2 F18",
        test="tests/core/test_how_attempts_end.py::test_charge_of_a_settled_attempt_is_given_back",
        edits=(
            Edit(
                CHARGES,
                "    with_id = structs.replace(attempt, charge_id=charge_id)\n",
                "    if attempt.state not in UNSETTLED:\n        return order\n"
                "    with_id = structs.replace(attempt, charge_id=charge_id)\n",
            ),
        ),
    ),
    Mutant(
        name="charge-kept-on-a-cancelled-order",
        wrong="A charge that lands after the cancel pays the order.",
        endangers="L3 F20 F24",
        test="tests/core/test_how_attempts_end.py::test_charge_on_a_cancelled_order_is_given_back",
        edits=(Edit(CHARGES, "UNSETTLED or order.cancelled or order.kept", "UNSETTLED or order.kept"),),
    ),
    Mutant(
        name="second-charge-kept",
        wrong="A charge that comes to an order that is paid already is kept beside the first.",
        endangers="L1 F18 F34",
        test="tests/core/test_decide.py::test_abandoned_attempt_that_lands_after_another_paid_is_given_back",
        edits=(
            Edit(
                CHARGES,
                "UNSETTLED or order.cancelled or order.kept is not None:",
                "(*UNSETTLED, AttemptState.ABANDONED) or order.cancelled:",
            ),
            Edit(
                ORDER,
                "    (_S.ABANDONED, _T.CHARGED_UNWANTED): _S.REFUNDING,\n",
                "    (_S.ABANDONED, _T.CHARGED_UNWANTED): _S.REFUNDING,\n    (_S.ABANDONED, _T.CHARGED): _S.PAID,\n",
            ),
        ),
    ),
    Mutant(
        name="cancel-leaves-the-token",
        wrong="A cancel leaves an attempt its token: what was not sent yet is sent after it.",
        endangers="L3 F20",
        test="tests/core/test_how_attempts_end.py::test_due_charge_of_a_cancelled_order_is_looked_for_and_never_sent",
        edits=(
            Edit(
                ATTEMPTS,
                "            return structs.replace(attempt, token=None)\n        case Trigger.WITHHELD",
                "            return attempt\n        case Trigger.WITHHELD",
            ),
        ),
    ),
    Mutant(
        name="cancel-keeps-the-money",
        wrong="An order that is cancelled after it was paid stays paid.",
        endangers="L3 F21",
        test="tests/core/test_how_attempts_end.py::test_paid_attempt_of_an_order_that_is_cancelled_is_given_back",
        edits=(Edit(ORDER, "(_S.PAID, _T.CANCELLED): _S.REFUNDING", "(_S.PAID, _T.CANCELLED): _S.PAID"),),
    ),
    Mutant(
        name="new-refund-key-on-retry",
        wrong="A refund without an answer is asked for again under a new key.",
        endangers="L1 F23",
        test="tests/core/test_attempts.py::test_third_refund_key_waits",
        edits=(
            Edit(
                ATTEMPTS,
                "            kind = TaskKind.REFUND if attempt.state is AttemptState.REFUNDING else",
                "            attempt = with_refund(attempt, moment)\n"
                "            kind = TaskKind.REFUND if attempt.state is AttemptState.REFUNDING else",
            ),
        ),
    ),
    Mutant(
        name="blocked-refund-called-done",
        wrong="A refund that failed, is pending or disputed is taken for done.",
        endangers="L2 L3 F44",
        test="tests/core/test_how_attempts_end.py::test_blocked_refund_is_tried_again_slowly",
        edits=(
            Edit(
                ORDER, "(_S.REFUNDING, _T.REFUND_BLOCKED): _S.BLOCKED", "(_S.REFUNDING, _T.REFUND_BLOCKED): _S.REFUNDED"
            ),
        ),
    ),
    Mutant(
        name="blocked-refund-forgotten",
        wrong="A refund that Stripe blocks is not looked at again.",
        endangers="L3 F44",
        test="tests/core/test_how_attempts_end.py::test_blocked_refund_is_tried_again_slowly",
        edits=(
            Edit(
                ATTEMPTS,
                "return structs.replace(attempt, refund=refund, task=watch(moment.at + blocked_delay(times), moment))",
                "return structs.replace(attempt, refund=refund, task=None)",
            ),
        ),
    ),
)
