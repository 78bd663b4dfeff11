"""An operator's changes to stored documents: an edit that makes a document corrupt, and its correction (F50).

Owns which documents are edited, and their contents before. A correction writes a document's old contents back, one
revision on, unless a process has overwritten the edit meanwhile: it can where the edit leaves `rev` as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import bson
from msgspec import structs

from payment.adapters.mongo.documents import CODEC
from payment.core.order import Order
from tests.simulation.journal import DocumentCorrupted, Wrote
from tests.support.fakes.store import encoded

if TYPE_CHECKING:
    from tests.simulation.world import World

OPERATOR = "operator"
Change = Callable[[dict[str, Any]], bool]
"""Edits a document. Returns False where the document has no such field, or would make sense afterwards."""


class Edits:
    """The documents of one world that are edited and not corrected yet."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._before: dict[str, tuple[bytes, Order]] = {}
        self._edited: dict[str, bytes] = {}
        self.coming: dict[str, float] = {}
        """By order: when its document will be corrected, in seconds of the world's time."""

    def is_corrupt(self, order_id: str) -> bool:
        """Whether the document is still as it was edited. What the service makes of it proves nothing."""
        return order_id in self._edited and self._world.database.documents.get(order_id) is self._edited[order_id]

    def edit(self, order_id: str, change: Change, corrected_after_s: float, *, counted: bool) -> None:
        """Change a document, with the next revision where `counted`. It is corrected `corrected_after_s` later; 0:
        never."""
        world, database = self._world, self._world.database
        stored, order = database.documents[order_id], database.get(order_id)
        document = bson.decode(stored, codec_options=CODEC)
        if order is None or not change(document):
            return
        if counted and document["rev"] is not None:
            document["rev"] += 1
        edited = bson.encode(document, codec_options=CODEC)
        database.documents[order_id] = self._edited[order_id] = edited
        self._before[order_id] = (stored, order)
        world.changes += 1
        world.journal.add(DocumentCorrupted(world.now_s, OPERATOR, order_id))
        if corrected_after_s > 0:
            self.coming[order_id] = world.now_s + corrected_after_s
            world.later(corrected_after_s, self._correct, order_id)

    def _correct(self, order_id: str) -> None:
        self.coming.pop(order_id, None)
        before = self._before.pop(order_id, None)
        if before is None or not self.is_corrupt(order_id):
            return
        world = self._world
        order = structs.replace(before[1], rev=before[1].rev + 1)
        world.database.documents[order_id] = encoded(order)
        world.wrote(Wrote(world.now_s, OPERATOR, order, lost_answer=False))

    def as_before(self) -> dict[str, bytes]:
        """The contents of the edited documents before their edits: a backup of the store holds these."""
        return {name: before for name, (before, _) in self._before.items() if self.is_corrupt(name)}

    def forgotten(self) -> None:
        """Forget all edits: the store was restored to a state without them."""
        self._before.clear()
        self._edited.clear()
