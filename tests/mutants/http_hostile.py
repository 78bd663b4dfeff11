"""Mutants that one client could use against the others: the loop, the descriptors, the cards."""

from tests.mutants.mutant import Edit, Mutant

WIRE = "payment/actors/http/connections.py"
OPS = "payment/actors/http/operations.py"
REFUSALS = "payment/actors/http/refusals.py"
HTTP = "payment/actors/http/actor.py"
DECLINES = "payment/actors/ledger/decline_limit.py"
COMMIT = "payment/actors/ledger/commit.py"
CHARGES = "payment/actors/ledger/pending_charges.py"
FILES = "payment/process/file_limit.py"

NO_FLOOD = "Simulated customers send one request, wait, and read the answer."
NO_TESTER = "No simulated user is declined as often as the limit allows."

HOSTILE = "tests/unit/actors/http/test_hostile_clients.py"
LIMITED = "tests/unit/actors/ledger/test_decline_limit.py"
LIMITS = "payment/actors/http/admission.py"

MUTANTS = (
    Mutant(
        name="pipelined-in-one-turn",
        wrong="All requests that came in one packet are handled in one turn of the loop.",
        endangers="F51",
        test="tests/unit/actors/http/test_admission.py::test_others_run_between_pipelined_requests",
        edits=(
            Edit(
                LIMITS,
                "            await asyncio.sleep(TURN_S if loop.time() - self._other_passed_at < TURN_S else 0)\n",
                "",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="turns-without-a-bound",
        wrong="Of each connection a request passes in each turn of the loop.",
        endangers="F51",
        test="tests/unit/actors/http/test_admission.py::test_others_run_between_pipelined_requests",
        edits=(
            Edit(
                LIMITS,
                "self._others = asyncio.Lock()",
                "self._others = asyncio.Semaphore(1_000)",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="turns-without-a-pause",
        wrong="Requests that need no reply of the ledger follow one another without a pause, and take the whole loop.",
        endangers="F51",
        test="tests/unit/actors/http/test_admission.py::test_turns_that_follow_one_another_leave_the_loop_time",
        edits=(Edit(LIMITS, "asyncio.sleep(TURN_S if", "asyncio.sleep(0 if"),),
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
        name="connections-take-all-descriptors",
        wrong="Clients' connections may take the descriptors that Stripe and MongoDB need.",
        endangers="F51",
        test="tests/unit/actors/http/test_admission.py::test_what_stripe_and_the_store_need_is_left",
        edits=(
            Edit(
                LIMITS,
                "max(descriptors - needed, descriptors // 2)",
                "descriptors",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="idle-connections-shut-others-out",
        wrong="Where all connections are open a new client is refused, however idle they are.",
        endangers="F51",
        test="tests/unit/actors/http/test_hostile_clients.py::test_idle_connections_give_way_to_new_ones",
        edits=(
            Edit(
                WIRE,
                "next(iter(self.idle.items()), (None, 0.0))",
                "next(iter(list(self.idle.items())[:0]), (None, 0.0))",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="floods-shut-others-out",
        wrong="A connection that repeats cheap requests keeps its place against new clients.",
        endangers="F51",
        test="tests/unit/actors/http/test_hostile_clients.py::test_connections_that_repeat_cheap_requests_do_not_shut_others_out",
        edits=(
            Edit(
                HTTP,
                "            connection.rest()\n        await self._admission.turn()\n",
                "            connection.begin()\n        await self._admission.turn()\n",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="begun-for-one-who-has-left",
        wrong="A request whose client left before its turn is handled all the same.",
        endangers="F51",
        test="tests/unit/actors/http/test_hostile_clients.py::test_nothing_is_begun_for_a_client_that_left_before_its_turn",
        edits=(
            Edit(
                HTTP,
                "        return not _is_gone(connection)\n",
                "        return True\n",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="closed-in-the-middle-of-a-request",
        wrong="A connection with a request under way is closed to make room.",
        endangers="L4 F51",
        test="tests/unit/actors/http/test_hostile_clients.py::test_where_all_are_at_work_a_new_client_gets_503",
        edits=(
            Edit(
                HTTP,
                "            connection.begin()\n        with log_context",
                "            connection.rest()\n        with log_context",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="newest-closed-first",
        wrong="The connection that has been idle for the shortest time is closed to make room.",
        endangers="F51",
        test="tests/unit/actors/http/test_connections.py::test_the_connection_that_has_been_idle_longest_gives_way",
        edits=(
            Edit(
                WIRE,
                "next(iter(self.idle.items()), (None, 0.0))",
                "next(reversed(self.idle.items()), (None, 0.0))",
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
        wrong="Each refusal is a line of the log.",
        endangers="F51",
        test="tests/unit/actors/http/test_refusals.py::test_the_first_is_logged_at_once_and_the_others_together",
        edits=(Edit(REFUSALS, "        if counted is None:\n", "        if counted is None or not counted.count:\n"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="rejected-request-not-logged",
        wrong="A request without a valid identity leaves no line in the log.",
        endangers="F37",
        test="tests/unit/actors/http/test_refusals.py::test_what_http_refuses_is_in_the_log",
        edits=(
            Edit(HTTP, "                if rejected.reason is not None:\n", "                if rejected.close:\n"),
        ),
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
        test=f"{LIMITED}::test_a_held_request_goes_on_where_another_attempt_succeeds",
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
        test=f"{LIMITED}::test_a_held_request_goes_on_where_another_attempt_succeeds",
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
        test=f"{LIMITED}::test_a_request_that_begins_no_attempt_is_answered_as_usual",
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
        test=f"{LIMITED}::test_an_attempt_that_was_never_written_is_not_in_flight",
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
    Mutant(
        name="clients-accepted-beyond-the-room",
        wrong="The same number of clients is accepted at once whether a connection is free or not.",
        endangers="F39 F51",
        test="tests/unit/actors/http/test_connections.py::test_few_clients_are_accepted_at_once_where_there_is_no_room",
        edits=(Edit(WIRE, "min(ACCEPTED_IN_A_TURN, max(server.room, REFUSED_AT_ONCE))", "ACCEPTED_IN_A_TURN"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="burst-accepted-in-one-turn",
        wrong="All clients of a burst are accepted in one turn of the loop.",
        endangers="F39",
        test="tests/unit/actors/http/test_connections.py::test_a_burst_of_clients_is_accepted_in_many_turns",
        edits=(Edit(WIRE, "for _ in range(at_once - len(self._connecting)):", "for _ in range(at_once * 1_000):"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="no-file-descriptor-and-it-spins",
        wrong="Without a file descriptor left it is tried again in each turn of the loop.",
        endangers="F39",
        test="tests/unit/actors/http/test_connections.py::"
        "test_without_a_descriptor_clients_are_accepted_later_and_the_log_says_so",
        edits=(
            Edit(
                WIRE,
                "                self._loop.remove_reader(self._listening)\n                self._again",
                "                self._again",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="closed-while-it-accepts",
        wrong="A site stops while connections that it accepted have yet to be made.",
        endangers="F33",
        test="tests/unit/actors/http/test_connections.py::"
        "test_a_site_that_stops_waits_for_the_connections_that_it_accepted",
        edits=(
            Edit(
                WIRE,
                "        if self._connecting:\n            await asyncio.wait(self._connecting)\n",
                "",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="customers-wait-behind-floods",
        wrong="A customer's request waits for its turn behind all the cheap ones.",
        endangers="F39 F51",
        test="tests/unit/actors/http/test_hostile_clients.py::test_connections_that_repeat_cheap_requests_do_not_shut_others_out",
        edits=(
            Edit(
                HTTP,
                "        if called not in self._of_customers and not await self._turn(connection):\n",
                "        if not await self._turn(connection):\n",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="forgers-pass-as-customers-do",
        wrong="Requests that are rejected are answered a few in each turn of the loop, as fast as they come.",
        endangers="F51",
        test="tests/unit/actors/http/test_admission.py::test_others_run_between_pipelined_requests",
        edits=(
            Edit(
                HTTP,
                "        if called in self._of_customers and not await self._turn(connection):\n"
                "            return web.Response()\n",
                "",
            ),
        ),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="charged-for-one-who-has-left",
        wrong="A charge whose client left before its turn is sent to the ledger all the same.",
        endangers="F39",
        test="tests/unit/actors/http/test_admission.py::test_a_client_that_leaves_before_its_turn_is_not_charged",
        edits=(Edit(HTTP, "        if _is_gone(request.protocol):\n", "        if request.protocol is None:\n"),),
        beyond=NO_FLOOD,
    ),
    Mutant(
        name="sockets-of-a-cancelled-start-left",
        wrong="Sockets that a thread opens after the actor's start was cancelled stay open.",
        endangers="F51",
        test="tests/unit/actors/http/test_connections.py::test_a_start_that_is_cancelled_leaves_no_socket_open",
        edits=(Edit(WIRE, "            opening.add_done_callback(_close_opened)\n", ""),),
        beyond=NO_FLOOD,
    ),
)
