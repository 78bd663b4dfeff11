"""Mutants of an order's one open intent: its keys and numbers, its cancel, which attempt it pays (payment/core)."""

from tests.mutants.mutant import Edit, Mutant

ATTEMPTS = "payment/core/attempts.py"
DECIDE = "payment/core/decide.py"
EFFECTS = "payment/core/effects.py"
INTENTS = "payment/core/attempts.py"
ORDER = "payment/core/order.py"
OUTCOMES = "payment/core/outcomes.py"
REPLIES = "payment/core/replies.py"
SCHEDULE = "payment/core/schedule.py"
TASKS = "payment/core/attempts.py"

MUTANTS = (
    Mutant(
        name="create-key-by-attempt",
        wrong="A create's key depends on the attempt: after a restore the order gets a second intent.",
        endangers="L1 F04 F47",
        test="tests/unit/core/test_intents.py::test_create_is_a_pure_function_of_the_order_and_the_intents_number",
        edits=(
            Edit(
                INTENTS,
                'key = f"intent-{payment_id_of(context.queue_group, order.id)}-{number}"',
                'key = f"intent-{payment_id_of(context.queue_group, order.id)}-{number}-{len(order.attempts)}"',
            ),
        ),
    ),
    Mutant(
        name="create-key-by-process",
        wrong="A create's key depends on the process: a database that was restored does not get the same intent back.",
        endangers="L1 F47",
        test="tests/unit/core/test_intents.py::test_create_is_a_pure_function_of_the_order_and_the_intents_number",
        edits=(
            Edit(
                INTENTS,
                'key = f"intent-{payment_id_of(context.queue_group, order.id)}-{number}"',
                'key = f"intent-{payment_id_of(context.process, order.id)}-{number}"',
            ),
        ),
    ),
    Mutant(
        name="payment-id-by-process",
        wrong="A payment's id depends on the process that makes it.",
        endangers="L1 F47",
        test="tests/unit/core/test_intents.py::test_create_is_a_pure_function_of_the_order_and_the_intents_number",
        edits=(
            Edit(
                DECIDE,
                "order.payment or Payment(id=payment_id_of(context.queue_group, order.id))",
                "order.payment or Payment(id=payment_id_of(context.process, order.id))",
            ),
        ),
    ),
    Mutant(
        name="payment-id-without-queue-group",
        wrong="Two services with one Stripe account have one payment id, and one create's key, for equal order ids.",
        endangers="F16",
        test="tests/unit/core/test_intents.py::test_payment_id_is_a_pure_function_of_queue_group_and_order",
        edits=(Edit(INTENTS, 'f"{queue_group}\\n{order_id}".encode()', "order_id.encode()"),),
        beyond="There is one service in the simulation.",
    ),
    Mutant(
        name="next-intent-beside-an-open-one",
        wrong="Each attempt has the next intent, though the last one is not known canceled.",
        endangers="L1 F15 F18",
        test="tests/unit/core/test_intents.py::test_open_intent_serves_every_next_attempt",
        edits=(
            Edit(
                INTENTS,
                "    if last is not None and last.state is IntentState.OPEN:\n        return last\n",
                "",
            ),
        ),
    ),
    Mutant(
        name="canceled-intent-confirmed",
        wrong="An attempt after a cancel confirms the intent that was canceled.",
        endangers="L4 F12 F45",
        test="tests/unit/core/test_outcomes.py::"
        "test_unexpected_state_of_a_canceled_intent_declines_and_the_next_attempt_has_the_next_intent",
        edits=(Edit(INTENTS, "if last is not None and last.state is IntentState.OPEN:", "if last is not None:"),),
    ),
    Mutant(
        name="second-card-beside-the-first",
        wrong="Another card begins an attempt of its own while the first one awaits its customer.",
        endangers="L1 F02 F45",
        test="tests/unit/core/test_outcomes.py::test_another_card_is_paid_by_the_next_intent_once_the_last_is_canceled",
        edits=(
            Edit(
                REPLIES,
                "return Start.SUPERSEDE if order.unsettled.state",
                "return Start.NEW_ATTEMPT if order.unsettled.state",
            ),
        ),
    ),
    Mutant(
        name="superseded-without-a-cancel",
        wrong="An attempt that another card supersedes is declined while its intent is open.",
        endangers="L1 L2 F45",
        test="tests/unit/core/test_outcomes.py::test_another_card_is_paid_by_the_next_intent_once_the_last_is_canceled",
        edits=(
            Edit(ORDER, "(_S.AWAITING, _T.SUPERSEDED): _S.CANCELLING", "(_S.AWAITING, _T.SUPERSEDED): _S.DECLINED"),
        ),
    ),
    Mutant(
        name="open-intent-taken-for-canceled",
        wrong="While an intent is being cancelled, a retrieve that shows it open counts as its cancel.",
        endangers="L1 L2 F12 F18",
        test="tests/unit/core/test_outcomes.py::test_cancel_without_an_answer_is_retrieved_and_repeated_with_delay",
        edits=(
            Edit(
                OUTCOMES,
                "    if message.status is IntentStatus.CANCELED:\n",
                "    cancelling = attempt is not None and attempt.state is AttemptState.CANCELLING\n"
                "    if message.status is IntentStatus.CANCELED or cancelling:\n",
            ),
        ),
    ),
    Mutant(
        name="canceled-and-still-open",
        wrong="That an intent is canceled settles its attempt, and is not noted of the intent.",
        endangers="L4 F12 F45",
        test="tests/unit/core/test_intents.py::test_canceled_or_succeeded_intent_is_at_rest",
        edits=(
            Edit(
                OUTCOMES, "with_intent(order, state=IntentState.CANCELED, task=None)", "with_intent(order, task=None)"
            ),
        ),
    ),
    Mutant(
        name="cancel-of-the-intent-before",
        wrong="The late cancel of the intent before counts as the open one's.",
        endangers="L1 L2 F18 F34",
        test="tests/unit/core/test_outcomes.py::test_anything_else_of_an_earlier_intent_changes_nothing",
        edits=(
            Edit(
                OUTCOMES,
                "    if message.intent != intent.number or (intent.id is not None and",
                "    if message.intent > intent.number or (intent.id is not None and intent.id and",
            ),
            Edit(
                OUTCOMES,
                "intent_id not in (None, intent.id)):",
                "not intent_id):",
            ),
        ),
    ),
    Mutant(
        name="answer-of-another-id-believed",
        wrong="An answer about another intent that was made under the same key counts as one about this intent.",
        endangers="L1 L2 F34 F47",
        test="tests/unit/core/test_intents.py::test_outcome_of_another_intent_with_the_same_number_does_not_count",
        edits=(
            Edit(
                OUTCOMES,
                "    if message.intent != intent.number or (intent.id is not None and intent_id not in "
                "(None, intent.id)):",
                "    if message.intent != intent.number:",
            ),
        ),
    ),
    Mutant(
        name="success-of-the-intent-before-ignored",
        wrong="A charge that the intent before turns out to have made is ignored.",
        endangers="L1 L2 F18 F34",
        test="tests/unit/core/test_outcomes.py::test_success_of_an_earlier_intent_leaves_the_open_one_alone",
        edits=(
            Edit(
                OUTCOMES,
                "isinstance(message, IntentSucceeded | IntentRetrieved) and message.charge is not None:",
                "isinstance(message, IntentSucceeded) and message.charge.disputed:",
            ),
        ),
    ),
    Mutant(
        name="success-to-the-first-attempt",
        wrong="A success goes to the first attempt of its intent, not to the one that is unsettled.",
        endangers="L1 L2 F15",
        test="tests/unit/core/test_outcomes.py::test_success_goes_to_the_unsettled_attempt_of_its_intent",
        edits=(Edit(OUTCOMES, "    attempt = mine[-1]  #", "    attempt = mine[0]  #"),),
    ),
    Mutant(
        name="success-to-another-intents-attempt",
        wrong="A success goes to the order's last attempt, whichever intent made it.",
        endangers="L1 L2 F18",
        test="tests/unit/core/test_outcomes.py::test_success_of_an_earlier_intent_leaves_the_open_one_alone",
        edits=(
            Edit(
                OUTCOMES,
                "    mine = [attempt for attempt in order.attempts if attempt.intent == number]\n",
                "    mine = list(order.attempts)\n",
            ),
        ),
    ),
    Mutant(
        name="charge-taken-twice",
        wrong="A list of charges before a create pays an attempt with a charge that another attempt has already.",
        endangers="L1 L2 F47",
        test="tests/unit/core/test_intents.py::test_list_that_finds_another_attempts_charge_lets_the_create_wait",
        edits=(
            Edit(OUTCOMES, "    if known is not None and known is not attempt:\n", "    if order.amount is None:\n"),
            Edit(
                OUTCOMES,
                "    if known is not None:\n",
                "    if known is attempt:\n",
            ),
        ),
    ),
    Mutant(
        name="stopped-create-released-at-once",
        wrong="A create that an earlier charge stops is released again at once, for ever.",
        endangers="F31 F47",
        test="tests/unit/core/test_intents.py::test_list_that_finds_another_attempts_charge_lets_the_create_wait",
        edits=(
            Edit(
                OUTCOMES,
                "        return _create_stopped(order, intent, context)\n",
                "        return order\n",
            ),
        ),
        beyond="It costs calls and time, and no law is about either.",
    ),
    Mutant(
        name="exposed-not-noted",
        wrong="That a client secret went out is not noted: its intent is left open.",
        endangers="L3 F46",
        test="tests/unit/core/test_outcomes.py::test_exposed_intent_is_rechecked_after_a_decline",
        edits=(
            Edit(
                ATTEMPTS,
                "order, exposed=True, task=recheck_later(",
                "order, task=recheck_later(",
            ),
        ),
    ),
    Mutant(
        name="exposed-not-watched-after-a-decline",
        wrong="After a decline an intent whose secret is out is left open and not watched.",
        endangers="L2 L3 F45 F46",
        test="tests/unit/core/test_outcomes.py::test_exposed_intent_is_rechecked_after_a_decline",
        edits=(
            Edit(
                ATTEMPTS,
                "return at_rest(order, context) if attempt.intent else order",
                "return with_intent(order, task=None) if attempt.intent else order",
            ),
        ),
    ),
    Mutant(
        name="exposed-left-open-on-a-cancelled-order",
        wrong="Where no attempt is unsettled a cancel of the order leaves an intent open whose secret is out.",
        endangers="L3 F46",
        test="tests/unit/core/test_outcomes.py::test_exposed_intent_is_cancelled_before_the_order_is_at_rest",
        edits=(
            Edit(
                DECIDE,
                "        case None:\n            return at_rest(order, context)\n",
                "        case None:\n            return order\n",
            ),
        ),
    ),
    Mutant(
        name="exposed-watched-for-ever",
        wrong="An intent whose secret is out is watched after its order has expired, and never cancelled.",
        endangers="L4 F46",
        test="tests/unit/core/test_outcomes.py::test_exposed_intent_is_cancelled_before_the_order_is_at_rest",
        edits=(
            Edit(
                INTENTS,
                "    if out_of_time(order, last, context):\n        return in_flight(",
                "    if order.cancelled:\n        return in_flight(",
            ),
        ),
    ),
    Mutant(
        name="succeeded-and-still-open",
        wrong="An intent that has succeeded counts as open: the attempt after a full refund confirms it again.",
        endangers="L4 F49",
        test="tests/unit/core/test_outcomes.py::"
        "test_order_whose_charge_was_given_back_by_hand_is_payable_by_the_next_intent",
        edits=(
            Edit(
                OUTCOMES,
                "order = with_intent(order, state=IntentState.SUCCEEDED, task=None)",
                "order = with_intent(order, task=None)",
            ),
        ),
    ),
    Mutant(
        name="stored-create-keeps-its-number",
        wrong="An error that is replayed for a create leaves the order with the same number, and no intent ever.",
        endangers="L4 F12",
        test="tests/unit/core/test_intents.py::"
        "test_create_whose_key_replays_an_error_takes_the_next_number_by_a_write_of_its_own",
        edits=(
            Edit(
                OUTCOMES,
                "numbered_intent(order, order.payment.intent.number + 1, context)",
                "numbered_intent(order, order.payment.intent.number, context)",
            ),
        ),
    ),
    Mutant(
        name="stored-create-leaves-its-attempt-behind",
        wrong="After a stored create error the attempt still names the intent before: its success is never its own.",
        endangers="L1 L2 F12",
        test="tests/unit/core/test_intents.py::"
        "test_create_whose_key_replays_an_error_takes_the_next_number_by_a_write_of_its_own",
        edits=(Edit(OUTCOMES, "    attempt = structs.replace(attempt, intent=following.number)\n", ""),),
    ),
    Mutant(
        name="refused-create-leaves-confirming",
        wrong="Where Stripe refuses to create the intent its attempt stays confirming.",
        endangers="L4 F35",
        test="tests/unit/core/test_intents.py::test_refused_create_settles_its_attempt",
        edits=(
            Edit(
                OUTCOMES,
                "        return moved(order, refused, Trigger.REFUSED, context)\n    return _attempt_canceled",
                "        return order\n    return _attempt_canceled",
            ),
        ),
    ),
    Mutant(
        name="create-listed-too-late",
        wrong="A create whose key Stripe may have forgotten is preceded by no list until 25 hours after "
        "its order came.",
        endangers="L1 F47",
        test="tests/unit/core/test_schedule.py::test_times_that_proofs_rest_on_are_those_of_the_protocol",
        edits=(Edit(SCHEDULE, "CREATE_KEY_LIFE = timedelta(hours=23)", "CREATE_KEY_LIFE = timedelta(hours=25)"),),
    ),
    Mutant(
        name="unknown-age-taken-for-young",
        wrong="An order of release 0.1.0, of which it is not known when it came, counts as one that came just now.",
        endangers="L1 F47",
        test="tests/unit/core/test_intents.py::test_create_of_an_old_order_is_preceded_by_a_list",
        edits=(
            Edit(
                SCHEDULE,
                "    if order.received is None:\n        return LONG_AGO\n",
                "    if order.received is None:\n        return datetime.max.replace(tzinfo=UTC)\n",
            ),
        ),
        beyond="The simulation begins with a store that release 0.1.0 has never written to.",
    ),
    Mutant(
        name="id-kept-to-itself",
        wrong="An old order's attempt confirms the intent that its own create brought, as a young one's does: another "
        "process's create may have brought another one.",
        endangers="L1 F34",
        test="tests/unit/core/test_intents.py::"
        "test_id_is_written_first_where_the_key_may_be_forgotten_while_the_attempt_lasts",
        edits=(
            Edit(
                EFFECTS,
                "return self.intent.id is None and self.not_after + ON_THE_WIRE > self.intent.list_after",
                "return False",
            ),
        ),
    ),
    Mutant(
        name="outdated-create-believed",
        wrong="The answer of a create that is not asked for any more is written, a day after it was sent.",
        endangers="L1 F34",
        test="tests/unit/core/test_intents.py::test_outdated_creates_answer_changes_nothing",
        edits=(
            Edit(
                OUTCOMES,
                "    if intent.id is not None or context.now < list_after(order):\n",
                "    if intent.id is not None or context.now > order.history[0].at:\n",
            ),
        ),
        beyond="The id that is written first is the one that is confirmed: this costs an intent, and no charge.",
    ),
    Mutant(
        name="prepared-under-a-forgotten-key",
        wrong="An intent is created ahead of its first request however old its order is.",
        endangers="F34",
        test="tests/unit/core/test_intents.py::test_create_ahead_of_a_request_is_not_repeated_once_its_key_may_be_forgotten",
        edits=(Edit(SCHEDULE, "return min(order.expires_at, list_after(order))", "return order.expires_at"),),
        beyond="What it makes besides is never confirmed: it costs an intent that shows as incomplete.",
    ),
    Mutant(
        name="age-by-a-clock-that-went-back",
        wrong="An order that came after its attempt began, by clocks of which one was wrong, counts as young.",
        endangers="L1 F38",
        test="tests/unit/core/test_intents.py::test_age_of_an_order_is_unknown_after_a_clock_jump",
        edits=(
            Edit(
                SCHEDULE,
                "    if order.attempts and order.attempts[-1].first_sent < order.received - CLOCK_TOLERANCE:\n"
                "        return LONG_AGO\n",
                "",
            ),
        ),
        beyond="Its laws excuse a charge beside another where a clock was wrong by the life of Stripe's keys.",
    ),
    Mutant(
        name="looked-at-for-each-request",
        wrong="Each request of a client retrieves the intent, however recent the last retrieve is.",
        endangers="F39 F45",
        test="tests/unit/core/test_outcomes.py::test_retrieval_for_a_client_is_made_now_and_at_most_every_two_seconds",
        edits=(
            Edit(
                TASKS,
                "retrieved_recently = abs(context.now - intent.task.issued) < RETRIEVALS_APART",
                "retrieved_recently = context.now < intent.task.issued - RETRIEVALS_APART",
            ),
        ),
        beyond="It costs calls and time, and no law is about either.",
    ),
    Mutant(
        name="look-of-another-process-believed",
        wrong="A retrieve whose task another process holds by now changes the order.",
        endangers="F34",
        test="tests/unit/core/test_outcomes.py::test_retrieval_of_a_process_that_lost_the_attempt_changes_nothing",
        edits=(
            Edit(
                OUTCOMES,
                "    expected = holds(intent, context, TaskKind.RETRIEVE, TaskKind.CANCEL)\n",
                "    expected = intent.task is not None and intent.task.kind in (TaskKind.RETRIEVE, TaskKind.CANCEL)\n",
            ),
        ),
    ),
    Mutant(
        name="prepared-on-a-dead-order",
        wrong="An intent is created ahead of its first request though its order has expired meanwhile.",
        endangers="F36 F46",
        test="tests/unit/core/test_intents.py::test_lost_create_is_repeated_while_the_order_is_open",
        edits=(
            Edit(
                TASKS,
                "still = not order.cancelled and context.now < create_deadline(order) and intent.id is None",
                "still = intent.id is None",
            ),
        ),
        beyond="An intent that was never confirmed charges nothing: no law is about it.",
    ),
    Mutant(
        name="superseded-before-it-is-refused",
        wrong="Another card has the first one's intent cancelled, and is refused after that.",
        endangers="F36 F45",
        test="tests/unit/core/test_replies.py::test_every_other_reason_to_refuse_another_card_comes_before_the_cancel",
        edits=(
            Edit(
                REPLIES,
                "    return _why_not(order, at) or _start(order)\n",
                "    if order.unsettled is not None and order.unsettled.gives_way:\n"
                "        return _start(order)\n"
                "    return _why_not(order, at) or _start(order)\n",
            ),
        ),
    ),
    Mutant(
        name="new-attempt-before-the-cancel",
        wrong="A new attempt begins on an intent that is just being cancelled.",
        endangers="L4 F46",
        test="tests/unit/core/test_outcomes.py::test_new_attempt_begins_after_the_retrieval_or_cancel_of_an_exposed_intent",
        edits=(
            Edit(
                REPLIES,
                "return Start.AFTER_CANCEL if order.intent_busy else",
                "return Start.AFTER_CANCEL if order.cancelled else",
            ),
        ),
    ),
    Mutant(
        name="secret-on-a-dead-order",
        wrong="A customer is sent to the bank for an order that has expired.",
        endangers="L3 F46",
        test="tests/unit/core/test_replies.py::test_reply_to_an_awaiting_card_depends_on_what_its_client_can_do",
        edits=(
            Edit(
                REPLIES,
                " and request.authentication.possible and order.open_at(at):",
                " and request.authentication.possible:",
            ),
        ),
    ),
    Mutant(
        name="secret-for-a-client-that-cant",
        wrong="A client that did not say how its customer can authenticate gets the client secret.",
        endangers="F45",
        test="tests/unit/core/test_replies.py::test_reply_to_an_awaiting_card_depends_on_what_its_client_can_do",
        edits=(
            Edit(REPLIES, " and request.authentication.possible and order.open_at(at):", " and order.open_at(at):"),
        ),
    ),
    Mutant(
        name="walked-away-and-declined",
        wrong="If the customer did not authenticate, the reply does not say that authentication was required.",
        endangers="F45",
        test="tests/unit/core/test_replies.py::test_decline_of_a_customer_who_failed_or_walked_away_shows_it",
        edits=(Edit(REPLIES, "        CancelReason.AUTHENTICATION_FAILED.value,\n    }", "    }"),),
        beyond="What a decline is called is no law.",
    ),
)
