"""Running one of Slurm's programs: its answer read as it comes, its own message shown when it fails.

The times asked for and answered are UTC, whatever the zone of this host.
"""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO

from accounting.sources import SourceError

#: What Slurm's programs need of our environment. All else is left out: SACCT_FORMAT, SLURM_CLUSTERS, SLURM_BITSTR_LEN
#: and the like change answers.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")


class Program:
    """One run of a program; a run that is left before its end is stopped."""

    def __init__(self, command: Sequence[str], timeout_s: float, env: Mapping[str, str]) -> None:
        """Run `command` with little but `env` in its environment. `timeout_s`: how long it may say nothing."""
        self.command = list(command)
        self.timeout_s = timeout_s
        self.env = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self.env |= {"TZ": "UTC", "LC_ALL": "C.UTF-8", **env}
        self.said = ""  # what it wrote to stderr, on one line, once it has ended

    def output(self) -> Iterator[bytes]:
        """Its stdout, piece by piece; SourceError when it cannot be run, says nothing for too long, or fails."""
        name = self.command[0]
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=self.env
                )
            except OSError as error:
                raise SourceError(
                    f"{name} cannot be run: {error.strerror}",
                    "install Slurm's client commands here, or name the program's path, or choose another jobs source",
                ) from None
            assert process.stdout is not None
            descriptor = process.stdout.fileno()
            try:
                while True:
                    if not select.select([descriptor], [], [], self.timeout_s)[0]:
                        raise SourceError(
                            f"{name} said nothing for {self.timeout_s:g} s{_line(errors)}",
                            "is slurmdbd up and quick? `sacctmgr show cluster` asks it as well",
                        )
                    piece = os.read(descriptor, 1 << 15)
                    if not piece:
                        break
                    yield piece
                code = process.wait()
                self.said = _line(errors)
                if code != 0:
                    raise SourceError(f"{name} failed (exit {code}){self.said}", ADVICE)
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
                process.stdout.close()
                process.wait()


#: What to look at when Slurm's accounting does not answer.
ADVICE = "check that slurmdbd runs and that this host reads the right slurm.conf (`sacctmgr show cluster`)"


def utc(instant_s: float) -> str:
    """An instant as Slurm reads it when TZ is UTC, in whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(instant_s))


def _line(errors: IO[bytes]) -> str:
    """What was written to stderr, on one line; the end of it where it is long."""
    errors.seek(0)
    text = " / ".join(line.strip() for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip())
    return f": {text[-500:]}" if text else ""
