"""Disputes: what becomes of a charge whose card says so (`tok_createDispute`), and the endpoints that show them."""

from payment.stripe_sandbox.books import Books
from payment.stripe_sandbox.calls import PAGE_PARAMS, Call, Endpoint, Result, page_of, selected
from payment.stripe_sandbox.errors import no_such
from payment.stripe_sandbox.objects import Dispute, ObjectList


class Disputes:
    """The endpoints of `/v1/disputes`."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def table(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("disputes.retrieve", "GET", "/v1/disputes/{id}", self.retrieve, "dispute"),
            Endpoint("disputes.list", "GET", "/v1/disputes", self.list, "dispute"),
        )

    def retrieve(self, call: Call) -> Result:
        call.params.allow()
        return self._found(call.object_id)

    def list(self, call: Call) -> Result:
        call.params.allow("charge", "payment_intent", *PAGE_PARAMS)
        page = page_of(call.params, "dispute", self._books.dispute)
        disputes, more = self._books.disputes(selected(call.params, "charge", "payment_intent"), page)
        return ObjectList(disputes, more, "/v1/disputes")

    def _found(self, dispute_id: str) -> Dispute:
        dispute = self._books.dispute(dispute_id)
        if dispute is None:
            raise no_such("dispute", dispute_id, param="dispute", status=404)
        return dispute
