"""Mutants of the requests to Stripe, their keys, and how answers are read (payment/adapters/stripe)."""

from tests.mutants.mutant import Edit, Mutant

BODIES = "payment/adapters/stripe/bodies.py"
CARDS = "payment/adapters/stripe/cards.py"
ERRORS = "payment/adapters/stripe/errors.py"
REFUNDS = "payment/adapters/stripe/refunds.py"
LIBRARY = "payment/adapters/stripe/library.py"
REDACTION = "payment/ops/redaction.py"

REAL_ONES = "The simulation has a fake instead of Stripe's library: this file is not run there."

MUTANTS = (
    Mutant(
        name="new-key-on-retry",
        wrong="A confirm that is sent again has a key of its own: it depends on the number of the send.",
        endangers="L1 F09 F10",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_confirm_sends_the_card_and_what_the_client_can_do",
        edits=(
            Edit(
                CARDS,
                'key=f"confirm-{intent_id}-{request.attempt}"',
                'key=f"confirm-{intent_id}-{request.attempt}-{request.send}"',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="one-key-for-all-attempts",
        wrong="A new attempt, with another card, is confirmed under the key of the one before.",
        endangers="L4 F15 F16",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_confirm_sends_the_card_and_what_the_client_can_do",
        edits=(Edit(CARDS, 'key=f"confirm-{intent_id}-{request.attempt}"', 'key=f"confirm-{intent_id}"'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="confirm-without-a-key",
        wrong="A confirm carries no idempotency key.",
        endangers="L1 F09 F10",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_confirm_sends_the_card_and_what_the_client_can_do",
        edits=(Edit(CARDS, '            key=f"confirm-{intent_id}-{request.attempt}",\n', ""),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="created-and-confirmed",
        wrong="The create confirms its intent at once.",
        endangers="L1 F09 F47",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_create_sends_the_contracts_parameters_and_nothing_else",
        edits=(
            Edit(
                CARDS,
                '            "transfer_group": intent.order_id,\n        }',
                '            "transfer_group": intent.order_id,\n            "confirm": True,\n        }',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="create-without-its-order",
        wrong="An intent is created without the transfer group by which its charges are listed.",
        endangers="L1 F47",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_create_sends_the_contracts_parameters_and_nothing_else",
        edits=(Edit(CARDS, '            "transfer_group": intent.order_id,\n        }', "        }"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="create-differs-by-version",
        wrong="A create is repeated with the API version of today: other parameters for one key.",
        endangers="F16 F47",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_create_sends_the_contracts_parameters_and_nothing_else",
        edits=(Edit(CARDS, "version=intent.api_version, key=intent.key", "version=API_VERSION, key=intent.key"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="cancel-with-a-key",
        wrong="A cancel carries an idempotency key: an error that is stored for it stands in the way of every other.",
        endangers="L4 F12 F46",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_cancel_carries_no_key",
        edits=(
            Edit(
                CARDS,
                'await self._call(CallKind.CANCEL, "post", f"{_path_of(intent_id)}/cancel", {})',
                'await self._call(CallKind.CANCEL, "post", f"{_path_of(intent_id)}/cancel", {}, '
                'key=f"cancel-{intent_id}")',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="retrieve-without-its-charge",
        wrong="A retrieve does not ask for the intent's charge: whether it was given back is not known.",
        endangers="L2 F49",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_retrieve_asks_for_the_intent_with_its_charge",
        edits=(
            Edit(CARDS, '"get", _path_of(intent_id), {"expand": EXPANDED_CHARGE})', '"get", _path_of(intent_id), {})'),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="authentication-without-a-client-for-it",
        wrong="Where the client can't authenticate its customer, the bank may ask all the same: the order hangs.",
        endangers="L4 F45",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_confirm_sends_the_card_and_what_the_client_can_do",
        edits=(Edit(CARDS, 'params["error_on_requires_action"] = True', 'params["error_on_requires_action"] = False'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="stripe-js-where-the-bank-redirects",
        wrong="A request with a return URL is confirmed as if the browser used Stripe.js.",
        endangers="F45",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_confirm_sends_the_card_and_what_the_client_can_do",
        edits=(Edit(CARDS, 'params["use_stripe_sdk"] = False', 'params["use_stripe_sdk"] = True'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="another-intent-read",
        wrong="An answer with another intent counts as one about the requested intent.",
        endangers="L1 L2",
        test="tests/unit/adapters/stripe/test_bodies.py::test_another_intent_than_the_one_asked_for_is_an_alarm",
        edits=(Edit(BODIES, "    other = intent_id is not None and given_id != intent_id\n", "    other = False\n"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="amount-of-a-charge-unread",
        wrong="A succeeded charge of another amount or order pays this one.",
        endangers="L2",
        test="tests/unit/adapters/stripe/test_bodies.py::test_a_charge_that_contradicts_its_order_is_an_alarm",
        edits=(
            Edit(
                BODIES,
                '    expected |= {} if asked is None else _expected(asked)\n    expected |= {"captured"',
                '    expected = {"captured"',
            ),
            Edit(BODIES, '": True, "payment_intent": intent_id}\n', '": True}\n'),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="unpaid-charge-taken",
        wrong="A charge that Stripe calls succeeded and not paid pays the order.",
        endangers="L2",
        test="tests/unit/adapters/stripe/test_bodies.py::test_a_success_without_its_paid_charge_proves_nothing",
        edits=(Edit(BODIES, ' or charge.get("paid") is not True:', ":"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="full-refund-unseen",
        wrong="A charge that was given back in full is read as one that is kept.",
        endangers="L2 F49",
        test="tests/unit/adapters/stripe/test_bodies.py::test_a_charge_is_refunded_in_full_or_not_at_all",
        edits=(
            Edit(
                BODIES,
                '        refunded=in_full or charge.get("refunded") is True,\n',
                '        refunded=charge.get("refunded") is None,\n',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="partial-refund-taken-for-a-full-one",
        wrong="A charge of which a part was given back is read as given back.",
        endangers="L1 L2 F49",
        test="tests/unit/adapters/stripe/test_bodies.py::test_a_charge_is_refunded_in_full_or_not_at_all",
        edits=(Edit(BODIES, "refunded >= amount > 0", "refunded > 0 and amount > 0"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="action-without-its-secret",
        wrong="An intent that requires the customer and has no client secret counts as one that has one.",
        endangers="L4 F45",
        test="tests/unit/adapters/stripe/test_bodies.py::test_an_action_without_its_secret_is_unclear",
        edits=(
            Edit(
                BODIES,
                "    if status is IntentStatus.REQUIRES_ACTION and handover is None:\n",
                "    if status is IntentStatus.REQUIRES_ACTION and handover is None and not intent_id:\n",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="sent-to-a-script",
        wrong="A browser is sent to whatever address an answer names, a script too.",
        endangers="F45",
        test="tests/unit/adapters/stripe/test_bodies.py::test_the_next_action_is_a_redirect_or_stripes_library_s_business",
        edits=(
            Edit(
                BODIES,
                'is_page = url is not None and url.startswith(("https://", "http://"))',
                "is_page = url is not None",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="secret-in-a-success",
        wrong="The repr of an answer shows the client secret.",
        endangers="F45",
        test="tests/unit/adapters/stripe/test_bodies.py::test_no_repr_shows_a_secret",
        edits=(
            Edit(
                BODIES, '        return f"Success(replayed={self.replayed})"', '        return f"Success({self.body})"'
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="secret-in-stripes-message",
        wrong="A client secret in Stripe's own message is passed on to logs.",
        endangers="F45",
        test="tests/unit/adapters/stripe/test_texts.py::test_a_secret_is_known_by_its_shape",
        edits=(Edit(REDACTION, "(pi_[A-Za-z0-9]+_secret_)", "(pi_[A-Z]+_secret_)"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="card-in-stripes-message",
        wrong="The customer's instrument is passed on if Stripe quotes it in a shape that we don't know.",
        endangers="F45",
        test="tests/unit/adapters/stripe/test_library.py::test_an_instrument_of_any_form_is_redacted",
        edits=(Edit(CARDS, "            secrets=(instrument.value, authentication.return_url),\n", ""),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="pending-charge-unseen",
        wrong="A charge that is processing is left out of a list.",
        endangers="L1 F47",
        test="tests/unit/adapters/stripe/test_bodies.py::test_only_succeeded_charges_are_listed_and_a_pending_one_is_reported",
        edits=(Edit(BODIES, 'charge.get("status") == "pending"', 'charge.get("status") == "processing"'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="refund-without-a-key",
        wrong="A refund is asked for without its idempotency key.",
        endangers="L1 F23",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_refund_sends_the_charge_and_nothing_else",
        edits=(
            Edit(
                REFUNDS,
                'CallKind.REFUND, "post", "/v1/refunds", params, version=request.api_version, key=request.key',
                'CallKind.REFUND, "post", "/v1/refunds", params, version=request.api_version',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="refund-of-a-part",
        wrong="A part of the charge is given back, not all of it.",
        endangers="L1 L3 F21",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_refund_sends_the_charge_and_nothing_else",
        edits=(
            Edit(
                REFUNDS,
                '{"charge": request.charge_id, "metadata": refund_tags_of(request)}',
                '{"charge": request.charge_id, "metadata": refund_tags_of(request), "amount": 50}',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="part-taken-for-the-whole-refund",
        wrong="A charge of which a refund gave back a part is called given back.",
        endangers="L2 L3 F44",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_charge_is_refunded_when_succeeded_refunds_add_up_to_it",
        edits=(Edit(BODIES, "if done is not None and given_back >= charge_amount:", "if done is not None:"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="pending-refund-called-done",
        wrong="A refund that is pending counts as done.",
        endangers="L3 F44",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_refund_that_has_not_succeeded_is_blocked",
        edits=(
            Edit(
                REFUNDS,
                '        if status == "succeeded" and not ended.replayed:\n',
                '        if status in ("succeeded", "pending") and not ended.replayed:\n',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="replayed-refund-believed",
        wrong="A refund whose answer Stripe repeats from its store is called done, though it may have failed since.",
        endangers="L3 F44",
        test="tests/unit/adapters/stripe/test_refunds.py::test_a_replayed_success_is_what_the_read_shows",
        edits=(Edit(REFUNDS, 'if status == "succeeded" and not ended.replayed:', 'if status == "succeeded":'),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="failed-refund-stands",
        wrong="A refund that has failed counts as one that gives the charge back.",
        endangers="L3 F44",
        test="tests/unit/adapters/stripe/test_refunds.py::"
        "test_a_refund_that_does_not_give_all_back_has_its_charge_read",
        edits=(Edit(BODIES, 'return right and refund.get("status") == "succeeded" and type', "return right and type"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="open-dispute-taken-for-lost",
        wrong="A dispute that the bank has not decided is an end.",
        endangers="L3 F44",
        test="tests/unit/adapters/stripe/test_refunds.py::test_a_disputed_charge_is_given_back_waits_or_can_be_refunded",
        edits=(Edit(BODIES, '    return status == "lost" or (', '    return status in ("lost", "under_review") or ('),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="lost-dispute-not-read",
        wrong="A charge that the bank has given back is asked to be refunded for ever.",
        endangers="L3 F44",
        test="tests/unit/adapters/stripe/test_refunds.py::test_a_refund_of_a_charge_that_was_charged_back_finds_that",
        edits=(
            Edit(
                REFUNDS,
                "return found if isinstance(found, Refunded | ChargedBack) else Blocked(text=ended.text)",
                "return found if isinstance(found, Refunded) else Blocked(text=ended.text)",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="first-page-only",
        wrong="Of the list of an order's charges only the first page is read.",
        endangers="L1 L2 F47",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_list_asks_for_the_transfer_group_and_reads_every_page",
        edits=(
            Edit(CARDS, "            if not page.has_more:\n", "            if page.items or not page.has_more:\n"),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="failed-charge-found",
        wrong="A failed charge that Stripe lists counts as a succeeded one.",
        endangers="L2 F15",
        test="tests/unit/adapters/stripe/test_bodies.py::test_only_succeeded_charges_are_listed_and_a_pending_one_is_reported",
        edits=(
            Edit(
                BODIES,
                '        if charge.get("status") == "succeeded":\n',
                '        if charge.get("status") != "pending":\n',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="another-services-charge-found",
        wrong="A charge of another service in the same transfer group counts as ours.",
        endangers="L1 L2",
        test="tests/unit/adapters/stripe/test_bodies.py::test_a_listed_charge_belongs_by_its_metadata",
        edits=(Edit(BODIES, 'return 0 if metadata.get("orderId") == order_id else None', "return 0"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="list-without-its-strange-items",
        wrong="A list with an item that can't be read counts as a whole one.",
        endangers="L1 L2 F47",
        test="tests/unit/adapters/stripe/test_bodies.py::test_a_page_is_read_whole_or_not_at_all",
        edits=(Edit(BODIES, " if len(ids) == len(data) else None", ""),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="key-finished-by-a-newer-version",
        wrong="A confirm repeated after a deployment carries the new API version: other parameters for one key.",
        endangers="F16",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_confirm_sends_the_card_and_what_the_client_can_do",
        edits=(Edit(CARDS, "            version=request.intent.api_version,\n", "            version=API_VERSION,\n"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="timeout-taken-as-not-sent",
        wrong="A confirm without an answer in time counts as one that never left.",
        endangers="L1 L2 F09 F10",
        test="tests/unit/adapters/stripe/test_errors.py::test_a_broken_call_ends_as_its_rule_says",
        edits=(Edit(ERRORS, "(TimeoutError,), Ending.UNCLEAR", "(TimeoutError,), Ending.UNREACHABLE"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="decline-read-as-unclear",
        wrong="Stripe's 402 for a confirm is read as no answer.",
        endangers="L4 F15",
        test="tests/unit/adapters/stripe/test_cards.py::test_a_decline_brings_stripes_code_and_message",
        edits=(
            Edit(
                ERRORS,
                'CONFIRM, S402, "card_error", ANY, ANY, Ending.DECLINED',
                'CONFIRM, S402, "card_error", ANY, ANY, Ending.UNCLEAR',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="server-error-read-as-decline",
        wrong="Stripe's 500 for a confirm is read as a decline.",
        endangers="L1 L2 F12",
        test="tests/unit/adapters/stripe/test_errors.py::test_an_answer_ends_as_its_rule_says",
        edits=(
            Edit(
                ERRORS,
                'Rule("5xx", ALL, S5XX, ANY, ANY, ANY, Ending.UNCLEAR,',
                'Rule("5xx", ALL, S5XX, ANY, ANY, ANY, Ending.DECLINED,',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="key-in-use-read-as-refused",
        wrong="409 for a key in use is read as a refusal of the confirm that is executing.",
        endangers="L1 L2 F13",
        test="tests/unit/adapters/stripe/test_errors.py::test_an_answer_ends_as_its_rule_says",
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
        test="tests/unit/adapters/stripe/test_errors.py::test_an_answer_ends_as_its_rule_says",
        edits=(
            Edit(
                ERRORS,
                'Rule("401, no valid secret key", ALL, S401, ANY, ANY, ANY, Ending.KEY_REFUSED',
                'Rule("401, no valid secret key", ALL, S401, ANY, ANY, ANY, Ending.BAD_REQUEST',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="stored-error-read-as-unclear",
        wrong="An error that is replayed for its key counts as a new one: the key is tried for ever.",
        endangers="F12",
        test="tests/unit/adapters/stripe/test_errors.py::test_a_replay_is_distinguished_from_a_first_answer",
        edits=(
            Edit(
                ERRORS,
                'Rule("5xx, replayed", KEYED, S5XX, ANY, ANY, ANY, Ending.STORED',
                'Rule("5xx, replayed", KEYED, S5XX, ANY, ANY, ANY, Ending.UNCLEAR',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="unexpected-state-read-as-refused",
        wrong="A confirm that finds its intent succeeded is read as a refusal of its card.",
        endangers="L1 L2 F05 F18",
        test="tests/unit/adapters/stripe/test_cards.py::test_an_intent_that_can_not_be_cancelled_or_confirmed_is_in_an_unexpected_state",
        edits=(Edit(ERRORS, "         Ending.UNEXPECTED_STATE, CODES),\n", "         Ending.BAD_REQUEST, CODES),\n"),),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="other-parameters-read-as-refused",
        wrong="A key that Stripe knows with other parameters is read as a refusal, though the first request "
        "may have charged.",
        endangers="L1 L2 F16 F47",
        test="tests/unit/adapters/stripe/test_errors.py::test_an_answer_ends_as_its_rule_says",
        edits=(
            Edit(
                ERRORS,
                "         Ending.OTHER_PARAMETERS, IDEMPOTENCY),\n",
                "         Ending.BAD_REQUEST, IDEMPOTENCY),\n",
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="another-accounts-intent-is-the-cards-fault",
        wrong="An intent of another Stripe account is read as a fault of the customer's card.",
        endangers="F48",
        test="tests/unit/adapters/stripe/test_errors.py::test_an_answer_ends_as_its_rule_says",
        edits=(
            Edit(
                ERRORS,
                '"resource_missing", "intent",\n         Ending.OPERATOR, ERRORS, advice=ACCOUNT),',
                '"resource_missing", "intent",\n         Ending.BAD_INSTRUMENT, ERRORS, advice=ACCOUNT),',
            ),
        ),
        beyond=REAL_ONES,
    ),
    Mutant(
        name="lost-dispute-found-is-paid",
        wrong="A charge that its bank had given back before it was found is announced as paid.",
        endangers="L2 F44",
        test="tests/unit/adapters/stripe/test_refunds.py::"
        "test_a_charge_that_is_found_disputed_is_no_payment_where_its_bank_has_given_it_back",
        edits=(Edit(CARDS, "if charge.refunded or not charge.disputed:", "if charge.charge_id:"),),
        beyond=REAL_ONES,
    ),
)
