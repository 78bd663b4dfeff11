"""One page of a list, read from a table whose rows have `seq`, `id` and `object`."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

_T = TypeVar("_T")
Selected = str | int | Sequence[str]
"""The value of a filtered column, or its possible values."""


class ObjectPage(Struct, frozen=True):
    """The requested part of a list: at most `limit` objects, after one id (older) or before one (newer).

    `created` maps SQL's comparison operators to seconds since 1970.
    """

    limit: int
    starting_after: str | None = None
    ending_before: str | None = None
    created: dict[str, int] = {}


def read_page(
    db: sqlite3.Connection, table: str, selected: Mapping[str, Selected], page: ObjectPage, kind: type[_T]
) -> tuple[list[_T], bool]:
    """Returns the page, newest first, and whether there is more. Table and column names must never come from a
    client.
    """
    where, values = _where(table, selected, page)
    order = "ASC" if page.ending_before is not None else "DESC"
    query = f"SELECT object FROM {table}{where} ORDER BY seq {order} LIMIT ?"
    rows = db.execute(query, [*values, page.limit + 1]).fetchall()
    found = [msgspec.json.decode(row[0], type=kind) for row in rows[: page.limit]]
    return (found[::-1] if order == "ASC" else found), len(rows) > page.limit


def _where(table: str, selected: Mapping[str, Selected], page: ObjectPage) -> tuple[str, list[str | int]]:
    conditions: list[str] = []
    values: list[str | int] = []
    for column, wanted in selected.items():
        of = [wanted] if isinstance(wanted, str | int) else [*wanted]
        conditions.append(f"{column} IN ({', '.join('?' * len(of))})")
        values.extend(of)
    for sign, mark in (("<", page.starting_after), (">", page.ending_before)):
        if mark is not None:
            conditions.append(f"seq {sign} (SELECT seq FROM {table} WHERE id = ?)")
            values.append(mark)
    for sign, moment in page.created.items():
        conditions.append(f"json_extract(CAST(object AS TEXT), '$.created') {sign} ?")
        values.append(moment)
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values
