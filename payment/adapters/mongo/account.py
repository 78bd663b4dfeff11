"""The collection `account`: one document, which says which Stripe account the database belongs to (F48).

    {_id: "stripe", rev, account: "acct_…" | null, live: bool | null, fingerprint, since, by, before: [the last ones]}

The document is inserted once: of two processes with keys of two accounts one wins. It is replaced only where its
revision is the one that was read.

Change together: `payment.core.account.BoundAccount`, and docs/deploy.md on the collection.
"""

from datetime import datetime
from typing import Any

import msgspec
from motor.motor_asyncio import AsyncIOMotorCollection
from msgspec import Struct
from pymongo.errors import PyMongoError

from payment.adapters.mongo.errors import reason_of
from payment.core.account import BoundAccount, StripeAccount
from payment.ports.store import StoreUnavailable

ACCOUNT = "account"
"""The collection's name."""

ONLY_ID = "stripe"
"""The `_id` of its one document."""

BEFORE_LIMIT = 20
"""Former accounts that are kept beside the present one, for an operator who looks: moves are rare."""


class Document(Struct, frozen=True):
    """The document as it is stored, without its `_id`."""

    rev: int
    account: str | None
    live: bool | None
    fingerprint: str
    since: datetime
    by: str
    before: list[dict[str, Any]] = []

    @property
    def bound(self) -> BoundAccount:
        return BoundAccount(StripeAccount(self.account, self.live, self.fingerprint), self.since, self.by)


class MongoAccounts:
    """`payment.ports.store.AccountStore` over MongoDB."""

    def __init__(self, collection: AsyncIOMotorCollection[dict[str, Any]]) -> None:
        self._collection = collection

    async def read(self) -> BoundAccount | None:
        found = await self._find()
        return None if found is None else found.bound

    async def bind(self, bound: BoundAccount) -> BoundAccount:
        try:
            await self._collection.insert_one({"_id": ONLY_ID, "rev": 1, **_fields(bound)})
        except PyMongoError as error:
            # Servers differ in how they say that another process was first: what stands there now decides.
            stands = await self.read()
            if stands is None:
                raise StoreUnavailable(_reason(error)) from None
            return stands
        return bound

    async def replace(self, old: BoundAccount, new: BoundAccount) -> bool:
        found = await self._find()
        if found is None or found.bound != old:
            return False
        before = [*found.before, _fields(old)][-BEFORE_LIMIT:]
        try:
            result = await self._collection.replace_one(
                {"_id": ONLY_ID, "rev": found.rev},
                {"_id": ONLY_ID, "rev": found.rev + 1, **_fields(new), "before": before},
            )
        except PyMongoError as error:
            raise StoreUnavailable(_reason(error)) from None
        return result.matched_count == 1

    async def _find(self) -> Document | None:
        try:
            found = await self._collection.find_one({"_id": ONLY_ID})
        except PyMongoError as error:
            raise StoreUnavailable(_reason(error)) from None
        if found is None:
            return None
        try:
            return msgspec.convert({name: value for name, value in found.items() if name != "_id"}, Document)
        except msgspec.ValidationError as error:
            raise StoreUnavailable(f"the document of `{ACCOUNT}` makes no sense: {error}") from None


def _fields(bound: BoundAccount) -> dict[str, Any]:
    account = bound.account
    return {
        "account": account.id,
        "live": account.live,
        "fingerprint": account.fingerprint,
        "since": bound.since,
        "by": bound.by,
    }


def _reason(error: PyMongoError) -> str:
    return f"the collection `{ACCOUNT}`: {reason_of(error)}"
