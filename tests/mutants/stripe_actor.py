"""Mutants of the Stripe actor: the order of calls, when each may be sent, and what its outcome means."""

from tests.mutants.mutant import Edit, Mutant

ACTOR = "payment/actors/stripe/actor.py"
OUTCOMES = "payment/actors/stripe/outcomes.py"
RATE_LIMITER = "payment/actors/stripe/rate_limiter.py"
SCHEDULER = "payment/actors/stripe/scheduler.py"
TELEMETRY = "payment/actors/stripe/telemetry.py"

NO_RATE = "How fast charges go is no law."
NO_LAW = "It costs calls and time, and no law is about either."

MUTANTS = (
    Mutant(
        name="decline-taken-as-unclear",
        wrong="A declined card is tried again, and its client gets no answer.",
        endangers="L4 F15",
        test="tests/unit/actors/stripe/test_actor.py::test_a_decline_is_reported_with_its_code",
        edits=(
            Edit(
                OUTCOMES,
                "return End(CardDeclined(order_id, attempt, number, intent_id, outcome.failure))",
                "return End(_unclear(effect, progress))",
            ),
        ),
    ),
    Mutant(
        name="unclear-taken-as-declined",
        wrong="A confirm without an answer is called declined.",
        endangers="L1 L2 F09 F11",
        test="tests/unit/actors/stripe/test_actor.py::test_a_charge_without_an_answer_is_unclear_and_not_sent_again",
        edits=(
            Edit(
                OUTCOMES,
                "        case Unclear():\n            return End(_unclear(effect, progress, stored=outcome.stored))\n",
                "        case Unclear():\n"
                '            failure = Failure("processing_error", None, outcome.text)\n'
                "            return End(CardDeclined(order_id, attempt, number, intent_id, failure))\n",
            ),
            Edit(
                OUTCOMES,
                "    EffectReturned,\n    IntentCreated,\n",
                "    EffectReturned,\n    Failure,\n    IntentCreated,\n",
            ),
        ),
    ),
    Mutant(
        name="refusal-after-409-believed",
        wrong="A refusal is believed though Stripe has spoken of another request with its key.",
        endangers="L1 L2 F13",
        test="tests/unit/actors/stripe/test_outcomes.py::test_a_refusal_is_no_proof_where_another_request_had_the_key",
        edits=(
            Edit(
                OUTCOMES,
                "case Refused() if not progress.confirm_maybe_sent:",
                "case Refused() if not progress.confirm_maybe_sent or effect.send == 1:",
            ),
        ),
    ),
    Mutant(
        name="key-in-use-forgotten",
        wrong="An answer of Stripe about an earlier request with the confirm's key is forgotten: what is given "
        "back counts as never sent.",
        endangers="L1 L2 F13 F20",
        test="tests/unit/actors/stripe/test_actor.py::test_a_key_in_use_waits_with_the_same_key",
        edits=(
            Edit(
                SCHEDULER,
                "            if not_yet.obstacle is Obstacle.KEY_IN_USE and entry.step is CallStep.CONFIRM:\n"
                "                entry.set_progress(structs.replace(entry.progress, confirm_maybe_sent=True))\n",
                "",
            ),
        ),
    ),
    Mutant(
        name="unexpected-state-called-unsent",
        wrong="A confirm that Stripe refused for the intent's state is called never sent when it is given back.",
        endangers="L1 L2 F18",
        test="tests/unit/actors/stripe/test_actor.py::test_a_confirm_that_was_refused_for_the_state_is_never_called_unsent",
        edits=(
            Edit(
                OUTCOMES,
                "retrieve_for=RetrieveReason.UNEXPECTED_STATE, confirm_maybe_sent=True)",
                "retrieve_for=RetrieveReason.UNEXPECTED_STATE)",
            ),
        ),
    ),
    Mutant(
        name="unexpected-state-taken-as-refused",
        wrong="A confirm that Stripe refused for the intent's state is called refused without a retrieve.",
        endangers="L1 L2 F05 F18",
        test="tests/unit/actors/stripe/test_actor.py::test_after_an_unexpected_state_the_intent_is_retrieved",
        edits=(
            Edit(
                OUTCOMES,
                "        case UnexpectedState():\n            return structs",
                "        case UnexpectedState() if effect.send == 1:\n"
                "            reason = RefusalReason.REQUEST\n"
                "            return End(ConfirmRefused(order_id, attempt, effect.send, number, intent_id, "
                "reason, outcome.text))\n"
                "        case UnexpectedState():\n"
                "            return structs",
            ),
        ),
    ),
    Mutant(
        name="created-status-believed",
        wrong="The status in a replayed create counts as the intent's present one.",
        endangers="L1 L2 F47",
        test="tests/unit/actors/stripe/test_actor.py::test_the_status_of_a_replayed_create_is_no_evidence",
        edits=(
            Edit(
                OUTCOMES,
                "        case IntentAnswer():\n            # Its status",
                "        case IntentAnswer(status=IntentStatus.CANCELED):\n"
                "            known = structs.replace(progress, intent_id=outcome.id)\n"
                "            return End(_retrieved(effect, RetrieveReason.RECHECK, known, outcome))\n"
                "        case IntentAnswer():\n"
                "            # Its status",
            ),
        ),
        beyond="The simulated Stripe answers a replayed create with what it stored, which is open.",
    ),
    Mutant(
        name="create-without-an-answer-is-stored",
        wrong="A create without an answer takes the next number, as if an error had been replayed for it.",
        endangers="L1 F09 F47",
        test="tests/unit/actors/stripe/test_actor.py::test_a_create_without_an_answer_goes_back_to_the_ledger_too",
        edits=(
            Edit(
                OUTCOMES,
                "            return End(_unclear(effect, progress)) if isinstance(effect, ConfirmIntent) else None\n",
                "            return End(CreateErrorStored(order_id, number))\n",
            ),
        ),
    ),
    Mutant(
        name="cancel-error-taken-for-canceled",
        wrong="An error of a cancel counts as the cancel of its intent.",
        endangers="L1 L2 F18 F46",
        test="tests/unit/actors/stripe/test_actor.py::test_a_cancel_with_any_other_answer_is_followed_by_a_retrieve",
        edits=(
            Edit(
                OUTCOMES,
                "    return structs.replace(progress, retrieve_for=RetrieveReason.CANCEL)\n",
                "    if isinstance(outcome, UnexpectedState):\n"
                "        number, status = effect.intent.number, IntentStatus.CANCELED\n"
                "        return End(IntentRetrieved(effect.order_id, number, _known(progress), RetrieveReason.CANCEL, "
                "status))\n"
                "    return structs.replace(progress, retrieve_for=RetrieveReason.CANCEL)\n",
            ),
        ),
    ),
    Mutant(
        name="cancelled-again-without-a-retrieve",
        wrong="A cancel that does not work is repeated for ever, and its intent never retrieved.",
        endangers="L4 F12 F46",
        test="tests/unit/actors/stripe/test_actor.py::test_a_cancel_with_any_other_answer_is_followed_by_a_retrieve",
        edits=(
            Edit(
                OUTCOMES,
                "    return structs.replace(progress, retrieve_for=RetrieveReason.CANCEL)\n",
                "    return None\n",
            ),
        ),
    ),
    Mutant(
        name="unanswered-cancel-ends",
        wrong="A cancel that any intent answers counts as done, whatever its status is.",
        endangers="L1 L2 F46",
        test="tests/unit/actors/stripe/test_actor.py::test_a_cancel_with_any_other_answer_is_followed_by_a_retrieve",
        edits=(
            Edit(
                OUTCOMES,
                "    if isinstance(outcome, IntentAnswer) and outcome.status is IntentStatus.CANCELED:\n",
                "    if isinstance(outcome, IntentAnswer):\n",
            ),
        ),
        beyond="Stripe answers a cancel with the intent canceled, or with an error; so does the simulated one.",
    ),
    Mutant(
        name="listed-and-created-all-the-same",
        wrong="A list of charges that shows one that is kept does not stop the create after it.",
        endangers="L1 F47",
        test="tests/unit/actors/stripe/test_actor.py::test_an_old_order_is_listed_before_its_create",
        edits=(
            Edit(
                OUTCOMES,
                "    if kept is not None:\n        return End(IntentSucceeded(",
                "    if kept is not None and kept.disputed:\n        return End(IntentSucceeded(",
            ),
        ),
    ),
    Mutant(
        name="given-back-charge-stops-the-create",
        wrong="A charge that was given back stops the create after it: its order is never payable again.",
        endangers="L4 F47 F49",
        test="tests/unit/actors/stripe/test_outcomes.py::test_a_create_under_an_old_key_is_preceded_by_a_list",
        edits=(
            Edit(
                OUTCOMES,
                "for listed in outcome.charges if not listed.charge.refunded), None)",
                "for listed in outcome.charges), None)",
            ),
        ),
    ),
    Mutant(
        name="created-while-a-charge-is-pending",
        wrong="An intent is created while another charge of its order is processing.",
        endangers="L1 F47",
        test="tests/unit/actors/stripe/test_outcomes.py::test_a_create_under_an_old_key_is_preceded_by_a_list",
        edits=(Edit(OUTCOMES, "    if outcome.pending:\n", "    if outcome.pending and outcome.charges:\n"),),
    ),
    Mutant(
        name="list-left-out",
        wrong="A create whose key Stripe may have forgotten leaves without a list before it.",
        endangers="L1 F47",
        test="tests/unit/actors/stripe/test_actor.py::"
        "test_a_create_whose_key_grows_old_while_it_waits_is_preceded_by_a_list",
        edits=(
            Edit(
                SCHEDULER,
                "    return now >= effect.intent.list_after\n",
                "    return now < effect.intent.list_after and effect.intent.id is not None\n",
            ),
        ),
    ),
    Mutant(
        name="list-judged-at-the-release",
        wrong="Whether a create needs a list before it is asked when it is released, not when it leaves.",
        endangers="L1 F34 F47",
        test="tests/unit/actors/stripe/test_actor.py::test_a_create_whose_key_grows_old_in_its_queue_is_preceded_by_a_list",
        edits=(
            Edit(
                SCHEDULER,
                " or _early_s(entry, now) > 0 or _must_list(entry, now))\n",
                " or _early_s(entry, now) > 0)\n",
            ),
        ),
    ),
    Mutant(
        name="secret-of-a-replayed-answer",
        wrong="The client secret of a replayed answer is handed on: it may be of an order that is paid by now.",
        endangers="F45 F46",
        test="tests/unit/actors/stripe/test_outcomes.py::"
        "test_the_handover_goes_with_the_two_messages_that_may_reach_the_owner",
        edits=(
            Edit(
                OUTCOMES,
                "return End(message, None if outcome.replayed else outcome.handover)",
                "return End(message, outcome.handover)",
            ),
        ),
    ),
    Mutant(
        name="secret-of-a-cancels-retrieve",
        wrong="The retrieve after a cancel passes the client secret on.",
        endangers="F46",
        test="tests/unit/actors/stripe/test_outcomes.py::"
        "test_the_handover_goes_with_the_two_messages_that_may_reach_the_owner",
        edits=(
            Edit(
                OUTCOMES,
                "    handover = outcome.handover if reason is RetrieveReason.RECHECK else None\n",
                "    handover = outcome.handover\n",
            ),
        ),
    ),
    Mutant(
        name="processing-called-action",
        wrong="A payment that the bank has not decided yet is reported as one that requires the customer.",
        endangers="F45",
        test="tests/unit/actors/stripe/test_outcomes.py::test_an_outcome_that_ends_an_effect_becomes_its_message",
        edits=(
            Edit(OUTCOMES, "    processing = outcome.status is IntentStatus.PROCESSING\n", "    processing = False\n"),
        ),
    ),
    Mutant(
        name="replayed-success-called-fresh",
        wrong="A success that Stripe replays is reported as one of now.",
        endangers="L2 F49",
        test="tests/unit/actors/stripe/test_actor.py::test_a_replayed_success_is_marked_as_replayed",
        edits=(
            Edit(
                OUTCOMES,
                "return End(IntentSucceeded(order_id, number, intent_id, charge, outcome.replayed))",
                "return End(IntentSucceeded(order_id, number, intent_id, charge))",
            ),
        ),
    ),
    Mutant(
        name="confirmed-after-not-after",
        wrong="The time of a confirm is not checked immediately before it leaves.",
        endangers="L1 F17 F34 F38",
        test="tests/unit/actors/stripe/test_actor.py::test_too_late_between_two_steps_the_next_is_not_made",
        edits=(Edit(SCHEDULER, "over = now >= effect.not_after or now <", "over = now <"),),
    ),
    Mutant(
        name="sent-by-a-clock-that-went-back",
        wrong="A confirm leaves though by the clock it was released in the future.",
        endangers="L1 F38",
        test="tests/unit/actors/stripe/test_actor.py::test_nothing_is_sent_when_it_is_too_late_or_the_clock_is_wrong",
        edits=(Edit(SCHEDULER, " or now < effect.issued_at - CLOCK_TOLERANCE\n", "\n"),),
    ),
    Mutant(
        name="slept-with-a-confirm",
        wrong="A process that slept for half a day with a confirm sends it, where its clock went back meanwhile.",
        endangers="L1 F34 F38",
        test="tests/unit/actors/stripe/test_actor.py::"
        "test_a_confirm_that_was_held_longer_than_its_key_lives_is_not_sent_whatever_the_clock_says",
        edits=(
            Edit(
                SCHEDULER,
                "return over or self._clock.monotonic() - entry.received_at >= KEY_LIFE_S\n",
                "return over or isinstance(effect, CreateIntent) and "
                "self._clock.monotonic() - entry.received_at >= KEY_LIFE_S\n",
            ),
        ),
    ),
    Mutant(
        name="sent-before-its-time",
        wrong="A confirm or a cancel leaves before its pause is over.",
        endangers="F10 F38",
        test="tests/unit/actors/stripe/test_actor.py::test_nothing_leaves_before_its_time",
        edits=(
            Edit(
                SCHEDULER,
                "    return (effect.not_before - now).total_seconds()\n",
                "    return min(0.0, (effect.not_before - now).total_seconds())\n",
            ),
        ),
    ),
    Mutant(
        name="prepared-too-late",
        wrong="An intent is created ahead of its first request after its order has expired.",
        endangers="F36",
        test="tests/unit/actors/stripe/test_actor.py::test_an_intent_is_prepared_and_its_time_ends",
        edits=(
            Edit(
                SCHEDULER,
                "            over = now >= effect.not_after\n",
                "            over = False\n",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="prepared-after-a-sleep",
        wrong="A process that slept for half a day sends a create that it held, by a clock that was put back.",
        endangers="F34 F38",
        test="tests/unit/actors/stripe/test_actor.py::"
        "test_a_create_ahead_of_a_request_that_was_held_for_half_a_day_is_not_sent",
        edits=(
            Edit(
                SCHEDULER,
                "return over or self._clock.monotonic() - entry.received_at >= KEY_LIFE_S\n",
                "return over or isinstance(effect, ConfirmIntent) and "
                "self._clock.monotonic() - entry.received_at >= KEY_LIFE_S\n",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="id-written-while-stopping",
        wrong="A process that stops has an old order's id written and asks itself for the confirm, which waits for "
        "its lease.",
        endangers="F33 F34",
        test="tests/unit/actors/stripe/test_actor.py::test_a_drain_between_create_and_confirm_makes_no_confirm",
        edits=(
            Edit(
                SCHEDULER,
                "        if self._ends_here(entry, now):\n            self._give_back(entry)\n        elif (created :=",
                "        if self._ends_here(entry, now) and not to_be_written(entry.effect, entry.progress):\n"
                "            self._give_back(entry)\n        elif (created :=",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="withdrawal-ignored",
        wrong="A confirm that was cancelled while it waited is sent all the same.",
        endangers="L3 F20",
        test="tests/unit/actors/stripe/test_actor.py::test_an_effect_cancelled_before_its_turn_is_never_sent",
        edits=(
            Edit(
                SCHEDULER,
                "            entry.cancelled = True\n        else:\n            self._give_back(entry)\n",
                "            entry.cancelled = True\n",
            ),
        ),
    ),
    Mutant(
        name="cancelled-between-two-steps",
        wrong="A confirm whose order was cancelled while its intent was created is sent.",
        endangers="L3 F20",
        test="tests/unit/actors/stripe/test_actor.py::test_a_charge_cancelled_between_create_and_confirm_is_never_confirmed",
        edits=(
            Edit(
                SCHEDULER,
                "return self.closed or entry.cancelled or self._too_late(entry, now)\n",
                "return self.closed or self._too_late(entry, now)\n",
            ),
            Edit(
                SCHEDULER,
                "        if self.closed or self.held or entry.cancelled:\n            return False\n        now",
                "        if self.closed:\n            return False\n        now",
            ),
        ),
    ),
    Mutant(
        name="drain-sends-on",
        wrong="Effects that wait in Stripe's queues are not given back when the process drains.",
        endangers="F33",
        test="tests/unit/actors/stripe/test_actor.py::test_a_drain_ends_what_is_in_flight_and_gives_back_the_rest",
        edits=(
            Edit(
                SCHEDULER,
                "        self.closed = True\n        for entry in list(self._entries.values()):\n",
                "        self.closed = True\n        for entry in ():\n",
            ),
        ),
        beyond="It costs the time of a lease: the deadline stands.",
    ),
    Mutant(
        name="drain-confirms",
        wrong="After a create that was in flight when a drain began its confirm leaves.",
        endangers="F33",
        test="tests/unit/actors/stripe/test_actor.py::test_a_drain_between_create_and_confirm_makes_no_confirm",
        edits=(
            Edit(
                SCHEDULER,
                "return self.closed or entry.cancelled or self._too_late(entry, now)\n",
                "return entry.cancelled or self._too_late(entry, now)\n",
            ),
            Edit(
                SCHEDULER,
                "        if self.closed or self.held or entry.cancelled:\n            return False\n        now",
                "        if entry.cancelled:\n            return False\n        now",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="withheld-after-a-send",
        wrong="A confirm that may have been sent is called never sent when it is given back.",
        endangers="L1 L2 F13 F33",
        test="tests/unit/actors/stripe/test_outcomes.py::test_an_effect_given_back_counts_as_never_sent_only_if_it_was_not",
        edits=(Edit(OUTCOMES, "    if progress.confirm_maybe_sent:\n        return _unclear(effect, progress)\n", ""),),
    ),
    Mutant(
        name="newer-release-forgets-a-send",
        wrong="A newer release of the same confirm forgets that an earlier request with its key may be executing.",
        endangers="L1 L2 F13",
        test="tests/unit/actors/stripe/test_outcomes.py::test_a_newer_release_keeps_what_is_known_of_the_same_intent_alone",
        edits=(
            Edit(
                OUTCOMES,
                "    return structs.replace(first_progress(new), confirm_maybe_sent=progress.confirm_maybe_sent)\n",
                "    return first_progress(new)\n",
            ),
        ),
    ),
    Mutant(
        name="id-of-another-intent-kept",
        wrong="A newer release for the next intent is confirmed on the intent before.",
        endangers="L1 F12 F18",
        test="tests/unit/actors/stripe/test_outcomes.py::test_a_newer_release_keeps_what_is_known_of_the_same_intent_alone",
        edits=(Edit(OUTCOMES, " and old.intent.key == new.intent.key:", ":"),),
    ),
    Mutant(
        name="prepared-before-a-customer",
        wrong="Intents that are made ahead of requests leave before those that customers wait for.",
        endangers="F14",
        test="tests/unit/actors/stripe/test_actor.py::test_preparing_leaves_only_when_no_other_create_waits",
        edits=(Edit(SCHEDULER, "PREPARING_SINCE = math.inf", "PREPARING_SINCE = 0.0"),),
        beyond=NO_RATE,
    ),
    Mutant(
        name="turn-by-confirmation",
        wrong="Charges have their turn at Stripe in the order in which their writes were confirmed.",
        endangers="F14",
        test="tests/unit/actors/stripe/test_actor.py::test_turns_are_given_in_the_order_of_the_decisions",
        edits=(Edit(SCHEDULER, "decided_at = effect.issued_at.timestamp()", "decided_at = 0.0"),),
        beyond=NO_RATE,
    ),
    Mutant(
        name="one-limit-for-all-endpoints",
        wrong="A 429 of the account lowers the rate of the endpoint that met it, and not the account's.",
        endangers="F14",
        test="tests/unit/actors/stripe/test_rate_limiter.py::test_a_refusal_for_the_account_lowers_the_accounts_rate_alone",
        edits=(
            Edit(
                SCHEDULER,
                "limiter = self.account if refusal.account else",
                "limiter = self.account if not refusal else",
            ),
        ),
        beyond=NO_RATE,
    ),
    Mutant(
        name="account-limit-ignored",
        wrong="All endpoints together send more than the account allows.",
        endangers="F14",
        test="tests/unit/actors/stripe/test_scheduler.py::test_a_turn_counts_for_the_endpoint_and_for_the_account",
        edits=(
            Edit(
                SCHEDULER,
                "        self.account.took(now, more_wait=bool(waiting))\n",
                "",
            ),
        ),
        beyond=NO_RATE,
    ),
    Mutant(
        name="limit-run-into-again",
        wrong="After a refusal the rate rises as fast as before, over the very limit that it met.",
        endangers="F14",
        test="tests/unit/actors/stripe/test_rate_limiter.py::"
        "test_it_rises_fast_to_just_below_the_limit_it_met_then_slowly_and_forgets_it_after_half_a_minute",
        edits=(Edit(RATE_LIMITER, "(CAREFUL_RISE if careful else RISE)", "RISE"),),
        beyond=NO_RATE,
    ),
    Mutant(
        name="careful-for-ever",
        wrong="A rate that was refused once only creeps from then on, wherever the limit is.",
        endangers="F14",
        test="tests/unit/actors/stripe/test_rate_limiter.py::"
        "test_it_rises_fast_to_just_below_the_limit_it_met_then_slowly_and_forgets_it_after_half_a_minute",
        edits=(
            Edit(
                RATE_LIMITER,
                "remembered and self.per_s >= self._refused_per_s * CAREFUL_FROM",
                "self._refused_per_s > 0",
            ),
        ),
        beyond=NO_RATE,
    ),
    Mutant(
        name="at-once-after-a-refusal",
        wrong="The request after a refusal leaves at once.",
        endangers="F14",
        test="tests/unit/actors/stripe/test_rate_limiter.py::test_the_next_request_after_a_refusal_waits_at_the_new_rate",
        edits=(Edit(RATE_LIMITER, "        self._next_at = max(self._next_at, now + 1.0 / self.per_s)\n", ""),),
        beyond=NO_RATE,
    ),
    Mutant(
        name="rate-rises-in-quiet",
        wrong="Time in which no request waited counts as time to rise in.",
        endangers="F14",
        test="tests/unit/actors/stripe/test_rate_limiter.py::test_time_without_a_queue_is_no_time_to_rise_in",
        edits=(
            Edit(
                RATE_LIMITER,
                "        self._risen_at = now\n        if more_wait:\n",
                "        if more_wait:\n            self._risen_at = now\n",
            ),
        ),
        beyond=NO_RATE,
    ),
    Mutant(
        name="silence-of-one-order-counted-each-time",
        wrong="A few orders whose calls are never answered slow others down to one a second, again and again.",
        endangers="F31",
        test="tests/unit/actors/stripe/test_telemetry.py::"
        "test_an_order_without_answers_proves_nothing_of_a_stripe_that_answers_others",
        edits=(
            Edit(
                TELEMETRY,
                "return before is not None and before < self.answered_at",
                "return before is not None and before < 0.0",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="no-check-when-stripe-falls-silent",
        wrong="Calls without an answer slow all others down until the next check, seconds later.",
        endangers="F31",
        test="tests/unit/actors/stripe/test_actor.py::"
        "test_orders_that_are_never_answered_hold_up_others_for_the_time_of_one_check",
        edits=(
            Edit(
                ACTOR,
                "            self._checks.check_now()  # the silence may be of a few orders alone, and others wait\n",
                "            pass\n",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="estimate-counts-those-that-back-off",
        wrong="Orders that wait by themselves count as in front of all that come later, whose clients get 202 at once.",
        endangers="F31",
        test="tests/unit/actors/stripe/test_actor.py::test_an_order_that_backs_off_by_itself_lengthens_no_estimate",
        edits=(
            Edit(
                SCHEDULER,
                "        self._count(entry, past_confirm=True)\n        self._go_on(entry, delay_s)\n",
                "        self._go_on(entry, delay_s)\n",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="restart-counts-the-mailbox-as-passed",
        wrong="After a restart of the actor the messages in its mailbox count as past the queue, and then once more.",
        endangers="F14 F32",
        test="tests/unit/actors/stripe/test_scheduler.py::test_the_estimate_survives_a_restart",
        edits=(Edit(ACTOR, "            mailbox.accepted - mailbox.depth,\n", "            mailbox.accepted,\n"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="cancellation-lengthens-the-estimate",
        wrong="Each cancellation counts as one more charge in front of all that come later.",
        endangers="F14 F20",
        test="tests/unit/actors/stripe/test_scheduler.py::test_everything_released_ends_once",
        edits=(
            Edit(
                SCHEDULER,
                "        self._received += 1\n        self._gets_no_turn()\n        self._cancel(effect_id)\n",
                "        self._received += 1\n        self._cancel(effect_id)\n",
            ),
        ),
        beyond=NO_LAW,
    ),
)
