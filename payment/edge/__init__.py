"""The edge: bytes from outside become a type here, once, or are refused with the edge's own error.

    json_text.py   bytes → JSON values, strictly; what an id is
    events.py      the platform's events → OrderCreated, OrderCancelled; our effects → the events we publish
    requests.py    the body of POST /api/v1/payments → ChargeForm; the query of GET → an order's id
    identity.py    a JWT in a header or a cookie → Identity
    answers.py     replies and refusals → status, headers and body: one table of cases, one word for each error
    bodies.py      the bodies of all answers, as types
    examples.py    an example of each answer, and of each form of a request
    routes.py      which method at which address is which operation, for the server and its document alike
    openapi.py     those tables → the OpenAPI document

Everything here is a function of its arguments: no clock, no I/O, nothing that waits. Whatever bytes come in, the result
is a value or the one exception that the function names. No error text repeats a value that came from outside.
"""
