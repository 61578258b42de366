"""Which jobs: sacct's letters, as `scarbon jobs` and all that speaks of chosen jobs takes them."""

from __future__ import annotations

import math
import os
import pwd
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from accounting.jobs import JobFilter
from accounting.ledger.reading import Books
from accounting.tags import parse_tag
from scarbon.errors import WrongUseError, near
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

#: Tasks of arrays that one command may name, `42_[1-9]`.
_MOST_TASKS = 10_000


def _listed(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> str | None:
    """An option that is given again adds to its list, as in sacct."""
    return ",".join(values) if values else None


def _all_users(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
    """-a takes back what -u said before it, as in sacct; -u behind it chooses."""
    if value and "user" in ctx.params:
        ctx.params["user"] = None
    return value


def _list(*names: str, about: str, metavar: str = "NAME,…") -> Callable[[F], F]:
    return click.option(*names, metavar=metavar, multiple=True, callback=_listed, help=about)


_OPTIONS = (
    _list("-u", "--user", "--uid", "user", about="Of these users (names or numbers). [default: you; root: all]"),
    click.option("-a", "--allusers", is_flag=True, callback=_all_users, help="Of all users."),
    _list("-A", "--accounts", about="Of these accounts."),
    _list(
        "-j", "--jobs", metavar="ID,…", about="These jobs: 42, 42_3 or 42_[1-3] (array tasks), 42+1 (heterogeneous)."
    ),
    click.option(
        "--whole-hetjob", type=click.Choice(["yes", "no"]), is_flag=False, flag_value="yes",
        help="yes: all parts of a heterogeneous job of which one is named; no: only the named. [default: all of 42]",
    ),
    _list("-r", "--partition", about="In these partitions."),
    _list("-q", "--qos", about="With these QOS."),
    _list("-W", "--wckeys", about="With these WCKeys."),
    _list("--name", about="With these names."),
    _list("-N", "--nodelist", about="On any of these nodes: n1, n[1-8].", metavar="NODES"),
    click.option("-i", "--nnodes", metavar="MIN[-MAX]", help="On so many nodes."),
    click.option("-I", "--ncpus", metavar="MIN[-MAX]", help="With so many CPUs."),
    click.option(
        "--tag", "tags", metavar="KEY=VALUE", multiple=True, help="With this label (scarbon tag); several: with all."
    ),
    _list("-M", "--clusters", about="On these clusters. [default: all]"),
    click.option("-L", "--allclusters", is_flag=True, help="On all clusters."),
    _list(
        "-s", "--state", metavar="STATE,…",
        about="In these states in the window: R, PD, S at some time of it; CD, F, CA, … where they ended so in it.",
    ),
    click.option("-E", "--endtime", metavar="TIME", help="… and before. [default: now]"),
    click.option("-D", "--duplicates", is_flag=True, help="Earlier attempts of requeued jobs, too."),
)  # fmt: skip


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
    config: SiteConfig | KnownSite,
    books: Books,
    options: Mapping[str, Any],
    now_s: float,
    since: str = "midnight",
    one_moment: bool = False,
) -> JobFilter:
    """What `job_options` chose. WrongUseError for what cannot be meant, and for names that the books do not know.

    With `one_moment` states without times are those of now, or of -S, as in sacct; else those since `since`.
    """
    zone = config.site.zone
    ids = _ids(names(options["jobs"]))
    states = _states(options["state"])
    of_moment = one_moment and states is not None
    start = options["starttime"] or (None if ids else "now" if of_moment else since)
    start_s = None if start is None else math.floor(parse_time(start, zone, now_s))
    end = options["endtime"] or (start if of_moment and start is not None else "now")
    end_s = math.floor(parse_time(end, zone, now_s))
    if start_s is not None and end_s < start_s:
        raise WrongUseError("the window ends before it begins", "check -S and -E")
    users, uids = _users(books, options, bool(ids))
    known = KnownNames(books)
    return JobFilter(
        start_s=start_s,
        end_s=max(end_s, (start_s or 0) + 1),
        clusters=None if options["clusters"] == "all" else chosen_clusters(config, options["clusters"]),
        users=users,
        uids=uids,
        accounts=known.all_of("account", options["accounts"]),
        partitions=known.all_of("partition", options["partition"]),
        qos=known.all_of("QOS", options["qos"]),
        wckeys=known.all_of("WCKey", options["wckeys"]),
        names=names(options["name"]),
        nodes=_nodes(options["nodelist"]),
        nnodes=_range(options["nnodes"], "-i"),
        ncpus=_range(options["ncpus"], "-I"),
        states=states,
        jobs=ids,
        whole_hetjob=None if options["whole_hetjob"] is None else options["whole_hetjob"] == "yes",
        duplicates=options["duplicates"],
        tags=_tags(options["tags"]),
    )


#: The ledger's columns by what people call them.
_COLUMNS = {"user": "user_name", "account": "account", "partition": "partition_name", "QOS": "qos", "WCKey": "wckey"}


class KnownNames:
    """The names that jobs in the books have, so that one that is mistyped is not taken for one without jobs."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def all_of(self, what: str, text: str | None) -> list[str] | None:
        """The names that an option lists, as the books write them; WrongUseError for one that they do not know."""
        asked = names(text)
        return None if asked is None else [known for name in asked for known in self._one(what, name)]

    def unknown(self, what: str, name: str) -> WrongUseError:
        """The error for a name that the books do not know."""
        close = near(name, self.names(what))
        return WrongUseError(
            f"no {what} {name!r} in the books", f"did you mean {close}?" if close else "nothing there is named so"
        )

    def _one(self, what: str, name: str) -> list[str]:
        found = [known for known in self.names(what) if known.lower() == name.lower()]
        if not found:
            raise self.unknown(what, name)
        return found

    def names(self, what: str) -> list[str]:
        """All the names of one kind that jobs in the books have."""
        column = _COLUMNS[what]
        sql = f"SELECT DISTINCT {column} AS name FROM payers"
        if what == "account":  # one that has had no job yet, too
            sql += " UNION SELECT account AS name FROM accounts"
        return sorted(row["name"] for row in self._books.rows(sql) if row["name"])


def _ids(asked: Sequence[str] | None) -> list[str] | None:
    """The jobs that were named, `42_[1-3]` task by task."""
    if asked is None:
        return None
    found = [one for job in split_jobs(",".join(asked)) for one in job_ids(job)]
    if len(found) > _MOST_TASKS:
        raise WrongUseError(f"-j names more than {_MOST_TASKS:,} jobs", "ask for whole arrays, or in several calls")
    return found


def split_jobs(text: str) -> list[str]:
    """`42,43_[1,2]` at its commas, but for those within brackets, which divide tasks."""
    return re.findall(r"[^,\[]+(?:\[[^\]]*\]?[^,]*)?", text) or [text]


def job_ids(job: str) -> list[str]:
    """One job as it was typed: 42, 42_3, 42+1, or 42_[1-3] task by task. WrongUseError where it is none."""
    if "." in job:
        raise WrongUseError(f"{job} names a step, and energy is accounted by job", f"ask for {job.split('.')[0]}")
    match = re.fullmatch(r"(\d+)(?:_(\d+)|\+(\d+)|_\[([\d,:-]+)(?:%\d+)?\])?", job)
    if match is None:
        raise WrongUseError(f"{job!r} is no job id", "write 42, 42_3, 42_[1-3] or 42+1")
    if match[4] is None:
        return [job]
    tasks = list(islice(_tasks(job, match[4]), _MOST_TASKS + 1))
    if len(tasks) > _MOST_TASKS:
        raise WrongUseError(f"{job} names more than {_MOST_TASKS:,} tasks", f"ask for all of them: {match[1]}")
    return [f"{match[1]}_{task}" for task in tasks]


def _tasks(job: str, text: str) -> Iterator[int]:
    """`1-3,8,10-20:5` as 1, 2, 3, 8, 10, 15, 20."""
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::([1-9]\d*))?)?", part)
        if match is None:
            raise WrongUseError(
                f"{job!r} is no job id: {part!r} names no tasks", "write for example 42_[1-3,8,10-20:5]"
            )
        last = int(match[2] or match[1])
        yield from range(int(match[1]), last + 1, int(match[3] or 1))


def _users(books: Books, options: Mapping[str, Any], by_id: bool) -> tuple[list[str] | None, list[int] | None]:
    """The users asked for, by name and by number: those named; else the caller; root sees all, as in sacct."""
    asked = names(options["user"])
    if asked is None:
        if options["allusers"] or by_id or os.getuid() == 0:
            return None, None
        return _caller(books)
    users = [name for name in asked if not name.isdecimal()]
    known = KnownNames(books)
    for name in users:
        if _uid(name) is None and name not in known.names("user"):
            raise known.unknown("user", name)
    uids = [int(name) for name in asked if name.isdecimal()]
    for uid in uids:
        if _login(uid) is None and not _has_jobs(books, uid):
            raise WrongUseError(
                f"no user has the number {uid} here or in the books", "name the user with -u, or say -a"
            )
    return users or None, uids or None


def _caller(books: Books) -> tuple[list[str] | None, list[int] | None]:
    uid = os.getuid()
    if (login := _login(uid)) is not None:
        return [login], None
    if _has_jobs(books, uid):
        return None, [uid]
    raise WrongUseError(f"no user has the number {uid} here or in the books", "name the user with -u, or say -a")


def _login(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


def _uid(login: str) -> int | None:
    try:
        return pwd.getpwnam(login).pw_uid
    except KeyError:
        return None


def _has_jobs(books: Books, uid: int) -> bool:
    return uid < 2**31 and bool(books.rows("SELECT 1 AS found FROM attempts WHERE uid = :uid LIMIT 1", {"uid": uid}))


def _nodes(text: str | None) -> list[str] | None:
    asked = names(text)
    if asked is None or not any("[" in name for name in asked):
        return asked
    from ClusterShell.NodeSet import NodeSet, NodeSetException

    try:
        return list(NodeSet(",".join(asked)))
    except NodeSetException as error:
        raise WrongUseError(f"cannot read the nodes {text!r}: {error}", "write for example n1 or n[1-8]") from None


def _range(text: str | None, letter: str) -> tuple[int, int] | None:
    """`2` or `2-4`; 0 chooses nothing, as in sacct."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise WrongUseError(f"{letter} {text!r} is no number", f"write for example {letter} 2 or {letter} 2-4")
    return (int(match[1]), int(match[2] or match[1])) if int(match[1]) else None


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
            close = near(state, STATES.values())
            advice = f"did you mean {close}?" if close else f"use one of {', '.join(STATES.values())}"
            raise WrongUseError(f"no such state: {name!r}", advice)
        states.append(state)
    return states
