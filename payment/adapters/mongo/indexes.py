"""The indexes of `orders`: which are needed, which old ones are dropped, and how they are made beside charges.

A charge needs none of them: it reads and writes by `_id`. The sweep reads by `due`, and once a minute by `recheck`; a
payment is found by `payment`. So they are made while charges are accepted, by a client of their own with a deadline of
minutes: a server reads every stored order to make an index, and continues when its client has disconnected.

Only the index of `_id` is unique: a unique index forbids sharding by another key (error 67), and a payment's id is a
function of its order's. `payment_id`, which release 0.2.0 made unique, is dropped once `payment` exists. Both can exist
at a time, because `payment` is descending: a process of 0.2.0 that starts meanwhile makes `payment_id` again, and
neither process keeps the other from starting; the next process of this release drops it again.

The index `due_ms` of 0.2.0 stays: a process of 0.2.0 that runs beside this one would read every order without it.
Nothing is added to it, and it empties as orders are written (docs/decisions/0019).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import OperationFailure

from payment.adapters.mongo.documents import ORDERS, Document

INDEX_DEADLINE_MS = 600_000
"""For the server to make one index. It reads some ten thousand orders a second; a build that takes longer continues in
the background, and the index is requested again."""

UNAUTHORIZED, INDEX_NOT_FOUND, COMMAND_NOT_FOUND, INDEX_OPTIONS_CONFLICT = 13, 27, 59, 85

UNIQUE_BEFORE = "payment_id"
"""Made by release 0.2.0 and before."""


class Index(NamedTuple):
    """An index that `orders` needs."""

    name: str
    keys: tuple[tuple[str, int], ...]

    @property
    def model(self) -> IndexModel:
        """For the driver. The index is sparse: it has only the orders that have its fields."""
        return IndexModel(list(self.keys), name=self.name, sparse=True)

    def is_like(self, found: Mapping[str, Any]) -> bool:
        """Whether an index of the server serves the same queries, under any name and in either direction."""
        same_keys = list(found.get("key", ())) == [field for field, _ in self.keys]
        narrower = "partialFilterExpression" in found or found.get("hidden")
        return same_keys and not narrower and not found.get("unique")


DUE_INDEX = Index("due", (("due", ASCENDING),))

INDEXES = (
    DUE_INDEX,
    Index("recheck", (("recheck", ASCENDING),)),
    Index("payment", (("payment.id", DESCENDING),)),
)


class Missing(NamedTuple):
    """The indexes that have to be made, and those of an older release that have to be dropped."""

    to_make: tuple[Index, ...]
    to_drop: tuple[str, ...]

    @property
    def descriptions(self) -> tuple[str, ...]:
        """For operators: the name of each index."""
        return (*(index.name for index in self.to_make), *(f"{name} (unique, to be dropped)" for name in self.to_drop))


async def missing_of(database: AsyncIOMotorDatabase[Document]) -> Missing:
    """Returns what has to be done in this database: everything, if its indexes may not be listed.

    Raises:
        PyMongoError: the server does not answer.
    """
    try:
        found: Sequence[Mapping[str, Any]] = await database[ORDERS].list_indexes().to_list(None)
    except OperationFailure as error:
        if error.code not in (UNAUTHORIZED, COMMAND_NOT_FOUND):
            raise
        return Missing(INDEXES, ())
    to_make = tuple(index for index in INDEXES if not any(index.is_like(each) for each in found))
    return Missing(
        to_make, tuple(UNIQUE_BEFORE for each in found if each.get("name") == UNIQUE_BEFORE and each.get("unique"))
    )


async def make(database: AsyncIOMotorDatabase[Document], missing: Missing) -> None:
    """Make the missing indexes, then drop the obsolete ones. `database`: of a client with a deadline of minutes.

    Raises:
        PyMongoError: an index could not be made or dropped.
    """
    orders = database[ORDERS]
    for index in missing.to_make:  # one by one: FerretDB 1 disconnects at a command with several of which some exist
        try:
            await orders.create_indexes([index.model])
        except OperationFailure as error:
            if error.code != INDEX_OPTIONS_CONFLICT:  # an operator's index has these keys, and serves as well
                raise
    for name in missing.to_drop:
        try:
            await orders.drop_index(name)
        except OperationFailure as error:
            if error.code != INDEX_NOT_FOUND:  # another process has dropped it
                raise
