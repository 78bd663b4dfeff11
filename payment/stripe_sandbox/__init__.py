"""A sandbox of Stripe's Charges API: a program of its own, for demos and for tests of anything that charges cards.

    python -m payment.stripe_sandbox --port 12111 --data /tmp/stripe

It answers as Stripe documents it: charges and refunds (failed charges are kept and listed too), idempotency keys,
error bodies, test tokens by name, a rate limit for each endpoint. It breaks on request (`/_sandbox/faults`), and what
it has answered it remembers, over a restart and over a kill -9.

    app.py          one request from its first byte to its answer: key, pace, faults, idempotency, endpoint, delivery
    endpoints.py    what each endpoint does to the books
    control.py      `/_sandbox/`: faults, settings, the clock, the books to audit
    idempotency.py  one answer for a key: replayed, refused, or under way
    faults.py       which request breaks, and in what way
    wire.py         how an answer leaves, whole or broken
    pace.py         so many requests a second to each endpoint
    books.py        all that must survive, in one SQLite file
    objects.py      charge, refund, balance and list, as they stand on the wire
    params.py       a form-encoded request, read strictly
    currencies.py   which currencies and amounts can be charged
    tokens.py       the test tokens and what becomes of a charge with each
    errors.py       Stripe's error bodies
    server.py       the routes on a socket
    lifeline.py     ends this process when its parent is gone
    __main__.py     the command line

It must never be imported by production code, never open a connection of its own, and never hold an answer back
until after it was sent: a charge and the answer kept for its key are written in one transaction, before the answer.
"""
