"""The words of the log: every event the service can say, and every field an event can carry.

Owns both lists, each word with its meaning; README's tables and the tests are made from them. A log line never says
anything else: a field that is not in `FIELDS` comes out masked (`payment.ops.redaction`), so nobody can log a card
token, a header or a whole document by inventing a name for it.

Change together: a new `log.…(Event.…, field=…)` call, and the event and its fields here.
`tests/unit/ops/test_log_schema.py` reads every such call in the package and fails for a word that is missing here.
"""

import enum
from typing import Self


class Event(enum.StrEnum):
    """What happened. The value is the `event` of the line; `meaning` says when it is said."""

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

    SETTINGS_DOUBTFUL = "settings_doubtful", "Settings that are valid and probably not meant; all of them are named."
    CANNOT_LISTEN = "cannot_listen", "HOST and PORT can't be listened on. Exit 78 or 69, before anything is started."

    # Actors and their supervisor.
    ACTOR_STARTED = "actor_started", "An actor takes messages."
    ACTOR_STOPPED = (
        "actor_stopped",
        "An actor has ended. `outcome`: drained, or cut_off, where some of its work is left to the next run.",
    )
    ACTOR_CRASHED = "actor_crashed", "An actor ended by an unexpected exception. Its callers were answered."
    ACTOR_HUNG = "actor_hung", "An actor has shown no sign of life for too long and is being replaced."
    ACTOR_RESTARTED = "actor_restarted", "An actor runs again after a crash or a hang."
    ACTOR_GAVE_UP = "actor_gave_up", "Too many restarts within the window: the process ends with a non-zero code."
    ACTOR_OVERRAN = "actor_overran", "An actor did not stop within its deadline and was cancelled."

    # Dependencies.
    DEPENDENCY_LOST = (
        "dependency_lost",
        "A dependency went away. Logged once; again if it begins to stop charges, or for a new reason.",
    )
    DEPENDENCY_BACK = "dependency_back", "A dependency is back, with how long it was gone."

    # Charges and refunds.
    CHARGE_FINISHED = "charge_finished", "The one line of each charge when it ends: how, how much and how long."
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
    CHARGE_REFUSED = "charge_refused", "A request for a charge was answered with an error: why, and of whose order."
    ACCOUNT_MISMATCH = (
        "account_mismatch",
        "ALARM: the database belongs to another Stripe account, or mode, than our key: nothing is sent to Stripe.",
    )
    ACCOUNT_BOUND = "account_bound", "The database belongs to our key's Stripe account from now on, for it had none."
    ACCOUNT_MOVED = "account_moved", "An operator moved the database to another Stripe account."
    PERMISSION_MISSING = (
        "permission_missing",
        "ALARM: our key may not make a kind of call that no charge needs, but what follows a charge does.",
    )
    REFUND_FINISHED = "refund_finished", "A charge was given back in full."
    REFUND_BLOCKED = (
        "refund_blocked",
        "ALARM: a refund failed, is pending or is disputed. It is retried slowly. Logged again by each process that "
        "starts, and once a day.",
    )
    REFUND_FAILED = (
        "refund_failed",
        "ALARM: a charge that had been given back is no longer: its refund failed later. It counts as blocked again.",
    )
    CHARGED_BACK = "charged_back", "The bank has given a charge back: a dispute was lost. An alarm if only in part."
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
    BROKER_NOTICE = "broker_notice", "Something about the broker that is worth reading once. Nothing has to be done."

    DEAD_LETTER_KEPT = (
        "dead_letter_kept",
        "ALARM: an event of an order can't be read or applied and is in `dead_letters`: its customer can't pay, or a "
        "cancelled order keeps the money.",
    )
    DEAD_LETTERS_LEFT = (
        "dead_letters_left",
        "How many dead letters are in the database, new or old. Logged at start and once a day while there are any.",
    )

    # What is not settled.
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
    ORDERS_UNSTUCK = "orders_unstuck", "Of many stuck orders few or none are left. Those have lines of their own."
    BACKLOG_UNREAD = (
        "backlog_unread",
        "What is not settled could not be read off the database: the gauges show an earlier state. Logged once.",
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
        "How many requests that were no success had no line of their own within the last second: too many of them, or "
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
        "one order and MongoDB's words.",
    )
    DEAD_LETTER_WAITS = (
        "dead_letter_waits",
        "A bad event can't be kept in `dead_letters` now; it is delivered again. At most every 10 s.",
    )
    INDEXES_MISSING = "indexes_missing", "Indexes of the orders are being made, beside charges. `reason` names them."
    INDEXES_MADE = "indexes_made", "They are there."
    INDEXES_FAILED = "indexes_failed", "An index can't be made now. Charges are taken; it is tried again every 10 s."
    COMMIT_CONFLICT = "commit_conflict", "Another process wrote an order first. It is decided again."
    DOCUMENT_UNWRITABLE = "document_unwritable", "ALARM: one document can't be encoded or written. It fails alone."
    DOCUMENT_UNREADABLE = (
        "document_unreadable",
        "ALARM: a stored document is no order. It is set aside. Logged once, and again after an hour.",
    )
    ORDER_SET_ASIDE = (
        "order_set_aside",
        "ALARM: an unexpected exception came of one order. It is tried again each minute. Logged once, and again after "
        "an hour.",
    )
    SWEEP_FINISHED = "sweep_finished", "The orders that were due were fed to the ledger."

    # The log itself, and what others say in it.
    LIBRARY = "library", "A library wrote to its own logger; `logger` and `message` are its own."
    UNCAUGHT_EXCEPTION = "uncaught_exception", "An exception that no code awaited or caught."
    LOG_LINES_LOST = "log_lines_lost", "The reader of the log did not keep up: `count` lines are missing before this."


FIELDS: dict[str, str] = {
    # On every line.
    "ts": "When, UTC, ISO 8601 in milliseconds",
    "level": "debug, info, warning, error or critical",
    "event": "A word of the list of events",
    "service": "The service's name",
    "client_id": "The process: `NATS_CLIENT_ID`, with the dyno's name where there is one",
    # What it is about.
    "request_id": "The HTTP request's `X-Request-ID`: on its own lines and on `charge_finished`. Others have the order",
    "order_id": "The order",
    "user_id": "The user's id, as the platform's token has it",
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
    # How it went.
    "outcome": "How it ended",
    "reason": "Why, in a sentence",
    "error": "What went wrong, in a sentence",
    "alarm": "True: an operator has to look",
    "amount": "Minor units, as Stripe counts them",
    "amount_refunded": "What was refunded of a charge in part, by hand, in minor units",
    "currency": "ISO code, lower case",
    "decline_code": "Stripe's reason for a declined card",
    "kind": "The kind of Stripe endpoint (create, confirm, retrieve, cancel, list, refund), or account",
    "status": "The HTTP status of an answer",
    "code": "The word of an answer: an error's `code` in its body, or the `status` in the body of a 202",
    "matter": "What is not settled: outcome, customer, refund, blocked_refund, recheck, event or intent",
    "since": "Since when, UTC",
    "method": "The HTTP method",
    "route": "The route's template, never the path that was sent",
    "blocks_charges": "True: no charge can start",
    "exit_code": "The process's exit code",
    "problems": "What is wrong with the settings, a sentence each; never a secret's value",
    # How much and how many.
    "attempts": "How many attempts the order has had",
    "redelivered": "How often the event was delivered before",
    "restarts": "How often the actor was restarted within the window",
    "count": "How many",
    "documents": "How many documents",
    "per_s": "Requests a second",
    "host": "The address that is listened on; null: every interface",
    "port": "The port that is listened on",
    # How long.
    "stripe_ms": "Time in calls to Stripe",
    "mongo_ms": "Time in MongoDB",
    "stripe_away_ms": "Time waited because Stripe was away, refused our key, or had put the request off",
    "customer_ms": "Time in which the bank waited for its customer",
    "waiting_ms": "Time in our own queues, for a turn at the rate that Stripe allows too",
    "total_ms": "Time in all, from the request to the end",
    "age_ms": "For how long it has not been settled",
    "handling_ms": "Time from the delivery to the ack",
    "gone_ms": "How long the dependency was away",
    "silent_ms": "How long an actor has shown no sign of life",
    "deadline_ms": "How long it had",
    "took_ms": "How long it took",
    # Others' lines.
    "logger": "A library's logger",
    "message": "The library's text",
    "exception": "A traceback, with secrets masked",
}


ALARMS = tuple(event for event in Event if event.meaning.startswith("ALARM"))
"""The events whose lines carry `alarm`: each is counted in `payment_alarms_total`."""


def events_table() -> str:
    """The events as a Markdown table, for the documents."""
    rows = [f"| `{event.value}` | {event.meaning} |" for event in Event]
    return "\n".join(["| event | logged when |", "|---|---|", *rows])


def fields_table() -> str:
    """The fields as a Markdown table, for the documents."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in FIELDS.items()]
    return "\n".join(["| field | meaning |", "|---|---|", *rows])
