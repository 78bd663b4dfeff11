"""A sandbox of Stripe's payments API: a program of its own, for demos and for tests of anything that takes cards.

    stripe-sandbox --port 12111 --data /tmp/stripe

It implements what Stripe documents: PaymentIntents with 3-D Secure, payment methods, card tokens, confirmation tokens,
charges, refunds, disputes, events and signed webhooks, idempotency keys, error bodies, the test cards by name and by
number, a rate limit for each endpoint and for the account. It produces faults on request (`/_sandbox/faults`), and
keeps its answers over a restart and over a kill -9. `/` is a page that shows the account.

    app.py              one request from its first byte to its answer: key, rates, faults, idempotency, endpoint
    account.py          all endpoints of an account, its delayed changes and the bank's decisions
    calls.py            an endpoint's argument and result
    intents.py          the endpoints of PaymentIntents, and their states
    intent_params.py    the parameters of those endpoints
    confirming.py       the steps of a payment: confirm, the bank's answer, the end of `processing`
    instruments.py      payment methods, card tokens, confirmation tokens
    charging.py         makes charges
    endpoints.py        charges, refunds, balance
    disputes.py         disputes
    events.py           events; webhooks.py: their receivers; deliveries.py: sends them, signed, until acknowledged
    expand.py           replaces ids by the objects that they name
    bank_page.py        the page where "the bank" asks the customer
    overview.py         the page at `/`
    control.py          `/_sandbox/`: faults, settings, the clock, the bank's answers; audit.py: the counts for tests
    idempotency.py      one answer for a key: replayed, refused, or under way
    faults.py           which request gets a fault, and its effect
    wire.py             sends an answer, whole or broken
    rate_limits.py      rate limits
    database.py         the data that survive a restart, in one SQLite file
    intent_records.py   the tables of intents; event_records.py: of events; pages.py: a page of rows
    objects.py          the JSON of Stripe's objects; intent_objects.py: of an intent and its instruments
    params.py           parses form-encoded requests strictly
    currencies.py       which currencies and amounts can be charged
    tokens.py           the test cards: names, numbers and results
    errors.py           Stripe's error bodies
    server.py           the routes on a socket
    parent_death.py     ends this process when its parent has ended
    __main__.py         the command line

Production code must never import it. It must never send an answer before that is stored: a charge and the answer kept
for its key are written in one transaction, and then the answer is sent. It opens connections only to the registered
webhook endpoints.
"""
