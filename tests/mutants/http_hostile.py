"""Mutants that one client could use against the others: the loop, the descriptors, the cards."""

from tests.mutants.mutant import Edit, Mutant

TURNS = "payment/actors/http/turns.py"
WIRE = "payment/actors/http/connections.py"
ACCEPTOR = "payment/actors/http/acceptor.py"
BYTES = "payment/actors/http/raw_bytes.py"
CONNECTION_LIMIT = "payment/actors/http/connection_limit.py"
OPS = "payment/actors/http/operations.py"
REFUSALS = "payment/actors/http/rejection_log.py"
HTTP = "payment/actors/http/actor.py"
DECLINES = "payment/actors/ledger/decline_limit.py"
COMMIT = "payment/actors/ledger/commit.py"
CHARGES = "payment/actors/ledger/pending_charges.py"
MONGO = "payment/actors/ledger/actor.py"
FILES = "payment/process/file_limit.py"

NO_FLOOD = "Simulated customers send one request, wait, and read the answer."
NO_TESTER = "No simulated user is declined as often as the limit allows."

HOSTILE = "tests/unit/actors/http/test_hostile_clients.py"
TURNED = "tests/unit/actors/http/test_turns.py"
LIMITED = "tests/unit/actors/ledger/test_decline_limit.py"

MUTANTS = (
    Mutant(
        name="pipelined-in-one-turn",
        wrong="All requests that came in one packet are handled in one turn of the loop.",
        endangers="F51",
        test=f"{TURNED}::test_others_run_between_pipelined_requests",
        edits=(Edit(WIRE, "            await self._listener.turns.take()\n", ""),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="turns-without-a-bound",
        wrong="All waiting requests are handled in the next turn.",
        endangers="F51",
        test=f"{TURNED}::test_a_few_pass_at_once_and_the_others_in_order",
        edits=(Edit(TURNS, "while self._waiting and self._passed < self._allowed:", "while self._waiting:"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="turns-without-a-pause",
        wrong="Endless cheap requests take the whole loop: a full turn follows another.",
        endangers="F51",
        test=f"{TURNED}::test_the_loop_is_left_to_others_for_as_long_as_a_turn_took",
        edits=(Edit(TURNS, "max(took_s, PAUSE_LEAST_S), self._next", "PAUSE_LEAST_S, self._next"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="polls-of-a-sale-starve",
        wrong=(
            "However short turns are, only a few requests are handled in each: thousands of polling clients "
            "wait for seconds."
        ),
        endangers="F39",
        test=f"{TURNED}::test_as_many_pass_as_take_no_longer_than_others_took",
        edits=(
            Edit(
                TURNS,
                "max(REQUESTS_IN_A_TURN, min(int(others_took_s / self._request_s), MOST_IN_A_TURN))",
                "REQUESTS_IN_A_TURN + 0 * int(others_took_s)",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="turn-out-of-order",
        wrong="A request is handled while others wait for their turn.",
        endangers="F51",
        test=f"{TURNED}::test_a_few_pass_at_once_and_the_others_in_order",
        edits=(Edit(TURNS, "popleft()", "pop()"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="turn-given-to-one-who-is-gone",
        wrong="A closed connection ends the turn of all waiting requests.",
        endangers="F51",
        test=f"{TURNED}::test_one_whose_connection_is_gone_takes_no_place",
        edits=(Edit(TURNS, "            if not turn.done():\n", "            if True:\n"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="never-read-never-closed",
        wrong="A client that never reads an answer keeps its connection for ever.",
        endangers="F51",
        test=f"{HOSTILE}::test_a_client_that_never_reads_is_cut_off",
        edits=(Edit(WIRE, "            self._wire.abort()\n", "            self._wire.close()\n"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="little-left-unread-forgiven",
        wrong="Unsent bytes are noticed only once they exceed 64 KB.",
        endangers="F51",
        test=f"{HOSTILE}::test_a_client_that_never_reads_is_cut_off",
        edits=(Edit(WIRE, "        wire.set_write_buffer_limits(high=0)\n", ""),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="cut-off-though-it-reads",
        wrong="A client that resumed reading is disconnected all the same.",
        endangers="L4 F51",
        test=f"{HOSTILE}::test_a_client_that_reads_again_is_answered_on",
        edits=(
            Edit(
                WIRE,
                "        super().resume_writing()\n        self._stop_unread_timer()\n",
                "        super().resume_writing()\n",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="head-as-long-as-its-parts-allow",
        wrong="A request head is buffered until it is complete, up to 800 KB.",
        endangers="F51",
        test=f"{HOSTILE}::test_a_head_whose_parts_are_within_their_limits_has_a_limit_too",
        edits=(Edit(WIRE, "if self._head_bytes > HEAD_BYTES_MAX:", "if self._head_bytes < 0:"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="malformed-charge-answered-with-retry-after",
        wrong="In a burst a malformed request is answered 503 and keeps its connection.",
        endangers="F39 F51",
        test=f"{HOSTILE}::test_a_malformed_charge_is_400_and_closed_also_in_a_burst",
        edits=(
            Edit(
                BYTES,
                "    headers = _HEADERS.match(data, len(_REQUEST_LINE))\n"
                "    if headers is None:\n        return False\n    head_end = headers.end()\n",
                '    head_end = data.find(b"\\r\\n\\r\\n") + 4\n',
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="two-lengths-in-a-burst",
        wrong="In a burst a request with two lengths, or with a length and chunks, counts as one by its first length.",
        endangers="F37 F51",
        test="tests/unit/actors/http/test_raw_bytes.py::test_what_is_doubtful_is_left_to_the_parser",
        edits=(
            Edit(
                BYTES,
                'return framing == [b"content-length", b"host"] and',
                "return framing and",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="strangers-in-the-customers-queue",
        wrong="A request without credentials waits in one queue with those of customers.",
        endangers="F51",
        test="tests/unit/actors/http/test_raw_bytes.py::test_what_is_doubtful_is_left_to_the_parser",
        edits=(Edit(BYTES, " and _CREDENTIALS.search(data, 0, head_end) is not None", ""),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="forgers-in-the-customers-queue",
        wrong="A client that was answered 401 is handled before waiting customers.",
        endangers="F51",
        test=f"{HOSTILE}::test_a_client_that_was_not_identified_waits_with_other_cheap_requests",
        edits=(Edit(WIRE, "self._unidentified = resp.status == NOT_IDENTIFIED", "self._unidentified = False"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="connections-take-all-descriptors",
        wrong="Clients' connections may use up the descriptors that Stripe and MongoDB need.",
        endangers="F51",
        test="tests/unit/actors/http/test_connection_limit.py::test_what_stripe_and_the_store_need_is_left",
        edits=(Edit(CONNECTION_LIMIT, "max(descriptors - needed, descriptors // 2)", "descriptors"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="accepted-beyond-the-descriptors",
        wrong="Clients that wait for their connection are accepted without bound.",
        endangers="F39 F51",
        test="tests/unit/actors/http/test_acceptor.py::test_no_more_than_the_limit_wait_for_their_connection",
        edits=(
            Edit(ACCEPTOR, "min(ACCEPTED_IN_A_TURN, self._accepted_max - len(self._outside))", "ACCEPTED_IN_A_TURN"),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="idle-connections-shut-others-out",
        wrong="Where all connections are open a new client is refused, however idle they are.",
        endangers="F51",
        test=f"{HOSTILE}::test_idle_connections_give_way_to_new_ones",
        edits=(Edit(WIRE, "return not self.full or self.idle.close_one()", "return not self.full"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="floods-shut-others-out",
        wrong="A connection that repeats cheap requests keeps its place against new clients.",
        endangers="F51",
        test=f"{HOSTILE}::test_connections_that_repeat_cheap_requests_do_not_shut_others_out",
        edits=(Edit(WIRE, "            self._listener.idle.awaits_turn(self)\n", ""),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="begun-for-one-who-has-left",
        wrong="A request whose client left before its turn is handled all the same.",
        endangers="F51",
        test=f"{HOSTILE}::test_nothing_is_begun_for_a_client_that_left_before_its_turn",
        edits=(
            Edit(
                WIRE,
                "            if self._is_closing():\n                raise ConnectionResetError",
                "            if self._force_close is None:\n                raise ConnectionResetError",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="closed-in-the-middle-of-a-request",
        wrong="A connection with a request under way is closed to make room.",
        endangers="L4 F51",
        test=f"{HOSTILE}::test_where_all_are_at_work_a_new_client_gets_503",
        edits=(
            Edit(
                WIRE,
                "        elif self._is_charge(data):\n            self._listener.idle.busy(self)\n",
                "        elif self._is_charge(data):\n",
            ),
            Edit(
                WIRE,
                "        if not self._is_idle():\n            self._listener.idle.busy(self)\n",
                "",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="newest-closed-first",
        wrong="The connection that has been idle for the shortest time is closed to make room.",
        endangers="F51",
        test="tests/unit/actors/http/test_connection_limit.py::test_one_that_asks_again_is_last",
        edits=(
            Edit(
                CONNECTION_LIMIT,
                "next(iter(idle.items()), (None, 0.0))",
                "next(reversed(idle.items()), (None, 0.0))",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="metrics-rendered-each-time",
        wrong="Metrics are rendered for each request.",
        endangers="F51",
        test="tests/unit/actors/http/test_operations.py::test_metrics_are_rendered_once_a_second_at_most",
        edits=(Edit(OPS, "if now - self._rendered_at >= METRICS_EVERY_S:", "if now >= self._rendered_at:"),),
        beyond="No simulated client asks for metrics.",
    ),
    Mutant(
        name="ops-key-begun-is-known",
        wrong="A prefix of the ops key gives access.",
        endangers="F37",
        test="tests/unit/actors/http/test_operations.py::test_metrics_want_the_ops_key",
        edits=(
            Edit(
                OPS,
                'known = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), '
                "self._ops_key.reveal().encode())",
                "known = self._ops_key.reveal().startswith(given.strip())",
            ),
        ),
        beyond="No simulated client asks for metrics.",
    ),
    Mutant(
        name="reasons-without-the-key",
        wrong="With an ops key set, reasons in /readyz are shown to all.",
        endangers="F37",
        test="tests/unit/actors/http/test_operations.py::test_readiness_has_its_statuses_for_all",
        edits=(Edit(OPS, "view if self.opened_by(request) else view.without_reasons()", "view"),),
        beyond="No simulated client reads reasons.",
    ),
    Mutant(
        name="refusals-flood-the-log",
        wrong="Each refusal is logged.",
        endangers="F51",
        test="tests/unit/actors/http/test_rejection_log.py::test_the_first_is_logged_at_once_and_the_others_together",
        edits=(Edit(REFUSALS, "        if counted is None:\n", "        if counted is None or not counted.count:\n"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="refused-connection-not-counted",
        wrong="A request without a valid identity is not logged.",
        endangers="F37",
        test="tests/unit/actors/http/test_rejection_log.py::test_what_http_refuses_is_in_the_log",
        edits=(Edit(HTTP, "                if refused.reason is not None:\n", "                if refused.close:\n"),),
        beyond="The simulation reads no log.",
    ),
    Mutant(
        name="infinite-limit-is-set",
        wrong="An infinite hard limit of files is set as it is, which macOS refuses.",
        endangers="F51",
        test="tests/unit/process/test_file_limit.py::test_the_limit_is_raised_as_far_as_it_goes",
        edits=(
            Edit(
                FILES,
                "most = files if hard == limits.RLIM_INFINITY else min(files, hard)",
                "most = hard",
            ),
        ),
        beyond="A simulated process has no descriptors.",
    ),
    Mutant(
        name="file-limit-lowered",
        wrong="A limit of open files above the wanted one is lowered.",
        endangers="F51",
        test="tests/unit/process/test_file_limit.py::test_the_limit_is_raised_as_far_as_it_goes",
        edits=(Edit(FILES, "soft == limits.RLIM_INFINITY or soft >= most:", "soft == most:"),),
        beyond="A simulated process has no descriptors.",
    ),
    Mutant(
        name="declines-uncounted",
        wrong="However often a user is declined, the next card is tried.",
        endangers="L4",
        test=f"{LIMITED}::test_the_limit_is_over_all_orders_of_a_user",
        edits=(
            Edit(
                DECLINES,
                "self._user(after.user_id).declined.append(self._clock.monotonic())\n",
                "self._user(after.user_id).logged.clear()\n",
            ),
        ),
        beyond=NO_TESTER,
    ),
    Mutant(
        name="one-decline-too-many",
        wrong="One attempt more than the limit may be declined.",
        endangers="L4",
        test=f"{LIMITED}::test_the_limit_is_over_all_orders_of_a_user",
        edits=(
            Edit(
                DECLINES,
                "            if len(user.declined) >= self._limit:\n                self._refuse(",
                "            if len(user.declined) > self._limit:\n                self._refuse(",
            ),
            Edit(
                DECLINES,
                "return self._limit - len(user",
                "return 1 + self._limit - len(user",
            ),
        ),
        beyond=NO_TESTER,
    ),
    Mutant(
        name="in-flight-uncounted",
        wrong="Any number of attempts that may be declined are in flight at once.",
        endangers="L4",
        test=f"{LIMITED}::test_attempts_in_flight_count_as_if_declined",
        edits=(Edit(DECLINES, " - len(user.in_flight) if user.declined", " if user.declined"),),
        beyond=NO_TESTER,
    ),
    Mutant(
        name="customer-of-many-orders-held-up",
        wrong="A user without declines may have no more attempts in flight than the limit of declines.",
        endangers="L4",
        test=f"{LIMITED}::test_a_customer_with_many_orders_at_once_is_not_delayed",
        edits=(Edit(DECLINES, " if user.declined else math.inf", ""),),
        beyond=NO_TESTER,
    ),
    Mutant(
        name="customer-of-many-orders-refused",
        wrong="A request beyond what may be in flight is refused, though it may succeed.",
        endangers="L4",
        test=f"{LIMITED}::test_what_is_held_goes_on_where_another_attempt_succeeds",
        edits=(
            Edit(
                DECLINES,
                "            if len(user.declined) >= self._limit:\n                self._refuse(",
                "            if self._places(user) <= 0:\n                self._refuse(",
            ),
            Edit(
                DECLINES,
                "        again_s = user.declined[declines - self._limit] + self._window_s - self._clock.monotonic()\n",
                "        again_s = self._window_s\n",
            ),
        ),
        beyond=NO_TESTER,
    ),
    Mutant(
        name="held-and-forgotten",
        wrong="A request that waits for another attempt of its user is never decided again.",
        endangers="L4",
        test=f"{LIMITED}::test_what_is_held_goes_on_where_another_attempt_succeeds",
        edits=(
            Edit(
                DECLINES,
                "        self._drop(user, name)\n        refusing",
                "        self._drop(user, name)\n        return\n        refusing",
            ),
        ),
        beyond=NO_TESTER,
    ),
    Mutant(
        name="held-past-its-time",
        wrong="A held request gets no answer at its deadline.",
        endangers="L4 F32",
        test=f"{LIMITED}::test_a_request_that_waited_in_vain_gets_nothing_was_charged",
        edits=(
            Edit(
                CHARGES,
                "            if now < charge.deadline and not given_up:",
                "            if (now < charge.deadline or charge.state is ChargeState.HELD) and not given_up:",
            ),
        ),
        beyond=NO_TESTER,
    ),
    Mutant(
        name="held-when-the-ledger-ends",
        wrong="A held request gets no answer when the ledger ends.",
        endangers="F32",
        test=f"{LIMITED}::test_held_requests_are_answered_when_the_ledger_ends",
        edits=(
            Edit(
                CHARGES,
                "            self.reject(charge, Unavailability.CRASHED)\n",
                "            if charge.state is not ChargeState.HELD:\n"
                "                self.reject(charge, Unavailability.CRASHED)\n",
            ),
        ),
        beyond=NO_TESTER,
    ),
    Mutant(
        name="stored-answers-limited",
        wrong="A request that begins nothing is refused for its user's declines.",
        endangers="L4",
        test=f"{LIMITED}::test_what_begins_no_attempt_is_answered_as_ever",
        edits=(
            Edit(
                COMMIT,
                "        return not begins or self._declines.may_begin(order, charge)\n",
                "        return self._declines.may_begin(order, charge)\n",
            ),
        ),
        beyond=NO_TESTER,
    ),
    Mutant(
        name="unwritten-attempts-count",
        wrong="An attempt that was never written, because the store was away, counts as in flight.",
        endangers="L4 F25",
        test=f"{LIMITED}::test_what_was_never_written_is_not_in_flight",
        edits=(Edit(COMMIT, "        self._declines.given_up(item.order_id)\n", ""),),
        beyond=NO_TESTER,
    ),
    Mutant(
        name="in-flight-for-ever",
        wrong="An attempt that another process has ended counts as in flight for ever.",
        endangers="L4",
        test=f"{LIMITED}::test_an_attempt_without_an_outcome_is_not_waited_for_without_end",
        edits=(Edit(DECLINES, "if began <= now - IN_FLIGHT_S]:", "if began <= now - 1e9]:"),),
        beyond=NO_TESTER,
    ),
    Mutant(
        name="next-attempt-takes-the-place-of-the-last",
        wrong="A card that arrives with the decline of the order's last card is tried in that card's place.",
        endangers="L4",
        test=f"{LIMITED}::test_a_card_that_comes_with_the_decline_of_the_last_is_counted_too",
        edits=(Edit(DECLINES, "name = (order.id, len(order.attempts) + 1)", "name = (order.id, 1)"),),
        beyond=NO_TESTER,
    ),
)
