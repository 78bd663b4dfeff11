"""What the actors need of the world, each as a Protocol. The real ones are in `payment.adapters`."""
