"""`scarbon doctor`: what is reachable, what is missing, and what to do."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scarbon.errors import FAILED, UserError
from scarbon.site import LATE_S, open_books, site
from scarbon.units import counted
from site_config.errors import ConfigError, near
from site_config.place import find_config
from site_config.schema import Cluster, SiteConfig

if TYPE_CHECKING:
    from accounting.ledger.reading import Books
    from accounting.model import GpuSamples
    from accounting.sources import HolderSource

EXAMPLE = """\b
Example:
  scarbon --config site.yaml doctor
"""

#: The import packages that this distribution owns; the names are common words.
PACKAGES = ("accounting", "collectors", "scarbon", "simulator", "site_config", "slurm_plugin")

HOUR_S = 3600.0

#: How far back from the books' end disagreements of holders are counted.
DISAGREED_DAYS = 30

#: A GPU whose last sample is so much older than the newest is silent.
SILENT_S = 300.0

Finding = tuple[str, str, str]  # ok | warn | FAIL, what was found, what to do


@click.command(epilog=EXAMPLE)
@click.pass_obj
def doctor(config_option: str | None, /) -> None:
    """Check everything that an accounting run needs, a line each. Ends with 1 when something is missing."""
    failed = False
    for state, found, advice in _findings(config_option):
        click.echo(f"{state:<5} {found}" + (f"\n      -> {advice}" if advice else ""))
        failed |= state == "FAIL"
    if failed:
        raise click.exceptions.Exit(FAILED)


def _findings(option: str | None) -> Iterator[Finding]:
    yield from _packages()
    config = site(option)
    clusters = counted(len(config.clusters), "cluster")
    yield "ok", f"configuration {find_config(option)}: {clusters}, {config.site.timezone}", ""
    yield from _ledger(config)
    yield from _grid(config)
    yield from _mail(config)
    for name, cluster in config.clusters.items():
        yield from _jobs(config, name)
        yield from _gpus(config, name, cluster)
        yield from _hosts(name, cluster)
        yield from _comments(name, cluster)


def _packages() -> Iterator[Finding]:
    """Whether our own packages are found, and not another distribution's of the same name."""
    home = Path(__file__).resolve().parents[2]
    for package in PACKAGES:
        spec = find_spec(package)
        place = None if spec is None or spec.origin is None else Path(spec.origin).resolve().parents[1]
        if place != home:
            advice = "install scarbon into an environment of its own (pipx, uv tool, or a venv under /opt)"
            yield "FAIL", f"the package {package} is another one's, in {place}, not ours in {home}", advice


def _ledger(config: SiteConfig) -> Iterator[Finding]:
    from accounting.ledger.errors import LedgerError, NoLedgerError
    from accounting.ledger.filesystems import shared_filesystem

    try:
        books = open_books(config)
    except NoLedgerError as error:
        folder = Path(error.address.path).parent
        if error.address.kind == "sqlite" and not (folder.is_dir() and os.access(folder, os.W_OK)):
            yield "FAIL", f"ledger {error.address.shown}: its folder cannot be written", f"make it: mkdir -p {folder}"
        elif error.address.kind == "sqlite" and (shared := shared_filesystem(str(folder))):
            yield (
                "FAIL",
                f"ledger {error.address.shown}: on {shared}",
                "put it on a disk of this machine, or on a server",
            )
        else:
            yield "ok", f"ledger {error.address.shown}: none yet; the first scarbon collect makes it", ""
        return
    except LedgerError as error:
        yield "FAIL", error.what, error.advice
        return
    with books:
        for name in config.clusters:
            booked = books.booked(name)
            end = datetime.fromtimestamp(booked[-1][1], config.site.zone).isoformat(" ", "minutes") if booked else None
            found = f"{name} is accounted up to {end}" if end else f"{name} is empty"
            if booked and (late_s := time.time() - config.collect.settle_s - booked[-1][1]) > LATE_S:
                found += f", {late_s / 86400:.1f} days ago"
                yield "warn", f"ledger {books.address.shown}: {found}", "does the timer of scarbon collect run?"
            else:
                yield "ok", f"ledger {books.address.shown}: {found}", ""
        yield from _disagreements(books)
        yield from _budgets(config, books)


def _budgets(config: SiteConfig, books: Books) -> Iterator[Finding]:
    """Budgets of accounts that the books have never heard of: a slip of the pen looks like nothing used."""
    from accounting.budgets import known_accounts

    known = known_accounts(books) if config.budgets else []
    for account in sorted({budget.account for budget in config.budgets} - set(known)):
        yield "warn", f"budgets: the books know no account {account!r}{near(account, known)}", "check budgets"


def _disagreements(books: Books) -> Iterator[Finding]:
    """How often the sources of holders did not agree, in the last days of the books."""
    from accounting.audit import holders_disagreed
    from scarbon.commands.audit import DISAGREEMENTS

    end_s = max((books.booked(name)[-1][1] for name in books.clusters()), default=0.0)
    counts = holders_disagreed(books, end_s - DISAGREED_DAYS * 24 * HOUR_S, end_s)
    for name, count in counts.items():
        if count:
            found = f"in the last {DISAGREED_DAYS} days of the books: {count} {DISAGREEMENTS[name]}"
            yield "warn", f"holders, {found}", "see docs/holders.md, When they do not agree"


def _mail(config: SiteConfig) -> Iterator[Finding]:
    """Whether mail would be taken, where the site sends any; nothing is sent."""
    from scarbon.letters import carrier

    if config.mail is None:
        return
    smtp = config.mail.smtp
    way = config.mail.sendmail if smtp is None else f"{smtp.host}:{smtp.used_port}"
    try:
        with carrier(config.mail):
            yield "ok", f"mail by {way}: it is taken", ""
    except UserError as error:
        yield "FAIL", error.what, error.advice
    except ConfigError as error:  # the password
        yield "FAIL", f"mail by {way}: {error}", "check mail.smtp"


def _grid(config: SiteConfig) -> Iterator[Finding]:
    from accounting.sources import SourceError
    from collectors.grid.chain import fill
    from collectors.grid.registry import grid_sources

    now_s = time.time()
    try:
        _, report = fill(grid_sources(config.grid), now_s - 25 * HOUR_S, now_s - HOUR_S)
    except SourceError as error:
        yield "FAIL", error.what, error.advice
        return
    for problem in report.problems:
        yield "warn", f"grid: {problem}", ""
    shares = ", ".join(f"{name} {seconds / (24 * HOUR_S):.0%}" for name, seconds in report.seconds_by_source.items())
    if report.holes:
        yield (
            "FAIL",
            f"grid intensity of the last day: {shares or 'none'}, with holes",
            "add {source: static} at the end",
        )
    else:
        yield "ok", f"grid intensity of the last day: {shares}", ""


def _jobs(config: SiteConfig, name: str) -> Iterator[Finding]:
    from accounting.model import Reject
    from accounting.sources import SourceError
    from collectors.slurm.choose import choose

    now_s = time.time()
    try:
        source, why = choose(name, config.clusters[name].jobs, config.site.zone)
        rows = list(source.jobs(now_s - 24 * HOUR_S, now_s))
    except SourceError as error:
        yield "FAIL", f"{name}: jobs: {error.what}", error.advice
        return
    bad = sum(isinstance(row, Reject) for row in rows)
    yield "ok", f"{name}: jobs by {source.name} ({why}): {len(rows) - bad} in the last day", ""
    if bad:
        yield (
            "warn",
            f"{name}: {counted(bad, 'row')} of jobs cannot be understood",
            "see scarbon audit --quarantine after a collect",
        )


def _gpus(config: SiteConfig, name: str, cluster: Cluster) -> Iterator[Finding]:
    from accounting.model import GpuSamples
    from accounting.sources import SourceError
    from scarbon.wiring import gpu_source, holder_sources

    gpu = cluster.gpu
    if gpu is None:
        yield "ok", f"{name}: no GPUs are declared", ""
        return
    now_s = time.time()
    # A recording is of the past: it is asked for all that it has.
    start_s = 0.0 if gpu.openmetrics is not None else now_s - 600
    try:
        samples = [one for one in gpu_source(name, gpu).samples(start_s, now_s) if isinstance(one, GpuSamples)]
    except SourceError as error:
        yield "FAIL", f"{name}: GPU samples: {error.what}", error.advice
        samples = []
    else:
        yield from _samples(name, samples, now_s)
    # … and its holders are those of its last day.
    until_s = now_s if gpu.openmetrics is None or not samples else max(one.last_s for one in samples)
    last_day = "the last day" if until_s == now_s else "the last day of the recording"
    for holder in holder_sources(config, name):
        try:
            tags = len(list(holder.tags(until_s - 24 * HOUR_S, until_s, [], samples)))
        except SourceError as error:
            yield "FAIL", f"{name}: holders by {holder.name}: {error.what}", error.advice
        else:
            yield "ok", f"{name}: holders by {holder.name}: {counted(tags, 'hold')} in {last_day}", ""
            yield from _troubles(name, holder, until_s - 24 * HOUR_S)
    if "gres_index" in gpu.holders and not config.gres_index_dir(name).is_dir():
        advice = "start deploy/scarbon-poll.service (scarbon collect --watch), or take gres_index out of gpu.holders"
        yield "warn", f"{name}: holders by gres_index: the controller was never asked", advice


def _cross_check(name: str, gpus: Sequence[GpuSamples]) -> Iterator[Finding]:
    """Whether each GPU's energy counter and power gauge tell of the same energy."""
    from accounting.energy import counter_over_gauge
    from accounting.findings import disagree

    for one in gpus:
        ratio = counter_over_gauge(one)
        if ratio is not None and disagree(ratio):
            advice = "is the metric's unit what gpu.preset says? compare both with nvidia-smi"
            found = f"its energy counter has {ratio:.2f} times what its power gauge has"
            yield "warn", f"{name}: {one.device.node} {one.device.uuid}: {found}", advice


def _hosts(name: str, cluster: Cluster) -> Iterator[Finding]:
    """Whether the nodes' own meters answer, for which of the cluster's nodes, and whether their idle power is known."""
    from accounting.host import some
    from accounting.model import HostSamples, Reject
    from accounting.sources import SourceError
    from scarbon.wiring import host_source, node_source

    source = host_source(cluster)
    if source is None:
        return
    now_s = time.time()
    try:
        nodes = node_source(name, cluster).nodes()
        found = list(source.samples(now_s - 600, now_s))
    except SourceError as error:
        yield "FAIL", f"{name}: nodes' meters: {error.what}", error.advice
        return
    metered = {one.node for one in found if isinstance(one, HostSamples)}
    advice = "see docs/hosts.md; is the query right, and does its label name nodes as Slurm does?"
    for reason in dict.fromkeys(one.reason for one in found if isinstance(one, Reject)):
        yield "warn", f"{name}: nodes' meters: {reason}", advice
    if not metered:
        yield "FAIL", f"{name}: no node's own meter has a sample of the last ten minutes", advice
        return
    yield "ok", f"{name}: nodes with a meter of their own: {len(metered)}", ""
    if without := nodes.keys() - metered:
        yield "warn", f"{name}: {some(without)}: no meter; the host energy of jobs there is unknown", advice
    if nodes and (strangers := metered - nodes.keys()):
        yield "warn", f"{name}: {some(strangers)}: metered, but no node of this cluster", advice
    if unsaid := {node for node in nodes.values() if node.idle_w is None}:
        idle = "set host.idle_w to what a node draws with no job on it, without its GPUs"
        names = some([node.name for node in unsaid])
        yield "warn", f"{name}: {names}: idle power not known; the jobs on a node owe all that it draws", idle


def _troubles(name: str, holder: HolderSource, since_s: float) -> Iterator[Finding]:
    """What the hooks noted of themselves in the journal, by node, with the last message of each."""
    from collectors.journal import Journal

    if not isinstance(holder, Journal):
        return
    by_node: dict[str, list[str]] = {}
    for trouble in holder.troubles(since_s):
        by_node.setdefault(trouble.node, []).append(trouble.message)
    for node, messages in sorted(by_node.items()):
        found = (
            f"{name}: the hooks of {node} had trouble {counted(len(messages), 'time')} in the last day, "
            f"at last: {messages[-1]}"
        )
        yield "warn", found, "see docs/hooks.md, When something goes wrong, and the node's syslog"


def _comments(name: str, cluster: Cluster) -> Iterator[Finding]:
    """Whether jobs' comments, in which the labels of `scarbon tag` stand, reach Slurm's accounting."""
    from accounting.sources import SourceError
    from collectors.slurm.programs import Program
    from scarbon.wiring import scontrol

    program = scontrol(cluster)
    if program is None:
        return
    try:
        text = b"".join(Program([program, f"--clusters={name}", "show", "config"], 60.0, {}).output()).decode()
    except (SourceError, UnicodeDecodeError):
        return  # what cannot be asked is told where it is needed
    flags = re.search(r"^AccountingStoreFlags\s*=\s*(\S*)", text, re.MULTILINE)
    if flags and "job_comment" not in flags[1].lower().split(","):
        advice = "set AccountingStoreFlags=job_comment in slurm.conf if you want scarbon tag and --comment=scarbon:…"
        yield "warn", f"{name}: Slurm's accounting keeps no comments of jobs, so they have no labels", advice


def _samples(name: str, gpus: Sequence[GpuSamples], now_s: float) -> Iterator[Finding]:
    if not gpus:
        advice = "is dcgm-exporter scraped, and does gpu.match fit its series?"
        yield "FAIL", f"{name}: no GPU has a sample of its energy or power", advice
        return
    yield from _cross_check(name, gpus)
    nodes = {one.device.node for one in gpus}
    newest_s = max(one.last_s for one in gpus)
    with_counter = sum(one.energy_time_s.size > 1 for one in gpus)
    where = f"{counted(len(gpus), 'GPU')} on {counted(len(nodes), 'node')}"
    yield "ok", f"{name}: {where}, {with_counter} of them with an energy counter; {_age(gpus, now_s)}", ""
    if without := len(gpus) - with_counter:
        advice = "add DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION to the exporter's counters file"
        found = f"{counted(without, 'GPU')} without an energy counter; their power is integrated"
        yield "warn", f"{name}: {found}", advice
    if silent := [one for one in gpus if newest_s - one.last_s > SILENT_S]:
        found = f"{counted(len(silent), 'GPU')} silent for longer than others, such as {silent[0].device.uuid}"
        yield "warn", f"{name}: {found} on {silent[0].device.node}", "is the exporter of that node up and scraped?"


def _age(gpus: Sequence[GpuSamples], now_s: float) -> str:
    """How old the newest sample is, in words."""
    age_s = max(now_s - max(one.last_s for one in gpus), 0.0)
    for unit, size_s in (("day", 24 * HOUR_S), ("hour", HOUR_S), ("minute", 60.0)):
        if age_s >= 2 * size_s:
            return f"the newest sample is {age_s / size_s:.0f} {unit}s old"
    return f"the newest sample is {age_s:.0f} s old"
