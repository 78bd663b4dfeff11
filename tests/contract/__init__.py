"""What every implementation of a port must keep: one suite each, run on the real one and on its fake."""
