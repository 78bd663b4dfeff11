"""The NATS actor: it receives the platform's events, and publishes ours."""
