"""The simulation: several processes of the real service on one virtual clock, over fake ports, driven by one seed."""
