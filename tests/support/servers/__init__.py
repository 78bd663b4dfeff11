"""Real servers and stand-ins for the tests: child processes on loopback, and a proxy."""
