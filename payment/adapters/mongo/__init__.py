"""MongoDB as the order store, by motor."""
