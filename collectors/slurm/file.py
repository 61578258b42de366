"""Jobs from a file: what `sacct -P` (or `-p`) wrote, with its header line.

For sites where the books are kept away from Slurm, and for trying things out. The file is read as it comes and never
held as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from accounting.model import Job, Reject
from accounting.sources import SourceError
from collectors.slurm.rows import RowReader, epoch_s, overlaps


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
            with self.path.open(encoding="utf-8", errors="backslashreplace", newline="\n") as lines:
                for job in self._rows(lines):
                    if isinstance(job, Reject) or overlaps(job, start_s, end_s):
                        yield job
        except OSError as error:
            raise SourceError(
                f"the sacct dump {self.path} cannot be read: {error.strerror}", "check jobs.path in the configuration"
            ) from None

    def _rows(self, lines: Iterator[str]) -> Iterator[Job | Reject]:
        header = next(lines, "").rstrip("\n")
        if not header:
            raise SourceError(
                f"the sacct dump {self.path} is empty, without even a header line",
                "was it cut short? write it again with `sacct -a -D -X -P`, without -n",
            )
        separator = _separator(header)
        closed = header.endswith(separator)  # `-p`: a separator behind the last field, too
        columns = header.removesuffix(separator).split(separator)
        try:
            reader = RowReader(self.name, self.cluster, columns, _clock(self.zone))
        except KeyError as missing:
            raise SourceError(
                f"the sacct dump {self.path} has no column {missing.args[0]}",
                f"write it again with {missing.args[0]} among the fields of `sacct -o`",
            ) from None
        for number, values in self._records(lines, separator, columns, closed):
            job = reader.read(values, f"{self.path}:{number}")
            if job is not None:
                yield job

    def _records(
        self, lines: Iterator[str], separator: str, columns: list[str], closed: bool
    ) -> Iterator[tuple[int, list[str]]]:
        """Line number and fields of each record.

        A row that is too short goes on in the next line (a newline in a name); one that is too long has the separator
        in its job name, if that is the only column with free text.
        """
        wanted = len(columns) + closed
        free = [i for i, name in enumerate(columns) if name.casefold() in {"jobname", "comment"}]
        number, begun, text = 1, 2, ""
        for number, line in enumerate(lines, start=2):
            if text:
                text += line
            else:
                begun, text = number, line
            values = text.removesuffix("\n").split(separator)
            if len(values) < wanted:
                continue
            if closed:
                values.pop()
            extra = len(values) - len(columns)
            if extra and len(free) == 1:
                at = free[0]
                values[at : at + extra + 1] = [separator.join(values[at : at + extra + 1])]
            yield begun, values
            text = ""
        if text:
            raise SourceError(
                f"the sacct dump {self.path} ends in the middle of the row of line {begun}",
                "it was cut short: write it again",
            )


def _separator(header: str) -> str:
    """What stands behind the first field's name."""
    found = re.match(r"\w+?([^A-Za-z0-9_]+)", header)
    return found.group(1) if found else "|"


def _clock(zone: ZoneInfo | None) -> Callable[[str], int | None]:
    """Epoch seconds, or ISO times that are read in `zone` where they name none."""

    def clock(text: str) -> int | None:
        try:
            return epoch_s(text)
        except ValueError:
            instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            if zone is None:
                raise ValueError("a time without a zone")
            instant = instant.replace(tzinfo=zone)
        return int(instant.timestamp())

    return clock
