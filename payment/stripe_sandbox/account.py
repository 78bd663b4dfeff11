"""One account: its endpoints, its delayed changes, and the bank's decisions.

Owns the parts that read and change the database. It never waits and never sends anything.
"""

from collections.abc import Callable

from payment.stripe_sandbox.calls import Endpoint
from payment.stripe_sandbox.charging import Charging
from payment.stripe_sandbox.confirming import Confirming
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.disputes import Disputes
from payment.stripe_sandbox.endpoints import Endpoints
from payment.stripe_sandbox.events import Events
from payment.stripe_sandbox.expand import Expander
from payment.stripe_sandbox.instruments import Instruments
from payment.stripe_sandbox.intent_objects import PaymentIntent
from payment.stripe_sandbox.intents import Intents
from payment.stripe_sandbox.objects import Dispute, RefundObject
from payment.stripe_sandbox.webhooks import Webhooks


class Account:
    """All endpoints of one account, over its stored objects."""

    def __init__(self, database: Database, refund_delay_s: float, charges: Callable[[], bool]) -> None:
        """`charges` returns whether the account may use the Charges API."""
        self.database = database
        self.events = Events(database)
        self.expander = Expander(database)
        charging = Charging(database, self.events)
        self._instruments = Instruments(database)
        self._confirming = Confirming(database, self.events, self._instruments, charging)
        self._intents = Intents(database, self.events, self._instruments, self._confirming)
        self.webhooks = Webhooks(database)
        self._disputes = Disputes(database, self.events)
        self._endpoints = Endpoints(
            database, self.events, charging, self._instruments, refund_delay_s=refund_delay_s, charges=charges
        )

    def table(self) -> tuple[Endpoint, ...]:
        """Every endpoint."""
        return (
            *self._endpoints.table(),
            *self._intents.table(),
            *self._instruments.table(),
            *self._disputes.table(),
            *self.events.table(),
            *self.webhooks.table(),
        )

    def settle(self) -> None:
        """Settle pending refunds and payments that are due by the sandbox's clock."""
        due_at = self.database.next_settlement_at()
        if due_at is None or due_at > self.database.now():
            return
        with self.database.transaction():
            self._endpoints.settle_refunds()
            for intent in self.database.intents.to_settle(self.database.now()):
                self._confirming.settle(intent)

    def answer_bank(self, intent: PaymentIntent, authenticated: bool) -> PaymentIntent | None:
        """Apply the customer's answer at the bank. Returns the changed intent, or None if it waits for no answer."""
        with self.database.transaction():
            current = self.database.intents.get(intent.id)
            if current is None or current.status != "requires_action":
                return None
            if authenticated:
                self._confirming.authenticated(current, None)
            else:
                self._confirming.not_authenticated(current, None)
        return current

    def fail_refund(self, refund_id: str) -> RefundObject | None:
        """Let the bank return a refund. Returns None if there is no such refund, or it has failed already."""
        with self.database.transaction():
            refund = self.database.refund(refund_id)
            return refund if refund is not None and self._endpoints.fail_refund(refund) else None

    def dispute(self, charge_id: str) -> Dispute | None:
        """Let the bank dispute a charge. Returns None if there is no succeeded charge of this id."""
        with self.database.transaction():
            charge = self.database.charge(charge_id)
            return None if charge is None else self._disputes.open(charge)

    def decide(self, dispute_id: str, *, won: bool) -> Dispute | None:
        """Let the bank decide a dispute. Returns None if there is no such dispute, or it has this decision already."""
        with self.database.transaction():
            dispute = self.database.dispute(dispute_id)
            return dispute if dispute is not None and self._disputes.decide(dispute, won=won) else None
