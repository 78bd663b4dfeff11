"""Refunds and disputes: the calls that give a charge back, and those that read whether it has been given back.

A charge is given back by refunds that have succeeded, or by the bank. Stripe refunds no charge of which a dispute was
lost, nor one of which a dispute is open; it does refund one whose dispute was won, and one that a bank only asks about
(an inquiry, `warning_…`). Sources: docs.stripe.com/api/disputes/object, docs.stripe.com/disputes/how-disputes-work,
docs.stripe.com/refunds; which statuses can be refunded: github.com/Automattic/woocommerce-payments/issues/7960.

It reads, and never keeps, state. Change together: `payment.adapters.stripe.bodies`, and the sandbox's endpoints.
"""

from collections.abc import Awaitable
from typing import Protocol
from urllib.parse import quote

from payment.adapters.stripe.bodies import (
    Body,
    Success,
    gives_all_back,
    is_lost,
    read_disputes,
    read_id,
    read_refunds,
    refund_tags_of,
)
from payment.adapters.stripe.errors import CallKind, Ending, NoSuccess, nothing_known
from payment.adapters.stripe.library import Verb
from payment.core.effects import RecheckRefund, RefundCharge
from payment.ports.cards import (
    Blocked,
    ChargedBack,
    FindRefundOutcome,
    NotRefunded,
    Refunded,
    RefundOutcome,
    Unclear,
)

DISPUTED = "charge_disputed"
"""Stripe's code where it makes no refund because of a dispute, open or lost (docs.stripe.com/error-codes)."""


class CallStripe(Protocol):
    """One HTTP request. Without a `version` it speaks the newest one that this release knows."""

    def __call__(
        self, call: CallKind, verb: Verb, path: str, params: Body, *, version: str = ..., key: str | None = None
    ) -> Awaitable[Success | NoSuccess]: ...


class ListAll(Protocol):
    """All items of a list, or why not: never a part of it."""

    def __call__(self, path: str, filters: Body) -> Awaitable[list[Body] | NoSuccess]: ...


class Refunds:
    """The calls of `payment.adapters.stripe.cards.StripeCards` that are about refunds and disputes."""

    def __init__(self, call: CallStripe, list_all: ListAll) -> None:
        self._call = call
        self._list = list_all

    async def refund(self, request: RefundCharge) -> RefundOutcome:
        """Give a charge back: all that is left of it, where a part was given back by hand."""
        params: Body = {"charge": request.charge_id, "metadata": refund_tags_of(request)}
        ended = await self._call(
            CallKind.REFUND, "post", "/v1/refunds", params, version=request.api_version, key=request.key
        )
        if isinstance(ended, NoSuccess):
            return await self._after_failed_refund(ended, request.charge_id)
        body = ended.body
        refund_id, status = read_id(body), body.get("status")
        if refund_id is None or not isinstance(status, str):
            return Unclear(text="Stripe answered 200, and not with a refund")
        if body.get("charge", request.charge_id) != request.charge_id:
            return Unclear(text=f"Stripe answered with a refund of another charge: {refund_id}", alarm=True)
        if status == "succeeded" and not ended.replayed:
            return Refunded(refund_id=refund_id)
        # A stored answer says the same a day on: only the list shows what came of the refund since.
        found = await self.find(request.charge_id)
        if isinstance(found, Refunded | ChargedBack):
            return found
        if status == "succeeded" and not isinstance(found, Blocked | NotRefunded):
            return found
        text = "the refund has failed since" if status == "succeeded" else f"the refund is {status}"
        return Blocked(text=text, refund_id=refund_id)

    async def find(self, charge_id: str, known: str | None = None) -> FindRefundOutcome:
        """Read a charge, its refunds and its disputes. `known`: the refund to name, if it is still a success."""
        refunds = await self._list("/v1/refunds", {"charge": charge_id})
        if isinstance(refunds, NoSuccess):
            return nothing_known(refunds)
        charge = await self._call(CallKind.READ, "get", f"/v1/charges/{quote(charge_id, safe='')}", {})
        if isinstance(charge, NoSuccess):
            return nothing_known(charge)
        amount = charge.body.get("amount")
        if read_id(charge.body) != charge_id or type(amount) is not int:
            return Unclear(text="Stripe answered 200, and not with the charge asked for")
        found = read_refunds(refunds, amount, known)
        if isinstance(found, NotRefunded) and charge.body.get("disputed") is True:
            return await self._disputed(charge.body, charge_id, amount)
        return found

    async def recheck(self, request: RecheckRefund) -> FindRefundOutcome:
        """One call where one refund gave all back and stands, as nearly always; or where the dispute is lost still."""
        known = request.given_back_by
        if request.charged_back:
            dispute = await self._call(CallKind.READ, "get", f"/v1/disputes/{quote(known, safe='')}", {})
            if isinstance(dispute, NoSuccess):
                # What may not be read any more is no evidence against what was read before.
                return ChargedBack(dispute_id=known) if _may_not_read(dispute) else nothing_known(dispute)
            return ChargedBack(dispute_id=known) if is_lost(dispute.body) else await self.find(request.charge_id)
        refund = await self._call(CallKind.READ, "get", f"/v1/refunds/{quote(known, safe='')}", {})
        if isinstance(refund, NoSuccess):
            return nothing_known(refund)
        if gives_all_back(refund.body, known, request.charge_id, request.amount):
            return Refunded(refund_id=known)
        return await self.find(request.charge_id, known)

    async def _disputed(self, charge: Body, charge_id: str, amount: int) -> FindRefundOutcome:
        disputes = await self._list("/v1/disputes", {"charge": charge_id})
        if isinstance(disputes, NoSuccess):
            if _may_not_read(disputes):
                # A restricted key may lack this permission: the refund waits, and its text says why.
                return Blocked(text=f"the charge is disputed, and its disputes can't be read: {disputes.text}")
            return nothing_known(disputes)
        refunded = charge.get("amount_refunded")
        left = amount - refunded if type(refunded) is int else amount
        return read_disputes(disputes, left, charge.get("currency"))

    async def _after_failed_refund(self, ended: NoSuccess, charge_id: str) -> RefundOutcome:
        if ended.ending is Ending.BLOCKED:
            if ended.answer is None or ended.answer.code != DISPUTED:
                return Blocked(text=ended.text)
            found = await self.find(charge_id)
            return found if isinstance(found, Refunded | ChargedBack) else Blocked(text=ended.text)
        if ended.ending is not Ending.ALREADY_REFUNDED:
            return nothing_known(ended)
        found = await self.find(charge_id)
        if isinstance(found, NotRefunded):
            return Unclear(text="Stripe calls the charge refunded, and lists no refund that gives it back")
        return found


def _may_not_read(ended: NoSuccess) -> bool:
    return ended.forbidden or ended.ending is Ending.ALARM
