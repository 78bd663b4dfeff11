"""The results of all rounds: a JSON file that grows by one round at a time.

Owns: the file. It is replaced as a whole after each round, so that a stopped rig loses at most one round. Must never
forget a round that failed. Change together with: `round.Result`, `report`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.machine import machine, now, versions
from tests.chaos.round import Result

RECORD = Path(__file__).with_name("record.json")
"""The record in git: the table in docs/testing.md is generated from it."""

DEFAULT = Path("build/torture-record.json")
"""The default file of a run: a trial of the rig must not change a file in git."""


def read(path: Path) -> dict[str, Any]:
    """Returns the record; an empty one where there is none yet."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"machines": {}, "rounds": []}
    return found


def where() -> dict[str, Any]:
    """Returns the machine and the versions of the rounds."""
    return {"machine": {name: value for name, value in machine().items() if name != "load_before"}} | versions()


def append(path: Path, result: Result, made_with: dict[str, Any]) -> None:
    """Add one round. The machine and the versions are stored once for all rounds with them."""
    record = read(path)
    machines: dict[str, Any] = record["machines"]
    name = next((name for name, known in machines.items() if known == made_with), str(len(machines) + 1))
    machines[name] = made_with
    shown = {key: value for key, value in asdict(result).items() if key != "folder"}
    record["rounds"].append({"at": now(), "made_with": name} | shown)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(dumped(record))
    beside.replace(path)


def dumped(record: dict[str, Any]) -> str:
    """Returns the record with one line for each round, which makes its diffs readable."""
    rounds = ",\n".join(json.dumps(each) for each in record["rounds"])
    machines = ",\n".join(f"{json.dumps(name)}: {json.dumps(each)}" for name, each in record["machines"].items())
    return f'{{"machines": {{\n{machines}\n}},\n"rounds": [\n{rounds}\n]}}\n'
