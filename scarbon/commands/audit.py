"""`scarbon audit`: show that the books balance and that the roll-ups agree with them; and what is in quarantine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from accounting.audit import Audit, Line, quarantined
from accounting.audit import audit as audit_books
from accounting.findings import MOMENTS_S, MeterFinding, meter_findings
from accounting.ledger.reading import Books
from scarbon import __version__, units
from scarbon.errors import FAILED, WrongUseError
from scarbon.periods import refuse_unbooked
from scarbon.site import open_books, site
from scarbon.times import window

if TYPE_CHECKING:
    from accounting.booking import Rules, Sources
    from accounting.reconciling import Reconciliation
    from accounting.verifying import Verified
    from site_config.schema import SiteConfig

EXAMPLE = """\b
Examples:
  scarbon audit
  scarbon audit -S 2026-10-01 -E 2026-11-01 --json
  scarbon audit --by cluster
  scarbon audit --verify 200 -S now-7days
  scarbon audit --quarantine
"""

LEVELS = ("cluster", "node", "device")

#: As many differences are shown; a job has a dozen figures in each of its hours.
MOST_SHOWN = 20

#: `accounting.holders.Disagreements`, for people.
DISAGREEMENTS = {
    "other_devices": "holds of a job on a node for which a later source names another device than the first",
    "epilogs_missing": "holds of which no epilog was seen, ended by Slurm's record",
    "prologs_missing": "holds of which no prolog was seen, begun by Slurm's record",
    "ended_late": "holds that ended more than a minute after Slurm's end of the job",
    "held_twice": "times that a job began to hold a whole GPU which another job held",
}


@click.command(epilog=EXAMPLE)
@click.option("-S", "--starttime", metavar="TIME", help="Hours that begin from here on. [default: all]")
@click.option("-E", "--endtime", metavar="TIME", help="… and before.")
@click.option("--by", type=click.Choice(LEVELS), default="device", show_default=True, help="The lines of the table.")
@click.option(
    "--verify",
    type=click.IntRange(min=1),
    is_flag=False,
    flag_value=100,
    metavar="[JOBS]",
    help="Account so many jobs at random, or 100, once more from the sources, and compare them with the books.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Which jobs: the same number, the same jobs. [default: others]"
)
@click.option("--quarantine", is_flag=True, help="List the rows that could not be understood, with the reason.")
@click.option(
    "--json", "as_json", is_flag=True, help="metered_j, attributed_j, idle_j, difference_j by cluster, node and device."
)
@click.pass_obj
def audit(
    config_option: str | None,
    /,
    starttime: str | None,
    endtime: str | None,
    by: str,
    verify: int | None,
    seed: int | None,
    quarantine: bool,
    as_json: bool,
) -> None:
    """Check that for each device and hour, what jobs used and what nobody held add up to what was metered.

    And that the roll-ups, which reports are made of, are the sums of the postings. Ends with 1 when they are not, to a
    billionth.

    With --verify, jobs are accounted once more from the sources as they are now; nothing is posted. What Prometheus
    or Slurm no longer has is said, and is no difference.
    """
    if seed is not None and verify is None:
        raise WrongUseError("--seed says which jobs --verify takes", "use both, or neither")
    config = site(config_option)
    books = open_books(config)
    if quarantine:
        _print_quarantine(books, as_json)
        return
    start_s, end_s = window(starttime, endtime, config.site.zone)
    refuse_unbooked(books, config.site.zone, start_s, end_s)
    if verify is not None:
        _verify(config, books, verify, seed, start_s, end_s, as_json)
        return
    found = audit_books(books, start_s, end_s)
    meters = meter_findings(books, start_s, end_s)
    held_against = _site_meter(config, books, start_s, end_s)
    if as_json:
        _print_json(found, meters, held_against, start_s, end_s)
    else:
        _print(found, meters, by, config.site.zone)
        _print_site_meter(held_against)
    if not found.balanced:
        raise click.exceptions.Exit(FAILED)


def _verify(
    config: SiteConfig,
    books: Books,
    count: int,
    seed: int | None,
    start_s: float | None,
    end_s: float | None,
    as_json: bool,
) -> None:
    """Recompute jobs, and say what came of it."""
    import random

    from accounting.verifying import verify
    from scarbon.wiring import rules, sources

    if seed is None:
        seed = random.SystemRandom().randrange(1_000_000)

    def declared(cluster: str) -> tuple[Sources, Rules]:
        if cluster not in config.clusters:
            raise WrongUseError(f"the books have a cluster {cluster!r} that the configuration has not", "add it")
        return sources(config, cluster), rules(config, cluster)

    found = verify(books, declared, config.site.zone, count, seed, start_s, end_s)
    if as_json:
        import json

        meta = {"version": __version__, "start": start_s, "end": end_s, "seed": seed}
        click.echo(json.dumps({"meta": meta, **asdict(found)}, indent=1))
    else:
        _print_verified(found, seed, config.site.zone)
    if found.differences:
        raise click.exceptions.Exit(FAILED)


def _print_verified(found: Verified, seed: int, zone: ZoneInfo) -> None:
    differ = len({(one.cluster, one.job_id, one.submit) for one in found.differences})
    click.echo(f"{found.jobs} jobs accounted once more (--seed {seed}): {found.same} are the same, {differ} differ.")
    for one in found.differences[:MOST_SHOWN]:
        hour = datetime.fromtimestamp(one.slot_s, zone).isoformat(timespec="minutes")
        click.echo(
            f"  job {one.job_id} of {one.cluster}, {one.meter}, {hour}: {one.column} is {_figure(one.booked)} in the "
            f"books, {_figure(one.recomputed)} by the sources"
        )
    if len(found.differences) > MOST_SHOWN:
        click.echo(f"  … and {len(found.differences) - MOST_SHOWN} more; all of them: --json")
    for jobs, what in (
        (found.samples_gone, "samples are gone, in part or all, and were not compared"),
        (found.jobs_gone, "are no longer known to Slurm, and were not compared"),
    ):
        if jobs:
            shown = ", ".join(label for _, label in jobs[:10])
            of = "jobs'" if jobs is found.samples_gone else "jobs"
            click.echo(f"{len(jobs)} {of} {what}: {shown}{', …' * (len(jobs) > 10)}")


def _figure(value: float | None) -> str:
    return "unknown" if value is None else repr(value)


def _print(found: Audit, meters: Sequence[MeterFinding], by: str, zone: ZoneInfo) -> None:
    head = f"{by:<44} {'metered':>10} {'attributed':>10} {'idle':>10} {'difference':>12} {'coverage':>9}"
    click.echo(head)
    click.echo("-" * len(head))
    for cluster in found.clusters:
        for line in {"cluster": (), "node": found.nodes, "device": found.devices}[by]:
            if line.cluster == cluster.cluster:
                click.echo(_row(f"{line.node}  {line.uuid or ''}", line))
        click.echo(_row(f"cluster {cluster.cluster}", cluster))
    if not found.clusters:
        click.echo("(no device has been metered)")
    click.echo(f"\n{_verdict(found)}")
    for wrong in found.roll_ups:
        click.echo(f"  {wrong}")
    if found.purged_before_s is not None:
        before = datetime.fromtimestamp(found.purged_before_s, zone).date()
        click.echo(f"Before {before} there are roll-ups only (scarbon ledger purge): of that time no hour is checked.")
    if found.clusters:
        click.echo("Coverage is of the time that jobs held; the total of a report has idle time in it, too.")
    if found.jobs_unknown:
        click.echo(f"{found.jobs_unknown} jobs held GPUs of whose energy nothing is known (method none).")
    if found.unheld:
        shown = ", ".join(f"{line.node} {line.uuid}" for line in found.unheld[:3])
        more = ", …" * (len(found.unheld) > 3)
        click.echo(
            f"{len(found.unheld)} of {len(found.devices)} devices were metered and held by no job: {shown}{more}"
        )
    for meter in meters:
        for what in _of_meter(meter):
            click.echo(f"{meter.node}  {meter.uuid}: {what} (docs/attribution.md).")
    for name, count in found.holders.items():
        if count:
            click.echo(f"{count} {DISAGREEMENTS[name]} (docs/holders.md).")
    for source, count in found.quarantine.items():
        click.echo(f"{count} rows of {source} are in quarantine; see scarbon audit --quarantine")


def _verdict(found: Audit) -> str:
    if not all(line.balanced for line in found.devices):
        return "THE BOOKS DO NOT BALANCE; see the rows marked !"
    if found.roll_ups:
        return "THE ROLL-UPS ARE NOT WHAT WAS BOOKED; scarbon ledger rebuild makes them anew:"
    return "The books balance."


def _site_meter(
    config: SiteConfig, books: Books, start_s: float | None, end_s: float | None
) -> Sequence[Reconciliation]:
    """The books against the site's meter; nothing where it has none."""
    if config.site_meter is None:
        return ()
    from accounting.reconciling import reconcile
    from scarbon.wiring import site_meter

    source = site_meter(config)
    assert source is not None
    return reconcile(books, source, start_s, end_s)


def _print_site_meter(held_against: Sequence[Reconciliation]) -> None:
    for one in held_against:
        if not one.compared_s:
            click.echo(f"The site's meter says nothing of {one.month or 'the time that the books hold'}.")
            continue
        share = "" if one.share is None else f", {one.share:+.1%} of the facility's energy"
        click.echo(
            f"{'  ' + one.month if one.month else 'Site meter'}: {units.energy(one.metered_j)} metered, "
            f"{units.energy(one.facility_j)} in the books, difference {units.energy(one.difference_j)}{share}; "
            f"over {units.duration(one.compared_s)}"
        )
        if one.without_pue_j and one.month is None:
            click.echo(f"  {units.energy(one.without_pue_j)} of the books are without a PUE, and in no sum.")


def _of_meter(meter: MeterFinding) -> Iterator[str]:
    """What an audit has to say of a meter, for people."""
    if meter.disagrees and meter.counter_over_gauge is not None:
        yield f"its energy counter has {meter.counter_over_gauge:.2f} times what its power gauge has"
    if meter.restarts:
        lower = f"; over {units.duration(meter.lower_bound_s)} its energy is a lower bound" * bool(meter.lower_bound_s)
        yield f"its counter began anew {meter.restarts} time{'s' * (meter.restarts != 1)}{lower}"
    if meter.overheld_s > MOMENTS_S:
        yield f"several jobs held all of it at once, for {units.duration(meter.overheld_s)}; they share alike"
    if meter.assumed_s:
        yield f"shared on an idle level that is assumed, for {units.duration(meter.assumed_s)}"
    if meter.at_work_s:
        yield f"it worked while no job held it, for {units.duration(meter.at_work_s)}"


def _row(name: str, line: Line) -> str:
    mark = "" if line.balanced else " !"
    figures = " ".join(f"{units.energy(value):>10}" for value in (line.metered_j, line.attributed_j, line.idle_j))
    coverage = units.share(line.coverage)
    return f"{name:<44.44} {figures} {line.difference_j:>10.1e} J {coverage:>9}{mark}"


def _print_quarantine(books: Books, as_json: bool) -> None:
    rows = quarantined(books)
    if as_json:
        import json

        click.echo(json.dumps({"quarantine": [dict(row) for row in rows]}, indent=1, ensure_ascii=False))
        return
    for row in rows:
        click.echo(_safe(f"{row['source']}  {row['location']}: {row['reason']}"))
        click.echo(f"    {_safe(row['raw'])}")
    if not rows:
        click.echo("Nothing is in quarantine.")


def _safe(text: str) -> str:
    """Text as it came, but for what would move a terminal's cursor."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _print_json(
    found: Audit,
    meters: Sequence[MeterFinding],
    held_against: Sequence[Reconciliation],
    start_s: float | None,
    end_s: float | None,
) -> None:
    import json

    def shown(line: Line) -> dict[str, object]:
        inner = ("worst_j", "slot_j")
        row = {name: value for name, value in asdict(line).items() if name not in inner and value is not None}
        return {**row, "difference_j": line.difference_j, "coverage": line.coverage, "balanced": line.balanced}

    def of(cluster: str, lines: Sequence[Line]) -> list[dict[str, object]]:
        return [shown(line) for line in lines if line.cluster == cluster]

    clusters = [
        {**shown(line), "nodes": of(line.cluster, found.nodes), "devices": of(line.cluster, found.devices)}
        for line in found.clusters
    ]
    document = {
        "meta": {"version": __version__, "start": start_s, "end": end_s},
        "balanced": found.balanced,
        "clusters": clusters,
        "roll_ups": [str(wrong) for wrong in found.roll_ups],
        "purged_before": found.purged_before_s,
        "jobs_unknown": found.jobs_unknown,
        "devices_unheld": len(found.unheld),
        "quarantine": dict(found.quarantine),
        "holders": dict(found.holders),
        "meters": [asdict(meter) for meter in meters],
        "site_meter": [{**asdict(one), "difference_j": one.difference_j, "share": one.share} for one in held_against],
    }
    click.echo(json.dumps(document, indent=1))
