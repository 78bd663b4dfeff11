"""The parts of every actor, and the supervisor that starts, replaces and stops actors. No module here knows a message
of payments.
"""
