"""What an operator runs beside the service: `python -m payment COMMAND`."""
