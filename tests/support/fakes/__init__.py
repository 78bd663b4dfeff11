"""Hand-written stand-ins for the ports: they keep the ports' promises and can be asked what happened."""
