"""The contracts of the ports: one suite for each port, run on the real implementations and on the fakes."""
