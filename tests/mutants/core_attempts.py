"""Mutants of an attempt to charge: sends, answers, retrieves, cancels, refunds (payment/core)."""

from tests.mutants.mutant import Edit, Mutant

ATTEMPTS = "payment/core/attempts.py"
DECIDE = "payment/core/decide.py"
ORDER = "payment/core/order.py"
OUTCOMES = "payment/core/outcomes.py"
REFUNDS = "payment/core/refunds.py"
SCHEDULE = "payment/core/schedule.py"
TASKS = "payment/core/attempts.py"

MUTANTS = (
    Mutant(
        name="key-young-for-25-hours",
        wrong="A confirm's key may be sent for 25 hours, though Stripe forgets it after 24.",
        endangers="L1 F17",
        test="tests/unit/core/test_schedule.py::test_times_that_proofs_rest_on_are_those_of_the_protocol",
        edits=(Edit(SCHEDULE, "\nKEY_LIFE = timedelta(hours=12)", "\nKEY_LIFE = timedelta(hours=25)"),),
    ),
    Mutant(
        name="old-key-sent-again",
        wrong="Whether a key is still young is not asked before the next send is counted.",
        endangers="L1 F17",
        test="tests/unit/core/test_outcomes.py::test_unclear_end_on_a_dead_order_or_of_an_old_key_is_cancelled",
        edits=(Edit(SCHEDULE, "instrument is not None and at < attempt.not_after and", "instrument is not None and"),),
    ),
    Mutant(
        name="key-of-unknown-age-sent-again",
        wrong="A clock that went back makes an old key look young, and it is sent again.",
        endangers="L1 F38",
        test="tests/unit/core/test_schedule.py::test_confirm_may_be_sent_while_its_key_is_young_and_its_order_open",
        edits=(Edit(SCHEDULE, " and not clock_went_back\n", "\n"),),
    ),
    Mutant(
        name="sent-again-on-a-dead-order",
        wrong="A confirm without an answer is sent again though its order has expired.",
        endangers="F10 F36",
        test="tests/unit/core/test_outcomes.py::test_unclear_end_on_a_dead_order_or_of_an_old_key_is_cancelled",
        edits=(Edit(SCHEDULE, "return order.open_at(at) and attempt.instrument", "return attempt.instrument"),),
    ),
    Mutant(
        name="sent-past-expiry",
        wrong="A charge in flight may still leave after its order has expired.",
        endangers="F36",
        test="tests/unit/core/test_schedule.py::test_last_instant_of_a_send_is_the_earlier_of_key_and_order",
        edits=(Edit(SCHEDULE, "return min(attempt.not_after, order.expires_at)", "return attempt.not_after"),),
    ),
    Mutant(
        name="take-over-without-a-look",
        wrong="A process that takes a confirm over from another sends it again before it retrieves the intent.",
        endangers="F05 F34",
        test="tests/unit/core/test_outcomes.py::"
        "test_new_run_of_a_process_takes_its_own_clients_work_at_once_and_retrieves_first",
        edits=(
            Edit(
                TASKS,
                "        case _:\n            return with_intent(order, task=in_flight(TaskKind.RETRIEVE, context))\n",
                "        case _:\n"
                "            repeated = task.kind if task.kind is TaskKind.CONFIRM else TaskKind.RETRIEVE\n"
                "            return with_intent(order, task=in_flight(repeated, context))\n",
            ),
        ),
    ),
    Mutant(
        name="look-at-a-take-over-believed",
        wrong="A retrieve at a take-over that shows requires_payment_method declines an attempt that may be confirmed.",
        endangers="L1 L2 F05 F34",
        test="tests/unit/core/test_outcomes.py::test_open_intent_at_a_take_over_gets_the_same_key_again",
        edits=(
            Edit(
                OUTCOMES,
                "        case AttemptState.CONFIRMING if expected:\n",
                "        case AttemptState.CONFIRMING if expected and message.status is "
                "IntentStatus.REQUIRES_PAYMENT_METHOD:\n"
                '            failed = structs.replace(attempt, code="card_declined")\n'
                "            return moved(order, failed, Trigger.DECLINED, context)\n"
                "        case AttemptState.CONFIRMING if expected:\n",
            ),
        ),
    ),
    Mutant(
        name="refusal-of-a-later-send-believed",
        wrong="A refusal of the second send is taken as proof about the first.",
        endangers="L1 L2 F10",
        test="tests/unit/core/test_outcomes.py::test_refusal_of_a_later_send_proves_nothing_about_the_first",
        edits=(
            Edit(OUTCOMES, "case ConfirmRefused() if attempt.sends == 1:", "case ConfirmRefused() if attempt.sends:"),
        ),
    ),
    Mutant(
        name="withheld-later-send-settles",
        wrong="A second send that was never made refuses the attempt, though the first may have charged.",
        endangers="L1 L2 F20 F36",
        test="tests/unit/core/test_outcomes.py::test_later_send_withheld_on_a_dead_order_proves_nothing_about_the_first",
        edits=(
            Edit(
                OUTCOMES,
                "    if attempt.sends > 1:\n        return _unclear_for_good(order, attempt, context)\n    refused",
                "    refused",
            ),
        ),
    ),
    Mutant(
        name="send-number-ignored",
        wrong="The end of an earlier send counts as the end of the one in flight.",
        endangers="L1 F34",
        test="tests/unit/core/test_outcomes.py::test_refusal_of_the_first_send_after_a_second_was_counted_changes_nothing",
        edits=(Edit(OUTCOMES, "if message.send != attempt.sends:", "if message.send > attempt.sends:"),),
    ),
    Mutant(
        name="outcome-to-the-wrong-attempt",
        wrong="An outcome is applied to the newest attempt, whichever it is about.",
        endangers="L1 L2 F15 F18",
        test="tests/unit/core/test_outcomes.py::test_outcome_is_judged_by_its_own_attempts_number",
        edits=(Edit("payment/core/order.py", "return order.attempts[number - 1] if", "return order.attempts[-1] if"),),
    ),
    Mutant(
        name="stored-error-sent-again",
        wrong="A confirm whose key replays an error is sent again and again, and its intent is never cancelled.",
        endangers="F12",
        test="tests/unit/core/test_outcomes.py::test_refusal_of_a_later_send_proves_nothing_about_the_first",
        edits=(Edit(OUTCOMES, "    if stored or not may_send(", "    if not may_send("),),
    ),
    Mutant(
        name="unexpected-state-sent-again",
        wrong="A confirm that Stripe refused for the intent's state is sent again under the same key.",
        endangers="L4 F12 F18",
        test="tests/unit/core/test_outcomes.py::test_unexpected_state_of_an_open_intent_is_cancelled",
        edits=(
            Edit(
                OUTCOMES,
                "only a cancel proves it.\n            return _unclear_for_good(order, attempt, context)",
                "only a cancel proves it.\n            return _sent_again(order, attempt, context)",
            ),
        ),
    ),
    Mutant(
        name="replayed-success-unread",
        wrong="A replayed success pays the order without its charge being read, which may be given back since.",
        endangers="L2 F47 F49",
        test="tests/unit/core/test_outcomes.py::test_replayed_success_is_paid_only_after_its_charge_was_read",
        edits=(Edit(OUTCOMES, "    if replayed:\n", "    if replayed and charge.disputed:\n"),),
    ),
    Mutant(
        name="replayed-action-not-looked-at",
        wrong="A replayed requires_action is believed: the attempt awaits its customer, who may have paid long ago.",
        endangers="F45",
        test="tests/unit/core/test_outcomes.py::test_replayed_action_is_retrieved_at_once",
        edits=(Edit(OUTCOMES, "(message.replayed or message.processing)", "message.processing"),),
    ),
    Mutant(
        name="processing-not-looked-at",
        wrong="A payment that the bank has not decided is retrieved like one that awaits a customer: seconds later.",
        endangers="F45",
        test="tests/unit/core/test_outcomes.py::test_processing_is_awaited_and_retrieved",
        edits=(Edit(OUTCOMES, "(message.replayed or message.processing)", "message.replayed"),),
    ),
    Mutant(
        name="dead-order-awaits",
        wrong="An order that has expired waits for a customer who can still authenticate.",
        endangers="L4 F36 F46",
        test="tests/unit/core/test_outcomes.py::test_action_on_a_dead_order_is_cancelled",
        edits=(
            Edit(
                OUTCOMES,
                "    if not order.open_at(context.now):\n        return moved(\n            order, _cancelled_for(",
                "    if order.cancelled:\n        return moved(\n            order, _cancelled_for(",
            ),
        ),
    ),
    Mutant(
        name="late-decline-settles-awaiting",
        wrong="A late answer of the confirm declines an attempt whose customer is at the bank.",
        endangers="L1 L2 F45",
        test="tests/unit/core/test_outcomes.py::test_late_answer_of_the_confirm_changes_nothing",
        edits=(
            Edit(
                ORDER,
                "    (_S.AWAITING, _T.FAILED): _S.DECLINED,\n",
                "    (_S.AWAITING, _T.FAILED): _S.DECLINED,\n    (_S.AWAITING, _T.DECLINED): _S.DECLINED,\n",
            ),
        ),
    ),
    Mutant(
        name="late-answer-settles-cancelling",
        wrong="A late refusal of the confirm settles an attempt whose intent is not known canceled yet.",
        endangers="L1 L2 F18",
        test="tests/unit/core/test_outcomes.py::test_late_answer_of_the_confirm_changes_nothing",
        edits=(
            Edit(
                ORDER,
                "    (_S.CANCELLING, _T.CANCELED): _S.DECLINED,\n",
                "    (_S.CANCELLING, _T.CANCELED): _S.DECLINED,\n    (_S.CANCELLING, _T.REFUSED): _S.REFUSED,\n"
                "    (_S.CANCELLING, _T.DECLINED): _S.DECLINED,\n",
            ),
        ),
    ),
    Mutant(
        name="failure-at-the-bank-ignored",
        wrong="An attempt whose customer failed at the bank awaits the customer until the order expires.",
        endangers="L4 F45",
        test="tests/unit/core/test_outcomes.py::test_failed_authentication_declines_with_stripes_code",
        edits=(
            Edit(
                OUTCOMES,
                "    if message.status is IntentStatus.REQUIRES_PAYMENT_METHOD:\n",
                "    if message.status is IntentStatus.REQUIRES_CAPTURE:\n",
            ),
        ),
    ),
    Mutant(
        name="expiry-only-an-edge",
        wrong="A retrieve for an order that has expired meanwhile leaves its attempt awaiting.",
        endangers="L4 F46",
        test="tests/unit/core/test_outcomes.py::test_awaiting_attempt_is_cancelled",
        edits=(
            Edit(
                OUTCOMES,
                "    if not order.open_at(context.now):\n        ended = structs",
                "    if order.cancelled:\n        ended = structs",
            ),
        ),
    ),
    Mutant(
        name="customer-awaited-for-ever",
        wrong="An attempt that is 24 hours old still awaits its customer.",
        endangers="L4 F45",
        test="tests/unit/core/test_outcomes.py::test_awaiting_attempt_is_cancelled",
        edits=(
            Edit(
                "payment/core/attempts.py",
                " or context.now >= attempt.first_sent + AUTHENTICATION_LIFE",
                "",
            ),
        ),
    ),
    Mutant(
        name="expiry-slept-through",
        wrong="The next retrieve of an intent comes after the expiry of its order.",
        endangers="F46",
        test="tests/unit/core/test_outcomes.py::test_next_retrieval_never_passes_the_orders_end",
        edits=(
            Edit(SCHEDULE, "return min(later, order.expires_at) if order.expires_at > at else later", "return later"),
        ),
    ),
    Mutant(
        name="looked-at-once-an-hour",
        wrong="An intent that awaits its customer is looked at once an hour.",
        endangers="L4 F45",
        test="tests/unit/core/test_outcomes.py::test_retrieval_of_an_awaiting_intent_is_followed_by_the_next",
        edits=(
            Edit(
                SCHEDULE,
                "LONGEST_RETRIEVAL_DELAY = timedelta(seconds=60)",
                "LONGEST_RETRIEVAL_DELAY = timedelta(hours=1)",
            ),
        ),
    ),
    Mutant(
        name="canceled-on-a-dead-order-declines",
        wrong="Where the order is dead a canceled intent declines its card, as if another one could pay.",
        endangers="L4 F36",
        test="tests/unit/core/test_outcomes.py::test_canceled_intent_of_a_dead_order_closes",
        edits=(
            Edit(
                OUTCOMES,
                "if not order.open_at(context.now):\n        return moved(order, attempt, Trigger.CANCELED_UNPAYABLE",
                "if order.cancelled:\n        return moved(order, attempt, Trigger.CANCELED_UNPAYABLE",
            ),
        ),
    ),
    Mutant(
        name="cancelled-without-a-pause",
        wrong="A cancel that did not work is repeated without a wait.",
        endangers="F31 F39",
        test="tests/unit/core/test_outcomes.py::test_cancel_without_an_answer_is_retrieved_and_repeated_with_delay",
        edits=(
            Edit(
                OUTCOMES,
                "task=in_flight(TaskKind.CANCEL, context, LONGEST_RESEND_DELAY))",
                "task=in_flight(TaskKind.CANCEL, context))",
            ),
        ),
        beyond="It costs calls and time, and no law is about either.",
    ),
    Mutant(
        name="late-charge-dropped",
        wrong="A charge of an attempt that was settled without one is dropped for being late.",
        endangers="L1 L2 F18",
        test="tests/unit/core/test_outcomes.py::test_success_of_a_settled_attempt_is_kept_where_nothing_else_is",
        edits=(
            Edit(
                OUTCOMES,
                "    if attempt.state in CHARGED:\n",
                "    if attempt.settled is not None:\n",
            ),
        ),
    ),
    Mutant(
        name="charge-kept-on-a-cancelled-order",
        wrong="A charge that lands after the cancel pays the order.",
        endangers="L3 F20 F24",
        test="tests/unit/core/test_outcomes.py::test_success_of_a_confirming_attempt_on_a_cancelled_order_is_given_back",
        edits=(
            Edit(OUTCOMES, "    if order.cancelled or order.kept is not None:\n", "    if order.kept is not None:\n"),
        ),
    ),
    Mutant(
        name="second-charge-kept",
        wrong="A charge that comes to an order that is paid already is kept beside the first.",
        endangers="L1 F18 F34",
        test="tests/unit/core/test_outcomes.py::"
        "test_success_of_a_settled_attempt_is_given_back_where_another_charge_is_kept",
        edits=(Edit(OUTCOMES, "    if order.cancelled or order.kept is not None:\n", "    if order.cancelled:\n"),),
    ),
    Mutant(
        name="unwanted-by-its-reason",
        wrong="A charge of an attempt that was being cancelled is given back, though its order is open and unpaid.",
        endangers="L2 F12 F45",
        test="tests/unit/core/test_outcomes.py::test_success_of_a_cancelling_attempt_is_paid_or_given_back",
        edits=(
            Edit(
                OUTCOMES,
                "    if order.cancelled or order.kept is not None:\n",
                "    if order.cancelled or order.kept is not None or attempt.cancel_reason is not None:\n",
            ),
        ),
    ),
    Mutant(
        name="given-back-and-paid",
        wrong="A charge that was given back by hand before we saw it is announced as paid.",
        endangers="L2 F49",
        test="tests/unit/core/test_outcomes.py::test_success_whose_charge_is_fully_refunded_is_refunded",
        edits=(Edit(OUTCOMES, "    if charge.refunded:\n", "    if charge.refunded and order.cancelled:\n"),),
    ),
    Mutant(
        name="cancel-leaves-the-card",
        wrong="A cancel leaves an attempt its card: a confirm that was not sent yet is sent after it.",
        endangers="L3 F20",
        test="tests/unit/core/test_attempts.py::test_card_is_gone_from_a_cancelled_order",
        edits=(
            Edit(
                DECIDE,
                "moved(order, structs.replace(attempt, instrument=None), Trigger.CANCELLED",
                "moved(order, attempt, Trigger.CANCELLED",
            ),
        ),
    ),
    Mutant(
        name="card-kept-for-ever",
        wrong="An attempt that is settled still has its card's token in the document.",
        endangers="F15",
        test="tests/unit/core/test_attempts.py::test_card_is_gone_once_it_can_be_sent_no_more",
        edits=(Edit(ATTEMPTS, "    attempt = structs.replace(attempt, instrument=None)\n", ""),),
    ),
    Mutant(
        name="cancel-keeps-the-money",
        wrong="An order that is cancelled after it was paid stays paid.",
        endangers="L3 F21",
        test="tests/unit/core/test_outcomes.py::test_paid_order_that_is_cancelled_is_given_back",
        edits=(Edit(ORDER, "(_S.PAID, _T.CANCELLED): _S.REFUNDING", "(_S.PAID, _T.CANCELLED): _S.PAID"),),
    ),
    Mutant(
        name="new-refund-key-on-retry",
        wrong="A refund without an answer is asked for again under a new key.",
        endangers="L1 F23",
        test="tests/unit/core/test_attempts.py::test_refund_taken_over_goes_on_under_the_same_key",
        edits=(
            Edit(
                REFUNDS,
                "    return moved(order, structs.replace(attempt, task=in_flight(kind",
                "    attempt = with_refund(attempt, context) if refunding else attempt\n"
                "    return moved(order, structs.replace(attempt, task=in_flight(kind",
            ),
        ),
    ),
    Mutant(
        name="blocked-refund-called-done",
        wrong="A refund that failed, is pending or disputed counts as done.",
        endangers="L2 L3 F44",
        test="tests/unit/core/test_refunds_and_events.py::test_blocked_refund_is_tried_again_slowly",
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
        test="tests/unit/core/test_refunds_and_events.py::test_blocked_refund_is_tried_again_slowly",
        edits=(
            Edit(
                ATTEMPTS,
                "refund=refund, task=recheck_later(context.now + blocked_delay(times), context))",
                "refund=refund, task=None)",
            ),
        ),
    ),
    Mutant(
        name="legacy-closed-too-early",
        wrong="An attempt of release 0.1.0 is closed by the first list that does not show its charge.",
        endangers="L1 L2 F09 F18",
        test="tests/unit/core/test_legacy.py::test_unsettled_attempt_of_0_1_0_is_listed_and_never_sent",
        edits=(
            Edit(
                OUTCOMES,
                "    if context.now >= attempt.last_sent + CHARGE_LIFE:\n",
                "    if context.now >= attempt.last_sent:\n",
            ),
        ),
    ),
    Mutant(
        name="legacy-not-listed-again",
        wrong="An attempt of release 0.1.0 whose charge is not listed is never listed again.",
        endangers="L4 F09",
        test="tests/unit/core/test_legacy.py::test_lists_come_soon_while_a_charge_may_land_soon_and_every_hour_at_last",
        edits=(
            Edit(
                OUTCOMES,
                "structs.replace(attempt, task=recheck_later(next_list(attempt, context.now), context))\n",
                "structs.replace(attempt, task=None)\n",
            ),
        ),
    ),
    Mutant(
        name="legacy-sent-again",
        wrong="An attempt of release 0.1.0 whose outcome is not known counts as one that is to be confirmed.",
        endangers="L1 F09",
        test="tests/unit/core/test_legacy.py::test_unsettled_attempt_of_0_1_0_is_listed_and_never_sent",
        edits=(
            Edit(
                "payment/core/legacy.py",
                'unsettled = {**attempt, "state": "charging", "task": task}',
                'unsettled = {**attempt, "state": "confirming", "task": task}',
            ),
        ),
    ),
    Mutant(
        name="legacy-settled-is-open",
        wrong="An attempt that release 0.1.0 had abandoned counts as settled, and its late charge is never looked for.",
        endangers="L1 L2 F12",
        test="tests/unit/core/test_legacy.py::test_abandoned_attempt_beside_a_paid_one_is_found_and_given_back",
        edits=(
            Edit(
                "payment/core/legacy.py",
                'frozenset({"charging", "error stored", "abandoned"})',
                'frozenset({"charging", "error stored"})',
            ),
        ),
        beyond="What release 0.1.0 leaves behind in the simulation has one attempt, not settled, and no stray charge.",
    ),
    Mutant(
        name="legacy-strays-lost",
        wrong="Charges that release 0.1.0 was giving back for no attempt are dropped from the document.",
        endangers="L1 L3 F18",
        test="tests/unit/core/test_legacy.py::test_stray_charge_of_0_1_0_is_given_back_as_an_attempt_of_its_own",
        edits=(Edit("payment/core/legacy.py", '"attempts": [*attempts, *strays]', '"attempts": attempts'),),
        beyond="What release 0.1.0 leaves behind in the simulation has one attempt, not settled, and no stray charge.",
    ),
    Mutant(
        name="found-for-its-own-attempt-only",
        wrong="Of a list of charges only those of the attempt that asked are read.",
        endangers="L1 L2 F18",
        test="tests/unit/core/test_legacy.py::test_two_attempts_of_0_1_0_may_both_be_searched",
        edits=(
            Edit(
                OUTCOMES,
                "known is None and found is not None and found.intent == 0 and",
                "known is None and found is not None and found.number == message.attempt and found.intent == 0 and",
            ),
        ),
        beyond="What release 0.1.0 leaves behind in the simulation has one attempt, not settled, and no stray charge.",
    ),
)
