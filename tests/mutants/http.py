"""Wrongs at the door: who is let in, and what is said of a charge."""

from tests.mutants.mutant import Edit, Mutant

ANSWERS = "payment/actors/http/responses.py"
IDENTITY = "payment/actors/http/auth.py"
REQUESTS = "payment/actors/http/requests.py"
WAITING = "payment/actors/http/pending_requests.py"

NO_FORGER = "Nobody forges in the simulation: its customers bring good tokens."
HTTP = "payment/actors/http/actor.py"
LINE = "payment/actors/http/request_queue.py"
DOOR = "payment/actors/http/acceptor.py"
QUEUE = "payment/actors/runtime/position_queue.py"
WIRE = "payment/actors/http/connections.py"
BYTES = "payment/actors/http/raw_bytes.py"
NO_BURST = "No simulated crowd is ten times the load that we bear."

MUTANTS = (
    Mutant(
        name="signature-unchecked",
        wrong="A token is believed without its signature.",
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
        wrong="Tokens signed by other algorithms than HS256 are taken.",
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
        wrong="A token is taken after it has expired.",
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
        wrong="A token is taken before its time.",
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
        wrong="A payment is shown to somebody else than its owner.",
        endangers="L4",
        test="tests/unit/actors/http/test_responses.py::test_nobody_else_sees_the_payment",
        edits=(Edit(ANSWERS, "case PaymentView() if found.user_id != user_id:", "case PaymentView() if not user_id:"),),
    ),
    Mutant(
        name="nothing-charged-after-a-write",
        wrong='"Nothing was charged" is said where a write was sent and its fate is unknown.',
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
        wrong='"Nothing was charged" is said to a request that the ledger still has.',
        endangers="L4 F32",
        test="tests/unit/actors/http/test_actor.py::test_a_request_that_waits_when_the_drain_is_over_has_an_unknown_outcome",
        edits=(
            Edit(
                WAITING,
                "answer.set_result(ChargeReply(Unavailable(Unavailability.WRITE_UNKNOWN)))",
                "answer.set_result(ChargeReply(Unavailable(reason)))",
            ),
        ),
    ),
    Mutant(
        name="charged-said-twice",
        wrong="A repeated request hears 201 again, as if it had charged again.",
        endangers="L4",
        test="tests/unit/actors/http/test_responses.py::test_a_charge_that_was_made_before_is_200_with_the_same_body",
        edits=(Edit(ANSWERS, "    if reply.replayed:\n", "    if reply.replayed and not reply.stripe_id:\n"),),
    ),
    Mutant(
        name="requests-fill-the-mailbox",
        wrong="Requests take the room in the ledger's mailbox that outcomes and events need.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_the_last_room_of_the_ledger_is_kept_for_outcomes_and_events",
        edits=(Edit(WAITING, "or self._ledger.room <= LEDGER_RESERVE", "or self._ledger.room <= 0"),),
        beyond="No simulated crowd is ten times the load that we bear.",
    ),
    Mutant(
        name="charges-taken-while-stopping",
        wrong="A request is taken while the house is being emptied.",
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
        beyond="It may then be told less than we know, and nothing false.",
    ),
    Mutant(
        name="shed-whatever-the-reason",
        wrong="Whatever makes the ledger answer 503 to one request is told to all as busy.",
        endangers="L4 F26 F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_only_that_it_is_busy_is_told_unread",
        edits=(
            Edit(HTTP, "        if answer.reply == _BUSY:\n", "        if isinstance(answer.reply, Unavailable):\n"),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-out-of-turn",
        wrong="A charge that is told unread to come back is answered before the one ahead of it on its connection.",
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
        wrong="What looks like a charge is answered as one, though it is a part of another request's head.",
        endangers="F37 F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_what_looks_like_a_charge_inside_of_a_head_is_none",
        edits=(Edit(WIRE, "self._head_timer is None and self._is_idle() and", "self._awaits_head() and"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-the-rest-along",
        wrong="What follows a charge in one packet is taken for its body, and never answered.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_what_is_not_one_whole_charge_goes_the_long_way_however_busy",
        edits=(Edit(BYTES, "len(data) != head_end + int(length[1])", "len(data) < head_end + int(length[1])"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-for-ever",
        wrong="Once the ledger was busy, every charge is told so from then on.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_while_the_ledger_is_busy_a_crowd_is_told_so_unread",
        edits=(Edit(LINE, "now < self._closed_until or", "self._closed_until or"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-while-stopping",
        wrong="Who stands in line when the house is emptied is told to come back in a second, to a closed door.",
        endangers="F33",
        test="tests/unit/actors/http/test_pending_requests.py::test_who_stands_in_line_when_the_house_is_emptied_hears_that",
        edits=(Edit(HTTP, "        self._line.disband()\n", "        self._line.close_for(0.0)\n"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-left-without-a-word",
        wrong="Who stands in line when the HTTP actor ends is told nothing.",
        endangers="F32",
        test="tests/unit/actors/http/test_pending_requests.py::test_who_stands_in_line_when_the_actor_ends_is_told",
        edits=(Edit(HTTP, "        self._line.close_for(0.0)\n", ""),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-jumped",
        wrong="Who comes while others stand in line is looked at before them, where there is room in the turn.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_a_crowd_is_looked_at_in_order_and_a_few_in_a_turn",
        edits=(
            Edit(
                LINE,
                "        if not self._waiting:\n            if self._looked_at < NO_CROWD_REQUESTS and",
                "        if True:\n            if self._looked_at < NO_CROWD_REQUESTS and",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="crowd-looked-at-in-one-turn",
        wrong="All who stand in line are looked at in one turn of the loop.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_a_crowd_is_looked_at_in_order_and_a_few_in_a_turn",
        edits=(
            Edit(LINE, "while self._waiting and self._looked_at < LOOKED_AT_IN_A_TURN and", "while self._waiting and"),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-stops",
        wrong="Once a few of a line were looked at, nobody is any more.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_request_queue.py::test_a_crowd_is_looked_at_in_order_and_a_few_in_a_turn",
        edits=(
            Edit(
                LINE,
                "        self._moved += self._looked_at\n        self._turn_soon()\n",
                "        self._moved += self._looked_at\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-without-end",
        wrong="The line grows without bound.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_who_comes_to_a_line_that_is_full_is_refused_at_once",
        edits=(Edit(LINE, " or (self._waiting and len(self._waiting) >= self._most()):", ":"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-as-long-as-it-may-be",
        wrong="However slowly it moves, the line is as long as it may be.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_a_line_is_as_long_as_it_moves_fast",
        edits=(Edit(LINE, "            self._limit = min(max(known, SHORTEST_LINE_REQUESTS), LINE_REQUESTS)\n", ""),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-short-before-stripe",
        wrong="A crowd that will wait for Stripe is refused because the line before it moves slowly.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_request_queue.py::test_before_stripe_a_line_takes_in_whoever_the_service_has_room_for",
        edits=(Edit(LINE, "return self._limit if room is None else room", "return self._limit"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-longer-than-the-room",
        wrong="People are let into the line whom the service will have no room for.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::"
        "test_before_stripe_a_line_takes_in_nobody_whom_the_service_has_no_room_for",
        edits=(Edit(LINE, "if room is None else room", "if room is None else max(room, self._limit)"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="room-of-those-who-were-answered",
        wrong="Whoever was told that the outcome is pending is not counted among those that the service has taken.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_there_is_as_much_room_as_those_who_were_taken_in_leave",
        edits=(
            Edit(
                WAITING,
                "max(len(self._places), estimate.queued + len(self._undecided))",
                "len(self._places)",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-ahead-of-the-ledger",
        wrong="Who stands in line is looked at however far behind the ledger is.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_nobody_is_looked_at_while_the_ledger_is_behind",
        edits=(Edit(LINE, "if self._behind_s() >= BEHIND_S:", "if self._behind_s() < 0.0:"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="line-for-a-dead-ledger",
        wrong="Who stands in line before a ledger that has come to a halt stands there for ever.",
        endangers="L4 F32",
        test="tests/unit/actors/http/test_request_queue.py::test_a_ledger_that_has_come_to_a_halt_leaves_nobody_in_line",
        edits=(Edit(LINE, "self._first_came_at() <= now - PATIENCE_S:", "self._first_came_at() <= now - 1e9:"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="gone-and-in-line",
        wrong="Who has hung up keeps a place in the line.",
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
        wrong="Who has stood in line waits for its outcome as long again as others do.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_a_crowd_waits_unread_and_is_charged_in_order",
        edits=(
            Edit(HTTP, "asked_at = self.clock.monotonic() - context.in_line_s", "asked_at = self.clock.monotonic()"),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="behind-while-stripe-works",
        wrong="The ledger is called behind with a charge that it has decided and that waits for Stripe.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_the_ledger_is_behind_as_long_as_it_owes_a_decision",
        edits=(
            Edit(
                WAITING, "if not message.decided.done() and not message.answer.done():", "if not message.answer.done():"
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-and-not-counted",
        wrong="The crowd that is turned away unread is in no metric.",
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
        wrong="The door closes while connections that it accepted have yet to be made some.",
        endangers="F33",
        test="tests/unit/actors/http/test_acceptor.py::test_a_door_that_closes_lets_in_whoever_was_accepted",
        edits=(
            Edit(
                DOOR,
                "        while self._outside:\n            self._let_in()\n",
                "        while False:\n            self._let_in()\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="let-in-before-it-was-noted",
        wrong="Connections are only taken off the kernel's queue as they are let in.",
        endangers="F39",
        test="tests/unit/actors/http/test_acceptor.py::test_a_crowd_is_noted_at_once_and_let_in_in_order",
        edits=(
            Edit(
                DOOR,
                "min(ACCEPTED_IN_A_TURN, self._accepted_max - len(self._outside))",
                "LET_IN_IN_A_TURN - len(self._outside)",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="crowd-let-in-in-one-turn",
        wrong="All who stand outside are let in in one turn of the loop.",
        endangers="F39",
        test="tests/unit/actors/http/test_acceptor.py::test_a_crowd_is_noted_at_once_and_let_in_in_order",
        edits=(Edit(DOOR, "min(LET_IN_IN_A_TURN, len(self._outside))", "len(self._outside)"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="no-file-descriptor-and-it-spins",
        wrong="Without a file descriptor left it is tried again in each turn of the loop.",
        endangers="F39",
        test="tests/unit/actors/http/test_acceptor.py::test_a_door_that_waits_for_resources_can_be_closed",
        edits=(
            Edit(
                DOOR,
                "        self._pause()\n        self._open_again = self._loop.call_later(ACCEPT_AGAIN_S, self.open)\n",
                "",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="heard-first-looked-at-first",
        wrong="Who has an open connection passes whoever waits for one.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_who_has_a_connection_passes_nobody_who_waits_for_one",
        edits=(
            Edit(LINE, "self._waiting[caller] = (came_at, self._came)", "self._waiting[caller] = (now, self._came)"),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="looked-at-before-the-unheard",
        wrong="Who stands first in line is looked at, though somebody came earlier and is about to be heard.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_nobody_is_looked_at_before_those_who_came_earlier_are_heard",
        edits=(Edit(LINE, " and self._first_came_at() <= unheard_since:", ":"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="unheard-forgotten",
        wrong="Whoever has been let in is taken for heard.",
        endangers="F39",
        test="tests/unit/actors/http/test_acceptor.py::test_until_they_are_heard_it_is_known_since_when_they_wait",
        edits=(Edit(DOOR, "return min(self._next_came_at(), *self._lately)", "return self._next_came_at()"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="place-kept-by-a-connection",
        wrong="Who opened a connection early passes all who came before it spoke.",
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
        wrong="Who has hung up while standing in line is looked at all the same.",
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
        wrong="Who asks again before aiohttp has noticed that it has its answer passes the line.",
        endangers="F39",
        test="tests/unit/actors/http/test_connections.py::test_who_asks_again_at_once_stands_in_line_too",
        edits=(Edit(WIRE, "return self._answers == self._request_count", "return self._awaits_head()"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="open-connection-heard-late",
        wrong="In a crowd, what is read on an open connection came when it is read, and not when it was listened to.",
        endangers="F39",
        test="tests/unit/actors/http/test_acceptor.py::test_what_is_read_in_a_crowd_was_said_before_the_others_came",
        edits=(
            Edit(
                DOOR,
                "return math.nextafter(self._looked_at, math.inf) if self._turning else self._clock.monotonic()",
                "return self._clock.monotonic()",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="gone-and-remembered",
        wrong="Of everybody who has left the line the request is kept until the line has moved so far.",
        endangers="F39",
        test="tests/unit/actors/http/test_request_queue.py::test_those_who_have_left_take_no_memory",
        edits=(Edit(QUEUE, "if len(self._places) > 2 * len(self._members) + GONE_PLACES_KEPT:", "if False:"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="secret-of-another-status",
        wrong="A payment that wants its customer no more is shown with its client secret.",
        endangers="F45 F46",
        test="tests/unit/actors/http/test_responses.py::test_an_owner_sees_what_the_browser_needs_while_the_bank_wants_the_customer",
        edits=(
            Edit(
                ANSWERS,
                "    shown = handover if view.status is PaymentStatus.REQUIRES_ACTION else None\n",
                "    shown = handover\n",
            ),
        ),
        beyond="The ledger gives no secret with another status: this is the second lock.",
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
        wrong="The repr of what a browser needs shows the client secret.",
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
        wrong="The repr of what an attempt pays with shows the card's token.",
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
        wrong="A client secret that comes into a log line is not masked there.",
        endangers="F45",
        test="tests/unit/ops/test_redaction.py::test_no_secret_comes_out",
        edits=(
            Edit("payment/ops/redaction.py", "((?:pi|seti)_[A-Za-z0-9]+_secret_)", "((?:seti)_[A-Za-z0-9]+_secret_)"),
        ),
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
        wrong="A customer comes back from the bank over plain HTTP, wherever that leads.",
        endangers="F45",
        test="tests/unit/actors/http/test_requests.py::test_any_other_return_url_is_one_error_with_its_field",
        edits=(Edit(REQUESTS, 'rf"^(?:https://(?:{_LABEL}', 'rf"^(?:https?://(?:{_LABEL}'),),
        beyond=NO_FORGER,
    ),
    Mutant(
        name="authentication-called-a-decline",
        wrong="A card whose bank wants the customer is answered as any declined one.",
        endangers="F45",
        test="tests/unit/actors/http/test_responses.py::test_a_card_that_wants_its_customer_has_a_code_of_its_own",
        edits=(
            Edit(
                ANSWERS,
                "    case = Case.AUTHENTICATION_REQUIRED if reply.authentication else Case.DECLINED\n",
                "    case = Case.DECLINED\n",
            ),
        ),
        beyond="What a decline is called is no law.",
    ),
    Mutant(
        name="stolen-card-said-so",
        wrong="A decline says that the card was reported stolen: a thief may read it.",
        endangers="F15",
        test="tests/unit/actors/http/test_responses.py::test_a_decline_that_could_warn_a_thief_is_generic",
        edits=(
            Edit(ANSWERS, "    if decline_code in HIDDEN_DECLINE_CODES:\n", '    if decline_code == "fraudulent":\n'),
        ),
        beyond="What a decline is called is no law.",
    ),
    Mutant(
        name="decline-without-its-payment",
        wrong="402 does not say where its payment can be read.",
        endangers="F15",
        test="tests/unit/actors/http/test_responses.py::test_a_declined_card_is_402_with_stripes_code_and_message",
        edits=(
            Edit(
                ANSWERS,
                "    return Rendered(case, body, (_location(reply.payment_id),), item.message, reply.decline_code)\n",
                "    return Rendered(case, body, (), item.message, reply.decline_code)\n",
            ),
        ),
        beyond="What an answer's headers say is no law.",
    ),
)
