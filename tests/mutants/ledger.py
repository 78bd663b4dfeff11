"""Mutants of the ledger: releases before the write, lost answers, conflicts, replies."""

from tests.mutants.mutant import Edit, Mutant

DEAD_LETTERS = "payment/actors/ledger/dead_letters.py"
COMMIT = "payment/actors/ledger/commit.py"
IN_FLIGHT = "payment/actors/ledger/in_flight.py"
ORDER_QUEUES = "payment/actors/ledger/order_queues.py"
MONGO = "payment/actors/ledger/actor.py"
CHARGES = "payment/actors/ledger/pending_charges.py"

BEFORE_THE_WRITE = "        results = await self._store.commit(documents)\n"


def _early(condition: str, what: str) -> tuple[Edit, ...]:
    """Edits that do something with each document before it is written, where a condition holds of it."""
    early = f"        for document in documents:\n            if {condition}:\n                {what}\n"
    return (Edit(COMMIT, BEFORE_THE_WRITE, early + BEFORE_THE_WRITE),)


MUTANTS = (
    Mutant(
        name="ack-before-the-write",
        wrong="An event is acknowledged when its write is sent, not when it is confirmed.",
        endangers="L4 F08 F25",
        test="tests/unit/actors/ledger/test_commit.py::TestOrder::test_nothing_leaves_before_a_write_is_confirmed",
        edits=(
            Edit(
                COMMIT,
                "                    message.state = ChargeState.WRITING\n",
                "                    message.state = ChargeState.WRITING\n"
                "                elif isinstance(message, EventReceived):\n"
                "                    message.settle(Handling.APPLIED)\n",
            ),
        ),
    ),
    Mutant(
        name="charge-before-the-write",
        wrong="A charge is released to Stripe's actor before its document is confirmed.",
        endangers="L1 L2 F03 F43",
        test="tests/unit/actors/ledger/test_commit.py::TestOrder::test_nothing_leaves_before_a_write_is_confirmed",
        edits=_early("not document.outbox", "self._in_flight.release(document)"),
    ),
    Mutant(
        name="publish-before-the-write",
        wrong="payment:created goes out before the document that says so is confirmed.",
        endangers="L2 F06 F43",
        test="tests/unit/actors/ledger/test_commit.py::TestOrder::test_an_outcome_is_replied_and_published_only_once_it_is_written",
        edits=_early("document.outbox", "self._in_flight.release(document)"),
    ),
    Mutant(
        name="reply-before-the-write",
        wrong="201 is replied before the document that says paid is confirmed.",
        endangers="L4 F43",
        test="tests/unit/actors/ledger/test_commit.py::TestOrder::test_an_outcome_is_replied_and_published_only_once_it_is_written",
        edits=_early("document.payment", "self._charges.written(document)"),
    ),
    Mutant(
        name="unknown-write-taken-as-written",
        wrong="A write whose answer was lost counts as confirmed.",
        endangers="L1 L4 F26 F43",
        test="tests/unit/actors/ledger/test_actor.py::TestUnknown::test_a_write_that_was_lost_is_made_again",
        edits=(
            Edit(COMMIT, "case Committed.WRITTEN:", "case Committed.WRITTEN | Committed.UNKNOWN:"),
            Edit(COMMIT, "case Committed.CONFLICT | Committed.UNKNOWN:", "case Committed.CONFLICT:"),
        ),
    ),
    Mutant(
        name="conflict-taken-as-written",
        wrong="A document that another process wrote first counts as our own write.",
        endangers="L1 L4 F02 F34",
        test="tests/unit/actors/ledger/test_commit.py::TestTwice::test_two_processes_get_the_same_event_at_once",
        edits=(
            Edit(COMMIT, "case Committed.WRITTEN:", "case Committed.WRITTEN | Committed.CONFLICT:"),
            Edit(COMMIT, "case Committed.CONFLICT | Committed.UNKNOWN:", "case Committed.UNKNOWN:"),
        ),
    ),
    Mutant(
        name="own-write-not-recognised",
        wrong="After a lost answer it is not checked whether the stored document is this very write.",
        endangers="F26",
        test="tests/unit/actors/ledger/test_commit.py::TestOrder::test_an_answer_that_writes_nothing_is_read_afresh",
        edits=(Edit(COMMIT, "or stored.writer.number not in item.sent:", "or item.sent:"),),
        beyond="It is decided again on the document that it made, which changes nothing but the log.",
    ),
    Mutant(
        name="own-write-by-its-number-alone",
        wrong="A write of another process with the same number counts as our own.",
        endangers="L1 L4 F26",
        test="tests/unit/actors/ledger/test_commit.py::TestTwice::test_two_processes_get_the_same_event_at_once",
        edits=(Edit(COMMIT, "        if ours.after.writer != stored.writer:\n            return False\n", ""),),
    ),
    Mutant(
        name="refused-while-a-write-may-land",
        wrong="409 is replied to a request whose own write is still on its way, and may yet begin an attempt.",
        endangers="L4 F26 F36",
        test="tests/unit/actors/ledger/test_commit.py::TestOrder"
        "::test_a_refusal_is_replied_only_once_an_earlier_write_can_land_no_more",
        edits=(Edit(COMMIT, " or _must_fence(item):", ":"),),
    ),
    Mutant(
        name="unwritten-outcome-released-again",
        wrong="An effect that ended, and whose outcome could not be written, is released again under the same lease.",
        endangers="L1 L2 F41",
        test="tests/unit/actors/ledger/test_commit.py::TestOrder::test_an_outcome_that_can_t_be_written_is_not_released_again",
        edits=(
            Edit(
                COMMIT,
                "self._in_flight.forfeit(order_id, message.effect_id)",
                "self._in_flight.ended(order_id, message.effect_id)  # not forfeited",
            ),
        ),
    ),
    Mutant(
        name="hung-straggler-not-noticed",
        wrong="A commit of orders that the store keeps failing may hang for ever, and does not count as stuck.",
        endangers="L4 F31 F32",
        test="tests/unit/actors/ledger/test_actor.py::TestAway::test_a_straggler_that_never_comes_back_is_a_hang_too",
        edits=(
            Edit(
                MONGO,
                "begun = (*self._commits_begun.values(), *self._slow_commits_begun.values())",
                "begun = tuple(self._commits_begun.values())",
            ),
        ),
    ),
    Mutant(
        name="cache-kept-after-a-conflict",
        wrong="An order whose write collided is decided again on the cached document that made it collide.",
        endangers="L4 F02 F34",
        test="tests/unit/actors/ledger/test_commit.py::TestOutcomes::test_a_stale_write_is_refused_and_decided_again",
        edits=(
            Edit(COMMIT, "item.before = None if item.sent else self._cache.get(", "item.before = self._cache.get("),
            Edit(
                COMMIT,
                "                    self.forget(item.order_id)\n                    if result is",
                "                    if result is",
            ),
        ),
    ),
    Mutant(
        name="answered-from-the-cache",
        wrong="A step that writes nothing is decided on a cached document: 200 after another process cancelled.",
        endangers="L4 F21",
        test="tests/unit/actors/ledger/test_commit.py::TestOrder::test_a_paid_order_that_another_process_cancelled_is_paid_no_more",
        edits=(
            Edit(
                COMMIT,
                "            (decided if at_hand and item.after is not item.before else unread).append(item)\n",
                "            if at_hand and item.after is item.before:\n"
                "                self._finish(item)\n"
                "            else:\n"
                "                (decided if at_hand else unread).append(item)\n",
            ),
        ),
    ),
    Mutant(
        name="queue-not-held-during-a-write",
        wrong="A later message of an order is decided while the order's write is under way.",
        endangers="L4 F02",
        test="tests/unit/actors/ledger/test_order_queues.py::TestTurns::test_a_queue_under_way_keeps_its_later_messages",
        edits=(
            Edit(
                ORDER_QUEUES,
                "            order_queue.under_way = True\n",
                "            order_queue.under_way = False\n",
            ),
        ),
    ),
    Mutant(
        name="write-not-noted-as-sent",
        wrong='"Nothing was charged" is replied to a request that has entered a write.',
        endangers="L4 F26",
        test="tests/unit/actors/ledger/test_commit.py::TestRestart::test_a_crash_answers_every_caller_once",
        edits=(Edit(COMMIT, "message.state = ChargeState.WRITING\n", "message.state = ChargeState.DECIDING\n"),),
    ),
    Mutant(
        name="sweep-ends-with-an-outage",
        wrong="The sweep ends when the store is away once: orders that are due after that are never taken up.",
        endangers="L4 F25",
        test="tests/unit/actors/ledger/test_time.py::TestSweep::test_the_sweep_goes_on_after_an_outage",
        edits=(
            Edit(
                MONGO,
                "self._own_work_left = True\n                await self._sweep_failed(str(error))\n"
                "                continue\n",
                "self._own_work_left = True\n                await self._sweep_failed(str(error))\n"
                "                return\n",
            ),
        ),
    ),
    Mutant(
        name="sweep-for-itself-alone",
        wrong="The sweep reads the work of this client id only: that of another dead process is left.",
        endangers="L4 F05",
        test="tests/unit/actors/ledger/test_commit.py::TestOutcomes::test_a_late_outcome_is_decided_on_the_newer_document",
        edits=(
            Edit(
                MONGO,
                "self._store.due(self.clock.now(), own, limit)",
                "self._store.due(self.clock.now(), self._identity.client_id, limit)",
            ),
        ),
    ),
    Mutant(
        name="sweep-that-drops",
        wrong="An order with an effect in flight is passed over by the sweep, whatever else of it is due.",
        endangers="L4 F28",
        test="tests/unit/actors/ledger/test_time.py::TestSweep::test_the_sweep_takes_up_what_is_due_beside_effects_in_flight",
        edits=(
            Edit(
                MONGO,
                "            self._order_queues.add(order.id, renewal)\n"
                "        self._order_queues.add(order.id, Due(order.id))\n",
                "            self._order_queues.add(order.id, renewal)\n            return\n"
                "        self._order_queues.add(order.id, Due(order.id))\n",
            ),
        ),
    ),
    Mutant(
        name="late-write-of-a-dead-run-waits-for-its-lease",
        wrong="An earlier run's work is swept once: a write of it that is applied just after that waits for a minute.",
        endangers="F05",
        test="tests/unit/actors/ledger/test_time.py::TestSweep::"
        "test_a_write_that_lands_after_the_next_run_has_swept_is_found_within_seconds",
        edits=(
            Edit(
                MONGO,
                "self._own_work_again_at = self.clock.monotonic() + OWN_WORK_AGAIN_S",
                "self._own_work_again_at = math.inf",
            ),
        ),
    ),
    Mutant(
        name="full-mailbox-held-as-given",
        wrong="An effect that did not fit into a mailbox counts as in flight, and is renewed for ever.",
        endangers="L4 F39",
        test="tests/unit/actors/ledger/test_in_flight.py::TestRelease::test_a_full_mailbox_is_returned_and_tried_again",
        edits=(Edit(IN_FLIGHT, "        if given:\n", "        if given or actor:\n"),),
    ),
    Mutant(
        name="full-mailbox-not-noted",
        wrong="An effect that did not fit into a mailbox is not offered again soon.",
        endangers="F39",
        test="tests/unit/actors/ledger/test_time.py::TestLeases::test_an_effect_that_no_mailbox_took_is_handed_over_soon",
        edits=(
            Edit(
                IN_FLIGHT,
                "        if not complete:\n            self._unreleased[order.id] = None\n        return complete\n",
                "        return complete\n",
            ),
        ),
        beyond="It costs a lease's time: the deadline stands.",
    ),
    Mutant(
        name="lease-not-renewed",
        wrong="An effect that waits long in this process's own queue loses its lease.",
        endangers="F14 F34",
        test="tests/unit/actors/ledger/test_in_flight.py::TestTime::test_a_lease_is_renewed_before_it_runs_out",
        edits=(Edit(IN_FLIGHT, "if item.until - now < RENEW_WITHIN)", "if item.until < now - RENEW_WITHIN)"),),
        beyond="It costs calls, and no money.",
    ),
    Mutant(
        name="lost-charge-called-never-sent",
        wrong="A charge that a dead actor had counts as never sent.",
        endangers="L1 L2 F32",
        test="tests/unit/actors/ledger/test_commit.py::TestOutcomes::test_the_fates_of_a_dead_actor_s_effects_are_unknown",
        edits=(
            Edit(IN_FLIGHT, "import ConfirmUnclear, EffectReturned", "import ConfirmWithheld, EffectReturned"),
            Edit(IN_FLIGHT, "return ConfirmUnclear(", "return ConfirmWithheld("),
        ),
    ),
    Mutant(
        name="withdrawal-not-sent",
        wrong="An effect that is no longer pending stays in Stripe's queue.",
        endangers="F20",
        test="tests/unit/actors/ledger/test_commit.py::TestOrder::test_a_cancelled_order_withdraws_its_charge",
        edits=(Edit(IN_FLIGHT, "and effect_id not in owed:", "and effect_id in owed:"),),
    ),
    Mutant(
        name="cancelled-in-the-same-write-replied-paid",
        wrong="A request decided in one write with the order's cancel gets the reply that it is paid.",
        endangers="L4 F21",
        test="tests/unit/actors/ledger/test_commit.py::TestOrder::test_a_request_that_meets_its_cancel_in_one_write_is_replied_cancelled",
        edits=(
            Edit(
                COMMIT,
                "case Paid() if order is not None and order.cancelled:",
                "case Paid() if order is None:",
            ),
        ),
    ),
    Mutant(
        name="overtaken-read-believed",
        wrong="A read that a write has overtaken answers the requests that wait.",
        endangers="L4 F02",
        test="tests/unit/actors/ledger/test_pending_charges.py::TestOutcomes::test_an_overtaken_read_answers_no_overdue_request",
        edits=(Edit(CHARGES, "if awaited is None or order.rev < awaited.rev:", "if awaited is None:"),),
    ),
    Mutant(
        name="dead-letter-not-kept",
        wrong="A bad event is acknowledged though it could not be stored.",
        endangers="L4 F30",
        test="tests/unit/actors/ledger/test_actor.py::TestAway::test_an_invalid_event_is_kept_once_and_put_off_while_it_is_away",
        edits=(
            Edit(
                DEAD_LETTERS,
                "            self._failed(message.identity, str(error))\n            return Handling.NOT_NOW\n",
                "            self._failed(message.identity, str(error))\n",
            ),
        ),
    ),
    Mutant(
        name="dead-letters-under-one-name",
        wrong="Bad events of one subject are kept under one identity: the second counts as the first.",
        endangers="L4 F30",
        test="tests/unit/actors/ledger/test_actor.py::TestAway::test_an_invalid_event_is_kept_once_and_put_off_while_it_is_away",
        edits=(Edit(DEAD_LETTERS, "DeadLetter(message.identity, ", "DeadLetter(message.subject, "),),
    ),
    Mutant(
        name="bad-document-takes-its-fold-along",
        wrong="Where one message makes a document that can't be written, those decided with it are lost.",
        endangers="L4 F41",
        test="tests/unit/actors/ledger/test_actor.py::TestOneDocument::test_the_bad_one_of_several_messages_is_found",
        edits=(
            Edit(
                COMMIT,
                "            _nothing_written(item)\n        if len(item.messages) > 1:\n",
                "            _nothing_written(item)\n        if len(item.messages) > 64:\n",
            ),
        ),
    ),
    Mutant(
        name="callers-under-way-forgotten",
        wrong="A ledger that dies settles the events in its order queues, not those whose write was under way.",
        endangers="L4 F32",
        test="tests/unit/actors/ledger/test_commit.py::TestRestart::test_an_event_in_a_crash_is_handed_back_once",
        edits=(
            Edit(
                MONGO,
                "[*self._order_queues.waiting(), *self.commits.messages_under_way()]",
                "[*self._order_queues.waiting()]",
            ),
        ),
    ),
    Mutant(
        name="restart-under-the-same-name",
        wrong="A ledger that was restarted counts its predecessor's effects in flight as its own.",
        endangers="L1 F32",
        test="tests/unit/test_service.py::test_a_replaced_ledger_is_another_incarnation_of_its_process",
        edits=(Edit("payment/service.py", 'f"{client_id}#{ports.ids.new()}"', 'f"{client_id}#1"'),),
    ),
    Mutant(
        name="charges-taken-without-a-store",
        wrong="A request is taken in while the store is known to be away.",
        endangers="F25",
        test="tests/unit/actors/ledger/test_actor.py::TestAway::test_before_it_was_reached_nothing_is_taken",
        edits=(
            Edit(
                MONGO,
                "        if not self._state.up.is_set():\n"
                "            self._charges.reject(charge, Unavailability.STORE_AWAY)\n"
                "        elif",
                "        if",
            ),
        ),
        beyond="Nothing of it is written: it is answered too late, which no law forbids.",
    ),
    Mutant(
        name="own-work-forgotten-in-an-outage",
        wrong="The work that an earlier run left is swept only once, though the store went away meanwhile.",
        endangers="F25 F33",
        test="tests/unit/actors/ledger/test_actor.py::TestAway::test_work_in_progress_when_the_store_went_away_is_taken_up_again",
        edits=(
            Edit(
                MONGO,
                "        self._own_work_left = True\n        self._order_queues.keep(",
                "        self._order_queues.keep(",
            ),
        ),
    ),
    Mutant(
        name="requests-forgotten-when-the-ledger-ends",
        wrong="A ledger that dies leaves its pending requests to HTTP's grace.",
        endangers="F32",
        test="tests/unit/actors/ledger/test_commit.py::TestRestart::test_a_crash_answers_every_caller_once",
        edits=(Edit(MONGO, "        self._charges.fail()\n", ""),),
        beyond="HTTP answers them a little later, and as truly.",
    ),
    Mutant(
        name="nothing-charged-while-it-is-decided",
        wrong='"Nothing was charged" is replied to an overdue request that is being decided about, and may be written.',
        endangers="L4 F26 F39",
        test="tests/unit/actors/ledger/test_time.py::TestDeadline"
        "::test_a_request_that_waited_too_long_for_its_turn_starts_nothing",
        edits=(
            Edit(
                CHARGES,
                "        case ChargeState.QUEUED:\n",
                "        case ChargeState.QUEUED | ChargeState.DECIDING:\n",
            ),
        ),
    ),
    Mutant(
        name="nothing-charged-in-a-write",
        wrong='"Nothing was charged" is replied to a request of which a write was sent.',
        endangers="L4 F26",
        test="tests/unit/actors/ledger/test_pending_charges.py::TestStates"
        "::test_nothing_charged_is_the_reply_only_before_a_write",
        edits=(
            Edit(
                CHARGES,
                "if state in (ChargeState.QUEUED, ChargeState.HELD, ChargeState.DECIDING) and why is not None:",
                "if state is not ChargeState.CHARGING and why is not None:",
            ),
        ),
    ),
    Mutant(
        name="drain-does-not-bring-deadlines-forward",
        wrong="While the service drains, requests wait until their own deadlines.",
        endangers="F33",
        test="tests/unit/actors/ledger/test_time.py::TestDeadline::test_a_drain_has_requests_answered_by_its_deadline",
        edits=(Edit(MONGO, "                self._charges.answer_by(item.deadline)\n", ""),),
        beyond="No law is about how soon a client has its answer.",
    ),
    Mutant(
        name="drain-does-not-bring-views-forward",
        wrong="While the service drains, requests to see a payment wait until their own deadlines.",
        endangers="F33",
        test="tests/unit/actors/ledger/test_time.py::TestDeadline::test_a_drain_has_requests_answered_by_its_deadline",
        edits=(Edit(MONGO, "                self._views.answer_by(item.deadline)\n", ""),),
        beyond="No law is about how soon a client has its answer.",
    ),
)
