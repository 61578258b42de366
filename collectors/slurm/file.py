"""Jobs from a file: what `sacct -P` (or `-p`) wrote, with its header line.

For sites where the books are kept away from Slurm, and for trying things out. The file is read as it comes and never
held as a whole. A dump cannot escape a newline in a name; such rows are put together again as far as it is plain how,
and are rejected where it is not.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

from accounting.model import Job, Reject
from accounting.sources import SourceError
from collectors.slurm.fields import local_clock, overlaps
from collectors.slurm.rows import FREE_TEXT, RowReader, cut_records

#: Bytes read at a time: small enough for a processor's cache.
_PIECE = 1 << 15

#: Characters after which a row that does not end is given up.
_LONGEST_ROW = 1 << 16


class FileSource:
    """The attempts of one cluster in a dump."""

    name = "file"

    def __init__(self, cluster: str, path: Path, zone: ZoneInfo | None = None) -> None:
        """Read `path`; rows of other clusters in it are left out.

        `zone` is the zone of times that are not epoch seconds (sacct writes local time unless
        SLURM_TIME_FORMAT=%s was set).
        """
        self.cluster = cluster
        self.path = path
        self.zone = zone

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job | Reject]:
        """Yield each attempt in the file that was there at some time in [start_s, end_s), and each bad row.

        SourceError when the file cannot be read, has no header, lacks a needed column or ends in the middle of a row.
        """
        try:
            with self.path.open("rb") as dump:
                yield from self._rows(dump, start_s, end_s)
        except OSError as error:
            raise SourceError(
                f"the sacct dump {self.path} cannot be read: {error.strerror}", "check jobs.path in the configuration"
            ) from None

    def _rows(self, dump: BinaryIO, since_s: float, until_s: float) -> Iterator[Job | Reject]:
        header = dump.readline().decode("utf-8", "backslashreplace").rstrip("\r\n")
        if not header:
            raise SourceError(
                f"the sacct dump {self.path} is empty, without even a header line",
                "was it cut short? write it again with `sacct -a -D -X -P`, without -n",
            )
        found = re.match(r"\w+?([^A-Za-z0-9_]+)", header)
        separator = found.group(1) if found else "|"
        columns = header.removesuffix(separator).split(separator)
        # `sacct -p` writes a separator behind the last field, too.
        end = separator + "\n" if header.endswith(separator) else "\n"
        first = dump.read(_PIECE)
        epoch = re.search(rb"\d{4}-\d\d-\d\dT", first) is None
        try:
            reader = RowReader(self.name, self.cluster, columns, separator, None if epoch else local_clock(self.zone))
        except KeyError as missing:
            raise SourceError(
                f"the sacct dump {self.path} has no column {missing.args[0]}",
                f"write it again with {missing.args[0]} among the fields of `sacct -o`",
            ) from None
        pieces = chain([first], iter(lambda: dump.read(_PIECE), b""))
        rows = _Rows(self.path, reader)
        for number, item in enumerate(reader.stream(cut_records(pieces, end, self._broken_off)), start=2):
            if isinstance(item, str) or rows.broken:
                for row in rows.odd(item, number):
                    if isinstance(row, Reject) or overlaps(row, since_s, until_s):
                        yield row
                continue
            # The usual case, a million times over: a whole row after a whole row.
            held, rows.held = rows.held, item
            if held is not None and (
                (
                    held.end_s is not None
                    and held.end_s > since_s
                    and held.start_s is not None
                    and held.start_s < until_s
                )
                or overlaps(held, since_s, until_s)
            ):
                yield held
        for row in rows.rest():
            if isinstance(row, Reject) or overlaps(row, since_s, until_s):
                yield row

    def _broken_off(self) -> SourceError:
        return SourceError(
            f"the sacct dump {self.path} ends in the middle of a line", "it was cut short: write it again"
        )


class _Rows:
    """Lines to rows: mostly the same, but for names with newlines and separators in them."""

    def __init__(self, path: Path, reader: RowReader) -> None:
        self.path = path
        self.reader = reader
        self.held: Job | None = None  # the last job: the next line may be the rest of its name
        self.broken = ""  # a row that has too few fields so far
        self.begun = 0  # the line where it begins
        last = reader.columns[-1].casefold()
        self.open_end = {"jobname": "name", "comment": "comment"}.get(last)

    def odd(self, item: Job | str, number: int) -> Iterator[Job | Reject]:
        """A line that is no row of the ordinary kind: met for the first time, or a part of one, or broken.

        Yields what is certain by now.
        """
        whole = self._row(item, number) if isinstance(item, str) else item
        if not isinstance(whole, Reject):
            yield from self.rest()
            self.held = whole
        elif self.broken:
            self.broken += f"\n{item}"
            joined = self._row(self.broken, self.begun)
            if not isinstance(joined, Reject):
                self.held, self.broken = joined, ""
            elif len(self.broken) > _LONGEST_ROW:
                yield from self.rest()
        elif self.held is not None and self.open_end is not None and not whole.raw[:1].isdecimal():
            more: dict[str, Any] = {self.open_end: f"{getattr(self.held, self.open_end) or ''}\n{item}"}
            self.held = dataclasses.replace(self.held, **more)
        elif whole.raw.count(self.reader.separator) + 1 < len(self.reader.columns):
            yield from self.rest()
            self.broken, self.begun = whole.raw, number
        else:
            yield whole

    def rest(self) -> Iterator[Job | Reject]:
        """What is held back: no line belongs to it any more."""
        if self.held is not None:
            yield self.held
            self.held = None
        if self.broken:
            reason = f"the row has fewer than the {len(self.reader.columns)} fields of the header"
            yield Reject(self.reader.source, f"{self.path}:{self.begun}", self.broken, reason)
            self.broken = ""

    def _row(self, text: str, number: int) -> Job | Reject | None:
        """A row, put together again where its name holds the separator."""
        values = text.split(self.reader.separator)
        extra = len(values) - len(self.reader.columns)
        free = [i for i, name in enumerate(self.reader.columns) if name.casefold() in FREE_TEXT]
        if extra > 0 and len(free) == 1:
            at = free[0]
            values[at : at + extra + 1] = [self.reader.separator.join(values[at : at + extra + 1])]
        return self.reader.read(values, f"{self.path}:{number}")
