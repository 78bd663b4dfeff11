"""What operators see of the process: its log, its metrics and its health, without secrets."""
