"""Mutants between the service and MongoDB: the fence of a write, its confirmation, and the consistency of reads."""

from tests.mutants.mutant import Edit, Mutant

STORE = "payment/adapters/mongo/store.py"
SWEEP = "payment/adapters/mongo/due_sweep.py"
DOCUMENTS = "payment/adapters/mongo/documents.py"
VALIDITY = "payment/core/validity.py"
INDEXES = "payment/adapters/mongo/indexes.py"

REAL_ONES = "The simulation replaces MongoDB by a fake and does not run this file."

MUTANTS = (
    Mutant(
        name="no-rev-in-the-filter",
        wrong="A document is replaced regardless of its revision: the last writer wins.",
        endangers="L1 L4 F02 F34",
        test="tests/unit/adapters/mongo/test_store.py::test_a_write_is_fenced_by_its_revision_and_independent",
        edits=(Edit(STORE, '{"_id": write.order_id, "rev": write.revision - 1}', '{"_id": write.order_id}'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="read-before-the-majority",
        wrong="Reads return data that a failover may roll back.",
        endangers="L1 L2 F43",
        test="tests/unit/adapters/mongo/test_store.py::test_a_read_shows_what_a_majority_has_whatever_the_url_says",
        edits=(Edit(STORE, 'ReadConcern("majority")', 'ReadConcern("local")'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="read-from-a-secondary",
        wrong="Reads may go to a server that lags behind.",
        endangers="L4 F43",
        test="tests/unit/adapters/mongo/test_store.py::test_a_read_shows_what_a_majority_has_whatever_the_url_says",
        edits=(Edit(STORE, "ReadPreference.PRIMARY,", "ReadPreference.SECONDARY_PREFERRED,"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="confirmed-by-one",
        wrong="A write counts as confirmed when one server has it.",
        endangers="L1 L2 F43",
        test="tests/unit/adapters/mongo/test_store.py::test_a_write_is_confirmed_by_a_majority_that_journaled_it",
        edits=(Edit(STORE, 'WriteConcern(w="majority", ', "WriteConcern(w=1, "),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="confirmed-before-the-journal",
        wrong="A write counts as confirmed before it is journaled.",
        endangers="L1 L2 F43",
        test="tests/unit/adapters/mongo/test_store.py::test_a_write_is_confirmed_by_a_majority_that_journaled_it",
        edits=(Edit(STORE, "j=True, ", ""),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="ordered-batch",
        wrong="The first collision of a batch stops the documents behind it, which count as written.",
        endangers="L4 F41",
        test="tests/unit/adapters/mongo/test_store.py::test_a_write_is_fenced_by_its_revision_and_independent",
        edits=(Edit(STORE, '{"ordered": False, "writeConcern"', '{"ordered": True, "writeConcern"'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="write-concern-error-ignored",
        wrong="A write that no majority has confirmed counts as written.",
        endangers="L1 F26 F43",
        test="tests/unit/adapters/mongo/test_store.py::test_a_write_that_no_majority_has_confirmed_is_unknown",
        edits=(Edit(STORE, 'answer.get("writeConcernError"):', 'answer.get("writeConcernErrors"):'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="lost-answer-called-not-written",
        wrong="A write whose answer was lost counts as refused.",
        endangers="L1 L4 F26",
        test="tests/unit/adapters/mongo/test_store.py::test_a_write_without_an_answer_is_unknown_and_is_sent_once",
        edits=(
            Edit(
                STORE,
                "if is_certainly_not_applied(error) else Committed.UNKNOWN]",
                "if is_certainly_not_applied(error) else Committed.REFUSED]",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="not-due-at-its-time",
        wrong="An order is not found at the very time at which it is due.",
        endangers="L4 F05",
        test="tests/unit/adapters/mongo/test_store.py::test_an_order_is_found_at_its_deadline_and_when_that_is_absurdly_late",
        edits=(Edit(SWEEP, '{**since, "$lte": now}', '{**since, "$lt": now}'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="absurdly-due-not-found",
        wrong="A deadline that a wrong clock has put off by a year is not found.",
        endangers="L4 F38",
        test="tests/unit/adapters/mongo/test_store.py::test_an_order_is_found_at_its_deadline_and_when_that_is_absurdly_late",
        edits=(
            Edit(
                SWEEP,
                "[*new, *older, *late]",
                "[*new, *older]",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="dead-letter-lost-in-an-outage",
        wrong="A dead letter that could not be stored counts as kept.",
        endangers="L4 F30",
        test="tests/unit/adapters/mongo/test_store.py::test_a_dead_letter_that_was_not_stored_is_not_reported_as_kept",
        edits=(
            Edit(
                STORE,
                "            if not is_duplicate(error):\n                raise",
                "            if is_duplicate(error):\n                raise",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="long-document-fails-its-batch",
        wrong="A document too long for MongoDB is sent with its batch, which the driver then refuses as a whole.",
        endangers="L4 F41",
        test="tests/unit/adapters/mongo/test_store.py::test_a_document_that_is_too_long_is_not_sent_with_the_others",
        edits=(Edit(DOCUMENTS, "    if size_bytes > DOCUMENT_BYTES_MAX:\n        return None\n", ""),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="long-command",
        wrong="All orders of a commit are sent in one command: the driver refuses one that is too long.",
        endangers="L4 F41",
        test="tests/unit/adapters/mongo/test_store.py::test_a_command_is_no_longer_than_the_driver_accepts",
        edits=(
            Edit(STORE, "COMMAND_BYTES_MAX = DOCUMENT_BYTES_MAX // 2", "COMMAND_BYTES_MAX = DOCUMENT_BYTES_MAX * 200"),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="inserted-though-known",
        wrong="Where one order of a commit is new, the others are inserted too, and collide with their own documents.",
        endangers="L4",
        test="tests/unit/adapters/mongo/test_store.py::test_a_write_is_fenced_by_its_revision_and_independent",
        edits=(
            Edit(
                STORE,
                "if all(write.revision == 1 for write in writes):",
                "if any(write.revision == 1 for write in writes):",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="order-without-a-revision",
        wrong="A document without its revision counts as an order: each write of it collides, for ever.",
        endangers="L4 F41",
        test="tests/unit/adapters/mongo/test_store.py::test_a_document_without_a_revision_is_corrupt",
        edits=(Edit(VALIDITY, "if not _counts(order.rev, 1):", "if not _counts(order.rev, 0):"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="newer-format-written-over",
        wrong="A document of a newer release is read as one of this release, and overwritten.",
        endangers="L1 L2 F33",
        test="tests/unit/adapters/mongo/test_store.py::test_a_document_of_a_newer_release_is_corrupt_and_newer",
        edits=(Edit(DOCUMENTS, "if order.format not in READABLE:", "if order.format < FORMAT - 1:"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="dead-letter-of-a-used-name-lost",
        wrong="A bad event counts as kept where another event has its name.",
        endangers="L4 F30",
        test="tests/unit/adapters/mongo/test_store.py::test_another_event_with_the_same_identity_is_kept_under_its_distinct_identity",
        edits=(
            Edit(
                STORE,
                "            await self._insert(dead_letter, dead_letter.distinct_identity)\n",
                "            return True\n",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="dead-letter-known-by-its-bytes-alone",
        wrong="A bad event counts as kept where one with its name and its bytes is, though of another subject.",
        endangers="L4 F30",
        test="tests/unit/adapters/mongo/test_store.py::test_another_event_with_the_same_identity_is_kept_under_its_distinct_identity",
        edits=(
            Edit(
                STORE,
                'kept is not None and (kept.get("subject"), kept.get("data")) == expected',
                'kept is not None and kept.get("data") == expected[1]',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="second-name-by-its-subject-alone",
        wrong="The second name of a bad event does not depend on its bytes: a third event gets it too, and is lost.",
        endangers="L4 F30",
        test="tests/unit/adapters/mongo/test_store.py::test_distinct_identities_depend_on_the_content_of_events",
        edits=(Edit("payment/ports/store.py", "(self.subject.encode(), self.data))", '(self.subject.encode(), b""))'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="uncounted-taken-for-written",
        wrong="Documents without an error count as written, though the server reports fewer writes.",
        endangers="L1 L4 F02 F26",
        test="tests/unit/adapters/mongo/test_store.py::test_after_an_answer_that_counts_too_few_each_write_is_sent_alone",
        edits=(Edit(STORE, 'if errors and answer.get("n", 0) < count - len(errors):', "if count < len(errors):"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="indexes-made-together",
        wrong="All indexes are made by one command: FerretDB stops when some of them exist.",
        endangers="F25",
        test="tests/unit/adapters/mongo/test_refusals.py::TestIndexes::test_missing_indexes_are_made_one_by_one",
        edits=(
            Edit(INDEXES, "    for index in missing.to_make:", "    if missing.to_make:"),
            Edit(INDEXES, "create_indexes([index.model])", "create_indexes([each.model for each in missing.to_make])"),
        ),
        beyond=REAL_ONES,
    ),
)
