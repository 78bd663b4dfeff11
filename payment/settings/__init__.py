"""The settings of a process: `payment.settings.environment` lists and reads every variable."""
