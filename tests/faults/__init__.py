"""The whole service as real processes, while what it stands on breaks, and while it is itself killed."""
