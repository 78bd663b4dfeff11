"""All faults, by their names. What one is, and how one is added, stands in `fault.py`."""

from tests.simulation import (
    faults_of_neighbours,
    faults_of_operators,
    faults_of_processes,
    faults_of_stripe,
    faults_of_the_store,
)
from tests.simulation.fault import Fault

FAMILIES = (faults_of_stripe, faults_of_neighbours, faults_of_operators, faults_of_processes, faults_of_the_store)
"""Where they are defined. Having a name is what enters a fault here."""

FAULTS: dict[str, Fault] = dict(sorted(Fault.known.items()))
