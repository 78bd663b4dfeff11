"""Mutants of the HTTP actor: identity, admission, and the answers about a charge."""

from tests.mutants.mutant import Edit, Mutant

ANSWERS = "payment/actors/http/responses.py"
IDENTITY = "payment/actors/http/auth.py"
REQUESTS = "payment/actors/http/requests.py"
PENDING_REQUESTS = "payment/actors/http/pending_requests.py"

NO_FORGER = "The simulation's customers send valid tokens only."
HTTP = "payment/actors/http/actor.py"
QUEUE = "payment/actors/runtime/position_queue.py"
WIRE = "payment/actors/http/connections.py"
NO_BURST = "No simulated load is ten times the service's capacity."
LIMITS = "payment/actors/http/admission.py"

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
        test="tests/unit/actors/http/test_responses.py::test_only_the_owner_sees_the_payment",
        edits=(Edit(ANSWERS, "case PaymentView() if found.user_id != user_id:", "case PaymentView() if not user_id:"),),
    ),
    Mutant(
        name="nothing-charged-after-a-write",
        wrong='The answer claims "nothing was charged" where a write was sent and its result is unknown.',
        endangers="L4 F26",
        test="tests/unit/actors/http/test_responses.py::test_nothing_charged_is_said_only_where_no_write_may_have_been_sent",
        edits=(
            Edit(
                ANSWERS,
                "if what.reason is Unavailability.WRITE_UNKNOWN:",
                "if what.reason is Unavailability.CRASHED:",
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
        wrong="Whatever makes the ledger answer 503 to one charge makes the service refuse all others as busy.",
        endangers="L4 F26 F39",
        test="tests/unit/actors/http/test_admission.py::test_only_a_busy_ledger_makes_other_charges_refused",
        edits=(
            Edit(
                HTTP,
                "            if reply.reply == _BUSY:\n",
                "            if isinstance(reply.reply, Unavailable):\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-out-of-turn",
        wrong="A charge that is refused unparsed is answered before the one ahead of it on its connection.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_admission.py::test_a_refusal_is_never_written_before_the_answer_ahead_of_it",
        edits=(
            Edit(
                WIRE,
                "            super().data_received(data)\n            self._fail_body()\n            return\n",
                "            super().data_received(data)\n"
                "            if not (self._messages and self._is_refused_charge()):\n"
                "                self._fail_body()\n"
                "            return\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-the-rest-along",
        wrong="What follows a charge in one packet is dropped with it, and never answered.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_admission.py::test_each_of_two_charges_in_one_packet_is_answered",
        edits=(
            Edit(
                WIRE,
                "            or len(self._messages) > 1\n",
                "",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-for-ever",
        wrong="Once the ledger was busy, every charge is refused from then on.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_admission.py::test_every_charge_is_refused_for_a_moment_after_the_ledger_was_busy",
        edits=(
            Edit(
                LIMITS,
                "        if self._clock.monotonic() < self._busy_until:\n",
                "        if self._busy_until:\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-while-stopping",
        wrong="A charge that comes during a stop is told to come back in a second, to a service that is gone.",
        endangers="F33",
        test="tests/unit/actors/http/test_admission.py::test_a_service_that_stops_says_so_and_not_that_it_is_busy",
        edits=(
            Edit(
                HTTP,
                "        self._draining = True\n        self._admission.end()\n",
                "        self._draining = True\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="room-of-those-who-were-answered",
        wrong="A request that got 202 is not counted among the charges that the service has accepted.",
        endangers="F39",
        test="tests/unit/actors/http/test_pending_requests.py::test_there_is_as_much_room_as_charges_before_stripe_leave",
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
        wrong="Charges that are refused unparsed are in no metric.",
        endangers="F39",
        test="tests/unit/actors/http/test_admission.py::test_charges_that_are_refused_unparsed_are_in_the_metrics",
        edits=(
            Edit(
                HTTP,
                "        self._metrics.http_requests(PAYMENTS_PATH, str(_REFUSED.status)).inc()\n",
                "",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="shed-with-its-id-as-it-came",
        wrong="A request id of any shape comes back in a header where a charge is refused unparsed.",
        endangers="F37",
        test="tests/unit/actors/http/test_admission.py::test_a_request_id_of_another_shape_is_replaced_there_too",
        edits=(
            Edit(
                HTTP,
                "        request_id = self._request_id(given_id)\n",
                '        request_id = given_id or ""\n',
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="gone-and-remembered",
        wrong="The positions of members that were removed stay in the queue.",
        endangers="F39",
        test="tests/unit/actors/runtime/test_position_queue.py::test_members_that_have_left_take_no_memory",
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
        edits=(Edit(REQUESTS, "        if kind is not given[0]:\n", "        if kind.value in faults:\n"),),
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
    Mutant(
        name="burst-handled-in-one-turn",
        wrong="All charges of a burst are handled in one turn of the loop.",
        endangers="F39",
        test="tests/unit/actors/http/test_admission.py::test_charges_pass_in_order_and_a_few_in_a_turn",
        edits=(
            Edit(
                LIMITS,
                "asyncio.Semaphore(AT_ONCE)",
                "asyncio.Semaphore(1_000)",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="queue-without-a-limit",
        wrong="Any number of charges is admitted.",
        endangers="F39",
        test="tests/unit/actors/http/test_admission.py::test_as_many_charges_are_admitted_as_come_when_a_sale_begins",
        edits=(
            Edit(
                LIMITS,
                "if self._waiting < (self._limit if room is None else room):",
                "if self._waiting >= 0 or room:",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="overload-admitted-anew",
        wrong="Whenever the queue is empty for an instant, an overload that lasts is admitted as if it had just begun.",
        endangers="F39",
        test="tests/unit/actors/http/test_admission.py::test_an_overload_that_lasts_is_not_admitted_anew",
        edits=(Edit(LIMITS, "if since - self._refused_at >= RATE_KEPT_S:", "if since >= self._refused_at:"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="queue-as-long-as-it-may-be",
        wrong="However slowly the queue is served, it is as long as it may be.",
        endangers="F39",
        test="tests/unit/actors/http/test_admission.py::test_no_more_charges_wait_than_pass_in_time",
        edits=(
            Edit(
                LIMITS,
                "            self._limit = min(max(known, QUEUE_LEAST), QUEUE_MAX)\n",
                "            assert known >= 0\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="queue-short-before-stripe",
        wrong="Charges that will wait for Stripe are refused because the queue before it is served slowly.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_admission.py::test_before_stripe_as_many_are_admitted_as_may_be_pending",
        edits=(
            Edit(
                LIMITS,
                "(self._limit if room is None else room)",
                "self._limit",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="queue-longer-than-the-room",
        wrong="Charges are admitted for which the service will have no room.",
        endangers="F39",
        test="tests/unit/actors/http/test_admission.py::test_before_stripe_as_many_are_admitted_as_may_be_pending",
        edits=(
            Edit(
                LIMITS,
                "if room is None else room)",
                "if room is None else max(room, self._limit))",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="charges-ahead-of-the-ledger",
        wrong="Charges are sent to the ledger however far behind it is.",
        endangers="F39",
        test="tests/unit/actors/http/test_admission.py::test_no_charge_passes_while_the_ledger_is_behind",
        edits=(
            Edit(
                LIMITS,
                "while self._behind_s() >= BEHIND_S and",
                "while self._behind_s() < 0.0 and",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="queue-for-a-dead-ledger",
        wrong="A charge waits for ever for a ledger that has come to a halt.",
        endangers="L4 F32",
        test="tests/unit/actors/http/test_admission.py::test_a_ledger_that_has_come_to_a_halt_leaves_no_charge_waiting",
        edits=(
            Edit(
                LIMITS,
                "- since >= PATIENCE_S:",
                "- since >= 1e9:",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="gone-and-in-the-queue",
        wrong="A client that has disconnected keeps its place in the queue.",
        endangers="F39",
        test="tests/unit/actors/http/test_admission.py::test_a_client_that_is_gone_while_it_waits_takes_no_place",
        edits=(
            Edit(
                LIMITS,
                "        finally:\n            self._waiting -= 1\n",
                "        except TimeoutError:\n            return False\n        self._waiting -= 1\n",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="queue-not-counted-as-waiting",
        wrong="A charge that has waited in the queue waits for its outcome as long again as others do.",
        endangers="L4 F39",
        test="tests/unit/actors/http/test_admission.py::test_a_burst_waits_and_its_wait_counts",
        edits=(
            Edit(
                HTTP,
                "deadline = context.started_at + self._config.charge_wait_s",
                "deadline = self.clock.monotonic() + self._config.charge_wait_s",
            ),
        ),
        beyond=NO_BURST,
    ),
)
