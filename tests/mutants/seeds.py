"""`python -m tests.mutants.seeds COUNT [FIRST]`: runs seeds until one shows a violation, and prints how many it took.

It is run in a copy of the tree, with a mutant or without one.
"""

import gc
import sys

from tests.simulation.checks import judge
from tests.simulation.simulate import simulate


def main(count: int, first: int = 1) -> int:
    gc.disable()  # `simulate` then runs the garbage collector itself at intervals
    for seed in range(first, first + count):
        outcome = simulate(seed)
        violation = judge(outcome.journal, outcome.trouble)
        if violation is not None:
            print(f"caught after {seed - first + 1} seeds: {violation.law}")
            return 1
    print(f"not caught in {count} seeds")
    return 0


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in sys.argv[1:])))
