"""Stripe as a card processor.

`cards` makes the calls, `library` carries them, `bodies` reads successes, `errors` judges all else, and `texts` keeps
secrets out of what is passed on.
"""
