"""What every actor is made of, and who starts, replaces and stops actors. Nothing here knows a message of payments."""
