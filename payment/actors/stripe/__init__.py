"""The Stripe actor: every call to Stripe, at the rate that Stripe allows, and what each outcome leads to."""
