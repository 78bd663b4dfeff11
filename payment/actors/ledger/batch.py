"""What a commit works on: one item for each of its orders. It is data: `payment.actors.ledger.commit` changes it."""

from msgspec import Struct, field

from payment.actors.ledger.order_queues import OrderQueue, QueuedMessage
from payment.actors.messages import EffectCompleted
from payment.core.messages import ActionRequired, IntentRetrieved
from payment.core.order import Order
from payment.core.replies import Reply, Start
from payment.ports.cards import Handover


class SentWrite(Struct, frozen=True):
    """A write that may have been applied: what it was decided on, and the document."""

    before: Order | None
    after: Order


class BatchItem(Struct, eq=False):
    """One order of a commit: its messages, what was decided, and every write of it that may have been applied.

    A message is taken out of `messages` when it is answered: what is left when the ledger dies still waits.
    """

    queue: OrderQueue
    messages: list[QueuedMessage]
    before: Order | None = None
    after: Order | None = None
    replies: dict[int, Reply | Start] = field(default_factory=dict)
    """What `decide` replied to messages, by their `id`."""
    applied: set[int] = field(default_factory=set)
    """The messages (`id`) whose own step changed the order: a duplicate folded into the same write did not."""
    sent: dict[int, SentWrite] = field(default_factory=dict)
    """The writes of it that may have been applied, by their number (`Writer.number`)."""
    failures: int = 0
    """Writes of it that were refused, or whose outcome is not known."""
    store_ms: float = 0.0
    """Time that this order has spent in calls to the store."""

    @property
    def order_id(self) -> str:
        return self.queue.order_id

    @property
    def changed(self) -> bool:
        return self.after is not self.before

    @property
    def handover(self) -> Handover | None:
        """What the customer's browser needs, as Stripe answered. Valid only where the document says *awaiting*."""
        intent = self.after.intent if self.after is not None else None
        for message in self.messages:
            if intent is not None and isinstance(message, EffectCompleted) and message.handover is not None:
                outcome = message.message
                if isinstance(outcome, ActionRequired | IntentRetrieved) and outcome.intent == intent.number:
                    return message.handover
        return None

    @property
    def retrieved(self) -> bool:
        """Whether one of its messages says how an intent was retrieved."""
        return any(
            isinstance(message, EffectCompleted) and isinstance(message.message, IntentRetrieved)
            for message in self.messages
        )
