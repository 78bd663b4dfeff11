"""The obvious service: a straightforward implementation. It finds the order, checks it, charges, inserts, publishes,
replies.

It has no protection against a failure between two of these steps. It is written to be fast, for a fair comparison:
pooled connections, no access log, no telemetry of Stripe's library, one publish that JetStream acknowledges. It charges
by the Charges API, in one call; `bench.contenders.intents` is the same service with PaymentIntents.
"""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import jwt
import nats
import stripe
from aiohttp import web
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClient

Order = dict[str, Any]
Charge = Callable[[Order, str], Awaitable[str]]
"""Charges an order by a card token; returns the charge's id, or raises stripe.StripeError."""


def refuse(status: int, message: str) -> web.Response:
    return web.json_response({"errors": [{"message": message}]}, status=status)


async def charge(order: Order, token: str) -> str:
    made = await STRIPE.v1.charges.create_async(
        {
            "amount": order["amount"],
            "currency": "usd",
            "source": token,
            "metadata": {"orderId": order["_id"]},
            "transfer_group": order["_id"],
        }
    )
    return made.id


async def pay(request: web.Request) -> web.Response:
    try:
        user = jwt.decode(request.headers["Authorization"].removeprefix("Bearer "), KEY, algorithms=["HS256"])
    except (KeyError, jwt.PyJWTError):
        return refuse(401, "Not authorized")
    body = await request.json()
    order = await request.app["db"].orders.find_one({"_id": body["orderId"]})
    if order is None:
        return refuse(404, "No such order")
    if order["userId"] != user["id"]:
        return refuse(403, "Not your order")
    if order["status"] == "cancelled":
        return refuse(400, "The order is cancelled")
    try:
        charge_id = await request.app["charge"](order, body["token"])
    except stripe.CardError as error:
        return refuse(402, error.user_message or "The card was declined")
    except stripe.StripeError as error:
        return refuse(503, f"Stripe did not charge: {error}")
    payment = {"_id": ObjectId(), "orderId": order["_id"], "stripeId": charge_id}
    await request.app["db"].payments.insert_one(payment)
    event = {"id": str(payment["_id"]), "orderId": order["_id"], "stripeId": charge_id}
    await request.app["js"].publish("payment:created", json.dumps(event).encode())
    return web.json_response(event, status=201)


async def connections(app: web.Application) -> AsyncIterator[None]:
    mongo: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(os.environ["MONGO_URL"])
    bus = await nats.connect(os.environ["NATS_URL"])
    app["db"], app["js"] = mongo.get_default_database(), bus.jetstream()
    yield
    await bus.drain()
    mongo.close()


def serve(how: Charge) -> None:
    """Run the service until it is stopped. `how` charges an order."""
    app = web.Application()
    app["charge"] = how
    app.cleanup_ctx.append(connections)
    app.router.add_post("/api/v1/payments", pay)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None, print=None)


KEY = os.environ["JWT_KEY"]
stripe.enable_telemetry = False
STRIPE = stripe.StripeClient(
    os.environ["STRIPE_KEY"],
    base_addresses={"api": os.environ["STRIPE_API_BASE"]},
    http_client=stripe.AIOHTTPClient(),
)

if __name__ == "__main__":
    serve(charge)
