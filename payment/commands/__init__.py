"""Commands for operators, run beside the service: `python -m payment COMMAND`."""
