"""The process as operators see it: its log, its metrics and its health, without secrets."""
