"""Tools for who works on the service. Nothing in `payment` imports them."""
