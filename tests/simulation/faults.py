"""All faults, by their names. `fault.py` has their base classes and shows how a fault is added."""

from tests.simulation import (
    faults_of_operators,
    faults_of_peer_services,
    faults_of_processes,
    faults_of_stripe,
    faults_of_the_store,
)
from tests.simulation.fault import Fault

FAMILIES = (faults_of_stripe, faults_of_peer_services, faults_of_operators, faults_of_processes, faults_of_the_store)
"""The files that define faults. A fault that has a name is in `FAULTS`."""

FAULTS: dict[str, Fault] = dict(sorted(Fault.known.items()))
