"""Mutants about our key at Stripe: its account, its permissions, and refusals of a single order."""

from tests.mutants.mutant import Edit, Mutant

ACCOUNT = "payment/core/account.py"
ACCOUNTS = "payment/actors/ledger/accounts.py"
ACTOR = "payment/actors/stripe/actor.py"
KEY_CHECKS = "payment/actors/stripe/key_checks.py"
RATE_LIMITER = "payment/actors/stripe/rate_limiter.py"
SCHEDULER = "payment/actors/stripe/scheduler.py"
TELEMETRY = "payment/actors/stripe/telemetry.py"

NO_RATE = "How fast charges go is no law."
NO_LAW = "It costs calls and time, and no law is about either."

MUTANTS = (
    Mutant(
        name="every-key-is-the-right-one",
        wrong="A key of another account counts as one of the database's.",
        endangers="L1 F48",
        test="tests/unit/core/test_account.py::test_a_key_is_for_the_account_by_its_id_or_as_the_same_key",
        edits=(Edit(ACCOUNT, "same = bound.id == of_key.id if known else", "same = True if known else"),),
    ),
    Mutant(
        name="modes-do-not-count",
        wrong="A live key is used with a database of test mode.",
        endangers="L1 F48",
        test="tests/unit/core/test_account.py::test_a_key_is_for_the_account_by_its_id_or_as_the_same_key",
        edits=(Edit(ACCOUNT, "    if same and not modes_differ:\n", "    if same:\n"),),
        beyond="The keys of a world are of one mode.",
    ),
    Mutant(
        name="the-last-account-is-kept",
        wrong="A process believes the account that it wanted to keep, though another one was there first.",
        endangers="L1 F48",
        test="tests/unit/actors/ledger/test_accounts.py::test_an_account_that_another_process_keeps_at_the_same_instant_stands",
        edits=(
            Edit(
                ACCOUNTS,
                "            bound = await self._store.bind(mine)\n            if bound == mine:\n",
                "            bound = await self._store.bind(mine) and mine\n            if bound == mine:\n",
            ),
        ),
        beyond="Where a key is another account's, the database of a world belongs to the right one from the beginning.",
    ),
    Mutant(
        name="sent-before-the-account-is-known",
        wrong="Charges leave before the database is known to belong to the key's account.",
        endangers="L1 F48",
        test="tests/unit/actors/stripe/test_key_checks.py::"
        "test_nothing_leaves_before_the_ledger_has_confirmed_the_account",
        edits=(
            Edit(ACTOR, "            if not self._allowed.is_set():\n", "            if self._scheduler.closed:\n"),
            Edit(SCHEDULER, "if self.closed or self.held or entry.cancelled:", "if self.closed or entry.cancelled:"),
        ),
    ),
    Mutant(
        name="another-account-goes-on",
        wrong="The ledger's answer about the key's account stops nothing.",
        endangers="L1 F48",
        test="tests/unit/actors/stripe/test_key_checks.py::"
        "test_with_another_account_only_checks_are_sent_until_it_is_put_right",
        edits=(
            Edit(
                ACTOR,
                "        self._scheduler.held = not allowed\n",
                "        allowed = True\n        self._scheduler.held = False\n",
            ),
        ),
    ),
    Mutant(
        name="account-checked-at-the-start-alone",
        wrong="An account that is another one later is not noticed.",
        endangers="F48",
        test="tests/unit/actors/stripe/test_key_checks.py::test_an_account_that_becomes_another_one_stops_what_waits",
        edits=(
            Edit(
                KEY_CHECKS,
                "        if verdict.same is not None:\n            self._checked.allow(verdict.same)\n",
                "        if verdict.same is not None and not self._permissions_known:\n"
                "            self._checked.allow(verdict.same)\n",
            ),
        ),
        beyond="No world changes the account behind a process that runs.",
    ),
    Mutant(
        name="permission-cleared-by-any-success",
        wrong="A success of any kind of call clears the missing permissions of our key.",
        endangers="F36",
        test="tests/unit/actors/stripe/test_telemetry.py::test_only_its_own_kind_of_call_clears_a_permission_that_is_missing",
        edits=(
            Edit(
                TELEMETRY,
                "            self._refused.pop(kind, None)\n",
                "            self._refused.clear()\n",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="one-refusal-of-our-key-is-an-outage",
        wrong="A call that is refused for our key blocks all charges, though it may be refused alone.",
        endangers="F31 F36",
        test="tests/unit/actors/stripe/test_telemetry.py::test_a_call_alone_proves_nothing_about_all_charges",
        edits=(Edit(TELEMETRY, "            if kind == CHECK:\n", "            if kind:\n"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="refused-alone-decided-by-a-refusal",
        wrong="An entry aside goes first again when another is refused: with two of them no third has its turn.",
        endangers="F31",
        test="tests/unit/actors/stripe/test_scheduler.py::test_a_refusal_of_another_entry_decides_nothing_about_one_aside",
        edits=(
            Edit(
                SCHEDULER,
                "        result = result_of(entry.effect, entry.progress, outcome)\n",
                "        if not _answered(outcome):\n            self._judge_aside(queue, alone=False)\n"
                "        result = result_of(entry.effect, entry.progress, outcome)\n",
            ),
        ),
        beyond=NO_RATE,
    ),
    Mutant(
        name="fall-for-one-order-stands",
        wrong="An order that Stripe answers 429 always keeps the rate of all others down.",
        endangers="F14 F31",
        test="tests/unit/actors/stripe/test_scheduler.py::"
        "test_a_fall_of_the_rate_is_taken_back_if_all_that_it_stands_for_are_refused_alone",
        edits=(Edit(SCHEDULER, "if entry.acquit(self._clock.monotonic()):", "if not entry:"),),
        beyond=NO_RATE,
    ),
    Mutant(
        name="right-fall-taken-back",
        wrong="A rate that was too high rises again at once.",
        endangers="F14",
        test="tests/unit/actors/stripe/test_rate_limiter.py::test_a_fall_that_was_right_stands",
        edits=(Edit(RATE_LIMITER, "if fall.blamed or fall.right:", "if fall.blamed:"),),
        beyond=NO_RATE,
    ),
    Mutant(
        name="idle-is-not-checked",
        wrong="A Stripe that is lost while nothing is paid is not noticed.",
        endangers="F10",
        test="tests/unit/actors/stripe/test_actor.py::"
        "test_a_stripe_that_is_lost_while_nothing_is_paid_is_noticed_within_ten_seconds",
        edits=(
            Edit(
                KEY_CHECKS,
                "        return now - telemetry.answered_at >= IDLE_CHECK_AFTER_S\n",
                "        return False\n",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="outage-counted-as-our-queue",
        wrong="Time in which Stripe was away is called our own.",
        endangers="F10",
        test="tests/unit/actors/stripe/test_scheduler.py::"
        "test_time_while_stripe_is_away_and_sleep_that_it_caused_are_its_own",
        edits=(Edit(SCHEDULER, "(away_s - entry.away_s_counted) * 1_000\n", "away_s - entry.away_s_counted\n"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="an-address-is-trusted-after-it-was-gone",
        wrong="A server that listens at Stripe's address after an outage counts as the same account.",
        endangers="L1 F48",
        test="tests/unit/actors/stripe/test_key_checks.py::"
        "test_after_a_connection_could_not_be_made_the_account_is_asked_for_before_anything_leaves",
        edits=(Edit(KEY_CHECKS, "        self._checked.allow(False)\n", ""),),
        beyond="No world changes the account behind an address.",
    ),
    Mutant(
        name="silent-kind-hidden-by-others",
        wrong="Where every confirm times out, an answer to the check calls Stripe well.",
        endangers="F09",
        test="tests/unit/actors/stripe/test_telemetry.py::test_a_kind_of_call_without_an_answer_is_not_hidden_by_the_others",
        edits=(Edit(TELEMETRY, "self._silent.pop(kind, None)", "self._silent.clear()"),),
        beyond="The simulation checks readiness for the store alone.",
    ),
)
