"""The whole service as real processes, while its servers fail, and while it is killed itself."""
