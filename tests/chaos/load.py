"""The customers of one round: orders placed, paid, repeated, declined, cancelled, and paid twice with other cards.

Owns: the actions of customers and of the orders service, and the answers that they got (`OrderHistory`). Must never
judge. Each customer draws from a seed of its own, so that a longer wait of one does not change another's choices.
Change together with: `plan`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from http.client import HTTPException
from random import Random

import aiohttp

from tests.chaos.buses import TortureBus
from tests.chaos.plan import CancelAt, Customer, Style
from tests.chaos.site import Site
from tests.e2e.bus import CANCELLED, CREATED, order_cancelled, order_created
from tests.e2e.client import Answer, Client
from tests.faults.laws import OrderRecord

PATIENCE_S = (1.0, 2.0, 4.0, 8.0, 12.0)  # time limit of one request; then the client closes and repeats it
ASK_AGAIN_S = (0.1, 0.8)  # after a 202, a 404, a 503 or a broken connection
THINK_S = 3.0  # the longest time before a second card is tried beside the first, or a paid order is cancelled
SETTLED_CONFLICTS = ("cancelled", "expired", "already been paid")  # a 409 with one of these texts ends a request
CARDS = ("tok_visa", "tok_mastercard", "tok_amex", "tok_discover")  # distinguished by the brand on the charge
DECLINED_TOKEN = "tok_chargeDeclinedInsufficientFunds"
UNKNOWN_TOKEN = "tok_nobody_has_this"
ASKS_TOKEN = "tok_threeDSecure2Required"  # its bank requires authentication; a Visa, as the charge shows
SECOND_CARDS = CARDS[1:]  # beside that one: distinguished from it by the brand
SECRET_CARD = "pm_card_mastercard"  # the card of a browser that confirms by the client secret itself
SECRET_BRAND_TOKEN = "tok_mastercard"
PUBLISHABLE_KEY = "pk_test_torture"
BROWSER_TIMEOUT_S = 10.0  # of a request of the browser to Stripe
RETURN_URL = "https://shop.example/back"
POISON = (
    (CREATED, '{"id": "cut off'),
    (CREATED, '{"id":"p1","version":0,"status":"created","userId":"u","expiresAt":"2040-01-01T00:00:00Z",'
     '"ticket":{"id":"t","price":19.999}}'),
    (CANCELLED, '{"id":{"$ne":null},"version":1,"ticket":{"id":"t"}}'),
)  # fmt: skip
"""Events that can never be applied: each must be in `dead_letters`, whole."""


@dataclass(frozen=True)
class Asked:
    """One request to pay. `answer` is None where the connection broke or the time limit ended. Times are of the wall
    clock.
    """

    token: str
    process: int
    began: float
    ended: float
    answer: Answer | None


@dataclass
class OrderHistory(OrderRecord):
    """The history of one order, with times: its customer's actions and answers."""

    customer: Customer | None = None
    user: str = "u1"
    minor: int = 0
    asked: list[Asked] = field(default_factory=list)
    deeds: list[tuple[float, str]] = field(default_factory=list)
    done: bool = False
    by_secret: bool = False
    """Whether the browser has confirmed with another card than that of the request."""
    views: list[Answer] = field(default_factory=list)
    """The answers of `GET /api/v1/payments/{id}` at rest."""

    def did(self, what: str) -> None:
        self.deeds.append((time.time(), what))


class CustomerLoad:
    """All customers of a round. `histories` are their histories, by order."""

    def __init__(self, site: Site, bus: TortureBus) -> None:
        self.site = site
        self.bus = bus
        self.histories: dict[str, OrderHistory] = {}
        self.poison = list(POISON)
        self._hurry = asyncio.Event()

    async def play(self) -> None:
        """Run all customers; returns when every one has a final answer."""
        async with asyncio.TaskGroup() as group:
            for subject, data in self.poison:
                group.create_task(self.bus.publish(subject, data.encode()))
            for customer in self.site.plan.customers:
                group.create_task(self._customer(customer))

    def hurry(self) -> None:
        """The faults are over: customers that have not begun begin now."""
        self._hurry.set()

    async def _customer(self, customer: Customer) -> None:
        random = Random(customer.seed)
        await self._until(customer.at_s)
        order = f"{self.site.plan.seed:x}o{customer.number:03d}x{customer.seed:08x}"
        history = OrderHistory(customer=customer, user=f"user{customer.number}", minor=customer.minor)
        self.histories[order] = history
        await self._place(order, history)
        cancel = asyncio.create_task(self._cancel(order, history, CancelAt.WHILE_PAYING, customer.cancel_after_s))
        again = asyncio.create_task(self._create(order, history)) if customer.created_twice else None
        token = await self._buy(order, history, random)
        await self._cancel(order, history, CancelAt.AFTER_PAID, random.uniform(0, THINK_S))
        if customer.asks_again and customer.style is not Style.ONCE:
            await self._insist(order, history, token, random)
        await cancel
        if again is not None:
            await again
        history.done = True

    async def _place(self, order: str, history: OrderHistory) -> None:
        await self._cancel(order, history, CancelAt.BEFORE_CREATED, 0)
        await self._create(order, history)
        await self._cancel(order, history, CancelAt.BEFORE_PAID, 0)

    async def _create(self, order: str, history: OrderHistory) -> None:
        price = history.minor / 100
        await self.bus.publish(CREATED, order_created(order, price, history.user))
        history.created = True
        history.did("order:created is on the bus")

    async def _cancel(self, order: str, history: OrderHistory, when: CancelAt, after_s: float) -> None:
        assert history.customer is not None
        if history.customer.cancel is not when:
            return
        await asyncio.sleep(after_s)
        history.cancelled = True
        await self.bus.publish(CANCELLED, order_cancelled(order))
        history.did("order:cancelled is on the bus")

    async def _buy(self, order: str, history: OrderHistory, random: Random) -> str:
        """Do everything that one customer does to pay; returns the last token."""
        card, other = random.sample(CARDS, 2)
        assert history.customer is not None
        match history.customer.style:
            case Style.STEADY:
                await self._insist(order, history, card, random)
            case Style.ONCE:
                await self._ask(order, history, card, random)
            case Style.TWICE:
                await self._both(order, history, card, card, 0.0, random)
            case Style.OTHER_CARD:
                await self._both(order, history, card, other, random.uniform(0, THINK_S), random)
            case Style.DECLINED:
                await self._insist(order, history, DECLINED_TOKEN, random)
                await self._insist(order, history, card, random)
            case Style.BAD_TOKEN:
                await self._insist(order, history, UNKNOWN_TOKEN, random)
                await self._insist(order, history, card, random)
            case _:
                return await self._buy_at_bank(order, history, history.customer, random)
        return card

    async def _buy_at_bank(self, order: str, history: OrderHistory, customer: Customer, random: Random) -> str:
        """Pay with a card whose bank requires authentication. Returns the last token."""
        other = random.choice(SECOND_CARDS)
        await self._insist(order, history, ASKS_TOKEN, random)
        if customer.style is Style.WALKS_AWAY:
            return ASKS_TOKEN
        if customer.style in (Style.FAILS, Style.CHANGES_CARD):
            await self._insist(order, history, other, random)
            return other
        return ASKS_TOKEN

    async def _at_bank(self, history: OrderHistory, answer: Answer) -> bool:
        """Visit the bank's page. Returns whether the request is repeated after that."""
        customer = history.customer
        assert customer is not None
        secret = answer.body["clientSecret"]
        intent = secret.partition("_secret_")[0]
        await asyncio.sleep(customer.at_bank_s)
        match customer.style:
            case Style.AUTHENTICATES | Style.FAILS:
                authenticates = customer.style is Style.AUTHENTICATES
                history.did(f"the customer {'authenticates' if authenticates else 'fails'} at the bank")
                await self._answer_bank(intent, authenticates)
            case Style.BY_SECRET:
                history.by_secret = True
                history.did("the browser confirms with another card")
                await self._confirm_by_secret(intent, secret)
            case Style.WALKS_AWAY:
                history.walked_away = True
                history.did("the customer walks away from the bank")
                return False
            case _:
                history.did("the customer leaves the bank for another card")
                return False
        return True

    async def _answer_bank(self, intent: str, authenticates: bool) -> None:
        """Press a button of the bank's page. If that fails, the customer repeats the request to the shop."""
        try:
            await asyncio.to_thread(lambda: self.site.servers.stripe.customer(intent, authenticates=authenticates))
        except (OSError, HTTPException):
            return

    async def _confirm_by_secret(self, intent: str, secret: str) -> None:
        """Confirm the intent by its client secret, as a browser can without the shop's page."""
        form = {"client_secret": secret, "payment_method": SECRET_CARD}
        url = f"{self.site.servers.stripe.url}/v1/payment_intents/{intent}/confirm"
        headers = {"Authorization": f"Bearer {PUBLISHABLE_KEY}"}
        try:
            async with (
                asyncio.timeout(BROWSER_TIMEOUT_S),
                aiohttp.ClientSession() as session,
                session.post(url, data=form, headers=headers) as response,
            ):
                await response.read()
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            return

    async def _both(
        self, order: str, history: OrderHistory, card: str, other: str, after_s: float, random: Random
    ) -> None:
        """Send two concurrent requests, each repeated until it is answered."""
        second = Random(random.getrandbits(32))

        async def later() -> None:
            await asyncio.sleep(after_s)
            await self._insist(order, history, other, second)

        await asyncio.gather(self._insist(order, history, card, random), later())

    async def _insist(self, order: str, history: OrderHistory, token: str, random: Random) -> None:
        """Repeat a request, to any process, until an answer is final."""
        while True:
            answer = await self._ask(order, history, token, random)
            if answer is not None and ends(answer):
                return
            if answer is not None and wants_customer(answer) and not await self._at_bank(history, answer):
                return
            await asyncio.sleep(random.uniform(*ASK_AGAIN_S))

    async def _ask(self, order: str, history: OrderHistory, token: str, random: Random) -> Answer | None:
        number = random.randrange(len(self.site.services))
        patience_s = random.choice(PATIENCE_S)
        began = time.time()
        answer = None
        try:
            async with asyncio.timeout(patience_s), Client(self.site.services[number].port) as client:
                answer = await client.pay(order, token, history.user, **_authentication(history, token))
        except aiohttp.ClientConnectorError:
            return None  # the connection was refused: no request was sent
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            history.broken += 1
        else:
            history.answers.append(answer)
        history.asked.append(Asked(token, number, began, time.time(), answer))
        return answer

    async def _until(self, at_s: float) -> None:
        try:
            await asyncio.wait_for(self._hurry.wait(), at_s)
        except TimeoutError:
            return


def _authentication(history: OrderHistory, token: str) -> dict[str, object]:
    """Returns the request's fields for authentication, with a card that may need it."""
    if token != ASKS_TOKEN or history.customer is None:
        return {}
    return {"returnUrl": RETURN_URL} if history.customer.redirected else {"useStripeSdk": True}


def wants_customer(answer: Answer) -> bool:
    """Whether the answer requires the customer to authenticate."""
    return answer.status == 202 and answer.body["status"] == "requires_action"


def ends(answer: Answer) -> bool:
    """Whether the answer is final, so that the request need not be repeated."""
    if answer.status == 409:
        return any(words in answer.message for words in SETTLED_CONFLICTS)
    return answer.status not in (202, 404, 503)
