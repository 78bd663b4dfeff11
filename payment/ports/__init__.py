"""What the actors need from outside the process, each as a Protocol. `payment.adapters` has the real ones."""
