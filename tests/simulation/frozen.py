"""The behaviour of many seeds, in a file that no renaming changes.

Write it before and after a change of names or places: equal files show that behaviour is the same. A line is an entry
of a journal without the names that only the code has. Kinds of entries and names of faults are numbered in the order in
which they first occur, a log field that holds a traceback is left out, and fields stand without their names. What peer
services and operators rely on stays: subjects, bodies, stored documents, log events. Change together with: `journal`,
`__main__`.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from tests.simulation.journal import AnyEntry, FaultStruck, LineLogged
from tests.simulation.simulate import simulate

_CLASS = re.compile(r"\b[A-Z]\w*(?=\()|(?<=<)[A-Z]\w*(?=\.)")
"""The class in the repr of an object, or of a member of an enum: `Intent(…)`, `<IntentStatus.…>`."""


def frozen(seeds: Iterable[int]) -> Iterator[str]:
    """Yields the lines of each seed's world, after a line that names the seed."""
    kinds: dict[str, str] = {}
    faults: dict[str, str] = {}
    for seed in seeds:
        yield f"seed {seed}"
        for entry in simulate(seed).journal:
            yield _line(entry, kinds, faults)


def _line(entry: AnyEntry, kinds: dict[str, str], faults: dict[str, str]) -> str:
    kind = _numbered(type(entry).__name__, "k", kinds)
    match entry:
        case LineLogged():
            texts = {name: value for name, value in entry.fields.items() if "Traceback" not in str(value)}
            values: list[object] = [entry.level, entry.event, texts]
        case FaultStruck():
            values = [_numbered(entry.fault, "f", faults), entry.rows]
        case _:
            fields = (name for name in entry.__struct_fields__ if name not in ("at_s", "who"))
            values = [getattr(entry, name) for name in fields]
    text = msgspec.json.encode(values, order="sorted").decode()
    return f"{entry.at_s:.6f} {entry.who} {kind} {_CLASS.sub('', text)}"


def _numbered(name: str, message: str, known: dict[str, str]) -> str:
    return known.setdefault(name, f"{message}{len(known) + 1}")
