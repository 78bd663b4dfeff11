"""Mutants of telemetry: gauges, alarms and log lines that would be missing, late, or endless."""

from tests.mutants.mutant import Edit, Mutant

NO_LAW = "No law is about telemetry."

BACKLOG = "payment/actors/ledger/backlog.py"
STUCK = "payment/actors/ledger/stuck_log.py"
WAITS = "payment/core/waits.py"
REFUSALS = "payment/actors/http/refusals.py"
TEST_BACKLOG = "tests/unit/actors/ledger/test_backlog.py"
TEST_STUCK = "tests/unit/actors/ledger/test_stuck_log.py"
TEST_WAITS = "tests/unit/core/test_waits.py"
TEST_REFUSALS = "tests/unit/actors/http/test_refusals.py"

MUTANTS = (
    Mutant(
        name="states-not-read",
        wrong="The gauges of unsettled work are not set from the database.",
        endangers="F44",
        test=f"{TEST_BACKLOG}::TestGauges::test_a_blocked_refund_is_counted_after_a_restart",
        edits=(
            Edit(
                BACKLOG,
                "        self._telemetry.backlog(found.pending, found.oldest, found.unpublished, dead_letters, at)\n",
                "",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="blocked-alarm-never-again",
        wrong="A refund that was blocked before this run has no alarm in it.",
        endangers="F44",
        test=f"{TEST_BACKLOG}::TestAlarms::test_a_blocked_refund_is_alarmed_again_by_each_run_and_after_a_day",
        edits=(Edit(BACKLOG, "of_new_ones = at if self._read_before else at - REMIND_AFTER", "of_new_ones = at"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="state-zero-before-it-is-read",
        wrong="A gauge that stands for a state is 0 until the database was read.",
        endangers="F44",
        test="tests/unit/ops/test_metrics.py::test_a_state_is_no_number_before_it_was_read",
        edits=(Edit("payment/ops/metrics.py", '        gauge.set(float("nan"))\n', ""),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="wait-begins-anew",
        wrong="A task that is issued again counts as waiting only since then.",
        endangers="F23",
        test=f"{TEST_BACKLOG}::TestFound::test_the_earliest_time_that_was_seen_counts",
        edits=(Edit(BACKLOG, "min(wait.since, self._known.get(wait.key, wait.since))", "wait.since"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="customer-is-stuck",
        wrong="A customer at the bank's page counts as stuck after a minute.",
        endangers="F45",
        test=f"{TEST_WAITS}::test_a_customer_is_no_trouble_while_the_next_retrieval_is_not_late",
        edits=(Edit(WAITS, "idle_from=_idle_from(task) if awaiting else None", "idle_from=None"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="cancel-counts-the-customer-s-time",
        wrong="A cancel counts as stuck for the time in which the customer was awaited.",
        endangers="F46",
        test=f"{TEST_WAITS}::test_a_cancel_waits_since_it_began_where_the_customer_was_awaited",
        edits=(Edit(WAITS, "task.issued if was_awaiting else attempt.first_sent", "attempt.first_sent"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="settled-by-half-a-read",
        wrong="Orders that an incomplete read does not return are logged as settled.",
        endangers="F25",
        test=f"{TEST_STUCK}::TestLines::test_nothing_is_logged_as_settled_where_not_all_was_read",
        edits=(
            Edit(
                STUCK,
                "        if complete:\n            self._log_settled(",
                "        if complete or not complete:\n            self._log_settled(",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="stuck-a-line-each",
        wrong="Each stuck order is logged, however many there are.",
        endangers="F39",
        test=f"{TEST_STUCK}::TestLines::test_many_are_one_line_with_a_count_and_the_oldest",
        edits=(Edit(STUCK, "if len(stuck) > (NAMED_LIMIT if", "if len(stuck) > (1_000 * NAMED_LIMIT if"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="stuck-said-by-every-process",
        wrong="Stuck orders of another process are logged here too, at once.",
        endangers="F34",
        test=f"{TEST_STUCK}::TestLines::test_another_process_logs_its_own_orders_for_five_minutes",
        edits=(Edit(STUCK, "self._reasons.is_another_s(wait, at) and age < ANOTHER_S", "False"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="stuck-every-few-seconds",
        wrong="A stuck order is logged at every read.",
        endangers="F39",
        test=f"{TEST_STUCK}::TestLines::test_it_comes_again_after_ten_minutes_an_hour_and_then_every_six",
        edits=(Edit(STUCK, "if elsewhere or at < self._again_at.get(wait.key, at):", "if elsewhere:"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="last-words-for-ever",
        wrong="Stripe's trouble with an order is still shown after it is settled.",
        endangers="F31",
        test="tests/unit/actors/stripe/test_telemetry.py::test_stripes_message_about_one_order_is_kept_until_that_order_is_answered",
        edits=(
            Edit(
                "payment/actors/stripe/telemetry.py",
                "        self._health.note_order(Dependency.STRIPE, entry.order_id, unsettled)\n",
                "        if unsettled is not None:\n"
                "            self._health.note_order(Dependency.STRIPE, entry.order_id, unsettled)\n",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="many-come-and-go",
        wrong="A number of stuck orders that goes up and down about the limit is logged each time.",
        endangers="F39",
        test=f"{TEST_STUCK}::TestLines::test_a_number_that_goes_up_and_down_is_no_news",
        edits=(Edit(STUCK, "is None else NAMED_LIMIT // 2)", "is None else NAMED_LIMIT)"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="refusal-without-its-order",
        wrong="The line of a refused charge does not name the order.",
        endangers="F19",
        test=f"{TEST_REFUSALS}::TestCharges::test_each_refusal_is_one_line_with_the_order_the_user_and_the_code",
        edits=(
            Edit(
                REFUSALS,
                "                order_id=order_id,\n                user_id=user_id,\n",
                "                user_id=user_id,\n",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="refusals-without-end",
        wrong="One user's refused requests may write the log full.",
        endangers="F39",
        test=f"{TEST_REFUSALS}::TestFloods::test_one_user_has_a_few_lines_a_second_and_the_rest_is_counted",
        edits=(Edit(REFUSALS, " or self.by_user[user_id] >= USER_LINES_PER_S", ""),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="true-decline-code-lost",
        wrong="The log has the decline code of the customer's answer, not the bank's.",
        endangers="F15",
        test=f"{TEST_REFUSALS}::TestCharges::test_a_hidden_decline_code_is_in_the_log_alone",
        edits=(
            Edit(
                "payment/actors/http/responses.py", "item.message, reply.decline_code)", "item.message, decline_code)"
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="alarms-begin-at-one",
        wrong="The counter of an alarm does not exist before the first one.",
        endangers="F30",
        test="tests/unit/test_known_labels.py::test_every_alarm_dead_letter_refusal_and_restart_begins_at_zero",
        edits=(
            Edit(
                "payment/known_labels.py",
                "    for event in ALARMS:\n        metrics.alarms(event).inc(0)\n",
                "",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="dead-letter-without-alarm",
        wrong="An order's event becomes a dead letter without an alarm.",
        endangers="F30",
        test="tests/unit/actors/nats/test_actor.py::test_a_dead_letter_is_an_alarm_that_names_the_order_where_it_can",
        edits=(
            Edit(
                "payment/actors/nats/actor.py",
                "            self._alarm_dead_letter(delivery, order_id, error)\n",
                "            self._metrics.dead_letters(delivery.subject).inc()\n",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="cut-off-called-drained",
        wrong="An actor whose drain was cut off is logged as drained.",
        endangers="F33",
        test="tests/unit/actors/runtime/test_supervisor.py::test_a_drain_that_never_ends_is_cut_at_its_deadline",
        edits=(Edit("payment/actors/runtime/supervisor.py", "self._ending = CUT_OFF", "self._ending = DRAINED"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="lost-connection-without-a-reason",
        wrong="A lost connection to Stripe is named by the class of an exception.",
        endangers="F10",
        test="tests/unit/adapters/stripe/test_texts.py::test_a_lost_connection_is_described_in_a_sentence",
        edits=(
            Edit(
                "payment/adapters/stripe/texts.py",
                '        return f"{name}: {redacted(reason)}" if reason else name\n',
                '        return f"{name} ({type(error).__name__})"\n',
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="one-answer-takes-all-lines",
        wrong="Equal answers about one order use up the log lines that its user has in a second.",
        endangers="F39",
        test="tests/unit/actors/http/test_refusals.py::TestFloods::test_repeated_answers_take_no_line_of_the_last_one",
        edits=(Edit(REFUSALS, "SAME_LINES_PER_S = 3", "SAME_LINES_PER_S = USER_LINES_PER_S"),),
        beyond=NO_LAW,
    ),
)
