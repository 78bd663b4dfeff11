"""Payments asked for by their ids or by their orders', read together: many requests cost one round trip.

Owns the requests to see a payment, until each is answered. It must never answer from anything but a fresh read. Where
the intent awaits its customer, its owner's request waits until the ledger has retrieved it, for a few seconds at most.
"""

import asyncio
import math
from collections.abc import Callable

from payment.actors.ledger.set_aside import SetAside
from payment.actors.messages import GetPayment, PaymentReply
from payment.actors.runtime.work_queue import WorkQueue
from payment.core.order import Order
from payment.core.replies import PaymentStatus, PaymentView, Unavailability, Unavailable, payment_status
from payment.ports.cards import Handover
from payment.ports.clock import Clock
from payment.ports.store import CorruptDocument, OrderStore, StoreUnavailable

VIEWS_IN_A_READ_LIMIT = 500
"""Payments read in one round trip."""


class Views:
    """The requests to see a payment.

    `away` is called with the reason when the store can't be read, `recheck` with the id of an order whose intent is to
    be retrieved.
    """

    def __init__(
        self,
        store: OrderStore,
        clock: Clock,
        away: Callable[[str], None],
        recheck: Callable[[str], None],
        set_aside: SetAside,
    ) -> None:
        self._store = store
        self._clock = clock
        self._away = away
        self._recheck = recheck
        self._set_aside = set_aside
        self._asked: WorkQueue[GetPayment] = WorkQueue()
        self._rechecking: dict[str, list[tuple[GetPayment, PaymentView]]] = {}
        """By order: requests that wait for its intent, each with what it is answered if that does not come in time."""
        self._answer_by = math.inf
        """Monotonic seconds: the deadline of those whose own is later."""

    def add(self, message: GetPayment) -> None:
        self._asked.add(message)

    async def answer_all(self) -> None:
        """Answer the requests that come, for ever."""
        while True:
            await self._asked.first()
            await asyncio.sleep(0)  # let the requests that come in this turn into the same read
            batch = self._asked.oldest(VIEWS_IN_A_READ_LIMIT)
            await self._answer(batch)
            self._asked.done(len(batch))

    async def _answer(self, batch: list[GetPayment]) -> None:
        by_payment = [message.payment_id for message in batch if message.payment_id is not None]
        by_order = [message.order_id for message in batch if message.order_id is not None]
        try:
            payments = await self._store.load_by_payment(by_payment) if by_payment else {}
            orders = await self._store.load(by_order) if by_order else {}
        except StoreUnavailable as error:
            for message in batch:
                show(message, Unavailable(Unavailability.STORE_AWAY))
            self._away(str(error))
            return
        for message in batch:
            found = payments.get(message.payment_id or "") or orders.get(message.order_id or "")
            if isinstance(found, CorruptDocument):
                self._set_aside.corrupt(found)
                show(message, Unavailable(Unavailability.CORRUPT_DOCUMENT))
            elif not self._set_aside.contain(found.id if found else "", self._show_or_recheck, message, found):
                show(message, Unavailable(Unavailability.SET_ASIDE))

    def _show_or_recheck(self, message: GetPayment, order: Order | None) -> None:
        if order is not None:
            self._set_aside.legible(order.id)
        view = self._view(order)
        if view is None or order is None:
            show(message, None)
        elif view.status is PaymentStatus.REQUIRES_ACTION and view.user_id == message.user_id:
            self._rechecking.setdefault(order.id, []).append((message, view))
            self._recheck(order.id)
        else:
            show(message, PaymentReply(view))

    def written(self, order: Order, handover: Handover | None, *, retrieved: bool) -> None:
        """The order was written, or read afresh. `handover` came with the intent that led to this document.

        `retrieved`: this write is about an intent that was retrieved. That brings no handover where the bank has yet to
        decide.
        """
        waiting = self._rechecking.get(order.id)
        view = self._view(order) if waiting else None
        if waiting is None or view is None:
            return
        if view.status is PaymentStatus.REQUIRES_ACTION and not retrieved and handover is None:
            return  # the intent has not been retrieved yet, or by another process
        awaiting = view.status is PaymentStatus.REQUIRES_ACTION and order.open_at(self._clock.now())
        for message, _ in self._rechecking.pop(order.id):
            show(message, PaymentReply(view, handover if awaiting else None))

    def fail_order(self, order_id: str) -> None:
        """Answering the requests of one order went wrong."""
        for message, _ in self._rechecking.pop(order_id, ()):
            show(message, Unavailable(Unavailability.SET_ASIDE))

    def want_rechecks(self) -> list[str]:
        """The orders whose intents must be retrieved before their requests can be answered."""
        return list(self._rechecking)

    def answer_by(self, deadline: float) -> None:
        """From now on answer each request by this deadline (monotonic seconds) where its own is later."""
        self._answer_by = deadline

    def answer_overdue(self) -> None:
        """Answer requests whose time is up before their intent was retrieved: without what only that brings."""
        now = self._clock.monotonic()
        for order_id, waiting in list(self._rechecking.items()):
            for message, view in waiting:
                if now >= min(message.deadline, self._answer_by):
                    show(message, PaymentReply(view))
            waiting[:] = [(message, view) for message, view in waiting if not message.answer.done()]
            if not waiting:
                del self._rechecking[order_id]

    def _view(self, order: Order | None) -> PaymentView | None:
        if order is None or order.payment is None or order.user_id is None or not order.attempts:
            return None
        status = payment_status(order, self._clock.now())
        kept = order.kept
        return PaymentView(order.payment.id, order.id, order.user_id, status, kept.charge_id if kept else None)

    def fail(self) -> None:
        """The ledger ends: nothing will be read for the requests that still wait."""
        rechecking = [message for waiting in self._rechecking.values() for message, _ in waiting]
        for message in (*self._asked.take_all(), *rechecking):
            show(message, Unavailable(Unavailability.CRASHED))
        self._rechecking.clear()


def show(message: GetPayment, answer: PaymentReply | Unavailable | None) -> None:
    """Answer a request to see a payment, unless its client has gone."""
    if not message.answer.done():
        message.answer.set_result(answer)
