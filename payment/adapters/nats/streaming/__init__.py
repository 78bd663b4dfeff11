"""Events over NATS Streaming, by the client in `payment.adapters.nats.stan`."""
