"""Jobs from Slurm's accounting, asked through `sacct`: one call for all the jobs of a window.

The times asked for and answered are UTC, whatever the zone of this host. Fields are set apart by a separator made up
for each call, so that no job's name can hold it, and a record ends where its last field does: newlines and `|` in
names and comments do no harm. The answer is read as it comes and never held as a whole.
"""

from __future__ import annotations

import os
import secrets
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

from accounting.model import AttemptKey, Job, Reject
from accounting.sources import SourceError
from collectors.slurm.rows import NEEDED, OPTIONAL, RowReader, overlaps

#: What every sacct since Slurm 20.11 knows.
_FIELDS = (*NEEDED, *(name for name in OPTIONAL if name not in {"Restarts", "SLUID"}))

#: What sacct needs of our environment. All else is left out: SACCT_FORMAT, SLURM_CLUSTERS and the like change answers.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")

_DAY_S = 86400


class SacctSource:
    """The attempts of one cluster that slurmdbd knows of."""

    name = "sacct"

    def __init__(self, cluster: str, sacct: str = "sacct", timeout_s: float = 120.0, days_a_call: float = 7.0) -> None:
        """Ask `sacct` (a name on PATH, or a path) about `cluster`.

        `timeout_s`: how long sacct may say nothing. `days_a_call`: longer windows are asked for in several calls.
        """
        self.cluster = cluster
        self.sacct = sacct
        self.timeout_s = timeout_s
        self.days_a_call = days_a_call

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job | Reject]:
        """Yield each attempt that was there at some time in [start_s, end_s), once.

        SourceError when sacct is missing, fails, says nothing for too long, or breaks off.
        """
        # Attempts still there at the end of one call come again in the next.
        alive: set[AttemptKey] = set()
        call_start_s = start_s
        while call_start_s < end_s:
            call_end_s = min(end_s, call_start_s + self.days_a_call * _DAY_S)
            seen, alive = alive, set()
            for job in self._call(call_start_s, call_end_s):
                if isinstance(job, Reject):
                    yield job
                    continue
                if not overlaps(job, call_start_s, call_end_s):
                    continue
                if job.end_s is None or job.end_s >= call_end_s:
                    alive.add(job.key)
                if job.key not in seen:
                    yield job
            call_start_s = call_end_s

    def _call(self, start_s: float, end_s: float) -> Iterator[Job | Reject]:
        separator = f"\x1f{secrets.token_hex(3)}\x1f"
        first, last = _utc(start_s), _utc(-(-end_s // 1))
        command = [
            self.sacct, "--allusers", "--duplicates", "--allocations", "--parsable", "--noconvert",
            f"--delimiter={separator}", f"--clusters={self.cluster}", f"--starttime={first}", f"--endtime={last}",
            f"--format={','.join(_FIELDS)}",
        ]  # fmt: skip
        where = f"sacct {first} to {last} UTC"
        records = _records(_output(command, self.timeout_s), separator, len(_FIELDS), self.sacct)
        header = next(records, None)
        if header is None or [name.casefold() for name in header] != [name.casefold() for name in _FIELDS]:
            raise SourceError(
                f"{self.sacct} answered without its header line",
                f"try it by hand: {self.sacct} -a -D -X -P -S {first} -E {last}",
            )
        reader = RowReader(self.name, self.cluster, _FIELDS)
        for record in records:
            job = reader.read(record, where)
            if job is not None:
                yield job


def _utc(instant_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(instant_s))


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {"TZ": "UTC", "SLURM_TIME_FORMAT": "%s", "LC_ALL": "C.UTF-8"}


def _output(command: list[str], timeout_s: float) -> Iterator[bytes]:
    """What a command writes, piece by piece. SourceError with the command's own words when it fails."""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=_environment()
            )
        except OSError as error:
            raise SourceError(
                f"{command[0]} cannot be run: {error.strerror}",
                "install Slurm's client commands here, or name the program's path, or choose another jobs source",
            ) from None
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        try:
            while True:
                if not select.select([descriptor], [], [], timeout_s)[0]:
                    raise SourceError(
                        f"{command[0]} said nothing for {timeout_s:g} s{_said(errors)}",
                        "is slurmdbd up and quick? `sacctmgr show cluster` asks it as well",
                    )
                piece = os.read(descriptor, 1 << 20)
                if not piece:
                    break
                yield piece
            code = process.wait(timeout=timeout_s)
            said = _said(errors)
            if code != 0 or "error:" in said:
                raise SourceError(
                    f"{command[0]} failed (exit {code}){said}", "is slurmdbd up, and slurm.conf readable?"
                )
        finally:
            # Also when nobody reads on: a process is not left behind.
            with suppress(ProcessLookupError):
                process.kill()
            process.stdout.close()
            process.wait()


def _said(errors: IO[bytes]) -> str:
    """The command's own message on one line, at its end where it is long."""
    errors.seek(0)
    text = " / ".join(line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip())
    return f": {text[-500:]}" if text else ""


def _records(pieces: Iterator[bytes], separator: str, width: int, program: str) -> Iterator[list[str]]:
    """Cut the answer into records: `width` fields, each with the separator behind it, then a newline."""
    mark = separator.encode()
    fields: list[bytes] = []
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(mark)
        fields += whole
        at = 0
        while len(fields) - at >= width:
            record = fields[at : at + width]
            record[0] = record[0].removeprefix(b"\n")
            yield [field.decode("utf-8", "backslashreplace") for field in record]
            at += width
        del fields[:at]
    if fields or rest not in (b"", b"\n"):
        raise SourceError(f"{program} broke off in the middle of its answer", "run this again; nothing was booked")
