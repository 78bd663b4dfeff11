"""The implementations of the ports, one package for each external system. Only `payment.service` chooses among them."""
