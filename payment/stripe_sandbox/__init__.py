"""A sandbox of Stripe's payments API: a program of its own, for demos and for tests of anything that takes cards.

    stripe-sandbox --port 12111 --data /tmp/stripe

It answers as Stripe documents it: PaymentIntents with 3-D Secure, payment methods, card tokens, confirmation tokens,
charges, refunds, disputes, events and signed webhooks, idempotency keys, error bodies, the test cards by name and by
number, a rate limit for each endpoint and for the account. It breaks on request (`/_sandbox/faults`), and what it has
answered it remembers, over a restart and over a kill -9. `/` is a page of what it holds.

    app.py              one request from its first byte to its answer: key, rates, faults, idempotency, endpoint
    account.py          all endpoints of an account, and what happens in it by itself or at the bank
    calls.py            what an endpoint gets and gives back
    intents.py          the endpoints of PaymentIntents, and their states
    intent_params.py    the parameters of those endpoints
    confirming.py       the steps of a payment: confirm, the bank's answer, the end of `processing`
    instruments.py      payment methods, card tokens, confirmation tokens
    charging.py         makes charges
    endpoints.py        charges, refunds, balance
    disputes.py         disputes
    events.py           events; webhooks.py: who gets them; deliveries.py: sends them, signed, until acknowledged
    expand.py           ids replaced by the objects they name
    bank_page.py        the page where "the bank" asks the customer
    overview.py         the page at `/`
    control.py          `/_sandbox/`: faults, settings, the clock, the bank's answers; audit.py: what tests judge by
    idempotency.py      one answer for a key: replayed, refused, or under way
    faults.py           which request breaks, and in what way
    wire.py             how an answer leaves, whole or broken
    rate_limits.py             rate limits
    database.py         all that must survive, in one SQLite file
    intent_records.py   the rows of intents; event_records.py: of events; pages.py: a page of rows
    objects.py          Stripe's objects as they stand on the wire; intent_objects.py: those around an intent
    params.py           a form-encoded request, read strictly
    currencies.py       which currencies and amounts can be charged
    tokens.py           the test cards: names, numbers, and how each one ends
    errors.py           Stripe's error bodies
    server.py           the routes on a socket
    parent_death.py         ends this process when its parent is gone
    __main__.py         the command line

It must never be imported by production code, and never hold an answer back until after it was sent: a charge and the
answer kept for its key are written in one transaction, before the answer. The only connections that it opens go to the
webhook endpoints it was given.
"""
