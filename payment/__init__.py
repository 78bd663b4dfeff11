"""The payment service of a ticketing platform: it charges an order's card exactly once, and publishes the outcome.

    service.py       puts ports and actors together under the supervisor
    check.py         `run.py --check`: are the settings valid, and does each server answer?
    healthcheck.py   the container's health check
    backoff.py       how pauses between tries grow
    known_labels.py  the metrics' label values that exist from the start
    core/            pure: what an order is, how a message changes it, which effects are pending
    actors/          the four actors (HTTP, NATS, Stripe, the ledger), their mailboxes, their supervisor
    ports/           what the actors need from outside, as Protocols
    adapters/        the real ones: MongoDB, NATS, Stripe, the system's clock
    settings/        the environment, read once and checked
    process/         the listening sockets, the standard streams, the file limit
    ops/             logs, metrics, health, redaction
    commands/        commands for operators: `python -m payment COMMAND`
    devstack/        `make run`: servers and peer services of a developer's machine; the service never imports it
    stripe_sandbox/  a stand-alone Stripe for tests and `make run`; the service never imports it

Imports run one way: run.py → service → actors, adapters → ports → core.
"""
