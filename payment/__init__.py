"""The payment service of a ticketing platform: an order's card is charged exactly once, and the platform is told.

    settings.py   the only reader of the environment; how its values are read, compared and shown: setting_*.py
    listening.py  HOST and PORT, and the sockets that listen there; healthcheck.py asks them
    standard_streams.py   stdin, stdout and stderr, also where the parent closed them
    service.py    ports and actors put together under the supervisor
    check.py      `run.py --check`: does each server answer?
    backoff.py    how pauses between tries grow
    core/         pure: what an order is, what a message does to it, what the world still owes it
    actors/       the four actors (HTTP, NATS, Stripe, Mongo), their mailboxes, their supervisor
    edge/         what comes in from outside is parsed here, once, into a type; what goes out is rendered here
    ports/        what the actors need of the world, as Protocols, and the real ones
    ops/          logs, metrics, health
    embedded/     the embedded default of `make run`, and the Stripe sandbox; production never imports it

Arrows run one way: run.py → service → actors → ports, edge → core.
"""
