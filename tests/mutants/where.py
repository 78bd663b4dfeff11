"""`python -m tests.mutants.where`: the folder of the service that is imported here: a copy's, if it is one."""

from pathlib import Path

import payment

if __name__ == "__main__":
    print(Path(payment.__file__).parent)
