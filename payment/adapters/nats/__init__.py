"""NATS as the event transport: JetStream or NATS Streaming, on one lasting connection."""
