"""Mutants of the ledger's effects in flight, order queues, writes and invalid events."""

from tests.mutants.mutant import Edit, Mutant

DEAD_LETTERS = "payment/actors/ledger/dead_letters.py"
COMMIT = "payment/actors/ledger/commit.py"
IN_FLIGHT = "payment/actors/ledger/in_flight.py"
ORDER_QUEUES = "payment/actors/ledger/order_queues.py"
D = "tests/unit/actors/ledger/test_time.py::TestDeadline"
H = "tests/unit/actors/ledger/test_in_flight.py"
L = "tests/unit/actors/ledger/test_order_queues.py"
W = "tests/unit/actors/ledger/test_pending_charges.py"
CHARGES = "payment/actors/ledger/pending_charges.py"
M = "tests/unit/actors/ledger/test_actor.py"
READ_AWAY = "test_an_outcome_whose_order_can_not_be_read_stays_and_the_event_beside_it_does_not"

NO_BURST = "The order of requests is no law; no simulated burst is large enough to make it one."
NO_LAW = "It costs time, or memory, and no law is about either."

PUT_BACK = (
    "        item.queue.put_back("
    "each for each in self.answer_not_now(item.messages) if isinstance(each, EffectCompleted))\n"
)

MUTANTS = (
    Mutant(
        name="ends-behind-beginnings",
        wrong="Orders with work in progress wait behind all new requests.",
        endangers="F39",
        test=f"{L}::TestTurns::test_orders_in_progress_come_before_new_ones",
        edits=(
            Edit(
                ORDER_QUEUES,
                "chain(self._ready_to_finish.values(), self._ready.values())",
                "chain(self._ready.values(), self._ready_to_finish.values())",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="end-during-a-write-forgotten",
        wrong="An end that came while its order was being written is no end any more when its turn comes.",
        endangers="F39",
        test=f"{L}::TestTurns::test_a_queue_that_got_a_completion_meanwhile_goes_first_once_it_is_done",
        edits=(
            Edit(
                ORDER_QUEUES,
                "finishing=any(isinstance(message, EffectCompleted) for message in order_queue.messages)\n",
                "finishing=False\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="queue-ready-twice",
        wrong="An order for which something has begun and something ended is written twice at once.",
        endangers="L1 F34",
        test=f"{L}::TestTurns::test_a_queue_with_a_beginning_and_a_completion_is_taken_once",
        edits=(
            Edit(
                ORDER_QUEUES,
                "        if finishing:\n            self._ready.pop(order_queue.order_id, None)\n",
                "        if finishing:\n",
            ),
        ),
    ),
    Mutant(
        name="queue-under-way-for-ever",
        wrong="A queue whose order was written once counts as under way from then on.",
        endangers="F31 F39",
        test=f"{L}::TestTurns::test_a_completion_moves_a_queue_forward_that_was_done_before",
        edits=(
            Edit(
                ORDER_QUEUES,
                "        order_queue.under_way = False\n        if",
                "        order_queue.under_way = True\n        if",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="empty-queue-kept",
        wrong="A queue whose messages were all taken out is kept, and a drain waits for it.",
        endangers="F33 F39",
        test=f"{L}::TestKeep::test_a_queue_without_messages_is_not_ready",
        edits=(
            Edit(
                ORDER_QUEUES,
                "                del self._order_queues[order_id]\n                self._ready.pop(",
                "                self._ready.pop(",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="forfeited-for-one-read-only",
        wrong="A charge whose end can't be written is released again at the second read of its document.",
        endangers="L1 L2 F41",
        test=f"{H}::TestForfeit::test_it_is_not_released_again_under_the_lease_that_it_had",
        edits=(Edit(IN_FLIGHT, "        if still:\n            self._forfeited[order_id] = still\n", ""),),
    ),
    Mutant(
        name="forfeited-for-ever",
        wrong="A charge whose end could once not be written is never released again, whatever was retrieved since.",
        endangers="L4 F41",
        test=f"{H}::TestForfeit::test_it_is_released_again_under_another_lease",
        edits=(Edit(IN_FLIGHT, "if name in owed and owed[name].at <= until}", "if name in owed}"),),
    ),
    Mutant(
        name="forfeited-and-owed-no-longer",
        wrong="The ledger dies of an effect whose end could not be written, and that its order owes no longer.",
        endangers="F32 F41",
        test=f"{H}::TestForfeit::test_it_is_forgotten_once_it_is_owed_no_longer",
        edits=(Edit(IN_FLIGHT, "if name in owed and owed[name].at <= until}", "if owed[name].at <= until}"),),
    ),
    Mutant(
        name="forfeited-without-being-held",
        wrong="The ledger dies of an end that came twice and can't be written.",
        endangers="F32 F41",
        test=f"{H}::TestForfeit::test_an_effect_that_is_not_held_can_not_be_forfeited",
        edits=(
            Edit(
                IN_FLIGHT,
                "        item = self._held.get(order_id, {}).get(effect_id)\n        if item is not None:\n",
                "        item = self._held[order_id][effect_id]\n        if item is not None:\n",
            ),
        ),
    ),
    Mutant(
        name="one-end-ends-all-effects",
        wrong="Where one effect of an order has ended, its others count as never handed over.",
        endangers="L2 F21 F23",
        test=f"{H}::TestRelease::test_an_end_of_one_effect_leaves_the_order_s_others_in_flight",
        edits=(
            Edit(
                IN_FLIGHT,
                "        if not held:\n            del self._held[order_id]\n",
                "        del self._held[order_id]\n",
            ),
        ),
    ),
    Mutant(
        name="in-flight-for-ever-for-an-order",
        wrong="An order that once had an effect in flight counts as having one for ever.",
        endangers="L4 F34 F39",
        test=f"{H}::TestRelease::test_an_order_whose_last_effect_ended_has_none_in_flight",
        edits=(Edit(IN_FLIGHT, "        if not held:\n            del self._held[order_id]\n", ""),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="retrievals-have-a-position",
        wrong="Retrievals and refunds count as charges in the queue estimate.",
        endangers="F14",
        test=f"{H}::TestTime::test_only_charges_have_a_position_in_the_queue_estimate",
        edits=(
            Edit(
                IN_FLIGHT,
                "self._stripe.accepted if isinstance(effect, ConfirmIntent) else None",
                "self._stripe.accepted",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="retrievals-cancelled",
        wrong="A retrieval or a refund that is owed no longer is cancelled like a charge.",
        endangers="F20 F23",
        test=f"{H}::TestCancelEffect::test_nothing_but_a_charge_is_cancelled",
        edits=(
            Edit(
                IN_FLIGHT,
                "if isinstance(item.effect, CANCELLED_WHEN_OBSOLETE) and not item.cancelled and",
                "if not item.cancelled and",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="invalid-event-lost-with-the-ledger",
        wrong="A bad event that waits to be kept when the ledger ends is not handed back: it stays in progress.",
        endangers="L4 F30 F32",
        test=f"{M}::TestAway::test_an_invalid_event_that_is_not_kept_when_the_ledger_ends_comes_again",
        edits=(Edit(DEAD_LETTERS, "in self._waiting.take_all():", "in ():"),),
    ),
    Mutant(
        name="invalid-events-tried-one-by-one-in-an-outage",
        wrong="While the store is away each bad event is tried against it by itself.",
        endangers="F25 F30",
        test=f"{M}::TestAway::test_an_invalid_event_is_kept_once_and_put_off_while_it_is_away",
        edits=(Edit(DEAD_LETTERS, "            if handling is Handling.NOT_NOW:\n", "            if not handling:\n"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="rejected-and-written",
        wrong="A decision on a cached document is written though the reply was that nothing was charged.",
        endangers="L4 F25",
        test=f"{M}::TestAway::test_a_request_decided_on_a_cached_document_is_rejected_too",
        edits=(Edit(COMMIT, "                decided.clear()\n", ""),),
    ),
    Mutant(
        name="may-be-written-and-given-up",
        wrong="An order that may have been written is given up where it can't be read.",
        endangers="L4 F25 F26",
        test=f"{M}::TestUnknown::test_an_unknown_write_waits_where_it_can_not_be_read",
        edits=(
            Edit(
                COMMIT,
                "                    if not item.sent:\n                        self._give_up(item)\n",
                "                    self._give_up(item)\n",
            ),
        ),
    ),
    Mutant(
        name="unknown-order-ends-the-ledger",
        wrong="The ledger dies of a request for an unknown order.",
        endangers="F32",
        test=f"{M}::TestAway::test_an_unknown_order_does_not_end_the_ledger",
        edits=(
            Edit(
                COMMIT,
                "revision = item.before.rev + 1 if item.before else None",
                "revision = item.before.rev + 1  # type: ignore[union-attr]",
            ),
        ),
    ),
    Mutant(
        name="document-without-writer-ends-the-ledger",
        wrong="The ledger dies of a document that an operator has corrected and left without its writer.",
        endangers="F32 F41",
        test=f"{M}::TestUnknown::test_a_document_without_its_writer_is_no_lost_write",
        edits=(
            Edit(
                COMMIT,
                "if stored is None or stored.writer is None or stored.writer.number",
                "if stored is None or stored.writer.number",
            ),
        ),
        beyond="No simulated document is corrected by an operator.",
    ),
    Mutant(
        name="one-document-taken-for-an-outage",
        wrong="One unknown write among others that were confirmed counts as an outage.",
        endangers="F31 F26",
        test=f"{M}::TestOneDocument::test_a_document_that_always_fails_delays_no_other",
        edits=(
            Edit(
                COMMIT,
                "if NOT_TAKEN.issuperset(results) and any(",
                "if any(",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="straggler-taken-for-an-outage",
        wrong="One document that the store keeps failing counts as an outage each time that it is tried.",
        endangers="F31",
        test=f"{M}::TestOneDocument::test_a_document_that_always_fails_delays_no_other",
        edits=(
            Edit(
                COMMIT,
                "if NOT_TAKEN.issuperset(results) and any(item.failures == 1 for item in items):",
                "if NOT_TAKEN.issuperset(results):",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="begun-after-its-deadline",
        wrong="A request whose time is up begins a charge all the same, where no tick has answered it yet.",
        endangers="F39",
        test=f"{D}::test_a_request_starts_nothing_at_its_very_deadline",
        edits=(Edit(COMMIT, "if now >= message.deadline or message.answered:", "if message.answered:"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="begun-after-its-answer",
        wrong="A request that was answered with an unknown outcome begins a charge after that.",
        endangers="L4 F39",
        test=f"{D}::test_a_request_that_http_has_answered_starts_nothing",
        edits=(Edit(COMMIT, "if now >= message.deadline or message.answered:", "if now >= message.deadline:"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="too-late-and-not-answered",
        wrong="A request whose turn came too late is dropped without an answer.",
        endangers="F39",
        test=f"{D}::test_a_request_starts_nothing_at_its_very_deadline",
        edits=(
            Edit(
                COMMIT,
                "                        self._charges.reject(message, Unavailability.BUSY)\n",
                "                        self._charges._pending.pop(message)\n",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="outcome-lost-in-an-outage",
        wrong="An outcome that comes while its order can't be read is dropped.",
        endangers="L4 F25",
        test=f"{M}::TestAway::{READ_AWAY}",
        edits=(Edit(COMMIT, PUT_BACK, "        self.answer_not_now(item.messages)\n"),),
        beyond="It is found again when its lease has run out.",
    ),
    Mutant(
        name="event-never-handed-back",
        wrong="An event whose order can't be read now is neither acknowledged nor asked for again.",
        endangers="L4 F25 F29",
        test=f"{M}::TestAway::{READ_AWAY}",
        edits=(
            Edit(
                COMMIT,
                "                    self._charges.reject(message, Unavailability.STORE_AWAY)\n"
                "                case EventReceived():\n                    message.settle(Handling.NOT_NOW)\n",
                "                    self._charges.reject(message, Unavailability.STORE_AWAY)\n"
                "                case EventReceived():\n                    continue\n",
            ),
        ),
    ),
    Mutant(
        name="handed-back-and-kept",
        wrong="An event is asked for again because its order can't be read, and written all the same when it can.",
        endangers="F25 F29",
        test=f"{M}::TestAway::{READ_AWAY}",
        edits=(
            Edit(
                COMMIT, PUT_BACK, f"        messages = item.messages\n{PUT_BACK}        item.queue.put_back(messages)\n"
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="refusal-believed-of-an-earlier-write",
        wrong="Where a document is refused, the reply is that nothing was written, though an earlier write may land.",
        endangers="L4 F26 F41",
        test=f"{M}::TestOneDocument::test_a_refusal_does_not_deny_an_earlier_write_that_may_land",
        edits=(
            Edit(
                COMMIT,
                "        if not item.sent:\n            _nothing_written(item)\n",
                "        _nothing_written(item)\n",
            ),
        ),
    ),
    Mutant(
        name="two-messages-taken-for-one",
        wrong="Of two messages whose document is refused the first is put away and the second is lost.",
        endangers="L4 F41",
        test=f"{M}::TestOneDocument::test_of_two_messages_that_were_refused_together_each_is_settled",
        edits=(
            Edit(
                COMMIT,
                "            _nothing_written(item)\n        if len(item.messages) > 1:\n",
                "            _nothing_written(item)\n        if len(item.messages) > 2:\n",
            ),
        ),
    ),
    Mutant(
        name="read-overtaken-since-believed",
        wrong="A read is judged by the revision that the first request came with, not by those written since.",
        endangers="L4 F02",
        test=f"{W}::TestOutcomes::test_a_read_is_overtaken_by_any_write_since_the_request_began_to_wait",
        edits=(Edit(CHARGES, "        awaited.rev = order.rev\n", ""),),
    ),
    Mutant(
        name="overdue-charge-not-read-for",
        wrong="A request whose attempt is written, and whose time is up, is answered at the next write only.",
        endangers="F39",
        test=f"{W}::TestDeadline::test_only_overdue_requests_are_answered",
        edits=(
            Edit(
                CHARGES,
                "                to_read[charge.message.request.order_id] = None\n",
                "                continue\n",
            ),
        ),
        beyond=NO_LAW,
    ),
    Mutant(
        name="read-for-requests-that-were-answered",
        wrong="An order is read again and again for requests that were answered.",
        endangers="F39",
        test=f"{W}::TestDeadline::test_an_order_that_can_not_be_read_at_the_deadline_is_unknown",
        edits=(
            Edit(
                CHARGES,
                "            if not awaited.charges:\n                del self._awaited[order_id]\n",
                "",
            ),
        ),
        beyond=NO_LAW,
    ),
)
