"""The tables of intents and of their instruments. Every method that writes must run inside a transaction."""

import sqlite3

import msgspec
from msgspec import Struct

from payment.stripe_sandbox.intent_objects import ConfirmationToken, PaymentIntent, PaymentMethod, Token
from payment.stripe_sandbox.pages import ObjectPage, read_page

INTENT_SCHEMA = """
CREATE TABLE intents (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, authentication TEXT UNIQUE, settles_at REAL,
    object BLOB NOT NULL);
CREATE INDEX intents_to_settle ON intents (settles_at) WHERE settles_at IS NOT NULL;
CREATE TABLE payment_methods (
    id TEXT PRIMARY KEY, card TEXT NOT NULL, used INTEGER NOT NULL, object BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE card_tokens (id TEXT PRIMARY KEY, card TEXT NOT NULL, object BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE confirmation_tokens (
    id TEXT PRIMARY KEY, card TEXT NOT NULL, object BLOB NOT NULL) WITHOUT ROWID;
"""


class StoredMethod(Struct):
    """A payment method, the key of its card, and whether a payment has used it up."""

    object: PaymentMethod
    card: str
    used: bool


class IntentRecords:
    """Intents, payment methods, card tokens and confirmation tokens."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, intent: PaymentIntent) -> None:
        self._db.execute("INSERT INTO intents (id, object) VALUES (?, ?)", [intent.id, msgspec.json.encode(intent)])

    def change(self, intent: PaymentIntent, authentication: str | None = None, settles_at: float | None = None) -> None:
        """Write an intent. `authentication` is the id of the open page of the bank; `settles_at` is in seconds since
        1970.
        """
        self._db.execute(
            "UPDATE intents SET authentication = ?, settles_at = ?, object = ? WHERE id = ?",
            [authentication, settles_at, msgspec.json.encode(intent), intent.id],
        )

    def change_details(self, intent: PaymentIntent) -> None:
        """Write changes that do not concern the intent's state: an open page of the bank stays open."""
        self._db.execute("UPDATE intents SET object = ? WHERE id = ?", [msgspec.json.encode(intent), intent.id])

    def get(self, intent_id: str) -> PaymentIntent | None:
        row = self._db.execute("SELECT object FROM intents WHERE id = ?", [intent_id]).fetchone()
        return msgspec.json.decode(row[0], type=PaymentIntent) if row else None

    def awaiting(self, authentication: str) -> PaymentIntent | None:
        """Returns the intent that waits for its customer at this page of the bank; None if there is none."""
        row = self._db.execute("SELECT object FROM intents WHERE authentication = ?", [authentication]).fetchone()
        return msgspec.json.decode(row[0], type=PaymentIntent) if row else None

    def to_settle(self, now: float) -> list[PaymentIntent]:
        """Returns the intents in `processing` that are due to settle."""
        rows = self._db.execute("SELECT object FROM intents WHERE settles_at <= ? ORDER BY settles_at", [now])
        return [msgspec.json.decode(row[0], type=PaymentIntent) for row in rows]

    def page(self, page: ObjectPage) -> tuple[list[PaymentIntent], bool]:
        return read_page(self._db, "intents", {}, page, PaymentIntent)

    def all(self) -> list[PaymentIntent]:
        rows = self._db.execute("SELECT object FROM intents ORDER BY seq")
        return [msgspec.json.decode(row[0], type=PaymentIntent) for row in rows]

    # Instruments

    def add_method(self, method: PaymentMethod, card: str) -> None:
        self._db.execute(
            "INSERT INTO payment_methods VALUES (?, ?, 0, ?)", [method.id, card, msgspec.json.encode(method)]
        )

    def method(self, method_id: str) -> StoredMethod | None:
        query = "SELECT object, card, used FROM payment_methods WHERE id = ?"
        row = self._db.execute(query, [method_id]).fetchone()
        return StoredMethod(msgspec.json.decode(row[0], type=PaymentMethod), row[1], bool(row[2])) if row else None

    def use_method(self, method_id: str) -> None:
        self._db.execute("UPDATE payment_methods SET used = 1 WHERE id = ?", [method_id])

    def add_token(self, token: Token, card: str) -> None:
        self._db.execute("INSERT INTO card_tokens VALUES (?, ?, ?)", [token.id, card, msgspec.json.encode(token)])

    def change_token(self, token: Token) -> None:
        self._db.execute("UPDATE card_tokens SET object = ? WHERE id = ?", [msgspec.json.encode(token), token.id])

    def token(self, token_id: str) -> tuple[Token, str] | None:
        """Returns a created card token and the key of its card; None if there is none."""
        row = self._db.execute("SELECT object, card FROM card_tokens WHERE id = ?", [token_id]).fetchone()
        return (msgspec.json.decode(row[0], type=Token), row[1]) if row else None

    def put_confirmation_token(self, token: ConfirmationToken, card: str) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO confirmation_tokens VALUES (?, ?, ?)",
            [token.id, card, msgspec.json.encode(token)],
        )

    def confirmation_token(self, token_id: str) -> tuple[ConfirmationToken, str] | None:
        """Returns a confirmation token and the key of its card; None if there is none."""
        row = self._db.execute("SELECT object, card FROM confirmation_tokens WHERE id = ?", [token_id]).fetchone()
        return (msgspec.json.decode(row[0], type=ConfirmationToken), row[1]) if row else None
