"""Tables into files: CSV, and Parquet where pyarrow is installed. A file is there when all of it is written."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from accounting.exporting import TABLES, Table
from scarbon.errors import UserError

Batches = Iterable[Sequence[Sequence[Any]]]

#: Parquet's groups of rows are as large as this at least, so that a quiet day does not make one of its own.
GROUP = 50_000

_ARROW = {"text": "string", "integer": "int64", "number": "float64"}


def write_csv(out: TextIO, table: Table, batches: Batches) -> None:
    """The table with a header; unknown is empty."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.names)
    for rows in batches:
        writer.writerows(rows)


def write_columns(out: TextIO) -> None:
    """What every column of every table means, as a table of its own."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("table", "column", "kind", "unit", "meaning"))
    for table in TABLES:
        writer.writerows((table.name, one.name, one.kind, one.unit, one.meaning) for one in table.columns)


def check_parquet() -> None:
    """UserError where Parquet cannot be written."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UserError(f"Parquet needs pyarrow: {error}", "pip install 'scarbon[parquet]', or --format csv") from None


def write_parquet(path: Path, table: Table, batches: Batches) -> None:
    """The table as Parquet; unit and meaning of each column are in its metadata."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    schema = pyarrow.schema(
        [
            pyarrow.field(
                one.name, getattr(pyarrow, _ARROW[one.kind])(), metadata={"unit": one.unit, "meaning": one.meaning}
            )
            for one in table.columns
        ],
        metadata={"table": table.name, "row": table.note},
    )
    with ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in _groups(batches):
            columns = [
                pyarrow.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_batch(pyarrow.record_batch(columns, schema=schema))


def _groups(batches: Batches) -> Iterator[list[Sequence[Any]]]:
    """The same rows in larger parts."""
    rows: list[Sequence[Any]] = []
    for batch in batches:
        rows += batch
        if len(rows) >= GROUP:
            yield rows
            rows = []
    if rows:
        yield rows


@contextmanager
def whole_files(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Where to write files that are to be at `paths`: they are put there once all are whole, or not at all."""
    partial = [path.with_name(f".{path.name}.{os.getpid()}.partial") for path in paths]
    try:
        yield partial
        for path in partial:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        for path, final in zip(partial, paths, strict=True):
            path.replace(final)
    finally:
        for path in partial:
            path.unlink(missing_ok=True)
