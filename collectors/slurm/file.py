"""Jobs from a file: what `sacct -P` (or `-p`) wrote, with its header line, or `sacct --json`.

For sites where the books are kept away from Slurm, and for trying things out. The file is read as it comes and never
held as a whole. A dump cannot escape a newline in a name; such rows are put together again as far as it is plain how,
and are rejected where it is not.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

from accounting.model import Job, Reject
from accounting.sources import SourceError
from collectors.slurm.answers import BrokenOffError, JobsDocument
from collectors.slurm.documents import read_job
from collectors.slurm.fields import local_clock, overlaps
from collectors.slurm.rows import FREE_TEXT, RowReader, cut_records

#: Bytes read at a time: small enough for a processor's cache.
_PIECE = 1 << 15

#: Characters after which a row that does not end is given up.
_LONGEST_ROW = 1 << 14


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
        return chain.from_iterable(self._batches(start_s, end_s))

    def _batches(self, start_s: float, end_s: float) -> Iterator[Iterable[Job | Reject]]:
        """The same, batch by batch: no generator is to be resumed for each job."""
        try:
            with self.path.open("rb") as dump:
                in_json = dump.read(_PIECE).lstrip()[:1] == b"{"
                dump.seek(0)
                if in_json:
                    yield from ((row,) for row in self._documents(dump, start_s, end_s))
                else:
                    yield from self._rows(dump, start_s, end_s)
        except OSError as error:
            raise SourceError(
                f"the sacct dump {self.path} cannot be read: {error.strerror}", "check jobs.path in the configuration"
            ) from None

    def _documents(self, dump: BinaryIO, since_s: float, until_s: float) -> Iterator[Job | Reject]:
        """The jobs of `sacct --json`."""
        answer = JobsDocument(_pieces(dump))
        try:
            for number, (document, text) in enumerate(answer.jobs(), start=1):
                job = read_job(document, text, self.name, f"{self.path}, job {number}", self.cluster)
                if isinstance(job, Reject) or (job is not None and overlaps(job, since_s, until_s)):
                    yield job
        except BrokenOffError:
            raise SourceError(
                f"{self.path} is no whole JSON document", "it was cut short, or is no output of `sacct --json`"
            ) from None
        if said := answer.errors():
            raise SourceError(f"{self.path} holds an error of Slurm's: {said}", "write it again with `sacct --json`")
        if not answer.has_jobs:
            raise SourceError(f"{self.path} has no `jobs` in it", "write it with `sacct -a -D -X --json`")

    def _rows(self, dump: BinaryIO, since_s: float, until_s: float) -> Iterator[Iterable[Job | Reject]]:
        line = dump.readline().decode("utf-8", "backslashreplace")
        header = line.rstrip("\r\n")
        newline = line.removeprefix(header)
        if header and not newline:
            raise self._broken_off()
        if not header:
            raise SourceError(
                f"the sacct dump {self.path} is empty, without even a header line",
                "was it cut short? write it again with `sacct -a -D -X -P`, without -n",
            )
        found = re.match(r"\w+?([^A-Za-z0-9_]+)", header)
        separator = found.group(1) if found else "|"
        columns = header.removesuffix(separator).split(separator)
        # `sacct -p` writes a separator behind the last field, too.
        end = separator + newline if header.endswith(separator) else newline
        pieces = _pieces(dump)
        first = next(pieces, b"")
        epoch = re.search(rb"\d{4}-\d\d-\d\dT", first) is None
        try:
            clock = None if epoch else local_clock(self.zone)
            reader = _DumpReader(self.name, str(self.path), self.cluster, columns, separator, clock)
        except KeyError as missing:
            raise SourceError(
                f"the sacct dump {self.path} has no column {missing.args[0]}",
                f"write it again with {missing.args[0]} among the fields of `sacct -o`",
            ) from None
        return reader.batches(cut_records(chain([first], pieces), end, self._broken_off), since_s, until_s)

    def _broken_off(self) -> SourceError:
        return SourceError(
            f"the sacct dump {self.path} ends in the middle of a line", "it was cut short: write it again"
        )


class _DumpReader(RowReader):
    """Lines to rows: mostly the same, but for names with newlines and separators in them."""

    _broken = ""  # a row that has too few fields so far
    _begun = 0  # the line where it begins
    _before: Job | None = None  # the job before it

    def odd(self, record: str, number: int, held: Job | None) -> tuple[list[Job | Reject], Job | None]:
        """A line that is no row of the ordinary kind: met for the first time, or a part of one, or broken."""
        if self._broken and held is not self._before:  # whole rows came in between
            broken = self.rest(None)
            ready, held = self.odd(record, number, held)
            return [*broken, *ready], held
        whole = self._row(record, number)
        if not isinstance(whole, Reject):
            return self.rest(held), whole
        if self._broken:
            self._broken += f"\n{record}"
            joined = self._row(self._broken, self._begun)
            if not isinstance(joined, Reject):
                self._broken = ""
                return self.rest(held), joined
            return (self.rest(held), None) if len(self._broken) > _LONGEST_ROW else ([], held)
        last = self.columns[-1].casefold()
        if held is not None and last in FREE_TEXT and not record[:1].isdecimal():
            field = FREE_TEXT[last]
            more: dict[str, Any] = {field: f"{getattr(held, field) or ''}\n{record}"}
            return [], dataclasses.replace(held, **more)
        if record.count(self.separator) + 1 < len(self.columns):
            self._broken, self._begun, self._before = record, number, held
            return [], held
        return [*self.rest(held), whole], None

    def rest(self, held: Job | None) -> list[Job | Reject]:
        """The job before, and what there is of a row that does not end."""
        ready = super().rest(held)
        if self._broken:
            reason = f"the row has fewer than the {len(self.columns)} fields of the header"
            ready.append(Reject(self.source, f"{self.where}:{self._begun}", self._broken, reason))
            self._broken = ""
        return ready

    def _row(self, text: str, number: int) -> Job | Reject | None:
        """A row; separators that are too many belong to its name.

        Where a comment stands beside the name, it is a guess which of the two they belong to, and one that no figure
        hangs on.
        """
        values = text.split(self.separator)
        extra = len(values) - len(self.columns)
        free = [i for i, name in enumerate(self.columns) if name.casefold() in FREE_TEXT]
        if extra > 0 and free and free[-1] - free[0] == len(free) - 1:
            at = free[0]
            values[at : at + extra + 1] = [self.separator.join(values[at : at + extra + 1])]
        return self.read(values, f"{self.where}:{number}")


def _pieces(dump: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: dump.read(_PIECE), b"")
