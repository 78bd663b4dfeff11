"""Mutants of charges that were given back (payment/core): rechecks, refunds that fail, lost disputes."""

from tests.mutants.mutant import Edit, Mutant

ATTEMPTS = "payment/core/attempts.py"
FORMATS = "payment/core/formats.py"
MONGO = "payment/actors/ledger/actor.py"
OUTCOMES = "payment/core/outcomes.py"
PENDING = "payment/core/pending.py"
REFUNDS = "payment/core/refunds.py"
REPLIES = "payment/core/replies.py"
SCHEDULE = "payment/core/schedule.py"

TESTS = "tests/unit/core/test_rechecks.py::"

MUTANTS = (
    Mutant(
        name="refund-not-rechecked",
        wrong="A charge that was given back is never looked at again.",
        endangers="L3 F44",
        test=f"{TESTS}test_refund_is_rechecked_after_an_hour_a_day_a_week_and_thirty_days",
        edits=(Edit(ATTEMPTS, "recheck = next_recheck(0, context.now)", "recheck = None"),),
    ),
    Mutant(
        name="recheck-in-no-index",
        wrong="The time of a recheck is not derived, so no sweep finds it.",
        endangers="L3 F44",
        test=f"{TESTS}test_refund_is_rechecked_after_an_hour_a_day_a_week_and_thirty_days",
        edits=(Edit(PENDING, "recheck=min((item.at for item in rechecks(order)), default=None)", "recheck=None"),),
    ),
    Mutant(
        name="rechecks-not-swept",
        wrong="No sweep finds charges that are due for a recheck.",
        endangers="L3 F44",
        test="tests/unit/actors/ledger/test_time.py::TestSweep::test_a_refund_is_rechecked_by_a_sweep_of_its_own",
        edits=(
            Edit(
                MONGO,
                "            if not self._draining:\n"
                "                self._take_up(orders, left_by_an_earlier_run=False)\n"
                "            await self.clock.sleep(RECHECK_EVERY_S",
                "            await self.clock.sleep(RECHECK_EVERY_S",
            ),
        ),
    ),
    Mutant(
        name="one-recheck-is-enough",
        wrong="A charge that was given back is looked at once, after an hour.",
        endangers="L3 F44",
        test=f"{TESTS}test_refund_is_rechecked_after_an_hour_a_day_a_week_and_thirty_days",
        edits=(Edit(SCHEDULE, "    if rechecks >= len(RECHECKS):\n", "    if rechecks >= 1:\n"),),
    ),
    Mutant(
        name="recheck-at-any-time-counts",
        wrong="A recheck counts whenever it is made: a clock that jumps ahead makes all of them at once.",
        endangers="L3 F38 F44",
        test=f"{TESTS}test_recheck_made_by_a_clock_that_is_ahead_ends_no_rechecks_early",
        edits=(
            Edit(
                REFUNDS,
                "attempt.refund.rechecks + in_time(attempt.recheck, context.now)",
                "attempt.refund.rechecks + 1",
            ),
        ),
        beyond="Clocks of the simulation are right again before a recheck is due.",
    ),
    Mutant(
        name="absurd-recheck-waited-for",
        wrong="A recheck that a wrong clock put a year off is waited for.",
        endangers="L3 F38 F44",
        test=f"{TESTS}test_recheck_made_by_a_clock_that_is_ahead_ends_no_rechecks_early",
        edits=(Edit(SCHEDULE, " or recheck > context.now + LONGEST_RECHECK)", ")"),),
        beyond="The simulation waits without a limit: in its virtual time a year takes an instant.",
    ),
    Mutant(
        name="failed-refund-called-done",
        wrong="The outcome of a recheck is ignored: a refund that has failed stays done.",
        endangers="L3 F44",
        test=f"{TESTS}test_refund_that_fails_after_it_succeeded_is_blocked_and_announced",
        edits=(Edit(REFUNDS, "    if not message.stands:\n", "    if not message.stands and order.amount is None:\n"),),
    ),
    Mutant(
        name="failed-refund-kept-secret",
        wrong="No event announces that a refund has failed.",
        endangers="L3 F44",
        test=f"{TESTS}test_refund_that_fails_after_it_succeeded_is_blocked_and_announced",
        edits=(
            Edit(
                REFUNDS,
                "    if last is None or last.subject != PAYMENT_REFUNDED:\n",
                "    if last is None or last.subject == PAYMENT_REFUNDED:\n",
            ),
        ),
    ),
    Mutant(
        name="second-refund-kept-secret",
        wrong="A charge that is given back again, after a refund failed, is not announced again.",
        endangers="L3 F44",
        test=f"{TESTS}test_next_refund_is_announced_again_and_rechecked_again",
        edits=(
            Edit(
                REFUNDS,
                "    assert attempt.charge_id is not None\n    return _with_event(order, OutboxEvent(PAYMENT_REFUNDED",
                "    if last is not None:\n        return order\n"
                "    assert attempt.charge_id is not None\n    return _with_event(order, OutboxEvent(PAYMENT_REFUNDED",
            ),
        ),
    ),
    Mutant(
        name="one-message-id-for-both-refunds",
        wrong="The second payment:refunded of a charge has the first one's message id: the stream drops it.",
        endangers="L3 F42 F44",
        test=f"{TESTS}test_next_refund_is_announced_again_and_rechecked_again",
        edits=(
            Edit(
                PENDING,
                'message_id = f"{message_id}:{event.stripe_id}:{event.refund_id}"',
                'message_id = f"{message_id}"',
            ),
        ),
    ),
    Mutant(
        name="refund-asked-for-without-end",
        wrong="However often refunds of a charge fail after they succeeded, the next one is asked for.",
        endangers="L4 F44",
        test=f"{TESTS}test_refund_that_keeps_failing_is_requested_no_more",
        edits=(Edit(REFUNDS, "refund.undone >= REFUNDS_UNDONE_LIMIT", "refund.undone >= 10 * REFUNDS_UNDONE_LIMIT"),),
        beyond="The simulation rests as soon as three refunds of a charge have failed.",
    ),
    Mutant(
        name="word-of-an-earlier-refund-believed",
        wrong="The failure of an earlier refund counts as that of the refund that was made since.",
        endangers="L3 F34 F44",
        test=f"{TESTS}test_answer_about_an_earlier_refund_proves_nothing_about_this_one",
        edits=(
            Edit(
                REFUNDS,
                "    if attempt.given_back_by != message.given_back_by:\n",
                "    if attempt.given_back_by is None:\n",
            ),
        ),
        beyond="A process must stand still from before a refund fails until the next one is made.",
    ),
    Mutant(
        name="lost-dispute-no-end",
        wrong="That a dispute was lost changes nothing: the refund is tried for ever.",
        endangers="L4 F44",
        test=f"{TESTS}test_lost_dispute_is_an_end",
        edits=(
            Edit(
                REFUNDS,
                "return order if done else _charged_back(order, attempt, refund, message, context)",
                "return order",
            ),
        ),
    ),
    Mutant(
        name="charged-beside-a-failed-refund",
        wrong="An order whose refund has failed can be paid by another card: two charges are kept.",
        endangers="L1 F44 F49",
        test=f"{TESTS}test_order_is_not_charged_again_while_a_refund_that_failed_is_not_made_again",
        edits=(
            Edit(
                REPLIES,
                "    if any(attempt.undone for attempt in order.attempts):\n",
                "    if order.amount is None:\n",
            ),
        ),
        beyond="Only a refund by hand leaves an order payable, and no customer comes days after it.",
    ),
    Mutant(
        name="newer-document-in-the-old-format",
        wrong="A document that waits for a recheck is written as release 0.2.0 would read it, which drops the recheck.",
        endangers="L3 F44",
        test=f"{TESTS}test_document_of_0_2_0_is_read_and_written_as_such_until_it_needs_more",
        edits=(Edit(FORMATS, "        if undone or rechecked or attempt", "        if undone or attempt"),),
        beyond="No process of release 0.2.0 runs in the simulation.",
    ),
    Mutant(
        name="partial-refund-not-noted",
        wrong="That a charge was refunded in part is not noted.",
        endangers="F49",
        test=f"{TESTS}test_success_that_was_refunded_in_part_is_paid_and_shows_how_much",
        edits=(Edit(OUTCOMES, "partly = 0 if charge.refunded else charge.amount_refunded", "partly = 0"),),
        beyond="Only a person reads it.",
    ),
)
