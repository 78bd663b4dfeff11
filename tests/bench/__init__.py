"""The pure parts of the bench: counting, statistics, plots and parsing."""
