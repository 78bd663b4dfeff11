"""Mutants of an order: deadlines, leases, events, replies, money (payment/core)."""

from tests.mutants.mutant import Edit, Mutant

DECIDE = "payment/core/decide.py"
MONEY = "payment/core/money.py"
PENDING = "payment/core/pending.py"
REPLIES = "payment/core/replies.py"
SCHEDULE = "payment/core/schedule.py"
TASKS = "payment/core/attempts.py"

MUTANTS = (
    Mutant(
        name="intent-without-due",
        wrong="An attempt is stored without a time at which it is looked at again.",
        endangers="L4 F04 F05",
        test="tests/unit/core/test_pending.py::test_due_is_there_exactly_when_something_is_pending",
        edits=(
            Edit(
                PENDING,
                "    effects = sorted(pending(order), key=lambda item: item.at)\n",
                "    effects = sorted(pending(order), key=lambda item: item.at)\n"
                "    owed = [item for item in owed if not isinstance(item.effect, ConfirmIntent)]\n",
            ),
        ),
    ),
    Mutant(
        name="due-removed-with-one-of-two",
        wrong="When the first of two effects is done the deadline goes, with the other still to do.",
        endangers="L3 L4 F21",
        test="tests/unit/core/test_refunds_and_events.py::test_cancel_after_paid_publishes_refunded_after_created",
        edits=(
            Edit(
                PENDING,
                "due=effects[0].at if effects else None,",
                "due=effects[0].at if effects and not any(event.published for event in order.outbox) else None,",
            ),
        ),
    ),
    Mutant(
        name="due-is-the-latest",
        wrong="The deadline of an order is that of its latest task, not of its earliest.",
        endangers="F06 F21",
        test="tests/unit/core/test_pending.py::test_one_effect_never_hides_another",
        edits=(Edit(PENDING, "due=effects[0].at if effects", "due=effects[-1].at if effects"),),
    ),
    Mutant(
        name="lease-ignored",
        wrong="Any process that reads an order takes its tasks, though another process holds them.",
        endangers="F02 F34",
        test="tests/unit/core/test_schedule.py::test_any_process_may_take_a_task_from_its_deadline_on",
        edits=(Edit(SCHEDULE, "    return overdue or _left", "    overdue = True\n    return overdue or _left"),),
    ),
    Mutant(
        name="every-lease-is-our-own",
        wrong="A task that any other process holds counts as left by an earlier run of this one.",
        endangers="F02 F34",
        test="tests/unit/core/test_schedule.py::test_any_process_may_take_a_task_from_its_deadline_on",
        edits=(Edit(SCHEDULE, "return client_id_of(task.holder) == context.client_id", "return True"),),
    ),
    Mutant(
        name="lease-outlived-by-one-instant",
        wrong="A task is still its holder's at the very time at which its lease runs out.",
        endangers="L4 F05",
        test="tests/unit/core/test_schedule.py::test_any_process_may_take_a_task_from_its_deadline_on",
        edits=(Edit(SCHEDULE, "overdue = task.due <= context.now or", "overdue = task.due < context.now or"),),
        beyond="The next sweep takes it a second later: no law knows the difference.",
    ),
    Mutant(
        name="lease-shorter-than-a-call",
        wrong="A lease runs out while the call that it protects may still be under way.",
        endangers="F02 F34",
        test="tests/unit/actors/ledger/test_in_flight.py::TestTime::test_a_lease_outlasts_a_call_and_what_is_left_of_it_"
        "when_it_is_renewed",
        edits=(Edit(SCHEDULE, "LEASE = timedelta(seconds=60)", "LEASE = timedelta(seconds=6)"),),
        beyond="It costs work done twice under one key, and no money.",
    ),
    Mutant(
        name="lease-of-another-renewed",
        wrong="A process renews the lease of a task that another has taken over since.",
        endangers="L4 F34",
        test="tests/unit/core/test_refunds_and_events.py::test_lease_is_renewed_by_its_holder_alone",
        edits=(
            Edit(
                "payment/core/attempts.py",
                "    if task is None or task.holder != context.process:\n        return task\n"
                "    return structs.replace(task, due=context.now + LEASE)",
                "    if task is None:\n        return task\n    return structs.replace(task, due=context.now + LEASE)",
            ),
        ),
    ),
    Mutant(
        name="absurd-deadline-believed",
        wrong="A deadline a year ahead, written by a clock that was wrong, is waited for.",
        endangers="L4 F38",
        test="tests/unit/core/test_schedule.py::test_task_absurdly_far_off_counts_as_due",
        edits=(Edit(SCHEDULE, " or task.due > context.now + LONGEST_DELAY", ""),),
    ),
    Mutant(
        name="refunded-before-created",
        wrong="payment:refunded goes out without waiting for payment:created.",
        endangers="L2 F21",
        test="tests/unit/core/test_refunds_and_events.py::test_cancel_after_paid_publishes_refunded_after_created",
        edits=(
            Edit(
                TASKS,
                "return next((event for event in order.outbox if",
                "return next((event for event in reversed(order.outbox) if",
            ),
        ),
    ),
    Mutant(
        name="one-message-id-for-both-events",
        wrong="payment:created and payment:refunded share a message id: the stream drops the second.",
        endangers="L2 F42",
        test="tests/unit/core/test_pending.py::test_event_is_known_by_subject_and_payment_together",
        edits=(Edit(PENDING, 'message_id = f"{event.subject}:{payment.id}"', "message_id = payment.id"),),
    ),
    Mutant(
        name="one-message-id-for-two-payments",
        wrong="An order that is paid again after a refund has two events of one id: the stream drops the second.",
        endangers="L2 F42 F49",
        test="tests/unit/core/test_outcomes.py::"
        "test_events_of_an_order_that_was_given_back_by_hand_and_paid_again_have_own_ids",
        edits=(Edit(PENDING, 'message_id = f"{message_id}:{event.stripe_id}"', 'message_id = f"{message_id}"'),),
    ),
    Mutant(
        name="every-refund-announced",
        wrong="Giving back another charge than the one that pays the order is announced as payment:refunded.",
        endangers="L2 F18",
        test="tests/unit/core/test_refunds_and_events.py::test_refund_of_another_charge_is_no_event_of_a_paid_order",
        edits=(
            Edit(
                "payment/core/refunds.py",
                "if order.kept is not None and order.kept.charge_id != attempt.charge_id:",
                "if order.kept is not None and order.kept.charge_id is None:",
            ),
        ),
    ),
    Mutant(
        name="created-undoes-cancelled",
        wrong="A created that comes after its cancel makes the order payable.",
        endangers="L3 F22",
        test="tests/unit/core/test_decide.py::test_cancel_before_created_wins",
        edits=(
            Edit(
                DECIDE,
                "        announced = order\n",
                "        announced = structs.replace(order, status=OrderStatus.CREATED)\n",
            ),
        ),
    ),
    Mutant(
        name="created-again-overwrites",
        wrong="A created that is delivered again is applied again.",
        endangers="F01 F08",
        test="tests/unit/core/test_decide.py::test_second_created_changes_nothing",
        edits=(
            Edit(
                DECIDE,
                "    elif order.user_id is None:\n        announced = order\n    else:\n        return order\n",
                "    else:\n        announced = order\n",
            ),
        ),
    ),
    Mutant(
        name="cancel-by-version",
        wrong="A cancel whose version is no higher than the order's counts as stale.",
        endangers="L3 L4 F21 F22",
        test="tests/unit/core/test_decide.py::test_cancel_counts_at_any_version_and_once",
        edits=(
            Edit(
                DECIDE,
                "    if order.cancelled:\n        return order\n",
                "    if order.cancelled or message.version <= order.version:\n        return order\n",
            ),
        ),
    ),
    Mutant(
        name="paid-though-cancelled",
        wrong="A repeated request gets the answer that the order is paid after it was cancelled.",
        endangers="L4 F21",
        test="tests/unit/core/test_replies.py::test_reply_on_a_cancelled_order_is_a_conflict_though_it_was_paid",
        edits=(
            Edit(
                REPLIES,
                "    if order.cancelled:\n        return Conflict.CANCELLED\n",
                "    if order.cancelled and order.kept is None:\n        return Conflict.CANCELLED\n",
            ),
        ),
    ),
    Mutant(
        name="owner-unchecked",
        wrong="Anybody may pay an order, and learns how its payment stands.",
        endangers="L4",
        test="tests/unit/core/test_replies.py::test_reply_to_another_user_shows_nothing_of_the_order",
        edits=(Edit(REPLIES, "if order.user_id != request.user_id:", "if not request.user_id:"),),
    ),
    Mutant(
        name="expired-order-chargeable",
        wrong="A new attempt begins on an order that has expired.",
        endangers="F36",
        test="tests/unit/core/test_replies.py::test_reply_on_an_expired_order_with_a_new_card_is_expired",
        edits=(Edit(REPLIES, "    if not order.open_at(at):\n", "    if order.cancelled:\n"),),
    ),
    Mutant(
        name="open-at-its-expiry",
        wrong="An order is still payable at the very instant at which it expires.",
        endangers="F36",
        test="tests/unit/core/test_replies.py::test_status_past_the_expiry_is_expired",
        edits=(Edit("payment/core/order.py", "at < self.expires_at", "at <= self.expires_at"),),
        beyond="One instant: no law knows the difference.",
    ),
    Mutant(
        name="second-token-beside-an-unsettled-attempt",
        wrong="Another token may be charged while the outcome of the first is not known.",
        endangers="L1 F12",
        test="tests/unit/core/test_decide.py::test_other_card_while_one_is_under_way_is_a_conflict",
        edits=(
            Edit(
                REPLIES,
                "    if unsettled is not None and not unsettled.gives_way:\n",
                "    if unsettled is not None and unsettled.state is AttemptState.CHARGING:\n",
            ),
        ),
    ),
    Mutant(
        name="declined-token-tried-again",
        wrong="A token that was declined on this order begins a new attempt.",
        endangers="F15",
        test="tests/unit/core/test_replies.py::test_reply_to_a_declined_card_is_the_stored_answer",
        edits=(
            Edit(
                REPLIES,
                "if order.payment is not None and attempt is not None:",
                "if order.payment is not None and attempt is not None and attempt.code is None:",
            ),
        ),
    ),
    Mutant(
        name="one-attempt-too-many",
        wrong="A twenty-first attempt is let begin.",
        endangers="L4",
        test="tests/unit/core/test_replies.py::test_reply_past_the_limit_of_attempts",
        edits=(Edit(REPLIES, "len(order.attempts) >= ATTEMPTS_LIMIT", "len(order.attempts) > ATTEMPTS_LIMIT"),),
        beyond="The limit is the contract's, no law's.",
    ),
    Mutant(
        name="price-rounded",
        wrong="A price between two amounts is rounded to one of them.",
        endangers="F30 F35",
        test="tests/unit/core/test_money.py::test_price_without_an_exact_amount_is_a_bad_price",
        edits=(Edit(MONEY, 'TOLERANCE_MINOR = Decimal("0.000001")', 'TOLERANCE_MINOR = Decimal("0.5")'),),
    ),
    Mutant(
        name="float-noise-cut-off",
        wrong="19.989999999999998 is cut down instead of being 19.99.",
        endangers="F30 F35",
        test="tests/unit/core/test_money.py::test_a_price_becomes_the_exact_amount",
        edits=(Edit(MONEY, "rounding=decimal.ROUND_HALF_EVEN", "rounding=decimal.ROUND_DOWN"),),
    ),
    Mutant(
        name="yen-have-cents",
        wrong="Japanese yen are charged a hundredfold, as if they had two decimals.",
        endangers="F35",
        test="tests/unit/core/test_money.py::test_a_price_becomes_the_exact_amount",
        edits=(Edit(MONEY, "gnf jpy kmf", "gnf kmf"),),
        beyond="Amounts by currency are tables, checked against tables.",
    ),
    Mutant(
        name="dinars-to-the-last-digit",
        wrong="A three-decimal amount that does not end in 0 is sent to Stripe.",
        endangers="F35",
        test="tests/unit/core/test_money.py::test_price_without_an_exact_amount_is_a_bad_price",
        edits=(Edit(MONEY, "return 3, 10", "return 3, 1"),),
        beyond="Amounts by currency are tables, checked against tables.",
    ),
    Mutant(
        name="minimum-refused",
        wrong="The smallest amount that Stripe takes is refused.",
        endangers="F35",
        test="tests/unit/core/test_money.py::test_stripe_takes_amounts_between_its_limits",
        edits=(Edit(MONEY, "return minimum <= amount <=", "return minimum < amount <="),),
        beyond="Amounts by currency are tables, checked against tables.",
    ),
    Mutant(
        name="amount-unchecked",
        wrong="An amount that Stripe can't take is sent to it.",
        endangers="F35",
        test="tests/unit/core/test_replies.py::test_reply_to_an_amount_outside_stripes_limits_comes_before_stripe",
        edits=(
            Edit(
                REPLIES,
                "order.currency is None or not within_stripe_limits(order.amount, order.currency):",
                "order.currency is None or not within_stripe_limits(50, order.currency):",
            ),
        ),
    ),
)
