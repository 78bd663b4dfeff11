"""The environment, read once and checked: `payment.settings.environment` lists every variable."""
