"""What the actors need of the world, each as a Protocol, and the real ones in files of their own."""
