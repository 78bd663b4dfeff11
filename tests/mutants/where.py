"""`python -m tests.mutants.where`: prints the folder of the imported service, which in a copy must be the copy's."""

from pathlib import Path

import payment

if __name__ == "__main__":
    print(Path(payment.__file__).parent)
