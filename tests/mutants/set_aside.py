"""Mutants of the isolation of one order's trouble: corrupt documents and unexpected exceptions (F50)."""

from tests.mutants.mutant import Edit, Mutant

COMMIT = "payment/actors/ledger/commit.py"
DOCUMENTS = "payment/adapters/mongo/documents.py"
MONGO = "payment/actors/ledger/actor.py"
SET_ASIDE = "payment/actors/ledger/set_aside.py"
SWEEP = "payment/adapters/mongo/due_sweep.py"
VALIDITY = "payment/core/validity.py"
A = "tests/unit/actors/ledger/test_set_aside.py"
D = "tests/unit/adapters/mongo/test_documents.py"
S = "tests/unit/adapters/mongo/test_due_sweep.py"
V = "tests/unit/core/test_validity.py"

REAL_ONES = "The simulation replaces MongoDB by a fake and does not run this file."
NO_EXCEPTION = "No simulated order makes `decide` raise: the check at reading excludes such documents."
NO_LAW = "It costs time or log lines, and no law is about either."

MUTANTS = (
    Mutant(
        name="what-a-state-implies-unchecked",
        wrong="Any document that decodes counts as an order.",
        endangers="L1 L4 F50",
        test=f"{D}::test_the_reason_of_a_corrupt_document_names_the_field",
        edits=(Edit(DOCUMENTS, "        found = flaw(order)\n", "        found = None\n"),),
    ),
    Mutant(
        name="kept-attempt-unchecked",
        wrong="A document may name a kept attempt that does not exist.",
        endangers="F50",
        test=f"{V}::test_flaw_names_what_an_operator_did_to_a_document",
        edits=(Edit(VALIDITY, "    if payment.kept is not None:\n", "    if payment.kept == 0:\n"),),
    ),
    Mutant(
        name="task-that-a-state-has-not",
        wrong="An attempt that is refunded may still have a task.",
        endangers="F50",
        test=f"{V}::test_flaw_names_what_an_operator_did_to_a_document",
        edits=(Edit(VALIDITY, "if kinds is None and attempt.task is not None:", "if False:"),),
        beyond="Hardly any attempt is refunding when its document is edited.",
    ),
    Mutant(
        name="client-secret-without-an-attempt",
        wrong="The client secret of an intent may be out although no attempt names the intent.",
        endangers="F50",
        test=f"{V}::test_flaw_names_what_an_operator_did_to_a_document",
        edits=(Edit(VALIDITY, "if intent.exposed and intent.number not in numbers:", "if False:"),),
        beyond="No simulated operator edits an intent's number.",
    ),
    Mutant(
        name="corrupt-document-not-there",
        wrong="A corrupt document counts as missing: its order is unknown, and a cancel tries to write it for ever.",
        endangers="L4 F50",
        test=f"{A}::TestCorruptDocuments::test_its_requests_get_503_its_events_are_kept_and_others_go_on",
        edits=(
            Edit(
                COMMIT,
                "                if isinstance(found, CorruptDocument):\n"
                "                    self._corrupt(item, found)\n"
                "                else:\n",
                "                if isinstance(found, CorruptDocument):\n"
                "                    found = None\n"
                "                if found is None or found:\n",
            ),
        ),
    ),
    Mutant(
        name="corrupt-order-s-events-come-again",
        wrong="An event for a corrupt document is redelivered for minutes, and blocks its subject.",
        endangers="F50",
        test=f"{A}::TestCorruptDocuments::test_its_requests_get_503_its_events_are_kept_and_others_go_on",
        edits=(Edit(COMMIT, "postpone=document.newer,", "postpone=True,"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="newer-release-s-events-dead-letters-at-once",
        wrong="An event for a document of a newer release, which runs beside this one, is a dead letter at once.",
        endangers="F33 F50",
        test=f"{A}::TestCorruptDocuments::test_an_event_for_a_newer_release_is_put_off_for_a_while",
        edits=(Edit(COMMIT, "postpone=document.newer,", "postpone=False,"),),
        beyond="In the simulation all processes are of one release.",
    ),
    Mutant(
        name="deciding-ends-the-ledger",
        wrong="An exception in deciding about one order ends the actor, and after some restarts the process.",
        endangers="L4 F32 F50",
        test=f"{A}::TestExceptions::test_one_order_s_bug_spoils_no_other_s",
        edits=(Edit(COMMIT, "        except Exception as error:\n", "        except KeyError as error:\n"),),
        beyond=NO_EXCEPTION,
    ),
    Mutant(
        name="releasing-ends-the-ledger",
        wrong="An exception in releasing, answering or showing one order ends the actor too.",
        endangers="L4 F32 F50",
        test=f"{A}::TestReleasing::test_a_failed_release_keeps_no_reply_back",
        edits=(Edit(SET_ASIDE, "        except Exception as error:", "        except KeyError as error:"),),
        beyond=NO_EXCEPTION,
    ),
    Mutant(
        name="failed-order-taken-up-each-second",
        wrong="An order that raises is loaded again by each sweep.",
        endangers="F50",
        test=f"{A}::TestExceptions::test_a_sweep_takes_it_up_once_a_minute",
        edits=(Edit(MONGO, "if not self._set_aside.failed_lately(order.id):", "if order.id:"),),
        beyond=NO_EXCEPTION,
    ),
    Mutant(
        name="alarm-at-each-meeting",
        wrong="A corrupt document is an alarm whenever it is read.",
        endangers="F50",
        test=f"{A}::TestAlarms::test_an_order_is_an_alarm_once_and_again_after_an_hour",
        edits=(Edit(SET_ASIDE, "ALARM_AGAIN_AFTER_S = 3_600.0", "ALARM_AGAIN_AFTER_S = 0.0"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="edited-deadline-left",
        wrong="A deadline that an edit removed is not restored: no sweep finds the order.",
        endangers="L4 F50",
        test=f"{A}::TestCorruptDocuments::test_a_deadline_that_was_edited_away_is_written_again",
        edits=(Edit(COMMIT, "if order is not None and just_read:", "if order is None and just_read:"),),
        beyond="No simulated operator edits only a deadline.",
    ),
    Mutant(
        name="alarm-quotes-the-document",
        wrong="The reason quotes the field's value: a card token, perhaps.",
        endangers="F50",
        test=f"{D}::test_the_reason_of_a_corrupt_document_names_the_field",
        edits=(Edit(DOCUMENTS, ".startswith(QUOTES_NOTHING)", '.startswith("")'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="sweep-begins-with-the-corrupt",
        wrong="Each sweep begins at the earliest deadline: corrupt documents, past a number, hide every order.",
        endangers="L4 F50",
        test=f"{S}::test_ten_thousand_corrupt_documents_hide_no_order",
        edits=(Edit(SWEEP, '{} if self._read_until is None else {"$gt": self._read_until}', "{}"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="sweep-never-looks-back",
        wrong="Documents before a corrupt one that was read once are never read again, corrected or not.",
        endangers="L4 F50",
        test=f"{S}::test_older_documents_are_read_in_rotation",
        edits=(
            Edit(
                SWEEP,
                "[] if self._read_until is None else await self._read_older(self._read_until, limit)",
                "[]",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="corrected-order-counted-for-an-hour",
        wrong="An order that was corrected or deleted, and that no message concerns, counts as set aside for an hour.",
        endangers="F50",
        test=f"{A}::TestCorruptDocuments::"
        "test_one_that_is_corrected_or_deleted_is_counted_no_more_though_nothing_meets_it",
        edits=(Edit(MONGO, "                await self._read_set_aside()\n", ""),),
        beyond="No law is about a gauge.",
    ),
)
