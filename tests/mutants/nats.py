"""Wrongs between us and the broker: what is acknowledged too soon, and what is never published."""

from tests.mutants.mutant import Edit, Mutant

ACTOR = "payment/actors/nats.py"
EVENTS = "payment/edge/events.py"
OUTGOING = "payment/actors/nats_outgoing.py"
LINK = "payment/ports/nats_link.py"
NO_TLS = "The simulation has a fake in the place of the broker, without a wire."

MUTANTS = (
    Mutant(
        name="ack-on-arrival",
        wrong="An event is acknowledged when it is handed to the ledger.",
        endangers="L4 F08 F25",
        test="tests/actors/test_nats.py::test_an_event_is_acknowledged_only_after_it_is_settled",
        edits=(
            Edit(
                ACTOR,
                "            await self._ledger.put(self._letter(delivery))\n",
                "            await self._ledger.put(self._letter(delivery))\n            await delivery.ack()\n",
            ),
        ),
    ),
    Mutant(
        name="ack-during-an-outage",
        wrong="An event that could not be written is acknowledged instead of asked for again.",
        endangers="L4 F25",
        test="tests/actors/test_nats.py::test_an_event_whose_process_died_before_the_ack_comes_again",
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
        test="tests/actors/test_nats.py::test_an_event_whose_letter_was_lost_is_handled_again",
        edits=(
            Edit(
                ACTOR,
                "            return  # redelivered while",
                "            await delivery.ack()\n            return  # redelivered while",
            ),
        ),
    ),
    Mutant(
        name="refused-publish-called-done",
        wrong="An event that the broker did not take is marked as published.",
        endangers="L2 F28",
        test="tests/actors/test_nats.py::test_a_publish_without_an_answer_is_made_again_with_its_id",
        edits=(
            Edit(
                ACTOR,
                "            outgoing.refused(effect)\n            return\n",
                "            get_logger()\n",
            ),
        ),
    ),
    Mutant(
        name="refused-publish-dropped",
        wrong="An event that the broker did not take is not offered to it again.",
        endangers="L2 F28",
        test="tests/actors/test_nats.py::test_a_publish_without_an_answer_is_made_again_with_its_id",
        edits=(Edit(OUTGOING, "        self._waiting.appendleft(effect)\n", ""),),
    ),
    Mutant(
        name="never-handled-again",
        wrong="What came of an event is forgotten, but not that it was being handled: its redelivery is passed over.",
        endangers="L4 F25 F29",
        test="tests/actors/test_nats.py::test_what_can_not_be_written_now_comes_again_ever_later",
        edits=(
            Edit(
                ACTOR,
                "        self._in_progress.pop(delivery.identity, None)\n        self._settled.append",
                "        self._settled.append",
            ),
        ),
        beyond="It is let pass again after a minute: no law knows the difference.",
    ),
    Mutant(
        name="bad-event-guessed-at",
        wrong="A created whose price is missing becomes an order for nothing.",
        endangers="L4 F30",
        test="tests/edge/test_events.py::test_a_field_that_is_not_as_the_contract_says_is_a_bad_event",
        edits=(Edit(EVENTS, '        raise BadEvent("price is missing")\n', "        price = Decimal(0)\n"),),
    ),
    Mutant(
        name="time-without-a-zone-guessed-at",
        wrong="A time without its zone is taken for UTC.",
        endangers="L4 F30",
        test="tests/edge/test_events.py::test_a_field_that_is_not_as_the_contract_says_is_a_bad_event",
        edits=(Edit(EVENTS, "(?:Z|([+-][0-9]{2})(?::?([0-9]{2}))?)", "(?:Z|([+-][0-9]{2})(?::?([0-9]{2}))?)?"),),
        beyond="What an event may look like is tested form by form.",
    ),
    Mutant(
        name="prices-that-differ",
        wrong="Of two prices in one event that differ, one is chosen.",
        endangers="L4 F30",
        test="tests/edge/test_events.py::test_a_field_that_is_not_as_the_contract_says_is_a_bad_event",
        edits=(Edit(EVENTS, "at_top is not None and in_ticket != at_top:", "at_top is not None and not in_ticket:"),),
        beyond="What an event may look like is tested form by form.",
    ),
    Mutant(
        name="published-without-its-id",
        wrong="Events go to JetStream without an id: a repeated publish is a second event.",
        endangers="L2 F07",
        test="tests/contract/test_jetstream.py::TestJetStream::test_the_same_message_id_is_delivered_once",
        edits=(
            Edit(
                "payment/ports/jetstream.py",
                'PUBLISH_TIMEOUT_S, {"Nats-Msg-Id": message_id})',
                "PUBLISH_TIMEOUT_S, {})",
            ),
        ),
        beyond="The simulation has a fake in the place of the broker: this file is not run there.",
    ),
    Mutant(
        name="identity-by-its-number-alone",
        wrong="An event is known by its place in the stream alone: a stream that is made again uses its names again.",
        endangers="L4 F30",
        test="tests/contract/test_jetstream.py::TestJetStream::"
        "test_no_two_events_have_one_identity_though_the_broker_counts_from_1_again",
        edits=(
            Edit(
                "payment/ports/jetstream.py",
                'f"{origin.stream}:{origin.sequence.stream}:{stored_us}"',
                'f"{origin.stream}:{origin.sequence.stream}:{stored_us - stored_us}"',
            ),
        ),
        beyond="The simulation has a fake in the place of the broker: this file is not run there.",
    ),
    Mutant(
        name="tls-asked-for-and-not-had",
        wrong="Where NATS_URL says tls, a server that offers none gets the password unencrypted.",
        endangers="F37",
        test="tests/ports/test_nats_link.py::test_where_the_url_says_tls_a_server_without_tls_gets_nothing",
        edits=(
            Edit(
                LINK,
                'if not (info.get("tls_required") or info.get("tls_available")):',
                "if not info:",
            ),
            Edit(
                LINK,
                '            info["tls_required"] = True  # by us',
                '            info["tls_verify"] = False  # by us',
            ),
        ),
        beyond=NO_TLS,
    ),
    Mutant(
        name="tls-left-to-the-server",
        wrong="Where NATS_URL says tls, a server that only offers it is spoken to without.",
        endangers="F37",
        test="tests/ports/test_nats_link.py::"
        "test_where_the_url_says_tls_and_the_server_only_offers_it_nothing_goes_before_the_handshake",
        edits=(
            Edit(
                LINK,
                '            info["tls_required"] = True  # by us',
                '            info["tls_verify"] = False  # by us',
            ),
        ),
        beyond=NO_TLS,
    ),
    Mutant(
        name="tls-forced-where-nobody-asked",
        wrong="A server that only offers TLS is spoken to with TLS also where NATS_URL says nats.",
        endangers="F37",
        test="tests/ports/test_nats_link.py::test_where_the_url_says_nats_a_server_that_only_offers_tls_"
        "is_taken_without",
        edits=(Edit(LINK, '(scheme == "nats" and self._wants_tls)', 'scheme == "nats"'),),
        beyond=NO_TLS,
    ),
)
