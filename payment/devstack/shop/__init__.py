"""A shop's front end beside `make run`: the page a customer pays on, and a small stand-in for Stripe.js.

    server.py     serves the page, places its orders, and forwards `/api/` to the service: one origin for the browser
    __main__.py   the command line
    index.html    the page; shop.css is its looks
    shop.js       what a front end does with the service's answers (docs/front-end.md is written after it)
    stripe.js     the part of Stripe.js that the page calls, for the Stripe sandbox and its test numbers

It is an example for front-end developers, and what the browser tests drive. It holds no rule of the service.
"""
