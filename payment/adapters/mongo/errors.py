"""The meaning of errors of MongoDB and of its driver, and the part of their text that may be shown.

The server's own text is shown in `/readyz` and in the log. It is cut at the first brace: after it a server repeats the
refused command, with card tokens in it.

A code is in `NOT_APPLIED` only if the server returns it before it changes anything: a request whose write ended with it
may be answered "nothing was charged". Codes: github.com/mongodb/mongo, src/mongo/base/error_codes.yml; 8000 is Atlas's.
"""

from collections.abc import Mapping
from typing import Any

from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

TEXT_CHARS = 200
"""The longest text of a server or of the driver that is shown: a sentence, and no document."""

DUPLICATE_KEY = 11000

WRITE_CONFLICT = 112
"""Two writes collided, and the server rolled this one back: the order is read and decided again, as after any other
conflict."""

REFUSED_FOR_GOOD = frozenset({2, 9, 14, 22, 52, 121, 10334, 17419, 17420})
"""Server error codes that concern the document itself (BadValue, TypeMismatch, InvalidBSON, DollarPrefixedFieldName,
DocumentValidationFailure, BSONObjectTooLarge and kin)."""

NOT_APPLIED = frozenset({13, 18, 20, 59, 73, 115, 166, 371, 391, 8000, 10107, 13435, 13436, 14031})
"""Unauthorized, AuthenticationFailed, IllegalOperation, CommandNotFound, InvalidNamespace, CommandNotSupported,
CommandNotSupportedOnView, UserWritesBlocked, ReauthenticationRequired, AtlasError (a quota), NotWritablePrimary,
NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary, OutOfDiskSpace. Not among them: codes that may interrupt a write
that has begun (11600, 11602, 189, 91, 50, 262), lost connections between servers (6, 89, 202, 9001), write concerns."""

DOCUMENT_NOT_APPLIED = NOT_APPLIED | {16500}
"""The same codes for one document of a command, and 16500: Azure's Cosmos DB has no request units left for it."""

NOT_SENT = (ServerSelectionTimeoutError, WaitQueueTimeoutError)
"""The driver found no server, or no connection was free: the command was not sent."""

NOT_AS_MONGODB = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""Exceptions that the driver raises, beside its own, for an answer unlike MongoDB's. A server that only speaks the
protocol may have no logins, and answers `saslStart` without a payload; broken BSON is a ValueError."""


def is_duplicate(error: PyMongoError) -> bool:
    """Whether a document with that `_id` is stored already."""
    return isinstance(error, OperationFailure) and error.code == DUPLICATE_KEY


def is_certainly_not_applied(error: PyMongoError) -> bool:
    """Whether a command that failed with this error has certainly changed nothing."""
    if isinstance(error, NOT_SENT):
        return True
    if not isinstance(error, OperationFailure | NotPrimaryError):
        return False
    details = answer_of(error)
    return details.get("code") in NOT_APPLIED and not details.get("ok") and "writeConcernError" not in details


def answer_of(error: OperationFailure | NotPrimaryError) -> Mapping[str, Any]:
    """The server's answer to the command."""
    details: object = error.details
    return details if isinstance(details, Mapping) else {}


def reason_of(error: PyMongoError) -> str:
    """Returns the cause, for an operator: the server's own text, or the driver's about the connection."""
    match error:
        case ServerSelectionTimeoutError():
            return "no primary can be reached: " + _driver_text(error)
        case OperationFailure() | NotPrimaryError():
            return server_text(answer_of(error)) or "the server refuses it and gives no reason"
        case ConnectionFailure() | ConfigurationError():
            return _driver_text(error) or "the connection was lost"
        case _:
            # The driver's own errors about documents hold whole documents.
            return "the driver has failed, and its words may hold a document"


def not_as_mongodb(error: Exception) -> str:
    """Returns why an answer that is not as MongoDB's can't be used."""
    return f"the server does not answer as MongoDB does ({type(error).__name__}): is a login asked for that it lacks?"


def server_text(answer: Mapping[str, Any]) -> str:
    """Returns the text of an error with its code: `not authorized on payment to execute command (Unauthorized, 13)`.

    `answer`: a failed command's, or one entry of `writeErrors`, or a `writeConcernError`.
    """
    text = _short(str(answer.get("errmsg", "")).partition("{")[0])
    code, name = answer.get("code"), answer.get("codeName")
    named = ", ".join(_short(str(each)) for each in (name, code) if each is not None)
    return f"{text} ({named})".strip() if named else text


def _driver_text(error: PyMongoError) -> str:
    """Returns the driver's text about a connection, which has the address, without its configuration."""
    return _short(str(error).partition(" (configured")[0].partition(", Timeout")[0])


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return "".join(each for each in plain if each.isprintable())[:TEXT_CHARS].strip()
