"""A hook for commits: no trailing whitespace, and one newline at the end of a file. Repairs the files that it is given.

    python tools/whitespace.py FILE...

Exits with 1 where it has changed a file, so that the commit is made anew with it.
"""

import re
import sys
from pathlib import Path

_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)


def repaired(text: str) -> str:
    """The text without spaces and tabs at the end of its lines, and with one newline at its own."""
    bare = _TRAILING.sub("", text).rstrip("\n")
    return f"{bare}\n" if bare else ""


def main(names: list[str]) -> int:
    changed = False
    for path in map(Path, names):
        text = path.read_text(encoding="utf-8")
        if (right := repaired(text)) != text:
            path.write_text(right, encoding="utf-8")
            print(f"repaired {path}")
            changed = True
    return int(changed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
