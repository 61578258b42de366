"""Which jobs: sacct's letters, as `scarbon jobs` and all that speaks of chosen jobs takes them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from accounting.jobs import JobFilter
from accounting.tags import parse_tag
from scarbon.errors import WrongUseError
from scarbon.site import chosen_clusters, names
from scarbon.times import parse_time
from site_config.kept import KnownSite

if TYPE_CHECKING:
    from site_config.schema import SiteConfig

F = TypeVar("F", bound=Callable[..., Any])

#: sacct's short names of states (`man sacct`, "JOB STATE CODES").
STATES = {
    "BF": "BOOT_FAIL", "CA": "CANCELLED", "CD": "COMPLETED", "DL": "DEADLINE", "F": "FAILED", "NF": "NODE_FAIL",
    "OOM": "OUT_OF_MEMORY", "PD": "PENDING", "PR": "PREEMPTED", "R": "RUNNING", "RQ": "REQUEUED", "RS": "RESIZING",
    "RV": "REVOKED", "S": "SUSPENDED", "TO": "TIMEOUT",
}  # fmt: skip

_OPTIONS = (
    click.option("-u", "--user", metavar="NAME,…", help="Of these users (names or numbers). [default: you; root: all]"),
    click.option("-a", "--allusers", is_flag=True, help="Of all users."),
    click.option("-A", "--accounts", metavar="NAME,…", help="Of these accounts."),
    click.option("-j", "--jobs", metavar="ID,…", help="These jobs: 42, 42_3 (array task), 42+1 (heterogeneous part)."),
    click.option("-r", "--partition", metavar="NAME,…", help="In these partitions."),
    click.option("-q", "--qos", metavar="NAME,…", help="With these QOS."),
    click.option("--name", metavar="NAME,…", help="With these names."),
    click.option(
        "--tag", "tags", metavar="KEY=VALUE", multiple=True, help="With this label (scarbon tag); several: with all."
    ),
    click.option("-M", "--clusters", metavar="NAME,…", help="On these clusters. [default: all]"),
    click.option("-s", "--state", metavar="STATE,…", help="In these states, as they are now: R, CD, F, CANCELLED, …"),
    click.option("-E", "--endtime", metavar="TIME", help="… and before. [default: now]"),
    click.option("-D", "--duplicates", is_flag=True, help="Earlier attempts of requeued jobs, too."),
)


def job_options_since(since: str) -> Callable[[F], F]:
    """The options that choose jobs, from `since` on where nothing is said; `job_filter` reads them."""

    def add(command: F) -> F:
        for option in reversed(_OPTIONS):
            command = option(command)
        about = f"That were there after. [default: {since}; with -j: ever]"
        return click.option("-S", "--starttime", metavar="TIME", help=about)(command)

    return add


job_options = job_options_since("00:00 today")


def job_filter(
    config: SiteConfig | KnownSite, options: Mapping[str, Any], now_s: float, since: str = "midnight"
) -> JobFilter:
    """What `job_options` chose. WrongUseError for what cannot be meant."""
    zone = config.site.zone
    ids = names(options["jobs"])
    for job in ids or ():
        if "." in job:
            raise WrongUseError(f"{job} names a step, and energy is accounted by job", f"ask for {job.split('.')[0]}")
        if not job.replace("_", "").replace("+", "").isdecimal():
            raise WrongUseError(f"{job!r} is no job id", "write 42, 42_3 or 42+1")
    start = options["starttime"] or (None if ids else since)
    start_s = None if start is None else parse_time(start, zone, now_s)
    end_s = parse_time(options["endtime"] or "now", zone, now_s)
    if start_s is not None and end_s < start_s:
        raise WrongUseError("the window ends before it begins", "check -S and -E")
    return JobFilter(
        start_s=start_s,
        end_s=end_s,
        clusters=chosen_clusters(config, options["clusters"]),
        users=_users(options, bool(ids)),
        accounts=names(options["accounts"]),
        partitions=names(options["partition"]),
        qos=names(options["qos"]),
        names=names(options["name"]),
        states=_states(options["state"]),
        jobs=ids,
        duplicates=options["duplicates"],
        tags=_tags(options["tags"]),
    )


def _users(options: Mapping[str, Any], by_id: bool) -> list[str] | None:
    """The users asked for: those named, with -a too; else the caller; root sees all, as in sacct."""
    named = names(options["user"])
    if named is None and (options["allusers"] or os.getuid() == 0 or by_id):
        return None
    return [_user_name(name) for name in named or [str(os.getuid())]]


def _user_name(name: str) -> str:
    if not name.isdecimal():
        return name
    try:
        return pwd.getpwuid(int(name)).pw_name
    except (KeyError, OverflowError):
        raise WrongUseError(f"no user has the number {name} here", "name the user with -u, or say -a") from None


def _tags(texts: Sequence[str]) -> list[tuple[str, str]]:
    try:
        return [parse_tag(text) for text in texts]
    except ValueError as error:
        raise WrongUseError(str(error), "write for example project=x") from None


def _states(text: str | None) -> list[str] | None:
    named = names(text)
    if named is None:
        return None
    states = []
    for name in named:
        state = STATES.get(name.upper(), name.upper())
        if state not in STATES.values():
            raise WrongUseError(f"no such state: {name!r}", f"use one of {', '.join(STATES.values())}")
        states.append(state)
    return states
