"""`scarbon tag`: label a job with a project, a phase, or what one likes, in Slurm's own comment of it.

An ordinary user may change the comment of a job of their own while it is pending or running, and no other place that
reaches Slurm's accounting; so no folder and no service of ours is needed.
"""

from __future__ import annotations

import os
import re
import subprocess

import click

from accounting.tags import format_tags, parse_tag, parse_tags, with_tags
from scarbon.errors import UserError, WrongUseError

EXAMPLE = """\b
Examples:
  scarbon tag project=x phase=train         in a job's script: labels this job
  scarbon tag -j 42 project=x               a job of yours that is pending or running
  sbatch --comment=scarbon:project=x …      at submission
  scarbon jobs --tag project=x -o JobID,Tags,ItEnergy,CO2e
"""

TIMEOUT_S = 60


@click.command(epilog=EXAMPLE)
@click.option("-j", "--job", metavar="ID", help="Which job: 42, or 42_3. [default: the one that this runs in]")
@click.argument("tags", metavar="[KEY=VALUE]...", nargs=-1)
def tag(job: str | None, tags: tuple[str, ...]) -> None:
    """Add labels to a job, or show those that it has.

    They stand in Slurm's comment, beside whatever else is in it. The books have them once the job has ended, if
    slurm.conf says AccountingStoreFlags=job_comment.
    """
    try:
        added = dict(parse_tag(text) for text in tags)
    except ValueError as error:
        raise WrongUseError(str(error), "write for example project=x, without spaces, commas or quotes") from None
    job_id = job or _this_job()
    if not re.fullmatch(r"\d+([_+]\d+)?", job_id):
        raise WrongUseError(f"{job_id!r} is no job id", "write 42, 42_3 or 42+1")
    comment = _comment(job_id)
    if added:
        _scontrol("update", f"JobId={job_id}", f"Comment={with_tags(comment, added)}")
    else:
        click.echo(format_tags(parse_tags(comment)))


def _this_job() -> str:
    """The job that this runs in; of an array, the task."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job_id = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
    if not job_id:
        raise WrongUseError("this is no Slurm job", "run it in a job's script, or name one with -j")
    return job_id


def _comment(job_id: str) -> str | None:
    """The job's comment as the controller has it."""
    found = re.search(r"^ +Comment=(.*?) *$", _scontrol("show", "job", job_id), re.MULTILINE)
    return found[1] if found else None


def _scontrol(*words: str) -> str:
    try:
        done = subprocess.run(
            ["scontrol", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except OSError as error:
        raise UserError(f"scontrol cannot be run: {error.strerror}", "run this where Slurm's commands are") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"scontrol said nothing for {TIMEOUT_S} s", "is the controller up? (scontrol ping)") from None
    if done.returncode:
        said = " / ".join((done.stderr + done.stdout).split("\n")).strip(" /")
        raise UserError(f"scontrol refused: {said}", "a job can be tagged by its owner until it has ended")
    return done.stdout
