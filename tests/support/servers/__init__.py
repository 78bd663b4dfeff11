"""Real servers and stand-ins that the tests start: child processes on loopback, and the proxy between."""
