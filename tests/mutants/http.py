"""Mutants of the HTTP actor: identity, admission, and the answers about a charge."""

from tests.mutants.mutant import Edit, Mutant

ANSWERS = "payment/actors/http/responses.py"
IDENTITY = "payment/actors/http/auth.py"
REQUESTS = "payment/actors/http/requests.py"
PENDING_REQUESTS = "payment/actors/http/pending_requests.py"

NO_FORGER = "The simulation's customers send valid tokens only."
HTTP = "payment/actors/http/actor.py"
REQUEST_QUEUE = "payment/actors/http/request_queue.py"
ACCEPTOR = "payment/actors/http/acceptor.py"
QUEUE = "payment/actors/runtime/position_queue.py"
WIRE = "payment/actors/http/connections.py"
BYTES = "payment/actors/http/raw_bytes.py"
NO_BURST = "No simulated load is ten times the service's capacity."

MUTANTS = (
    Mutant(
        name="signature-unchecked",
        wrong="A token is accepted without a check of its signature.",
        endangers="F37",
        test="tests/unit/actors/http/test_auth.py::test_no_other_algorithm_counts",
        edits=(
            Edit(
                IDENTITY,
                "key, algorithms=[ALGORITHM])",
                'key, algorithms=[ALGORITHM], options={"verify_signature": False})',
            ),
        ),
        beyond=NO_FORGER,
    ),
    Mutant(
        name="other-algorithms-taken",
        wrong="Tokens signed by other algorithms than HS256 are accepted.",
        endangers="F37",
        test="tests/unit/actors/http/test_auth.py::test_no_other_algorithm_counts",
        edits=(
            Edit(IDENTITY, "algorithms=[ALGORITHM])", 'algorithms=[ALGORITHM, "HS384", "HS512", "none"])'),
            Edit(
                IDENTITY,
                "_JWS = PlatformJws(algorithms=[])\n",
                "_JWS = PlatformJws()\n_JWS.unregister_algorithm(ALGORITHM)\n",
            ),
        ),
        beyond=NO_FORGER,
    ),
    Mutant(
        name="expired-token-taken",
        wrong="A token is accepted after it has expired.",
        endangers="F37",
        test="tests/unit/actors/http/test_auth.py::test_a_token_ends_when_it_expires",
        edits=(Edit(IDENTITY, 'if "exp" in claims and not now_s <', 'if "exp" in claims and now_s < 0 <'),),
        beyond=NO_FORGER,
    ),
    Mutant(
        name="token-good-at-its-expiry",
        wrong="A token is still good at the very second at which it expires.",
        endangers="F37",
        test="tests/unit/actors/http/test_auth.py::test_a_token_ends_when_it_expires",
        edits=(Edit(IDENTITY, 'not now_s < _seconds(claims["exp"])', 'not now_s <= _seconds(claims["exp"])'),),
        beyond=NO_FORGER,
    ),
    Mutant(
        name="not-yet-valid-token-taken",
        wrong="A token is accepted before its `nbf`.",
        endangers="F37",
        test="tests/unit/actors/http/test_auth.py::test_a_token_begins_when_it_says",
        edits=(Edit(IDENTITY, 'if "nbf" in claims and now_s <', 'if "nbf" in claims and 0 <'),),
        beyond=NO_FORGER,
    ),
    Mutant(
        name="cookie-beside-a-bad-bearer",
        wrong="Where the bearer token is bad the cookie is tried.",
        endangers="F37",
        test="tests/unit/actors/http/test_auth.py::test_the_bearer_token_excludes_the_cookie",
        edits=(
            Edit(
                IDENTITY,
                '    if scheme.lower() == "bearer":\n',
                '    if scheme.lower() == "bearer" and cookie is None:\n',
            ),
        ),
        beyond=NO_FORGER,
    ),
    Mutant(
        name="payment-shown-to-anybody",
        wrong="A payment is shown to another user than its owner.",
        endangers="L4",
        test="tests/unit/actors/http/test_responses.py::test_nobody_else_sees_the_payment",
        edits=(Edit(ANSWERS, "case PaymentView() if found.user_id != user_id:", "case PaymentView() if not user_id:"),),
    ),
    Mutant(
        name="nothing-charged-after-a-write",
        wrong='The answer claims "nothing was charged" where a write was sent and its result is unknown.',
        endangers="L4 F26",
        test="tests/unit/actors/http/test_responses.py::test_nothing_charged_is_said_only_where_no_write_was_sent",
        edits=(
            Edit(
                ANSWERS,
                "if write_sent or what.reason is Unavailability.WRITE_UNKNOWN:",
                "if what.reason is Unavailability.WRITE_UNKNOWN and not write_sent:",
            ),
        ),
    ),
    Mutant(
        name="nothing-charged-while-it-waits",
        wrong='The answer claims "nothing was charged" for a request that the ledger still has.',
        endangers="L4 F32",
        test="tests/unit/actors/http/test_actor.py::test_a_request_that_waits_when_the_drain_is_over_has_an_unknown_outcome",
        edits=(
            Edit(
                PENDING_REQUESTS,
                "answer.set_result(ChargeReply(Unavailable(Unavailability.WRITE_UNKNOWN)))",
                "answer.set_result(ChargeReply(Unavailable(reason)))",
            ),
        ),
    ),
    Mutant(
        name="charged-said-twice",
        wrong="A repeated request is answered 201 again, as if it had charged again.",
        endangers="L4",
        test="tests/unit/actors/http/test_responses.py::test_a_charge_that_was_made_before_is_200_with_the_same_body",
        edits=(Edit(ANSWERS, "    if reply.replayed:\n", "    if reply.replayed and not reply.stripe_id:\n"),),
    ),
    Mutant(
        name="requests-fill-the-mailbox",
        wrong="Requests fill the part of the ledger's mailbox that is reserved for outcomes and events.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_the_last_room_of_the_ledger_is_kept_for_outcomes_and_events",
        edits=(Edit(PENDING_REQUESTS, "or self._ledger.room <= LEDGER_RESERVE", "or self._ledger.room <= 0"),),
        beyond="No simulated load is ten times the service's capacity.",
    ),
    Mutant(
        name="charges-taken-while-stopping",
        wrong="A request is accepted while the service drains.",
        endangers="F33",
        test="tests/unit/actors/http/test_actor.py::test_a_drain_waits_for_what_is_under_way_and_takes_no_more",
        edits=(
            Edit(
                "payment/actors/http/actor.py",
                "        if self._draining or self._health.phase is Phase.STOPPING:\n            return",
                "        if self._health.phase is Phase.STARTING:\n            return",
            ),
            Edit(
                "payment/actors/http/actor.py",
                "        if self._health.status is not Status.UNAVAILABLE:\n            return None\n",
                "        if self._health.is_up(Dependency.MONGODB):\n            return None\n",
            ),
        ),
        beyond="The answer then has less information than the service, and nothing false.",
    ),
    Mutant(
        name="shed-whatever-the-reason",
        wrong="Any 503 of the ledger to one request is answered to all others as busy.",
        endangers="L4 F26 F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_only_that_it_is_busy_is_told_unread",
        edits=(
            Edit(HTTP, "        if answer.reply == _BUSY:\n", "        if isinstance(answer.reply, Unavailable):\n"),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-out-of-turn",
        wrong="A charge that is rejected unread is answered before the request ahead of it on its connection.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_what_is_told_unread_comes_in_its_turn",
        edits=(
            Edit(
                WIRE,
                "self._head_timer is None and self._is_idle() and not",
                "self._head_timer is None and not",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-inside-a-head",
        wrong="Bytes that resemble a charge are answered as one, though they are a part of another request's head.",
        endangers="F37 F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_what_looks_like_a_charge_inside_of_a_head_is_none",
        edits=(Edit(WIRE, "self._head_timer is None and self._is_idle() and", "self._awaits_head() and"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-the-rest-along",
        wrong="A request that follows a charge in one packet is treated as the charge's body, and never answered.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_what_is_not_one_whole_charge_goes_the_long_way_however_busy",
        edits=(Edit(BYTES, "len(data) != head_end + int(length[1])", "len(data) < head_end + int(length[1])"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-for-ever",
        wrong="Once the ledger was busy, every later charge is answered as busy.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_while_the_ledger_is_busy_a_crowd_is_told_so_unread",
        edits=(Edit(REQUEST_QUEUE, "now < self._closed_until or", "self._closed_until or"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-while-stopping",
        wrong=(
            "Queued requests of a draining service get a Retry-After of one second, though the service will be closed."
        ),
        endangers="F33",
        test="tests/unit/actors/http/test_pending_requests.py::test_who_stands_in_line_when_the_house_is_emptied_hears_that",
        edits=(Edit(HTTP, "        self._line.disband()\n", "        self._line.close_for(0.0)\n"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-left-without-a-word",
        wrong="Queued requests get no answer when the HTTP actor ends.",
        endangers="F32",
        test="tests/unit/actors/http/test_pending_requests.py::test_who_stands_in_line_when_the_actor_ends_is_told",
        edits=(Edit(HTTP, "        self._line.close_for(0.0)\n", ""),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-jumped",
        wrong="A new request is handled before queued ones if the turn has capacity left.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_a_crowd_is_looked_at_in_order_and_a_few_in_a_turn",
        edits=(
            Edit(
                REQUEST_QUEUE,
                "        if not self._waiting:\n            if self._looked_at < NO_CROWD_REQUESTS and",
                "        if True:\n            if self._looked_at < NO_CROWD_REQUESTS and",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="crowd-looked-at-in-one-turn",
        wrong="All queued requests are handled in one turn of the loop.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_a_crowd_is_looked_at_in_order_and_a_few_in_a_turn",
        edits=(
            Edit(
                REQUEST_QUEUE,
                "while self._waiting and self._looked_at < LOOKED_AT_IN_A_TURN and",
                "while self._waiting and",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-stops",
        wrong="After the first queued requests no other is handled.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_request_queue.py::test_a_crowd_is_looked_at_in_order_and_a_few_in_a_turn",
        edits=(
            Edit(
                REQUEST_QUEUE,
                "        self._moved += self._looked_at\n        self._turn_soon()\n",
                "        self._moved += self._looked_at\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-without-end",
        wrong="The queue grows without bound.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_who_comes_to_a_line_that_is_full_is_refused_at_once",
        edits=(Edit(REQUEST_QUEUE, " or (self._waiting and len(self._waiting) >= self._most()):", ":"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-as-long-as-it-may-be",
        wrong="The queue's limit does not shrink when it moves slowly.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_a_line_is_as_long_as_it_moves_fast",
        edits=(
            Edit(
                REQUEST_QUEUE, "            self._limit = min(max(known, SHORTEST_LINE_REQUESTS), LINE_REQUESTS)\n", ""
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-short-before-stripe",
        wrong="A burst that would wait for Stripe is refused because the queue before it moves slowly.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_request_queue.py::test_before_stripe_a_line_takes_in_whoever_the_service_has_room_for",
        edits=(Edit(REQUEST_QUEUE, "return self._limit if room is None else room", "return self._limit"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-longer-than-the-room",
        wrong="Requests are queued beyond the number that the service can accept.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::"
        "test_before_stripe_a_line_takes_in_nobody_whom_the_service_has_no_room_for",
        edits=(Edit(REQUEST_QUEUE, "if room is None else room", "if room is None else max(room, self._limit)"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="room-of-those-who-were-answered",
        wrong="Requests that were answered as pending are not counted among those in flight.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_there_is_as_much_room_as_those_who_were_taken_in_leave",
        edits=(
            Edit(
                PENDING_REQUESTS,
                "max(len(self._places), estimate.queued + len(self._undecided))",
                "len(self._places)",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-ahead-of-the-ledger",
        wrong="Queued requests are handled however late the ledger is.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_nobody_is_looked_at_while_the_ledger_is_behind",
        edits=(Edit(REQUEST_QUEUE, "if self._behind_s() >= BEHIND_S:", "if self._behind_s() < 0.0:"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-for-a-dead-ledger",
        wrong="Requests that are queued for a ledger that has stopped wait for ever.",
        endangers="L4 F32",
        test="tests/unit/actors/http/test_request_queue.py::test_a_ledger_that_has_come_to_a_halt_leaves_nobody_in_line",
        edits=(
            Edit(REQUEST_QUEUE, "self._first_came_at() <= now - PATIENCE_S:", "self._first_came_at() <= now - 1e9:"),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="gone-and-in-line",
        wrong="A request whose client has disconnected keeps its place in the queue.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_a_crowd_waits_unread_and_is_charged_in_order",
        edits=(
            Edit(
                WIRE,
                "        self._listener.line.leave(self)\n        self._listener.idle.busy(self)\n",
                "        self._listener.idle.busy(self)\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-not-counted-as-waiting",
        wrong="A queued request waits for its outcome as long as others, in addition to its time in the queue.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_a_crowd_waits_unread_and_is_charged_in_order",
        edits=(
            Edit(HTTP, "asked_at = self.clock.monotonic() - context.in_line_s", "asked_at = self.clock.monotonic()"),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="behind-while-stripe-works",
        wrong="The ledger counts as late with a charge that it has decided and that waits for Stripe.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_the_ledger_is_behind_as_long_as_it_owes_a_decision",
        edits=(
            Edit(
                PENDING_REQUESTS,
                "if not message.decided.done() and not message.answer.done():",
                "if not message.answer.done():",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-and-not-counted",
        wrong="Requests that are rejected unread are in no metric.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_what_is_told_unread_is_counted",
        edits=(Edit(HTTP, "        self._metrics.http_requests(PAYMENTS_PATH, str(_SHED.status)).inc()\n", ""),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-with-its-id-as-it-came",
        wrong="A request id of any shape comes back in a header where a charge is answered unread.",
        endangers="F37",
        test="tests/unit/actors/http/test_pending_requests.py::test_an_id_of_another_shape_is_replaced_there_too",
        edits=(Edit(HTTP, "request_id = self._request_id(given_id)", 'request_id = given_id or ""'),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="closed-while-it-accepts",
        wrong="The acceptor closes while accepted sockets are not connections yet.",
        endangers="F33",
        test="tests/unit/actors/http/test_acceptor.py::test_a_door_that_closes_lets_in_whoever_was_accepted",
        edits=(
            Edit(
                ACCEPTOR,
                "        while self._outside:\n            self._let_in()\n",
                "        while False:\n            self._let_in()\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="let-in-before-it-was-noted",
        wrong="Connections stay in the kernel's queue until they are admitted.",
        endangers="F39",
        test="tests/unit/actors/http/test_acceptor.py::test_a_crowd_is_noted_at_once_and_let_in_in_order",
        edits=(
            Edit(
                ACCEPTOR,
                "min(ACCEPTED_IN_A_TURN, self._accepted_max - len(self._outside))",
                "LET_IN_IN_A_TURN - len(self._outside)",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="crowd-let-in-in-one-turn",
        wrong="All waiting connections are admitted in one turn of the loop.",
        endangers="F39",
        test="tests/unit/actors/http/test_acceptor.py::test_a_crowd_is_noted_at_once_and_let_in_in_order",
        edits=(Edit(ACCEPTOR, "min(LET_IN_IN_A_TURN, len(self._outside))", "len(self._outside)"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="no-file-descriptor-and-it-spins",
        wrong="Without a free file descriptor accepting is tried again in each turn of the loop.",
        endangers="F39",
        test="tests/unit/actors/http/test_acceptor.py::test_a_door_that_waits_for_resources_can_be_closed",
        edits=(
            Edit(
                ACCEPTOR,
                "        self._pause()\n        self._open_again = self._loop.call_later(ACCEPT_AGAIN_S, self.open)\n",
                "",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="heard-first-looked-at-first",
        wrong="A request on an open connection is handled before connections that wait to be admitted.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_who_has_a_connection_passes_nobody_who_waits_for_one",
        edits=(
            Edit(
                REQUEST_QUEUE,
                "self._waiting[caller] = (came_at, self._came)",
                "self._waiting[caller] = (now, self._came)",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="looked-at-before-the-unheard",
        wrong="The first queued request is handled, though an earlier connection's request is about to be read.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_nobody_is_looked_at_before_those_who_came_earlier_are_heard",
        edits=(Edit(REQUEST_QUEUE, " and self._first_came_at() <= unheard_since:", ":"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="unheard-forgotten",
        wrong="An admitted connection counts as if its request had been read.",
        endangers="F39",
        test="tests/unit/actors/http/test_acceptor.py::test_until_they_are_heard_it_is_known_since_when_they_wait",
        edits=(Edit(ACCEPTOR, "return min(self._next_came_at(), *self._lately)", "return self._next_came_at()"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="place-kept-by-a-connection",
        wrong="A connection that was opened early is handled before all that came before its first request.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_who_has_a_connection_passes_nobody_who_waits_for_one",
        edits=(
            Edit(
                WIRE,
                "return came_at if self._loop.time() - self._let_in_at <= FIRST_WORDS_S else None",
                "return came_at",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="looked-at-when-gone",
        wrong="A queued request whose client has disconnected is handled all the same.",
        endangers="F39",
        test="tests/unit/actors/http/test_connections.py::test_who_has_hung_up_is_not_looked_at",
        edits=(
            Edit(
                WIRE,
                "return self.transport is None or self.transport.is_closing()",
                "return self.transport is None",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="impatient-served-first",
        wrong="A client whose next request comes before aiohttp has finished its last answer skips the queue.",
        endangers="F39",
        test="tests/unit/actors/http/test_connections.py::test_who_asks_again_at_once_stands_in_line_too",
        edits=(Edit(WIRE, "return self._answers == self._request_count", "return self._awaits_head()"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="open-connection-heard-late",
        wrong=(
            "In a burst, a request's arrival is the time at which it is read, not the time at which its "
            "socket was polled."
        ),
        endangers="F39",
        test="tests/unit/actors/http/test_acceptor.py::test_what_is_read_in_a_crowd_was_said_before_the_others_came",
        edits=(
            Edit(
                ACCEPTOR,
                "return math.nextafter(self._looked_at, math.inf) if self._turning else self._clock.monotonic()",
                "return self._clock.monotonic()",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="gone-and-remembered",
        wrong="The requests of clients that left the queue are kept until the queue has moved past them.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_those_who_have_left_take_no_memory",
        edits=(Edit(QUEUE, "if len(self._positions) > 2 * len(self._members) + STALE_POSITIONS_MAX:", "if False:"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="secret-of-another-status",
        wrong="A payment that no longer requires its customer is shown with its client secret.",
        endangers="F45 F46",
        test="tests/unit/actors/http/test_responses.py::test_an_owner_sees_what_the_browser_needs_while_the_bank_wants_the_customer",
        edits=(
            Edit(
                ANSWERS,
                "    shown = handover if view.status is PaymentStatus.REQUIRES_ACTION else None\n",
                "    shown = handover\n",
            ),
        ),
        beyond="The ledger returns no secret with another status: this is the second safeguard.",
    ),
    Mutant(
        name="secret-in-a-rendered-answer",
        wrong="The repr of an answer shows its body, which may hold a client secret.",
        endangers="F45",
        test="tests/unit/actors/http/test_responses.py::test_no_repr_shows_a_client_secret_or_the_banks_page",
        edits=(
            Edit(
                ANSWERS,
                '        return f"Rendered(case={self.case.name}, body of {len(self.body)} bytes)"',
                '        return f"Rendered(case={self.case.name}, {self.body!r})"',
            ),
        ),
        beyond="No law reads a repr.",
    ),
    Mutant(
        name="secret-in-a-handover",
        wrong="The repr of the data for a browser shows the client secret.",
        endangers="F45",
        test="tests/unit/actors/ledger/test_awaiting.py::TestSecret::test_the_write_that_makes_it_awaiting_brings_the_secret",
        edits=(
            Edit(
                "payment/ports/cards.py",
                '        return "Handover()"',
                '        return f"Handover({self.client_secret})"',
            ),
        ),
        beyond="No law reads a repr.",
    ),
    Mutant(
        name="card-in-an-instrument",
        wrong="The repr of an attempt's instrument shows the card's token.",
        endangers="F45",
        test="tests/unit/core/test_attempts.py::test_card_is_in_no_repr",
        edits=(
            Edit(
                "payment/core/messages.py",
                '        return f"Instrument(kind={self.kind.value!r})"',
                '        return f"Instrument(kind={self.kind.value!r}, value={self.value!r})"',
            ),
        ),
        beyond="No law reads a repr.",
    ),
    Mutant(
        name="secret-in-a-log-line",
        wrong="A client secret in a log line is not masked.",
        endangers="F45",
        test="tests/unit/ops/test_redaction.py::test_no_secret_comes_out",
        edits=(Edit("payment/ops/redaction.py", "(pi_[A-Za-z0-9]+_secret_)", "(pi_[A-Z]+_secret_)"),),
        beyond="No law reads the log.",
    ),
    Mutant(
        name="two-instruments-taken",
        wrong="A request with two instruments is charged with one of them.",
        endangers="F45",
        test="tests/unit/actors/http/test_requests.py::test_exactly_one_instrument_is_taken",
        edits=(Edit(REQUESTS, "    return faults | {kind.value: beside for kind in others}\n", "    return faults\n"),),
        beyond=NO_FORGER,
    ),
    Mutant(
        name="unencrypted-return-url",
        wrong="Any plain HTTP URL is accepted as the return URL from the bank.",
        endangers="F45",
        test="tests/unit/actors/http/test_requests.py::test_any_other_return_url_is_one_error_with_its_field",
        edits=(Edit(REQUESTS, 'rf"^(?:https://(?:{_LABEL}', 'rf"^(?:https?://(?:{_LABEL}'),),
        beyond=NO_FORGER,
    ),
    Mutant(
        name="authentication-called-a-decline",
        wrong="A card whose bank requires authentication is answered as any declined one.",
        endangers="F45",
        test="tests/unit/actors/http/test_responses.py::test_a_card_that_wants_its_customer_has_a_code_of_its_own",
        edits=(
            Edit(
                ANSWERS,
                "    case = Case.AUTHENTICATION_REQUIRED if reply.authentication else Case.DECLINED\n",
                "    case = Case.DECLINED\n",
            ),
        ),
        beyond="No law is about the code of a decline.",
    ),
    Mutant(
        name="stolen-card-said-so",
        wrong="A decline reveals that the card was reported stolen.",
        endangers="F15",
        test="tests/unit/actors/http/test_responses.py::test_a_decline_that_could_warn_a_thief_is_generic",
        edits=(
            Edit(ANSWERS, "    if decline_code in HIDDEN_DECLINE_CODES:\n", '    if decline_code == "fraudulent":\n'),
        ),
        beyond="No law is about the code of a decline.",
    ),
    Mutant(
        name="decline-without-its-payment",
        wrong="402 has no Location of its payment.",
        endangers="F15",
        test="tests/unit/actors/http/test_responses.py::test_a_declined_card_is_402_with_stripes_code_and_message",
        edits=(
            Edit(
                ANSWERS,
                "    return Rendered(case, body, (_location(reply.payment_id),), item.message, reply.decline_code)\n",
                "    return Rendered(case, body, (), item.message, reply.decline_code)\n",
            ),
        ),
        beyond="No law is about the headers of an answer.",
    ),
)
