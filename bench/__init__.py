"""Measurements, run by hand: see README.md here. No test runs them, and no other code imports them."""
