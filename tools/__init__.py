"""Development tools. Nothing in `payment` imports them."""
