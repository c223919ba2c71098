"""Maps in a compact form: JSON by column, compressed with gzip. It holds all that a map printed as JSON holds.

Runs and cells are tables. For each of their fields, the file has the distinct values, and the number of the value that each row
has; a field that has its default in every row is left out. All else of a map stands as in its JSON::

    {
      "schema": "ckptdoctor/packed-map/1",
      "map": {"schema": "ckptdoctor/map/1", "date": "2026-11-30", ..., "runs": [], "cells": []},
      "runs": {"verdict": {"values": ["ok", "fail"], "rows": [0, 0, 1, ...]}, ...},
      "cells": {"model": {"values": ["llama", "glm"], "rows": [0, 1, 0, ...]}, ...}
    }
"""

from __future__ import annotations

import gc
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ckptdoctor.model.compatibility import Cell, Map, Run

SCHEMA = "ckptdoctor/packed-map/1"

_GZIP = 16 + zlib.MAX_WBITS
"""What tells zlib that the data is a gzip file."""

Row = TypeVar("Row", Run, Cell)


class _Column(msgspec.Struct):
    """One field of all rows."""

    values: msgspec.Raw
    """A JSON array of the distinct values, in the order in which they are met."""
    rows: list[int]
    """For each row, the index of its value."""


class _Packed(msgspec.Struct):
    """A map by column."""

    schema: str
    map: Map
    runs: dict[str, _Column]
    cells: dict[str, _Column]


def pack(found: Map) -> bytes:
    """A map in the compact form; the same map always gives the same bytes with the same zlib."""
    rest = msgspec.structs.replace(found, runs=[], cells=[])
    whole = _Packed(SCHEMA, rest, _columns(found.runs, Run), _columns(found.cells, Cell))
    compressor = zlib.compressobj(9, wbits=_GZIP)
    return compressor.compress(msgspec.json.encode(whole)) + compressor.flush()


def unpack(content: bytes) -> Map:
    """A map from the compact form. Equal values of different rows are one object, so change none of them in place.

    Raises:
        msgspec.MsgspecError: It is something else.
        zlib.error: It is not compressed with gzip.
    """
    whole = msgspec.json.decode(zlib.decompress(content, _GZIP), type=_Packed)
    try:
        with _without_collector():
            return msgspec.structs.replace(whole.map, runs=_rows(whole.runs, Run), cells=_rows(whole.cells, Cell))
    except (KeyError, IndexError, ValueError) as error:
        raise msgspec.ValidationError("a column is missing, or does not fit the others") from error


def by_column(rows: Sequence[Run] | Sequence[Cell], kind: type[Run] | type[Cell]) -> dict[str, Any]:
    """The runs or the cells of a map as the compact form has them: by field, the distinct values and a number for each row."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(_columns(rows, kind)))
    return found


def read(path: Path) -> Map:
    """A map from a file, in the compact form or as it is printed as JSON.

    Raises:
        OSError: The file cannot be read.
        msgspec.MsgspecError: It holds something else.
    """
    content = path.read_bytes()
    return unpack(content) if content.startswith(b"\x1f\x8b") else msgspec.json.decode(content, type=Map)


def _columns(rows: Sequence[Run] | Sequence[Cell], kind: type[Run] | type[Cell]) -> dict[str, _Column]:
    columns = {}
    for field in msgspec.structs.fields(kind):
        values = [getattr(row, field.name) for row in rows]
        if field.required or any(value != _default(field) for value in values):
            columns[field.name] = _column(values)
    return columns


def _default(field: Any) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _column(values: Sequence[Any]) -> _Column:
    number: dict[bytes, int] = {}
    rows = [number.setdefault(msgspec.json.encode(value), len(number)) for value in values]
    return _Column(msgspec.Raw(b"[" + b",".join(number) + b"]"), rows)


def _rows(columns: dict[str, _Column], kind: type[Row]) -> list[Row]:
    fields = []
    for field in msgspec.structs.fields(kind):
        if field.name in columns or field.required:
            column = columns[field.name]
            values = msgspec.json.decode(column.values, type=list[field.type])  # type: ignore[name-defined]
            fields.append([values[index] for index in column.rows])
        else:
            fields.append([_default(field)] * len(fields[0]))
    return [kind(*row) for row in zip(*fields, strict=True)]


@contextmanager
def _without_collector() -> Iterator[None]:
    """Ten thousand new objects would start Python's garbage collector over and over, which takes longer than making them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
