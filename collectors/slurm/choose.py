"""Which way a cluster's jobs are read: what the site declares or, with `source: auto`, what there is.

`auto` takes pyslurm where it says all that is needed, else slurmrestd where the site has declared one, else sacct. The
reason is for `scarbon doctor`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from accounting.sources import JobSource
from collectors.slurm.file import FileSource
from collectors.slurm.pyslurm import PyslurmSource
from collectors.slurm.sacct import SacctSource
from site_config.schema import Jobs
from site_config.secrets import read_secret

if TYPE_CHECKING:
    from collectors.slurm.slurmrestd import SlurmrestdSource


def choose(cluster: str, jobs: Jobs, zone: ZoneInfo | None = None) -> tuple[JobSource, str]:
    """The source of a cluster's jobs, and why it is that one. `zone` is the zone of times in a file.

    ConfigError where a declared secret cannot be read; SourceError where it is none.
    """
    if jobs.source == "file":
        assert jobs.path is not None
        return FileSource(cluster, jobs.path, zone), f"declared: {jobs.path}"
    if jobs.source == "sacct":
        return _sacct(cluster, jobs), "declared"
    if jobs.source == "slurmrestd":
        return _slurmrestd(cluster, jobs), f"declared: {jobs.url}"
    pyslurm = PyslurmSource(cluster)
    if jobs.source == "pyslurm":
        return pyslurm, "declared"
    if pyslurm.found.usable:
        return pyslurm, f"auto: {pyslurm.found} says all that is needed"
    if jobs.url is not None:
        return _slurmrestd(cluster, jobs), f"auto: {jobs.url} is declared; {pyslurm.found}"
    return _sacct(cluster, jobs), f"auto: {pyslurm.found}; no slurmrestd is declared"


def _sacct(cluster: str, jobs: Jobs) -> SacctSource:
    return SacctSource(cluster, str(jobs.sacct or "sacct"), jobs.timeout_s)


def _slurmrestd(cluster: str, jobs: Jobs) -> SlurmrestdSource:
    from collectors.slurm.slurmrestd import SlurmrestdSource  # requests takes its time, and most sites need it not

    assert jobs.url is not None
    token = read_secret(jobs.token_file, jobs.token_env)
    return SlurmrestdSource(cluster, jobs.url, jobs.user, token, jobs.timeout_s)
