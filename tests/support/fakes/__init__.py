"""Hand-written fakes of the ports: they keep the ports' contracts and record what happened."""
