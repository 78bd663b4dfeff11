"""Measurements that a person asks for: see README.md here. No test runs them, and nothing imports them."""
