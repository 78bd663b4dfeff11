"""Mutants about a store that answers and can't be used: refusals, recovery, and their telemetry."""

from tests.mutants.mutant import Edit, Mutant

COMMIT = "payment/actors/ledger/commit.py"
LINES = "payment/actors/ledger/telemetry.py"
STATE = "payment/actors/ledger/store_state.py"
ERRORS = "payment/adapters/mongo/errors.py"
INDEXES = "payment/adapters/mongo/indexes.py"
OPTIONS = "payment/adapters/mongo/options.py"
STORE = "payment/adapters/mongo/store.py"
VALUES = "payment/settings/values.py"

M = "tests/unit/actors/ledger/test_actor.py"
S = "tests/unit/actors/ledger/test_store_state.py"
R = "tests/unit/adapters/mongo/test_refusals.py"
LOGS_WHY = "        except StoreUnavailable as error:\n            self._log_why"
REAL_ONES = "The simulation replaces MongoDB by a fake and does not run this file."

MUTANTS = (
    Mutant(
        name="documents-in-the-order-of-queues",
        wrong="A commit sends its documents in the order of the queues: two processes' batches wait for each other.",
        endangers="F02 F25",
        test=f"{R}::TestOrder::test_documents_go_in_the_order_of_their_ids",
        edits=(
            Edit(
                STORE,
                "in sorted(range(len(orders)), key=lambda place: orders[place].id):",
                "in range(len(orders)):",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="results-as-they-were-sent",
        wrong="A document's result is returned for the one that had its index before sorting.",
        endangers="L1 L4 F02 F41",
        test=f"{R}::TestOrder::test_each_result_is_at_the_place_of_its_order",
        edits=(Edit(STORE, "zip(places, written, strict=True)", "zip(sorted(places), written, strict=True)"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="interrupted-called-refused",
        wrong="A write that a failover has interrupted counts as not made.",
        endangers="L4 F26 F52",
        test=f"{R}::TestRefusedWrites::test_a_write_that_may_have_been_applied_stays_unknown",
        edits=(Edit(ERRORS, "NOT_APPLIED = frozenset({13, ", "NOT_APPLIED = frozenset({11602, 13, "),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="write-concern-called-refused",
        wrong="A write that the primary has made and no majority confirmed counts as not made.",
        endangers="L4 F26 F43",
        test=f"{R}::TestRefusedWrites::test_an_error_of_the_write_concern_is_unknown_whatever_its_code",
        edits=(Edit(ERRORS, ' and "writeConcernError" not in details', ""),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="refused-taken-for-unknown",
        wrong="A refused write counts as one that may still be applied: its request waits for its deadline.",
        endangers="F52",
        test=f"{M}::TestRefused::test_a_refused_write_is_a_503_at_once_and_nothing_was_charged",
        edits=(
            Edit(
                COMMIT,
                "                    item.sent.popitem()\n                    item.failures += 1\n",
                "                    item.failures += 1\n",
            ),
        ),
    ),
    Mutant(
        name="refusal-hides-an-earlier-write",
        wrong=(
            "Where the repetition of a write is refused, the answer claims that nothing was charged, though "
            "the first write may still be applied."
        ),
        endangers="L4 F26 F52",
        test=f"{M}::TestRefused::test_a_write_that_may_land_is_not_denied_because_its_repetition_is_refused",
        edits=(Edit(COMMIT, "                    if item.sent:\n", "                    if not item:\n"),),
    ),
    Mutant(
        name="due-work-refused-and-forgotten",
        wrong="Due work whose write is refused waits for the lease of a dead holder.",
        endangers="L4 F05 F52",
        test=f"{M}::TestRefused::test_a_due_task_is_tried_again_where_others_are_written",
        edits=(Edit(COMMIT, "isinstance(each, EffectCompleted | Due)]", "isinstance(each, EffectCompleted)]"),),
    ),
    Mutant(
        name="back-by-ping",
        wrong="A store counts as back when it answers a ping.",
        endangers="F25 F52",
        test=f"{S}::test_a_store_that_answers_pings_and_takes_no_writes_is_not_back",
        edits=(
            Edit(
                STATE,
                f"            await self._store.probe()\n{LOGS_WHY}",
                f"            await self._store.ping()\n{LOGS_WHY}",
            ),
        ),
    ),
    Mutant(
        name="lost-and-back-at-once",
        wrong="A store that passes its probe counts as back at once after each loss, however often it is lost.",
        endangers="F52",
        test=f"{S}::test_losses_and_returns_of_a_flapping_store_are_few",
        edits=(Edit(STATE, "        if self._losses and hold_s > 0:\n", "        if self._losses > 9:\n"),),
    ),
    Mutant(
        name="idle-process-believes-for-ever",
        wrong="A process without traffic never detects that the store refuses writes.",
        endangers="F52",
        test=f"{S}::test_a_process_without_traffic_notices_that_writes_are_refused",
        edits=(Edit(STATE, "self._proved_at >= PROVED_FOR_S:", "self._proved_at >= 3_600:"),),
    ),
    Mutant(
        name="probe-outweighs-orders",
        wrong="While the probe passes the store is up, however many orders it refuses.",
        endangers="F52",
        test=f"{M}::TestRefused::test_refusals_of_orders_outweigh_a_probe",
        edits=(Edit(STATE, "self._clock.monotonic() < self._doubted_until:", "self._doubted_until < 0:"),),
        beyond="Each request is refused as it should be; only readiness is wrong.",
    ),
    Mutant(
        name="probe-that-writes-nothing",
        wrong="A probe only reads.",
        endangers="F52",
        test=f"{R}::TestProbe::test_it_reads_and_writes_as_a_charge_does",
        edits=(Edit(STORE, "                    await self._write_as_a_charge()\n", ""),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="storm-of-commit-lines",
        wrong="Each commit that fails is logged.",
        endangers="F52",
        test="tests/unit/actors/ledger/test_telemetry.py::TestStore::test_a_storm_of_failed_writes_is_a_few_lines",
        edits=(Edit(LINES, "= 0, now_s + LINE_EVERY_S", "= 0, now_s"),),
    ),
    Mutant(
        name="words-with-a-document-in-them",
        wrong="A logged refusal contains the command, and with it the card's token.",
        endangers="F52",
        test=f"{R}::TestRefusedWrites::test_the_text_of_an_error_has_no_document",
        edits=(Edit(ERRORS, '.partition("{")[0]', ""),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="unique-index-forbids-a-shard-key",
        wrong="The index of payment ids is unique: orders can then be sharded only by it.",
        endangers="F25",
        test=f"{R}::TestIndexes::test_missing_indexes_are_made_one_by_one",
        edits=(Edit(INDEXES, "name=self.name, sparse=True)", "name=self.name, sparse=True, unique=True)"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="older-unique-index-kept",
        wrong="The unique index of an older release is not dropped.",
        endangers="F25",
        test=f"{R}::TestIndexes::test_the_unique_index_of_an_older_release_is_dropped_once_the_new_one_exists",
        edits=(Edit(INDEXES, "    for name in missing.to_drop:", "    for name in missing.to_drop[:0]:"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="seven-seconds-for-an-index",
        wrong="An index has the deadline of a read.",
        endangers="F25 F52",
        test=f"{R}::TestIndexes::test_the_server_has_minutes_for_an_index",
        edits=(Edit(STORE, "await make(_database_of(client), missing)", "await make(self._database, missing)"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="url-sets-a-deadline-over-all",
        wrong="`timeoutMS` in the URL shortens every deadline, that of the write concern too.",
        endangers="F26 F43",
        test="tests/unit/adapters/mongo/test_options.py::test_a_url_weakens_no_write_and_no_read",
        edits=(Edit(OPTIONS, '        "timeoutMS": None,\n', ""),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="url-checked-by-another-rule",
        wrong="A URL that the driver refuses ends in a traceback.",
        endangers="F25",
        test="tests/unit/settings/test_environment.py::test_a_bad_value_is_shown_without_its_secrets",
        edits=(
            Edit(VALUES, "    _check(mongo_problem(value) is None)\n", ""),
            Edit(VALUES, "not _bad_options(value) and mongo_problem(value) is None", "not _bad_options(value)"),
        ),
        beyond="Settings are read before the simulation begins.",
    ),
    Mutant(
        name="a-charge-waits-for-a-lost-store",
        wrong="A request whose charge is at Stripe waits for its whole time while the store takes no writes.",
        endangers="F52",
        test=f"{M}::TestUnknown::test_a_request_whose_charge_is_at_stripe_does_not_wait_for_a_store_that_is_lost",
        edits=(
            Edit(
                "payment/actors/ledger/actor.py",
                "self._charges.answer_overdue(store_long_away=store_long_away)",
                "self._charges.answer_overdue(store_long_away=False)",
            ),
        ),
        beyond="No law is about how soon a client has its answer.",
    ),
)
