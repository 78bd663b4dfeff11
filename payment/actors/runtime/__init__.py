"""The base of every actor, and the supervisor of actors. No module here knows a message of payments."""
