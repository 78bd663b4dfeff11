"""Disputes: the disputes of charges of disputing cards (`tok_createDispute`), and the endpoints that show them.

A bank decides by the texts of Stripe's testing page in `evidence[uncategorized_text]` (docs.stripe.com/testing,
disputes), by `/v1/disputes/{id}/close`, which loses, or by `/_sandbox/disputes/{id}/win` and `…/lose`.
"""

from payment.stripe_sandbox.calls import PAGE_PARAMS, ApiCall, Endpoint, Result, page_of, selected
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.errors import ApiError, no_such
from payment.stripe_sandbox.events import Events
from payment.stripe_sandbox.objects import Charge, Dispute, ObjectList, new_dispute
from payment.stripe_sandbox.tokens import card_of

WINNING, LOSING, ESCALATING = "winning_evidence", "losing_evidence", "escalate_inquiry_evidence"
OPEN = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")
"""Statuses of a dispute that the bank has not decided yet."""


class Disputes:
    """The endpoints of `/v1/disputes`, and the bank's decisions."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def table(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("disputes.retrieve", "GET", "/v1/disputes/{id}", self.retrieve, "dispute"),
            Endpoint("disputes.update", "POST", "/v1/disputes/{id}", self.update, "dispute"),
            Endpoint("disputes.close", "POST", "/v1/disputes/{id}/close", self.close, "dispute"),
            Endpoint("disputes.list", "GET", "/v1/disputes", self.list, "dispute"),
        )

    def retrieve(self, call: ApiCall) -> Result:
        call.params.allow()
        return self._found(call.object_id)

    def list(self, call: ApiCall) -> Result:
        call.params.allow("charge", "payment_intent", *PAGE_PARAMS)
        page = page_of(call.params, "dispute", self._database.dispute)
        disputes, more = self._database.disputes(selected(call.params, "charge", "payment_intent"), page)
        return ObjectList(disputes, more, "/v1/disputes")

    def update(self, call: ApiCall) -> Result:
        """Update evidence. Unless `submit` is false, it goes to the bank at once."""
        params = call.params
        params.allow("evidence[*]", "metadata", "metadata[*]", "submit")
        dispute = self._found(call.object_id)
        evidence, submit = params.tree("evidence"), params.boolean("submit")
        dispute.metadata = params.changed_metadata(dispute.metadata)
        if evidence is not None:
            if dispute.status not in OPEN:
                raise ApiError(f"This dispute is already closed: its status is {dispute.status}.", param="evidence")
            dispute.evidence |= evidence
            dispute.evidence_details["has_evidence"] = True
        self._database.change_dispute(dispute)
        self._events.record("charge.dispute.updated", dispute, call)
        if evidence is not None and submit is not False:
            self._submitted(dispute, str(evidence.get("uncategorized_text", "")), call)
        return dispute

    def close(self, call: ApiCall) -> Result:
        """Accept the dispute: it is lost."""
        call.params.allow()
        dispute = self._found(call.object_id)
        if not self.decide(dispute, won=False, call=call):
            raise ApiError(f"This dispute is already closed: its status is {dispute.status}.")
        return dispute

    def open(self, charge: Charge) -> Dispute | None:
        """Open a dispute of a charge; returns None if the charge has not succeeded. Must run inside a transaction."""
        if charge.status != "succeeded":
            return None
        dispute = new_dispute(charge, card_of(self._database.card_of(charge.id)), int(self._database.now()))
        charge.disputed = True
        self._database.change_charge(charge)
        self._database.add_dispute(dispute)
        self._events.record("charge.dispute.created", dispute, None)
        return dispute

    def decide(self, dispute: Dispute, *, won: bool, call: ApiCall | None = None) -> bool:
        """Decide a dispute, perhaps again; returns False if it has this decision already. Must run inside a
        transaction.
        """
        before, inquiry = dispute.status, dispute.status.startswith("warning")
        dispute.status = ("warning_closed" if inquiry else "won") if won else "lost"
        if dispute.status == before:
            return False
        dispute.is_charge_refundable = won
        self._database.change_dispute(dispute)
        if won and not inquiry:
            self._events.record("charge.dispute.funds_reinstated", dispute, call)
        self._events.record("charge.dispute.closed", dispute, call)
        return True

    def _submitted(self, dispute: Dispute, text: str, call: ApiCall) -> None:
        dispute.evidence_details["submission_count"] += 1
        inquiry = dispute.status.startswith("warning")
        if text == ESCALATING and inquiry:
            dispute.status, dispute.is_charge_refundable = "needs_response", False
        elif text in (WINNING, LOSING):
            self.decide(dispute, won=text == WINNING, call=call)
            return
        else:
            dispute.status = "warning_under_review" if inquiry else "under_review"
        self._database.change_dispute(dispute)
        self._events.record("charge.dispute.updated", dispute, call)

    def _found(self, dispute_id: str) -> Dispute:
        dispute = self._database.dispute(dispute_id)
        if dispute is None:
            raise no_such("dispute", dispute_id, param="dispute", status=404)
        return dispute
