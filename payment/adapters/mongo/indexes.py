"""The indexes of `orders`: which there are to be, which of an older release go, and how they are made beside charges.

No charge needs one of them (it reads and writes by `_id`); the sweep reads `due`, once a minute `recheck`, and a
payment is found by `payment`. So they are made while charges are taken, by a client of their own
whose deadline is minutes: a server reads every stored order for an index, and goes on with that although its client
has gone.

No index but `_id`'s is unique: a unique one forbids to shard by another key (error 67), and a payment's id is a
function of its order's. `payment_id`, which release 0.2.0 made unique, is dropped once `payment` is there. Both can be
there at a time, for `payment` runs downwards: so a process of 0.2.0 that starts meanwhile makes its own again, at its
start and never after, and neither keeps the other from starting; the next process of this release drops it once more.

The index `due_ms` of 0.2.0 stays where it is: a process of 0.2.0 that runs beside this one would read every order
without it. Nothing is added to it, and it empties as orders are written (docs/decisions/0019).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import OperationFailure

from payment.adapters.mongo.writes import ORDERS, Document

INDEX_DEADLINE_MS = 600_000
"""For the server to make one index. It reads some ten thousand orders a second; a build that takes longer goes on in
the background, and is asked for again."""

UNAUTHORIZED, INDEX_NOT_FOUND, COMMAND_NOT_FOUND, INDEX_OPTIONS_CONFLICT = 13, 27, 59, 85

UNIQUE_BEFORE = "payment_id"
"""Made by release 0.2.0 and before."""


class Index(NamedTuple):
    """An index that `orders` is to have."""

    name: str
    keys: tuple[tuple[str, int], ...]

    @property
    def model(self) -> IndexModel:
        """For the driver. Sparse: only orders that have the field are in it, however many are stored."""
        return IndexModel(list(self.keys), name=self.name, sparse=True)

    def is_like(self, found: Mapping[str, Any]) -> bool:
        """Whether an index of the server does the work of this one, under whatever name and in either direction."""
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
    """What is to be done about the indexes: those to be made, and those of an older release to be dropped."""

    to_make: tuple[Index, ...]
    to_drop: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """For operators: each index by its name."""
        return (*(index.name for index in self.to_make), *(f"{name} (unique, to be dropped)" for name in self.to_drop))


async def missing_of(database: AsyncIOMotorDatabase[Document]) -> Missing:
    """What is to be done in this database. Where its indexes may not be listed, all are asked for again.

    Raises:
        PyMongoError: the server can't be asked.
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
    """Make what is missing, and drop what is to go afterwards. `database`: of a client with a deadline of minutes.

    Raises:
        PyMongoError: one could not be made.
    """
    orders = database[ORDERS]
    for index in missing.to_make:  # one by one: FerretDB 1 hangs up at several of which some are there
        try:
            await orders.create_indexes([index.model])
        except OperationFailure as error:
            if error.code != INDEX_OPTIONS_CONFLICT:  # another one has these keys, made by an operator: it does
                raise
    for name in missing.to_drop:
        try:
            await orders.drop_index(name)
        except OperationFailure as error:
            if error.code != INDEX_NOT_FOUND:  # another process was first
                raise
