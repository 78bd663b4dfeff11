"""What an error of MongoDB or of its driver means, and what may be said of it.

The server's own words are kept as far as its answer names no document: they stand in `/readyz` and in the log, so what
follows the first brace is cut (a refused command is repeated there, with card tokens in it).

A code is in `NOT_APPLIED` only if the server gives it before it changes anything: a request whose write ended so may be
answered "nothing was charged". Codes: github.com/mongodb/mongo, src/mongo/base/error_codes.yml; 8000 is Atlas's.
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

WORDS_CHARS = 200
"""Longest text of a server or of the driver that is repeated: a sentence, and no document."""

DUPLICATE_KEY = 11000

WRITE_CONFLICT = 112
"""Two writes met, and this one was rolled back: it is read and decided again, as after any other conflict."""

REFUSED_FOR_GOOD = frozenset({2, 9, 14, 22, 52, 121, 10334, 17419, 17420})
"""Server error codes that speak of the document itself (BadValue, TypeMismatch, InvalidBSON, DollarPrefixedFieldName,
DocumentValidationFailure, BSONObjectTooLarge and kin)."""

NOT_APPLIED = frozenset({13, 18, 20, 59, 73, 115, 166, 371, 391, 8000, 10107, 13435, 13436, 14031})
"""Unauthorized, AuthenticationFailed, IllegalOperation, CommandNotFound, InvalidNamespace, CommandNotSupported,
CommandNotSupportedOnView, UserWritesBlocked, ReauthenticationRequired, AtlasError (a quota), NotWritablePrimary,
NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary, OutOfDiskSpace. Not among them: whatever may interrupt a write
that has begun (11600, 11602, 189, 91, 50, 262), lost connections between servers (6, 89, 202, 9001), write concerns."""

DOCUMENT_NOT_APPLIED = NOT_APPLIED | {16500}
"""Where an answer names one document, also 16500: Azure's Cosmos DB is out of request units for it."""

NOT_SENT = (ServerSelectionTimeoutError, WaitQueueTimeoutError)
"""The driver found no server, or no connection was free: the command has not left."""

NOT_AS_MONGODB = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What the driver raises, past its own family of errors, when it takes apart an answer and finds something else: a
server that is no real MongoDB may know no logins, and answers `saslStart` without a payload; BSON that is broken is a
ValueError."""


def is_duplicate(error: PyMongoError) -> bool:
    """Whether something is stored under that `_id` already."""
    return isinstance(error, OperationFailure) and error.code == DUPLICATE_KEY


def is_certainly_not_applied(error: PyMongoError) -> bool:
    """Whether a command that failed so has changed nothing, for certain."""
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
    """Why, for an operator: the server's own words, or what the driver says of the connection."""
    match error:
        case ServerSelectionTimeoutError():
            return "no primary can be reached: " + _driver_words(error)
        case OperationFailure() | NotPrimaryError():
            return server_words(answer_of(error)) or "the server refuses it and gives no reason"
        case ConnectionFailure() | ConfigurationError():
            return _driver_words(error) or "the connection was lost"
        case _:
            # The driver's own errors about documents hold whole documents.
            return "the driver has failed, and its words may hold a document"


def not_as_mongodb(error: Exception) -> str:
    """Why an answer can't be used that is none of MongoDB's."""
    return f"the server does not answer as MongoDB does ({type(error).__name__}): is a login asked for that it lacks?"


def server_words(answer: Mapping[str, Any]) -> str:
    """What a server says of an error, with its code: `not authorized on payment to execute command (Unauthorized, 13)`.

    `answer`: a failed command's, or one entry of `writeErrors`, or a `writeConcernError`.
    """
    words = _short(str(answer.get("errmsg", "")).partition("{")[0])
    code, name = answer.get("code"), answer.get("codeName")
    named = ", ".join(_short(str(each)) for each in (name, code) if each is not None)
    return f"{words} ({named})".strip() if named else words


def _driver_words(error: PyMongoError) -> str:
    """Of a connection: the address, and what became of it."""
    return _short(str(error).partition(" (configured")[0].partition(", Timeout")[0])


def _short(words: str) -> str:
    plain = " ".join(words.split())
    return "".join(each for each in plain if each.isprintable())[:WORDS_CHARS].strip()
