"""Payments asked for by their ids or by their orders', read together: many polls cost one round trip a time.

Owns the requests to see a payment, until each is answered. It must never answer from anything but a fresh read. Where
the intent awaits its customer, its owner's request waits until the ledger has looked at it, for a few seconds at most.
"""

import asyncio
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

    `away` is called with the reason when the store can't be read, `look` with the id of an order whose intent is to be
    looked at.
    """

    def __init__(
        self,
        store: OrderStore,
        clock: Clock,
        away: Callable[[str], None],
        look: Callable[[str], None],
        set_aside: SetAside,
    ) -> None:
        self._store = store
        self._clock = clock
        self._away = away
        self._look = look
        self._set_aside = set_aside
        self._asked: WorkQueue[GetPayment] = WorkQueue()
        self._looking: dict[str, list[tuple[GetPayment, PaymentView]]] = {}
        """By order: requests that wait for a look, each with what it is answered if none comes in time."""

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
            elif not self._set_aside.contain(found.id if found else "", self._show_or_look, message, found):
                show(message, Unavailable(Unavailability.SET_ASIDE))

    def _show_or_look(self, message: GetPayment, order: Order | None) -> None:
        if order is not None:
            self._set_aside.legible(order.id)
        view = self._view(order)
        if view is None or order is None:
            show(message, None)
        elif view.status is PaymentStatus.REQUIRES_ACTION and view.user_id == message.user_id:
            self._looking.setdefault(order.id, []).append((message, view))
            self._look(order.id)
        else:
            show(message, PaymentReply(view))

    def written(self, order: Order, handover: Handover | None, *, looked: bool) -> None:
        """The order was written, or read afresh. `handover` came with the look that led to this document.

        `looked`: a look has ended in this write. It brings no handover where the bank has yet to decide.
        """
        waiting = self._looking.get(order.id)
        view = self._view(order) if waiting else None
        if waiting is None or view is None:
            return
        if view.status is PaymentStatus.REQUIRES_ACTION and not looked and handover is None:
            return  # no look has ended yet, or another process made it
        awaiting = view.status is PaymentStatus.REQUIRES_ACTION and order.open_at(self._clock.now())
        for message, _ in self._looking.pop(order.id):
            show(message, PaymentReply(view, handover if awaiting else None))

    def fail_order(self, order_id: str) -> None:
        """Answering the requests of one order went wrong."""
        for message, _ in self._looking.pop(order_id, ()):
            show(message, Unavailable(Unavailability.SET_ASIDE))

    def want_rechecks(self) -> list[str]:
        """The orders whose intents must be looked at before their requests can be answered."""
        return list(self._looking)

    def answer_overdue(self) -> None:
        """Requests whose time is up before a look has ended are answered without it."""
        now = self._clock.monotonic()
        for order_id, waiting in list(self._looking.items()):
            for message, view in waiting:
                if now >= message.deadline:
                    show(message, PaymentReply(view))
            waiting[:] = [(message, view) for message, view in waiting if not message.answer.done()]
            if not waiting:
                del self._looking[order_id]

    def _view(self, order: Order | None) -> PaymentView | None:
        if order is None or order.payment is None or order.user_id is None or not order.attempts:
            return None
        status = payment_status(order, self._clock.now())
        kept = order.kept
        return PaymentView(order.payment.id, order.id, order.user_id, status, kept.charge_id if kept else None)

    def fail(self) -> None:
        """The ledger ends: no look and no read will come for the requests that still wait."""
        looking = [message for waiting in self._looking.values() for message, _ in waiting]
        for message in (*self._asked.take_all(), *looking):
            show(message, Unavailable(Unavailability.CRASHED))
        self._looking.clear()


def show(message: GetPayment, answer: PaymentReply | Unavailable | None) -> None:
    """Answer a request to see a payment, unless its client has gone."""
    if not message.answer.done():
        message.answer.set_result(answer)
