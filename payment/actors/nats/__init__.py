"""The NATS actor: events of the platform on their way in, events of ours on their way out."""
