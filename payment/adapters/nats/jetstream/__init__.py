"""Events over NATS JetStream."""
