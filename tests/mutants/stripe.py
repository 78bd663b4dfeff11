"""Wrongs between us and Stripe: what is sent, under which key, and what an answer is taken for."""

from tests.mutants.mutant import Edit, Mutant

ACTOR = "payment/actors/stripe.py"
BODIES = "payment/ports/stripe_bodies.py"
CARDS = "payment/ports/stripe_cards.py"
DESK = "payment/actors/stripe_desk.py"
ERRORS = "payment/ports/stripe_errors.py"
OUTCOMES = "payment/actors/stripe_outcomes.py"

REAL_ONES = "The simulation has a fake in the place of Stripe's library: this file is not run there."

PACE = "payment/actors/pace.py"
PACED = "tests/actors/test_pace.py"
COMES_BACK = "test_it_comes_back_fast_feels_for_the_limit_that_it_met_and_forgets_it_after_half_a_minute"
NO_RATE = "How fast charges go is no law."

MUTANTS = (
    Mutant(
        name="decline-taken-as-unclear",
        wrong="A declined card is tried again and looked for, and its customer is never told.",
        endangers="L4 F15",
        test="tests/actors/test_stripe.py::test_a_decline_is_told_with_its_code",
        edits=(
            Edit(
                OUTCOMES,
                "return CardDeclined(order_id, attempt, outcome.code, outcome.decline_code, outcome.text)",
                "return ChargeUnclear(order_id, attempt, effect.send)",
            ),
        ),
    ),
    Mutant(
        name="unclear-taken-as-declined",
        wrong="A charge without an answer is called declined.",
        endangers="L1 L2 F09 F11",
        test="tests/actors/test_stripe.py::test_a_charge_without_an_answer_is_unclear_and_not_sent_again",
        edits=(
            Edit(
                OUTCOMES,
                "        case Unclear():\n            return ChargeUnclear(order_id, attempt, effect.send)\n",
                "        case Unclear():\n"
                '            return CardDeclined(order_id, attempt, "processing_error", None, outcome.text)\n',
            ),
        ),
    ),
    Mutant(
        name="refusal-after-409-believed",
        wrong="A refusal is believed though Stripe has spoken of another request with its key.",
        endangers="L1 L2 F13",
        test="tests/actors/test_stripe_outcomes.py::test_a_refusal_is_no_proof_where_another_request_had_the_key",
        edits=(Edit(OUTCOMES, "case Refused() if maybe_sent:", "case Refused() if maybe_sent and effect.send > 1:"),),
    ),
    Mutant(
        name="new-key-after-409",
        wrong="A charge whose key is in use is sent under another key.",
        endangers="L1 F13",
        test="tests/actors/test_stripe.py::test_a_key_in_use_waits_with_the_same_key",
        edits=(
            Edit(
                ACTOR,
                "from payment.actors.actor import Actor\n",
                "from msgspec import structs\n\nfrom payment.actors.actor import Actor\n",
            ),
            Edit(
                ACTOR,
                "                outcome = await self._call(entry.effect)\n",
                "                effect = entry.effect\n"
                "                if isinstance(effect, ChargeCard) and entry.maybe_sent:\n"
                '                    effect = structs.replace(effect, key=f"{effect.key}-again")\n'
                "                outcome = await self._call(effect)\n",
            ),
        ),
    ),
    Mutant(
        name="late-charge-leaves",
        wrong="The time of a charge in hand is not looked at immediately before it leaves.",
        endangers="L1 F17 F34 F38",
        test="tests/actors/test_stripe.py::test_an_old_key_is_never_sent_however_long_it_waited",
        edits=(
            Edit(DESK, "self.closed or entry.withdrawn or self._too_late(entry))", "self.closed or entry.withdrawn)"),
        ),
    ),
    Mutant(
        name="withdrawal-ignored",
        wrong="A charge that was withdrawn while it waited is sent all the same.",
        endangers="L3 F20",
        test="tests/actors/test_stripe.py::test_what_is_withdrawn_before_its_turn_is_never_sent",
        edits=(
            Edit(DESK, "            self.give_back(entry)\n\n    def woken", "            return\n\n    def woken"),
        ),
    ),
    Mutant(
        name="withdrawn-at-its-turn",
        wrong="A charge that was withdrawn while it was tried is tried again.",
        endangers="L3 F20",
        test="tests/actors/test_stripe_desk.py::test_what_is_withdrawn_between_its_turn_and_its_request_does_not_leave",
        edits=(
            Edit(DESK, "if self.closed or entry.withdrawn:", "if self.closed:"),
            Edit(DESK, "self.closed or entry.withdrawn or self", "self.closed or self"),
        ),
    ),
    Mutant(
        name="drain-sends-on",
        wrong="What waits in Stripe's lines is not handed back when the process is told to stop.",
        endangers="F33",
        test="tests/actors/test_stripe.py::test_a_drain_ends_what_is_on_the_wire_and_gives_back_the_rest",
        edits=(
            Edit(
                DESK,
                "        self.closed = True\n        for entry in list(self._entries.values()):\n",
                "        self.closed = True\n        for entry in ():\n",
            ),
        ),
        beyond="It costs the time of a lease: the deadline stands.",
    ),
    Mutant(
        name="refund-without-a-key",
        wrong="A refund is asked for without its own idempotency key: each request is another one.",
        endangers="L1 F23",
        test="tests/ports/test_stripe_cards.py::test_a_refund_sends_the_charge_and_nothing_else",
        edits=(
            Edit(
                CARDS,
                "if request is None else (request.api_version, request.key)\n",
                "if request is None else (request.api_version, request.key)\n"
                "        if isinstance(request, RefundCharge):\n"
                "            key = str(id(params))\n",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="refund-of-a-part",
        wrong="A part of the charge is given back, not all of it.",
        endangers="L1 L3 F21",
        test="tests/ports/test_stripe_cards.py::test_a_refund_sends_the_charge_and_nothing_else",
        edits=(
            Edit(
                CARDS,
                '{"charge": request.charge_id, "metadata": tags(request)}',
                '{"charge": request.charge_id, "metadata": tags(request), "amount": 50}',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="part-taken-for-the-whole-refund",
        wrong="A charge of which somebody gave back a part is called given back.",
        endangers="L2 L3 F44",
        test="tests/ports/test_stripe_cards.py::test_a_charge_is_refunded_when_succeeded_refunds_add_up_to_it",
        edits=(Edit(BODIES, "if done is not None and given_back >= charge_amount:", "if done is not None:"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="pending-refund-called-done",
        wrong="A refund that is pending is taken for done.",
        endangers="L3 F44",
        test="tests/ports/test_stripe_cards.py::test_a_refund_that_has_not_succeeded_is_blocked",
        edits=(Edit(CARDS, '        if status == "succeeded":\n', '        if status in ("succeeded", "pending"):\n'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="first-page-only",
        wrong="Of the list of an order's charges only the first page is read.",
        endangers="L1 L2 F18",
        test="tests/ports/test_stripe_cards.py::test_a_look_up_asks_for_the_transfer_group_and_reads_every_page",
        edits=(
            Edit(CARDS, "            if not page.has_more:\n", "            if page.items or not page.has_more:\n"),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="failed-charge-found",
        wrong="A failed charge that Stripe lists is taken for a succeeded one.",
        endangers="L2 F15",
        test="tests/ports/test_stripe_cards.py::test_a_look_up_asks_for_the_transfer_group_and_reads_every_page",
        edits=(
            Edit(
                BODIES,
                ' and charge_id is not None and charge.get("status") == "succeeded":',
                " and charge_id is not None:",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="neighbours-charge-found",
        wrong="A charge of another service in the same transfer group is taken for a stray of ours, and refunded.",
        endangers="L1 L2",
        test="tests/ports/test_stripe_bodies.py::test_a_found_charge_belongs_by_its_metadata",
        edits=(Edit(BODIES, 'return 0 if metadata.get("orderId") == order_id else None', "return 0"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="list-without-its-strange-items",
        wrong="A list with an item that can't be read counts as a whole one.",
        endangers="L1 L2 F18",
        test="tests/ports/test_stripe_bodies.py::test_a_page_is_read_whole_or_not_at_all",
        edits=(Edit(BODIES, " if len(ids) == len(data) else None", ""),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="unpaid-charge-taken",
        wrong="A charge that Stripe calls succeeded and not paid pays the order.",
        endangers="L2",
        test="tests/ports/test_stripe_cards.py::test_a_200_that_is_no_succeeded_charge_proves_nothing",
        edits=(Edit(BODIES, ' or body.get("paid") is not True:', ":"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="key-finished-by-a-newer-version",
        wrong="A request repeated after a deployment carries the new API version: other parameters for one key.",
        endangers="F16",
        test="tests/ports/test_stripe_cards.py::test_a_charge_sends_the_contracts_parameters_and_nothing_else",
        edits=(Edit(CARDS, "else (request.api_version, request.key)", "else (API_VERSION, request.key)"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="timeout-taken-as-not-sent",
        wrong="A charge without an answer in time counts as one that never left.",
        endangers="L1 L2 F09 F10",
        test="tests/ports/test_stripe_errors.py::test_a_broken_call_ends_as_its_line_says",
        edits=(Edit(ERRORS, "(TimeoutError,), Ending.UNCLEAR", "(TimeoutError,), Ending.UNREACHABLE"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="decline-read-as-unclear",
        wrong="Stripe's 402 for a charge is read as no answer.",
        endangers="L4 F15",
        test="tests/ports/test_stripe_cards.py::test_a_decline_brings_stripes_code_and_words",
        edits=(Edit(ERRORS, '"card_error", ANY, ANY, Ending.DECLINED', '"card_error", ANY, ANY, Ending.UNCLEAR'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="server-error-read-as-decline",
        wrong="Stripe's 500 for a charge is read as a decline.",
        endangers="L1 L2 F12",
        test="tests/ports/test_stripe_errors.py::test_an_answer_ends_as_its_line_says",
        edits=(
            Edit(
                ERRORS,
                'Line("5xx", ALL, S5XX, ANY, ANY, ANY, Ending.UNCLEAR,',
                'Line("5xx", ALL, S5XX, ANY, ANY, ANY, Ending.DECLINED,',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="key-in-use-read-as-refused",
        wrong="409 for a key in use is read as a refusal of the charge that is under way.",
        endangers="L1 L2 F13",
        test="tests/ports/test_stripe_errors.py::test_an_answer_ends_as_its_line_says",
        edits=(
            Edit(
                ERRORS,
                '"idempotency_key_in_use", ANY, Ending.KEY_IN_USE',
                '"idempotency_key_in_use", ANY, Ending.BAD_REQUEST',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="bad-secret-key-refuses-orders",
        wrong="401 for our own key is read as a refusal of the charge, and orders are marked failed.",
        endangers="F36",
        test="tests/ports/test_stripe_errors.py::test_an_answer_ends_as_its_line_says",
        edits=(
            Edit(
                ERRORS,
                'Line("401, no valid secret key", ALL, S401, ANY, ANY, ANY, Ending.KEY_REFUSED',
                'Line("401, no valid secret key", ALL, S401, ANY, ANY, ANY, Ending.BAD_REQUEST',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="stored-error-read-as-unclear",
        wrong="An error that is replayed for its key is taken for a new one: the key is tried for ever.",
        endangers="F12",
        test="tests/ports/test_stripe_errors.py::test_a_replay_is_told_from_a_first_answer",
        edits=(
            Edit(
                ERRORS,
                'Line("5xx, replayed", WRITES, S5XX, ANY, ANY, ANY, Ending.STORED',
                'Line("5xx, replayed", WRITES, S5XX, ANY, ANY, ANY, Ending.UNCLEAR',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="limit-run-into-again",
        wrong="After a refusal the pace rises as fast as before, over the very limit that it met.",
        endangers="F14",
        test=f"{PACED}::{COMES_BACK}",
        edits=(Edit(PACE, "(CAREFUL_RISE if careful else RISE)", "RISE"),),
        beyond=NO_RATE,
    ),
    Mutant(
        name="careful-for-ever",
        wrong="A pace that was refused once only creeps from then on, wherever the limit is.",
        endangers="F14",
        test=f"{PACED}::{COMES_BACK}",
        edits=(
            Edit(PACE, "remembered and self.per_s >= self._refused_per_s * CAREFUL_FROM", "self._refused_per_s > 0"),
        ),
        beyond=NO_RATE,
    ),
    Mutant(
        name="at-once-after-a-refusal",
        wrong="The request after a refusal leaves at once.",
        endangers="F14",
        test=f"{PACED}::test_the_next_request_after_a_refusal_waits_its_turn_at_the_new_pace",
        edits=(Edit(PACE, "        self._next_at = max(self._next_at, now + 1.0 / self.per_s)\n", ""),),
        beyond=NO_RATE,
    ),
    Mutant(
        name="pace-rises-in-quiet",
        wrong="Time in which nobody waited counts as time to rise in.",
        endangers="F14",
        test=f"{PACED}::test_time_without_a_queue_is_no_time_to_rise_in",
        edits=(Edit(PACE, "        self._risen_at = now\n\n    def refused", "        return\n\n    def refused"),),
        beyond=NO_RATE,
    ),
)
