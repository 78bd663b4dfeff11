"""A shop's front end beside `make run`: the page a customer pays on, and a small stand-in for Stripe.js.

    server.py     serves the page, places its orders, and forwards `/api/` to the service: one origin for the browser
    __main__.py   the command line
    index.html    the page; shop.css is its style
    shop.js       a front end's handling of the service's answers (docs/front-end.md describes it)
    stripe.js     the part of Stripe.js that the page calls, for the Stripe sandbox and its test numbers

It is an example for front-end developers, and the browser tests use it. It contains no rule of the service.
"""
