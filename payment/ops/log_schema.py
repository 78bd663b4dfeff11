"""The schema of the log: every event that the service can log, and every field that an event can carry.

Owns both lists, with the meaning of each entry; docs/log-and-metrics.md is generated from them. No log line has another
event. The value of a field that is not in `FIELDS` is masked (`payment.ops.redaction`), so a new field name can't leak
a card token, a header or a whole document.

Change together: a new `log.…(Event.…, field=…)` call, and the event and its fields here.
`tests/unit/ops/test_log_schema.py` reads every such call in the package and fails for an entry that is missing here.
"""

import enum
from typing import Self


class Event(enum.StrEnum):
    """An event of the log. Its value is the `event` of the line; `meaning` says when the line is logged."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        word = str.__new__(cls, value)
        word._value_ = value
        word.meaning = meaning
        return word

    # The process.
    SERVICE_STARTING = "service_starting", "The settings are valid and the actors are about to start."
    SERVICE_READY = (
        "service_ready",
        "Every actor has started and the port is open. `outcome` is the status of `/readyz` at that time.",
    )
    SERVICE_STOPPING = "service_stopping", "A signal or a failure ends the service: no new charge starts."
    SERVICE_STOPPED = "service_stopped", "Every actor has stopped. It carries the exit code."
    SETTINGS_INVALID = "settings_invalid", "Variables are missing or malformed; all of them are named. Exit 78."

    SETTINGS_DOUBTFUL = "settings_doubtful", "Settings that are valid and probably a mistake; all of them are named."
    CANNOT_LISTEN = (
        "cannot_listen",
        "The service can't listen on HOST and PORT. Exit 78 or 69, before anything is started.",
    )

    # Actors and their supervisor.
    ACTOR_STARTED = "actor_started", "An actor has started to take messages."
    ACTOR_STOPPED = (
        "actor_stopped",
        "An actor has ended. `outcome`: drained, or cut_off, where some of its work is left to the next run.",
    )
    ACTOR_CRASHED = "actor_crashed", "An actor ended by an unexpected exception. Its pending requests were answered."
    ACTOR_HUNG = "actor_hung", "An actor has handled one message for too long, and is being replaced."
    ACTOR_RESTARTED = "actor_restarted", "An actor runs again after a crash or a hang."
    ACTOR_GAVE_UP = "actor_gave_up", "Too many restarts within the window: the process ends with a non-zero code."
    ACTOR_OVERRAN = "actor_overran", "An actor did not drain within its deadline and was cancelled."

    # Dependencies.
    DEPENDENCY_LOST = (
        "dependency_lost",
        "A dependency is lost. Logged once; again if it begins to block charges, or for a new reason.",
    )
    DEPENDENCY_BACK = "dependency_back", "A dependency is back. `gone_ms` is how long it was lost."

    # Charges and refunds.
    CHARGE_FINISHED = (
        "charge_finished",
        "The one line of each charge when it ends: its outcome, its amount and its times.",
    )
    CHARGE_UNCLEAR = (
        "charge_unclear",
        "The outcome of a request to Stripe is not known: it is sent again, or its intent is cancelled. Logged once "
        "of an attempt; while Stripe is lost, at debug.",
    )
    CUSTOMER_AWAITED = "customer_awaited", "The bank wants the customer to authenticate; the payment waits for that."
    STRAY_CHARGE_FOUND = "stray_charge_found", "ALARM: a succeeded charge that the order does not keep. It is refunded."
    IDEMPOTENCY_ALARM = "idempotency_alarm", "ALARM: one key with two parameter sets, which our own rules exclude."
    REQUEST_ALARM = "request_alarm", "ALARM: Stripe finds our request itself wrong, or our key lacks a permission."
    ACCOUNT_ALARM = (
        "account_alarm",
        "ALARM: Stripe refuses a request until an operator changes something: the key, the account or its settings.",
    )
    CHARGE_PENDING = "charge_pending", "A request for a charge was answered 202: its outcome is not known yet."
    CHARGE_REFUSED = (
        "charge_refused",
        "A request for a charge was answered with an error: the reason, the order and the user.",
    )
    ACCOUNT_MISMATCH = (
        "account_mismatch",
        "ALARM: the database belongs to another Stripe account, or mode, than our key: nothing is sent to Stripe.",
    )
    ACCOUNT_BOUND = "account_bound", "The database had no Stripe account, and belongs to our key's from now on."
    ACCOUNT_MOVED = "account_moved", "An operator moved the database to another Stripe account."
    PERMISSION_MISSING = (
        "permission_missing",
        "ALARM: our key may not make a kind of call that no charge needs, but that a refund or a cancel does.",
    )
    REFUND_FINISHED = "refund_finished", "A charge was refunded in full."
    REFUND_BLOCKED = (
        "refund_blocked",
        "ALARM: a refund failed, is pending or is disputed. It is retried slowly. Logged again by each process that "
        "starts, and once a day.",
    )
    REFUND_FAILED = (
        "refund_failed",
        "ALARM: the refund of a charge failed after it had succeeded. The charge is to be refunded again.",
    )
    CHARGED_BACK = (
        "charged_back",
        "The bank has given a charge back after a lost dispute. An alarm if it gave only a part back.",
    )
    CHARGE_DISPUTED = (
        "charge_disputed",
        "ALARM: the bank disputes a charge that pays its order, which stays paid.",
    )
    PACE_CHANGED = "pace_changed", "The rate of requests to one kind of Stripe endpoint was raised or lowered."

    # Events of the platform.
    EVENT_RECEIVED = "event_received", "The one line of each inbound event: applied, stale or dead_letter."
    EVENT_PUBLISHED = "event_published", "An event of ours is stored by the broker."
    PUBLISH_REFUSED = (
        "publish_refused",
        "ALARM: the broker does not take our events: `count` of them wait. Logged for each reason, and every 10 min.",
    )
    BROKER_ALARM = "broker_alarm", "ALARM: the broker lost events before they were read."
    BROKER_NOTICE = "broker_notice", "A notice about the broker. An operator need not act."

    DEAD_LETTER_KEPT = (
        "dead_letter_kept",
        "ALARM: an event of an order can't be read or applied and is in `dead_letters`: its customer can't pay, or a "
        "cancelled order keeps the money.",
    )
    DEAD_LETTERS_LEFT = (
        "dead_letters_left",
        "How many dead letters are in the database, new or old. Logged at start and once a day while there are any.",
    )

    # Unsettled orders.
    ORDER_STUCK = (
        "order_stuck",
        "A charge, refund or event of an order has not been settled for a minute: since when, and on what it waits. "
        "Logged again after 10 min, 1 h, and then every 6 h.",
    )
    ORDER_UNSTUCK = "order_unstuck", "What was logged as stuck is settled, or goes on."
    ORDERS_STUCK = (
        "orders_stuck",
        "More orders are stuck than are logged one by one: how many, since when, and the oldest of them.",
    )
    ORDERS_UNSTUCK = (
        "orders_unstuck",
        "Of many stuck orders few or none are left. Each that is left has a line of its own.",
    )
    BACKLOG_UNREAD = (
        "backlog_unread",
        "The unsettled orders could not be read from the database: the gauges show an earlier state. Logged once.",
    )

    # HTTP.
    HTTP_REQUEST = "http_request", "A request was answered."
    SIGNATURES_WRONG = (
        "signatures_wrong",
        "Every token since the start was signed with another key than ours. Logged once, after ten of them.",
    )
    REQUEST_REFUSED = (
        "request_refused",
        "A request was refused before its order was known (one line a second for each reason, with `count`), a payment "
        "was not shown (at info where it is another user's), or a user has had too many declines.",
    )
    REFUSALS_UNLOGGED = (
        "refusals_unlogged",
        "How many failed requests had no line of their own within the last second: there were too many, or they were "
        "refused unread.",
    )
    CONNECTIONS_WAIT = (
        "connections_wait",
        "The process or the machine has no file descriptor or buffer for another connection. Tried again each second.",
    )

    # The ledger.
    COMMIT_UNKNOWN = (
        "commit_unknown",
        "Whether documents were written is not known; they are read again. At most every 10 s, with how many, one "
        "order and the reason.",
    )
    COMMIT_REFUSED = (
        "commit_refused",
        "MongoDB has refused to write documents, and nothing was charged for them. At most every 10 s, with how many, "
        "one order and MongoDB's error text.",
    )
    DEAD_LETTER_WAITS = (
        "dead_letter_waits",
        "A bad event can't be kept in `dead_letters` now; it is delivered again. At most every 10 s.",
    )
    INDEXES_MISSING = "indexes_missing", "Indexes of the orders are being made, beside charges. `reason` names them."
    INDEXES_MADE = "indexes_made", "The missing indexes were made."
    INDEXES_FAILED = "indexes_failed", "An index can't be made now. Charges are taken; it is tried again every 10 s."
    COMMIT_CONFLICT = "commit_conflict", "Another process wrote an order first. The message is decided again."
    DOCUMENT_UNWRITABLE = (
        "document_unwritable",
        "ALARM: one document can't be encoded or written. The others of its commit are written.",
    )
    DOCUMENT_UNREADABLE = (
        "document_unreadable",
        "ALARM: a stored document is not a valid order. It is set aside. Logged once, and again after an hour.",
    )
    ORDER_SET_ASIDE = (
        "order_set_aside",
        "ALARM: an order caused an unexpected exception. It is tried again each minute. Logged once, and again after "
        "an hour.",
    )
    SWEEP_FINISHED = "sweep_finished", "The orders that were due were passed to the ledger."

    # The log itself, and the lines of libraries.
    LIBRARY = "library", "A library wrote to its own logger; `logger` and `message` are the library's."
    UNCAUGHT_EXCEPTION = "uncaught_exception", "An exception that no code awaited or caught."
    LOG_LINES_LOST = (
        "log_lines_lost",
        "The reader of the log did not keep up: `count` lines are missing before this one.",
    )


FIELDS: dict[str, str] = {
    # On every line.
    "ts": "The time, UTC, ISO 8601 in milliseconds",
    "level": "debug, info, warning, error or critical",
    "event": "One of the events above",
    "service": "The service's name",
    "client_id": "The process: `NATS_CLIENT_ID`, with the dyno's name where there is one",
    # The subject of the line.
    "request_id": "The HTTP request's `X-Request-ID`, on the request's own lines and on `charge_finished`",
    "order_id": "The order",
    "user_id": "The user's id in the platform's token",
    "order_ids": "Some of the orders",
    "payment_id": "The order's payment, the same over all its attempts",
    "intent_id": "Stripe's id of a PaymentIntent",
    "charge_id": "Stripe's id of a charge",
    "account_id": "Stripe's id of an account",
    "refund_id": "Stripe's id of a refund",
    "dispute_id": "Stripe's id of a dispute",
    "attempt": "The attempt's number, from 1",
    "send": "Which send of the attempt's request, from 1",
    "subject": "The event's subject",
    "identity": "Stream or channel, sequence number and storage time of a delivery",
    "dependency": "http, mongodb, nats or stripe",
    "actor": "The actor's name",
    # The result.
    "outcome": "The outcome",
    "reason": "The reason, as a sentence",
    "error": "The error, as a sentence",
    "alarm": "True: an operator has to act",
    "amount": "Minor units, as Stripe counts them",
    "amount_refunded": "The part of a charge that was refunded by hand, in minor units",
    "currency": "ISO code, lower case",
    "decline_code": "Stripe's reason for a declined card",
    "kind": "The kind of Stripe endpoint (create, confirm, retrieve, cancel, list, refund), or account",
    "status": "The HTTP status of an answer",
    "code": "The `code` in the body of an error, or the `status` in the body of a 202",
    "matter": "What is not settled: outcome, customer, refund, blocked_refund, recheck, event or intent",
    "since": "When it began, UTC",
    "method": "The HTTP method",
    "route": "The route's template, never the path that was sent",
    "blocks_charges": "True: no charge can start",
    "exit_code": "The process's exit code",
    "problems": "The problems of the settings, a sentence each; never a secret's value",
    # Numbers.
    "attempts": "How many attempts the order has had",
    "redelivered": "How often the event was delivered before",
    "restarts": "How often the actor was restarted within the window",
    "count": "How many",
    "documents": "How many documents",
    "per_s": "Requests a second",
    "host": "The address that the service listens on; null: every interface",
    "port": "The port that the service listens on",
    # Durations.
    "stripe_ms": "Time in calls to Stripe",
    "mongo_ms": "Time in MongoDB",
    "stripe_away_ms": "Time waited because Stripe did not answer, refused our key, or asked us to wait",
    "customer_ms": "Time in which the bank waited for its customer",
    "waiting_ms": "Time in our own queues, also for the rate that Stripe allows",
    "total_ms": "Time in all, from the request to the end",
    "age_ms": "How long it has not been settled",
    "handling_ms": "Time from the delivery to the ack",
    "gone_ms": "How long the dependency was lost",
    "silent_ms": "How long an actor has handled one message",
    "deadline_ms": "Its deadline",
    "took_ms": "How long it took",
    # Lines of libraries.
    "logger": "A library's logger",
    "message": "The library's text",
    "exception": "A traceback, with secrets masked",
}


ALARMS = tuple(event for event in Event if event.meaning.startswith("ALARM"))
"""The events whose lines carry `alarm`: each is counted in `payment_alarms_total`."""
