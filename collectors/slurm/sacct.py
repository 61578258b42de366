"""Jobs from Slurm's accounting, asked through `sacct`: one call for all the jobs of a window.

Fields are set apart by a separator made up for each call, so that no job's name can hold it, and a record ends with a
separator and a newline: `|` and newlines in names and comments do no harm. The answer is read as it comes and never
held as a whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from accounting.model import Job, Reject
from accounting.sources import SourceError
from collectors.slurm.programs import ADVICE, Program, utc
from collectors.slurm.rows import HEAD, SHARED, TAIL, RowReader, cut_records
from collectors.slurm.windows import in_calls

#: Fields that came with later Slurms (24.11, 25.11): asked for where `sacct --helpformat` names them.
_NEWER = {"Restarts", "SLUID"}


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

        SourceError when sacct is missing, fails, says nothing for too long, breaks off, or knows no such cluster.
        """
        fields = self._fields()
        jobs = in_calls(lambda since_s, until_s: self._call(fields, since_s, until_s), start_s, end_s, self.days_a_call)
        one = next(jobs, None)
        if one is None:
            self._check_cluster()
        else:
            yield one
            yield from jobs

    def _fields(self) -> list[str]:
        known = self._ask([self.sacct, "--helpformat"]).casefold().split()
        return [name for name in (*HEAD, *SHARED, *TAIL) if name not in _NEWER or name.casefold() in known]

    def _check_cluster(self) -> None:
        """Sacct answers with no jobs, and no error, for a cluster that it does not know."""
        command = [str(Path(self.sacct).with_name("sacctmgr")), "--noheader", "--parsable2"]
        clusters = self._ask([*command, "show", "cluster", "format=Cluster"]).split()
        if self.cluster not in clusters:
            raise SourceError(
                f"slurmdbd knows no cluster {self.cluster!r}, only: {', '.join(clusters) or 'none'}",
                "write Slurm's ClusterName under `clusters` in the configuration",
            )

    def _ask(self, command: list[str]) -> str:
        return b"".join(Program(command, self.timeout_s, {}).output()).decode("utf-8", "replace")

    def _call(self, fields: list[str], start_s: float, end_s: float) -> Iterator[Job | Reject]:
        separator = f"\x1f{secrets.token_hex(3)}\x1f"
        first, last = utc(start_s), utc(-(-end_s // 1))
        command = [
            self.sacct, "--allusers", "--duplicates", "--allocations", "--parsable", "--noconvert",
            f"--delimiter={separator}", f"--clusters={self.cluster}", f"--starttime={first}", f"--endtime={last}",
            f"--format={','.join(fields)}",
        ]  # fmt: skip
        program = Program(command, self.timeout_s, {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "4096"})

        def broken_off() -> SourceError:
            return SourceError(
                f"{self.sacct} broke off in the middle of its answer{program.said}",
                "run this again; nothing of this window was booked",
            )

        batches = cut_records(program.output(), separator + "\n", broken_off)
        begun: list[str] = next((records for records in batches if records), [])
        if not begun or begun.pop(0).casefold() != separator.join(fields).casefold():
            raise SourceError(
                f"{self.sacct} answered without its header line{program.said}",
                f"try it by hand: {self.sacct} -a -D -X -P -S {first} -E {last}",
            )
        reader = RowReader(self.name, f"sacct {first} to {last} UTC", self.cluster, fields, separator)
        jobs = reader.jobs(chain([begun], batches), start_s, end_s)
        one = next(jobs, None)
        if one is None and "error:" in program.said:
            # Some versions of sacct end well when slurmdbd does not answer.
            raise SourceError(f"{self.sacct} failed{program.said}", ADVICE)
        if one is not None:
            yield one
            yield from jobs
