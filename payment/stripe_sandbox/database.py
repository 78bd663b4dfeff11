"""The data that must survive a restart or a kill -9, in one SQLite file: charges, refunds, used tokens, kept answers,
and through `intents` and `events` their own tables.

SQLite runs in the event loop's own thread: a transaction takes tens of microseconds, less than passing it to another
thread. Each commit passes the write-ahead log to the operating system, and only checkpoints force it to the disk
(`synchronous=NORMAL`): a process that dies loses nothing, a machine that loses power may lose the last moments, which
is acceptable for a sandbox. The file is locked exclusively: two sandboxes on one directory would not know of each
other's executing requests.

Change together: `SCHEMA` and its version; a file of another version is refused, not migrated.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from payment.stripe_sandbox.event_records import EVENT_SCHEMA, EventRecords
from payment.stripe_sandbox.intent_records import INTENT_SCHEMA, IntentRecords
from payment.stripe_sandbox.objects import Charge, Dispute, Money, RefundObject
from payment.stripe_sandbox.pages import ObjectPage, read_page

FILE_NAME = "stripe-sandbox.sqlite3"
SCHEMA_VERSION = 2
SCHEMA = f"""
{INTENT_SCHEMA}
{EVENT_SCHEMA}
CREATE TABLE charges (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, card TEXT NOT NULL, transfer_group TEXT, payment_intent TEXT,
    currency TEXT NOT NULL, kept INTEGER NOT NULL, object BLOB NOT NULL);
CREATE INDEX charges_by_group ON charges (transfer_group, seq);
CREATE INDEX charges_by_intent ON charges (payment_intent, seq);
CREATE TABLE refunds (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, charge TEXT NOT NULL, payment_intent TEXT, settles_at REAL,
    settles_as TEXT, object BLOB NOT NULL);
CREATE INDEX refunds_by_charge ON refunds (charge, seq);
CREATE INDEX refunds_by_intent ON refunds (payment_intent, seq);
CREATE INDEX refunds_to_settle ON refunds (settles_at) WHERE settles_at IS NOT NULL;
CREATE TABLE disputes (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, charge TEXT NOT NULL, payment_intent TEXT, object BLOB NOT NULL);
CREATE TABLE used_tokens (token TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE answers (
    key TEXT PRIMARY KEY, path TEXT NOT NULL, fingerprint TEXT NOT NULL, kept_at REAL NOT NULL,
    request_id TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE strange_keys (
    key TEXT NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (key, fingerprint)) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
"""

ACCOUNT_ID_BYTES = 8
"""Stripe's own ids of accounts have 16 characters."""

CHECKPOINT_PAGES = 4_000
"""Pages of the log between checkpoints: 16 MB, some 600 charges, four times SQLite's default, so that a page which is
written often is copied less.
"""
CACHE_KIB = 16_000
"""The page cache, which holds the indexes; SQLite's default of 2 MB is enough for some thousand charges."""


class DatabaseInUseError(Exception):
    """The database can't be opened: another process uses it, or another program made it."""


class KeptAnswer(Struct, frozen=True):
    """The answer kept for an idempotency key, and the request that it answered."""

    path: str
    fingerprint: str
    kept_at: float
    request_id: str
    status: int
    body: bytes


class Database:
    """One account's database. No method waits; those that write must run inside `transaction()`."""

    def __init__(
        self, directory: Path, wall_clock: Callable[[], float] = time.time, account_id: str | None = None
    ) -> None:
        """Open the database in a directory, or create it. Raises DatabaseInUseError if that fails.

        `account_id` becomes the account's id; without it the database keeps the id that it was created with.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._clock = wall_clock
        self._db = sqlite3.connect(directory / FILE_NAME, isolation_level=None, timeout=0)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise DatabaseInUseError(f"{directory / FILE_NAME}: {error}") from error
        self._skipped_s = self._fact("skipped_s")
        self.account_id = self._account_id(account_id)
        self.intents = IntentRecords(self._db)
        self.events = EventRecords(self._db)

    def _open(self) -> None:
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(
                f"created by another release (version {version}, this one knows {SCHEMA_VERSION}): delete it to "
                "begin anew"
            )
        if version == 0:
            self._db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")

    def _account_id(self, given: str | None) -> str:
        """Returns the account's id, which stays the same for the life of the database."""
        self._db.execute("CREATE TABLE IF NOT EXISTS account (id TEXT NOT NULL)")
        row = self._db.execute("SELECT id FROM account").fetchone()
        if row is not None and given in (None, row[0]):
            return str(row[0])
        account_id = given or f"acct_{secrets.token_hex(ACCOUNT_ID_BYTES)}"
        with self.transaction():
            self._db.execute("DELETE FROM account")
            self._db.execute("INSERT INTO account VALUES (?)", [account_id])
        return account_id

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: all writes or none, also over a kill -9."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A savepoint in a transaction: if the block raises, its writes are undone, and the transaction goes on."""
        self._db.execute("SAVEPOINT attempt")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK TO attempt")
            self._db.execute("RELEASE attempt")
            raise
        self._db.execute("RELEASE attempt")

    def now(self) -> float:
        """Returns seconds since 1970 by the sandbox's own clock, which may have been moved forward."""
        return self._clock() + self._skipped_s

    def wall_clock(self) -> float:
        """Returns seconds since 1970 by the machine's clock, for receivers that check the time of a signature."""
        return self._clock()

    def skip(self, seconds: float) -> None:
        """Move the clock forward permanently."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES ('skipped_s', ?)", [self._skipped_s + seconds])
        self._skipped_s += seconds

    def count(self, fact: str) -> None:
        self._db.execute(
            "INSERT INTO facts VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1",
            [fact],
        )

    def _fact(self, name: str) -> float:
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", [name]).fetchone()
        return float(row[0]) if row else 0.0

    # Charges

    def add_charge(self, charge: Charge, card: str) -> None:
        """`card` is the card's key, of `tokens.card_key`."""
        self._db.execute(
            "INSERT INTO charges (id, card, transfer_group, payment_intent, currency, kept, object)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                charge.id,
                card,
                charge.transfer_group,
                charge.payment_intent,
                charge.currency,
                _kept(charge),
                msgspec.json.encode(charge),
            ],
        )

    def change_charge(self, charge: Charge) -> None:
        self._db.execute(
            "UPDATE charges SET transfer_group = ?, kept = ?, object = ? WHERE id = ?",
            [charge.transfer_group, _kept(charge), msgspec.json.encode(charge), charge.id],
        )

    def charge(self, charge_id: str) -> Charge | None:
        row = self._db.execute("SELECT object FROM charges WHERE id = ?", [charge_id]).fetchone()
        return msgspec.json.decode(row[0], type=Charge) if row else None

    def card_of(self, charge_id: str) -> str:
        """Returns the key of a charge's card."""
        (card,) = self._db.execute("SELECT card FROM charges WHERE id = ?", [charge_id]).fetchone()
        return str(card)

    def charges(self, selected: dict[str, str], page: ObjectPage) -> tuple[list[Charge], bool]:
        """Returns one page, newest first, and whether there is more. `selected`: `transfer_group`, `payment_intent`."""
        return read_page(self._db, "charges", selected, page, Charge)

    def all_charges(self) -> list[Charge]:
        rows = self._db.execute("SELECT object FROM charges ORDER BY seq")
        return [msgspec.json.decode(row[0], type=Charge) for row in rows]

    def kept(self) -> list[Money]:
        """Returns what was charged and not refunded, by currency."""
        rows = self._db.execute("SELECT currency, SUM(kept) FROM charges GROUP BY currency HAVING SUM(kept) > 0")
        return [Money(amount, currency, {"card": amount}) for currency, amount in rows]

    def use_token(self, token: str) -> bool:
        """Mark a single-use token as used; returns False if it was used before."""
        return self._db.execute("INSERT OR IGNORE INTO used_tokens VALUES (?)", [token]).rowcount == 1

    # Refunds

    def add_refund(self, refund: RefundObject, settles_at: float | None, settles_as: str | None) -> None:
        self._db.execute(
            "INSERT INTO refunds (id, charge, payment_intent, settles_at, settles_as, object)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [refund.id, refund.charge, refund.payment_intent, settles_at, settles_as, msgspec.json.encode(refund)],
        )

    def settle_refund(self, refund: RefundObject) -> None:
        """Write a refund's final state."""
        self._db.execute(
            "UPDATE refunds SET settles_at = NULL, settles_as = NULL, object = ? WHERE id = ?",
            [msgspec.json.encode(refund), refund.id],
        )

    def refunds_to_settle(self) -> list[tuple[RefundObject, str]]:
        """Returns the refunds that are due to settle, each with its final status."""
        query = "SELECT object, settles_as FROM refunds WHERE settles_at <= ?"
        rows = self._db.execute(query, [self.now()])
        return [(msgspec.json.decode(data, type=RefundObject), status) for data, status in rows]

    def next_settlement_at(self) -> float | None:
        """Returns when the next refund or intent in `processing` settles, in seconds since 1970."""
        query = (
            "SELECT MIN(at) FROM (SELECT MIN(settles_at) AS at FROM refunds"
            " UNION ALL SELECT MIN(settles_at) FROM intents)"
        )
        (at,) = self._db.execute(query).fetchone()
        return None if at is None else float(at)

    def refund(self, refund_id: str) -> RefundObject | None:
        row = self._db.execute("SELECT object FROM refunds WHERE id = ?", [refund_id]).fetchone()
        return msgspec.json.decode(row[0], type=RefundObject) if row else None

    def change_refund(self, refund: RefundObject) -> None:
        self._db.execute("UPDATE refunds SET object = ? WHERE id = ?", [msgspec.json.encode(refund), refund.id])

    def refunds(self, selected: dict[str, str], page: ObjectPage) -> tuple[list[RefundObject], bool]:
        """Returns one page, newest first, and whether there is more. `selected`: `charge`, `payment_intent`."""
        return read_page(self._db, "refunds", selected, page, RefundObject)

    def all_refunds(self) -> list[RefundObject]:
        rows = self._db.execute("SELECT object FROM refunds ORDER BY seq")
        return [msgspec.json.decode(row[0], type=RefundObject) for row in rows]

    # Disputes

    def add_dispute(self, dispute: Dispute) -> None:
        self._db.execute(
            "INSERT INTO disputes (id, charge, payment_intent, object) VALUES (?, ?, ?, ?)",
            [dispute.id, dispute.charge, dispute.payment_intent, msgspec.json.encode(dispute)],
        )

    def change_dispute(self, dispute: Dispute) -> None:
        self._db.execute("UPDATE disputes SET object = ? WHERE id = ?", [msgspec.json.encode(dispute), dispute.id])

    def disputes_of(self, charge_id: str) -> list[Dispute]:
        """Returns all disputes of a charge, newest first."""
        rows = self._db.execute("SELECT object FROM disputes WHERE charge = ? ORDER BY seq DESC", [charge_id])
        return [msgspec.json.decode(row[0], type=Dispute) for row in rows]

    def all_disputes(self) -> list[Dispute]:
        rows = self._db.execute("SELECT object FROM disputes ORDER BY seq")
        return [msgspec.json.decode(row[0], type=Dispute) for row in rows]

    def dispute(self, dispute_id: str) -> Dispute | None:
        row = self._db.execute("SELECT object FROM disputes WHERE id = ?", [dispute_id]).fetchone()
        return msgspec.json.decode(row[0], type=Dispute) if row else None

    def disputes(self, selected: dict[str, str], page: ObjectPage) -> tuple[list[Dispute], bool]:
        """Returns one page, newest first, and whether there is more. `selected`: `charge`, `payment_intent`."""
        return read_page(self._db, "disputes", selected, page, Dispute)

    # Idempotency keys

    def answer_for(self, key: str) -> KeptAnswer | None:
        query = "SELECT path, fingerprint, kept_at, request_id, status, body FROM answers WHERE key = ?"
        row = self._db.execute(query, [key]).fetchone()
        return KeptAnswer(*row) if row else None

    def keep_answer(self, key: str, answer: KeptAnswer) -> None:
        """Keep an answer; it replaces an expired one of the same key."""
        row = [key, *(getattr(answer, name) for name in KeptAnswer.__struct_fields__)]
        self._db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def note_strange_key(self, key: str, fingerprint: str) -> None:
        """Note that a key was used with other parameters than the first time."""
        self._db.execute("INSERT OR IGNORE INTO strange_keys VALUES (?, ?)", [key, fingerprint])

    def parameter_sets(self) -> dict[str, int]:
        """Returns the keys that were used with more than one set of parameters, and with how many."""
        rows = self._db.execute("SELECT key, COUNT(*) + 1 FROM strange_keys GROUP BY key")
        return dict(rows)

    def keys_kept(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM answers").fetchone()[0])

    def keys_reused_late(self) -> int:
        """Returns how often a key was used again after it had expired, and was executed again."""
        return int(self._fact("keys_reused_late"))


def _kept(charge: Charge) -> int:
    return charge.amount_captured - charge.amount_refunded
