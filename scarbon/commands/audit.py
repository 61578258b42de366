"""`scarbon audit`: show that the books balance and that the roll-ups agree with them; and what is in quarantine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from zoneinfo import ZoneInfo

import click

from accounting.audit import Audit, Line, quarantined
from accounting.audit import audit as audit_books
from accounting.findings import MOMENTS_S, MeterFinding, meter_findings
from accounting.ledger.reading import Books
from scarbon import __version__, units
from scarbon.errors import FAILED
from scarbon.site import open_books, site
from scarbon.times import window

EXAMPLE = """\b
Examples:
  scarbon audit
  scarbon audit -S 2026-10-01 -E 2026-11-01 --json
  scarbon audit --by cluster
  scarbon audit --quarantine
"""

LEVELS = ("cluster", "node", "device")

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
@click.option("--quarantine", is_flag=True, help="List the rows that could not be understood, with the reason.")
@click.option(
    "--json", "as_json", is_flag=True, help="metered_j, attributed_j, idle_j, difference_j by cluster, node and device."
)
@click.pass_obj
def audit(
    config_option: str | None, /, starttime: str | None, endtime: str | None, by: str, quarantine: bool, as_json: bool
) -> None:
    """Check that for each device and hour, what jobs used and what nobody held add up to what was metered.

    And that the roll-ups, which reports are made of, are the sums of the postings. Ends with 1 when they are not, to a
    billionth.
    """
    config = site(config_option)
    books = open_books(config)
    if quarantine:
        _print_quarantine(books, as_json)
        return
    start_s, end_s = window(starttime, endtime, config.site.zone)
    found = audit_books(books, start_s, end_s)
    meters = meter_findings(books, start_s, end_s)
    if as_json:
        _print_json(found, meters, start_s, end_s)
    else:
        _print(found, meters, by, config.site.zone)
    if not found.balanced:
        raise click.exceptions.Exit(FAILED)


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
    coverage = "" if line.coverage is None else f"{line.coverage:.1%}"
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


def _print_json(found: Audit, meters: Sequence[MeterFinding], start_s: float | None, end_s: float | None) -> None:
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
    }
    click.echo(json.dumps(document, indent=1))
