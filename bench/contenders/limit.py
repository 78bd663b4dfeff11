"""The limit: HTTP, the JWT and the Stripe call alone. No store, no events, no guarantee.

It measures the cost of charging a card with aiohttp and the stripe library, used as documented.
"""

import os

import jwt
import stripe
from aiohttp import web


async def pay(request: web.Request) -> web.Response:
    try:
        user = jwt.decode(request.headers["Authorization"].removeprefix("Bearer "), KEY, algorithms=["HS256"])
    except (KeyError, jwt.PyJWTError):
        return web.json_response({"errors": [{"message": "Not authorized"}]}, status=401)
    body = await request.json()
    try:
        charge = await STRIPE.v1.charges.create_async(
            {"amount": 1999, "currency": "usd", "source": body["token"], "metadata": {"userId": user["id"]}}
        )
    except stripe.StripeError as error:
        return web.json_response({"errors": [{"message": str(error)}]}, status=502)
    return web.json_response({"id": charge.id}, status=201)


KEY = os.environ["JWT_KEY"]
stripe.enable_telemetry = False
STRIPE = stripe.StripeClient(
    os.environ["STRIPE_KEY"],
    base_addresses={"api": os.environ["STRIPE_API_BASE"]},
    http_client=stripe.AIOHTTPClient(),
)

if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/api/v1/payments", pay)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=None, print=None)
