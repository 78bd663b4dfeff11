"""Mutants between the service and the broker: events acknowledged too soon, or never published."""

from tests.mutants.mutant import Edit, Mutant

ACTOR = "payment/actors/nats/actor.py"
EVENTS = "payment/actors/nats/event_payloads.py"
OUTGOING = "payment/actors/nats/publisher.py"
LINK = "payment/adapters/nats/link.py"
REFUSALS = "payment/actors/nats/refusal_log.py"
JETSTREAM = "payment/adapters/nats/jetstream/transport.py"
SETTINGS = "payment/adapters/nats/jetstream/settings.py"
BELOW = "The simulation replaces the broker by a fake and does not run this file."
TIME_ONLY = "Every event is published in the end: only the time differs, which the named test checks."
REFUSED = "tests/unit/actors/nats/test_actor.py::TestRefusedPublishes::"
OTHERS = "tests/unit/adapters/nats/test_jetstream_made_by_others.py::"
NO_TLS = "The simulation replaces the broker by a fake without a network."

MUTANTS = (
    Mutant(
        name="ack-on-arrival",
        wrong="An event is acknowledged when it is handed to the ledger.",
        endangers="L4 F08 F25",
        test="tests/unit/actors/nats/test_actor.py::test_an_event_is_acknowledged_only_after_it_is_settled",
        edits=(
            Edit(
                ACTOR,
                "            await self._ledger.put(self._message(delivery))\n",
                "            await self._ledger.put(self._message(delivery))\n            await delivery.ack()\n",
            ),
        ),
    ),
    Mutant(
        name="ack-during-an-outage",
        wrong="An event that could not be written is acknowledged instead of requested again.",
        endangers="L4 F25",
        test="tests/unit/actors/nats/test_actor.py::test_an_event_whose_process_died_before_the_ack_comes_again",
        edits=(
            Edit(
                ACTOR,
                "            if handling is Handling.NOT_NOW:\n                await delivery.retry(",
                "            if handling is Handling.STALE:\n                await delivery.retry(",
            ),
        ),
    ),
    Mutant(
        name="redelivery-acknowledged-in-progress",
        wrong="A redelivery is acknowledged while its event is still being handled.",
        endangers="L4 F29",
        test="tests/unit/actors/nats/test_actor.py::test_an_event_whose_message_was_lost_is_handled_again",
        edits=(
            Edit(
                ACTOR,
                "            return  # the acknowledgement",
                "            await delivery.ack()\n            return  # the acknowledgement",
            ),
        ),
    ),
    Mutant(
        name="refused-publish-called-done",
        wrong="An event that the broker did not store is marked as published.",
        endangers="L2 F28",
        test="tests/unit/actors/nats/test_actor.py::test_a_publish_without_an_answer_is_made_again_with_its_id",
        edits=(
            Edit(
                ACTOR,
                "            self._not_taken(outgoing, effect, error, started)\n            return\n",
                "            get_logger().debug(str(error))\n",
            ),
        ),
    ),
    Mutant(
        name="refused-publish-dropped",
        wrong="An event that the broker did not store is not published again.",
        endangers="L2 F28",
        test="tests/unit/actors/nats/test_actor.py::test_a_publish_without_an_answer_is_made_again_with_its_id",
        edits=(
            Edit(
                OUTGOING,
                "            self._waiting.append(effect)\n            self._hold(",
                "            self._hold(",
            ),
        ),
    ),
    Mutant(
        name="never-handled-again",
        wrong="The result of an event is dropped, but not its mark as being handled: its redelivery is ignored.",
        endangers="L4 F25 F29",
        test="tests/unit/actors/nats/test_actor.py::test_an_event_that_can_not_be_written_now_comes_again_ever_later",
        edits=(
            Edit(
                ACTOR,
                "        self._in_progress.pop(delivery.identity, None)\n        self._settled.add",
                "        self._settled.add",
            ),
        ),
        beyond="The event is handled again after a minute: no law notices the difference.",
    ),
    Mutant(
        name="bad-event-guessed-at",
        wrong="An order:created without a price becomes an order of amount 0.",
        endangers="L4 F30",
        test="tests/unit/actors/nats/test_event_payloads.py::test_a_field_that_is_not_as_the_contract_says_is_a_bad_event",
        edits=(Edit(EVENTS, '        raise BadEvent("price is missing")\n', "        price = Decimal(0)\n"),),
    ),
    Mutant(
        name="time-without-a-zone-guessed-at",
        wrong="A time without a zone is interpreted as UTC.",
        endangers="L4 F30",
        test="tests/unit/actors/nats/test_event_payloads.py::test_a_field_that_is_not_as_the_contract_says_is_a_bad_event",
        edits=(Edit(EVENTS, "(?:Z|([+-][0-9]{2})(?::?([0-9]{2}))?)", "(?:Z|([+-][0-9]{2})(?::?([0-9]{2}))?)?"),),
        beyond="Unit tests check each form of an event.",
    ),
    Mutant(
        name="prices-that-differ",
        wrong="Of two prices in one event that differ, one is chosen.",
        endangers="L4 F30",
        test="tests/unit/actors/nats/test_event_payloads.py::test_a_field_that_is_not_as_the_contract_says_is_a_bad_event",
        edits=(Edit(EVENTS, "at_top is not None and in_ticket != at_top:", "at_top is not None and not in_ticket:"),),
        beyond="Unit tests check each form of an event.",
    ),
    Mutant(
        name="published-without-its-id",
        wrong="Events go to JetStream without an id: a repeated publish is a second event.",
        endangers="L2 F07",
        test="tests/contract/test_jetstream.py::TestJetStream::test_the_same_message_id_is_delivered_once",
        edits=(
            Edit(
                "payment/adapters/nats/jetstream/transport.py",
                'PUBLISH_TIMEOUT_S, {"Nats-Msg-Id": message_id})',
                "PUBLISH_TIMEOUT_S, {})",
            ),
        ),
        beyond="The simulation replaces the broker by a fake and does not run this file.",
    ),
    Mutant(
        name="identity-by-its-number-alone",
        wrong="An event is identified by its sequence alone: a stream that is created again reuses the identities.",
        endangers="L4 F30",
        test="tests/contract/test_jetstream.py::TestJetStream::"
        "test_no_two_events_have_one_identity_though_the_broker_counts_from_1_again",
        edits=(
            Edit(
                "payment/adapters/nats/jetstream/pull.py",
                'f"{origin.stream}:{origin.sequence.stream}:{stored_us}"',
                'f"{origin.stream}:{origin.sequence.stream}:{stored_us - stored_us}"',
            ),
        ),
        beyond="The simulation replaces the broker by a fake and does not run this file.",
    ),
    Mutant(
        name="tls-asked-for-and-not-had",
        wrong="With a tls:// NATS_URL a server without TLS gets the password unencrypted.",
        endangers="F37",
        test="tests/unit/adapters/nats/test_link.py::test_where_the_url_says_tls_a_server_without_tls_gets_nothing",
        edits=(
            Edit(
                LINK,
                'if not (info.get("tls_required") or info.get("tls_available")):',
                "if not info:",
            ),
            Edit(
                LINK,
                '            info["tls_required"] = True  # required by us',
                '            info["tls_verify"] = False  # by us',
            ),
        ),
        beyond=NO_TLS,
    ),
    Mutant(
        name="tls-left-to-the-server",
        wrong="With a tls:// NATS_URL the connection to a server that only offers TLS is not encrypted.",
        endangers="F37",
        test="tests/unit/adapters/nats/test_link.py::"
        "test_where_the_url_says_tls_and_the_server_only_offers_it_nothing_goes_before_the_handshake",
        edits=(
            Edit(
                LINK,
                '            info["tls_required"] = True  # required by us',
                '            info["tls_verify"] = False  # by us',
            ),
        ),
        beyond=NO_TLS,
    ),
    Mutant(
        name="tls-forced-without-being-asked-for",
        wrong="With a nats:// NATS_URL the connection to a server that offers TLS is encrypted.",
        endangers="F37",
        test="tests/unit/adapters/nats/test_link.py::test_where_the_url_says_nats_a_server_that_only_offers_tls_"
        "is_taken_without",
        edits=(Edit(LINK, '(scheme == "nats" and self._wants_tls)', 'scheme == "nats"'),),
        beyond=NO_TLS,
    ),
    Mutant(
        name="refusal-not-said",
        wrong="Refused publishes are repeated for ever, and nothing reports them.",
        endangers="F54",
        test=REFUSED + "test_it_is_shown_after_four_seconds_with_its_reason",
        edits=(Edit(ACTOR, "            self._any_refused.set()\n", "            self._show()\n"),),
    ),
    Mutant(
        name="silence-no-refusal",
        wrong="A broker that never acknowledges counts as a lost connection: nothing reports it.",
        endangers="F54",
        test=REFUSED + "test_missing_acknowledgements_are_shown_within_ten_seconds",
        edits=(
            Edit(
                ACTOR,
                "if isinstance(error, PublishRefused | PublishUnanswered):",
                "if isinstance(error, PublishRefused):",
            ),
        ),
        beyond="A simulated bus that stores nothing for ten seconds is away, and is reported as lost.",
    ),
    Mutant(
        name="connection-back-clears-refusals",
        wrong="`/readyz` is ready again when the connection is back, though a subject is still refused.",
        endangers="F54",
        test=REFUSED + "test_a_subject_stays_degraded_while_the_transport_is_well",
        edits=(
            Edit(
                ACTOR,
                '*self._refusals.shown("; ".join(disconnected))])',
                '*(self._refusals.shown("; ".join(disconnected)) if disconnected else [])])',
            ),
        ),
        beyond="Readiness is no part of a journal.",
    ),
    Mutant(
        name="refused-alone-refuses-all",
        wrong="An event that is refused for its content makes its whole subject wait, each time.",
        endangers="F54",
        test=REFUSED + "test_an_event_that_is_refused_alone_is_set_aside",
        edits=(Edit(OUTGOING, "alone = before is not None and (", "alone = before is None and bool("),),
        beyond=TIME_ONLY,
    ),
    Mutant(
        name="refusal-repeated-each-second",
        wrong="A lasting refusal is an alarm at each check.",
        endangers="F54",
        test=REFUSED + "test_it_is_repeated_rarely_and_a_new_reason_at_once",
        edits=(Edit(REFUSALS, "now - self.alarmed_at >= ALARM_AGAIN_AFTER_S", "now > self.alarmed_at"),),
        beyond="No law counts lines.",
    ),
    Mutant(
        name="silence-tried-as-often-as-a-refusal",
        wrong="An unacknowledged event is published again every few seconds, and NATS Streaming stores it each time.",
        endangers="F54",
        test=REFUSED + "test_missing_acknowledgements_are_shown_within_ten_seconds",
        edits=(Edit(OUTGOING, "(REFUSED if answered else UNANSWERED).pause_s(self._failures)", "REPUBLISH_AFTER_S"),),
        beyond="The simulated bus knows message ids.",
    ),
    Mutant(
        name="dead-letter-without-an-alarm",
        wrong="An order's event that can't be applied becomes a dead letter with only a warning.",
        endangers="F30",
        test="tests/unit/actors/nats/test_actor.py::test_a_dead_letter_is_an_alarm_that_names_the_order_where_it_can",
        edits=(
            Edit(
                ACTOR,
                "            self._alarm_dead_letter(delivery, order_id, error)\n",
                "            self._metrics.dead_letters(delivery.subject).inc()\n",
            ),
        ),
        beyond="No law counts lines.",
    ),
    Mutant(
        name="max-deliver-not-looked-at",
        wrong="A consumer that drops an event after some deliveries is read.",
        endangers="L4 F53",
        test="tests/unit/adapters/nats/test_jetstream_settings.py::test_a_consumer_that_would_lose_events_is_refused",
        edits=(
            Edit(SETTINGS, 'int(config.get("max_deliver") or -1)) > 0:', 'int(config.get("max_deliver") or -1)) > 99:'),
        ),
        beyond=BELOW,
    ),
    Mutant(
        name="headers-only-not-looked-at",
        wrong="A consumer whose events have no contents is read: each becomes an empty dead letter.",
        endangers="L4 F53",
        test="tests/unit/adapters/nats/test_jetstream_settings.py::test_a_consumer_that_would_lose_events_is_refused",
        edits=(Edit(SETTINGS, 'if config.get("headers_only"):', 'if config.get("headers_only_"):'),),
        beyond=BELOW,
    ),
    Mutant(
        name="stream-without-acks-published-to",
        wrong="A stream that never acknowledges is published to, again and again.",
        endangers="L2 F53",
        test="tests/unit/adapters/nats/test_jetstream_settings.py::test_a_stream_that_can_not_take_our_events_is_not_published_to",
        edits=(Edit(SETTINGS, 'if config.get("no_ack"):', 'if config.get("no_ack_"):'),),
        beyond=BELOW,
    ),
    Mutant(
        name="discard-new-taken-for-a-limit-of-subjects",
        wrong="A stream that keeps only the last event of a subject, with `discard: new`, counts as fit.",
        endangers="L4 F53",
        test="tests/unit/adapters/nats/test_jetstream_settings.py::test_a_stream_that_drops_events_is_reported_for_both_directions",
        edits=(Edit(SETTINGS, 'new and bool(config.get("discard_new_per_subject"))', "new"),),
        beyond=BELOW,
    ),
    Mutant(
        name="settings-read-once",
        wrong="A consumer's settings are checked only once, and later changes are not detected.",
        endangers="L4 F53",
        test=OTHERS + "test_a_changed_consumer_setting_is_detected",
        edits=(
            Edit(
                JETSTREAM,
                "            self._judge(subject, reading.verdict, health)\n            progress.note(",
                "            progress.note(",
            ),
        ),
        beyond=BELOW,
    ),
    Mutant(
        name="well-before-an-answer",
        wrong="A subject counts as well when its consumer exists, whether it answers a pull or not.",
        endangers="F54",
        test="tests/unit/adapters/nats/test_publish_refused.py::test_a_consumer_that_may_not_be_read_is_never_called_well",
        edits=(
            Edit(
                JETSTREAM,
                "        self._judge(subject, (await settings_checks.reading(subject, stream)).verdict, health)\n"
                "        return consumer",
                "        self._judge(subject, (await settings_checks.reading(subject, stream)).verdict, health)\n"
                "        health.well(subject)\n        return consumer",
            ),
        ),
        beyond=BELOW,
    ),
    Mutant(
        name="removed-unread-in-silence",
        wrong="Events that a limit or a purge removes unread are not counted.",
        endangers="L4 F53",
        test=OTHERS + "test_events_purged_before_they_were_read_are_an_alarm",
        edits=(
            Edit(
                "payment/adapters/nats/jetstream/checks.py",
                "self._removed += max(0, last.num_pending - now.num_pending - delivered)",
                "self._removed += min(0, delivered)",
            ),
        ),
        beyond=BELOW,
    ),
    Mutant(
        name="restart-taken-for-a-second-process",
        wrong="A process with the same client id that announced itself once is reported as a second living one.",
        endangers="F34",
        test="tests/unit/adapters/nats/test_presence.py::test_processes_that_follow_one_another_are_no_clash",
        edits=(Edit("payment/adapters/nats/presence.py", "last - first >= BOTH_ALIVE_S", "last - first >= 0.0"),),
        beyond=BELOW,
    ),
    Mutant(
        name="second-process-not-seen",
        wrong="Two living processes with one client id are not reported.",
        endangers="F34",
        test="tests/unit/adapters/nats/test_presence.py::test_both_processes_report_the_clash_and_the_remaining_one_recovers",
        edits=(
            Edit(
                "payment/adapters/nats/presence.py",
                "if name == self._instance or not",
                "if name != self._instance or not",
            ),
        ),
        beyond=BELOW,
    ),
    Mutant(
        name="streaming-refusal-called-an-outage",
        wrong="A publish that NATS Streaming refuses counts as a lost connection, which nothing reports.",
        endangers="F54",
        test="tests/unit/adapters/nats/test_publish_refused.py::test_nats_streaming_takes_no_more_channels",
        edits=(
            Edit(
                "payment/adapters/nats/streaming/transport.py",
                "                return PublishRefused(self._describe(error, self._connection))",
                "                return TransportUnavailable(self._describe(error, self._connection))",
            ),
        ),
        beyond=BELOW,
    ),
)
