"""The real ends of the ports, one package for each outside system. Only `payment.service` chooses among them."""
