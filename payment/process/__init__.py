"""The process and its operating system: the address it listens on, its standard streams, its file limit."""
