"""`scarbon demo`: a small cluster's month, simulated and accounted; a first look with no service and no root."""

from __future__ import annotations

import shlex
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from accounting.clock import months_on
from scarbon.errors import UserError, WrongUseError

EXAMPLE = """\b
Examples:
  scarbon demo
  scarbon demo --folder /tmp/look --seed 7
"""

SITE = """\
# The configuration of the demo. Everything that it names lies beside it.
site: {name: Demo HPC, timezone: UTC}
ledger: sqlite:///ledger.db
clusters:
  alpha:
    jobs: {source: file, path: jobs.sacct}
    gpu:
      openmetrics: {path: dcgm.om}
      holders: [journal, hpc_job, whole_node]
      journal: journal
    host: {method: model, cpu_w_per_core: 4.0, memory_w_per_gb: 0.3725}
    embodied: {gpu_kgco2e: {low: 128, best: 273, high: 318}, lifetime_years: 5}
pue: 1.2
grid:
  zone: FRA
  location: [{source: file, path: intensity.csv}, {source: static}]
  market: {factor_g_per_kwh: 12, coverage: 0.8, residual_mix_g_per_kwh: 60}
"""


@click.command(epilog=EXAMPLE)
@click.option("--folder", default="scarbon-demo", show_default=True, metavar="DIR", help="Where to put it all.")
@click.option("--month", metavar="YYYY-MM", help="Which month. [default: the last whole one]")
@click.option("--seed", default=1, show_default=True, help="Other jobs for another number.")
@click.option("-f", "--force", is_flag=True, help="Also in place of a demo whose site.yaml was changed.")
def demo(folder: str, month: str | None, seed: int, force: bool) -> None:
    """Simulate a cluster's month, account it into a SQLite ledger, and show what comes out.

    An earlier demo in the folder is made anew, with its books.
    """
    first, following = _month(month)
    place = Path(folder)
    _make(place, force)
    click.secho(f"1. A cluster of 8 GPUs is simulated for a month, into {place}/", bold=True, err=True)
    _simulate(place, seed, first)
    (place / "site.yaml").write_text(SITE, encoding="utf-8")
    click.secho("2. The month is accounted: scarbon collect", bold=True, err=True)
    config = ["--config", str(place / "site.yaml")]
    _run([*config, "collect", "-S", first.isoformat(), "-E", following.isoformat()])
    day = first + timedelta(days=4)
    steps = (
        ("Jobs of a day", ["jobs", "-a", "-S", day.isoformat(), "-E", f"{day.isoformat()}T12:00"]),
        ("The accounts' month", ["report", "--month", f"{first:%Y-%m}", "--by", "account"]),
        ("Do the books balance?", ["audit"]),
    )
    for number, (title, arguments) in enumerate(steps, 3):
        click.secho(f"\n{number}. {title}: scarbon {' '.join(arguments)}\n", bold=True)
        _run([*config, *arguments])
    _check(place)
    click.secho("\nWhat to try next:", bold=True)
    click.echo(
        f"  export SCARBON_CONFIG={shlex.quote(str(place.resolve() / 'site.yaml'))}\n"
        f"  scarbon jobs -u ada -S {first.isoformat()} -o JobID,State,Elapsed,GpuEnergy,CO2e,Intensity,Coverage\n"
        f"  scarbon report --month {first:%Y-%m} --by gpu-model\n"
        "  scarbon init          # a configuration for your own cluster"
    )


def _make(place: Path, force: bool) -> None:
    """The folder, without an earlier demo's files; whatever else lies in it is left, and one not ours is refused."""
    if place.exists() and not (place / "DEMO").is_file():
        raise UserError(f"{place} exists and was not made by scarbon demo", "name another with --folder")
    config = place / "site.yaml"
    if config.is_file() and config.read_text(encoding="utf-8", errors="replace") != SITE and not force:
        raise UserError(
            f"{config} was changed, and would be written anew with its books", "name another --folder, or say --force"
        )
    place.mkdir(parents=True, exist_ok=True)
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock"):
        (place / name).unlink(missing_ok=True)
    shutil.rmtree(place / "journal", ignore_errors=True)
    (place / "DEMO").write_text("This folder was made by scarbon demo, and may be removed.\n", encoding="utf-8")


def _month(month: str | None) -> tuple[date, date]:
    """The first day of the month, and the day after its last."""
    this = datetime.now(UTC).date().replace(day=1)
    first = (this - timedelta(days=1)).replace(day=1)
    if month is not None:
        try:
            first = datetime.strptime(month, "%Y-%m").date()
        except ValueError:
            raise WrongUseError(f"cannot read the month {month!r}", "write for example 2026-10") from None
        if first >= this:
            raise WrongUseError(f"the month {month} is not over yet", "name an earlier one")
    return first, months_on(first, 1)


def _simulate(place: Path, seed: int, first: date) -> None:
    from simulator.recording import write_recording
    from simulator.scenarios import demo_month

    write_recording(demo_month(seed=seed, year=first.year, month=first.month), place)


def _check(place: Path) -> None:
    """Hold the books against what the simulated GPUs really drew, which only a simulation knows."""
    import json

    from accounting.ledger.reading import Books

    truth = json.loads((place / "truth.json").read_text(encoding="utf-8"))
    true_j = sum(device["metered_j"] for device in truth["devices"])
    booked_j = Books(f"sqlite:///{place / 'ledger.db'}").rows("SELECT SUM(metered_j) AS j FROM idle_days")[0]["j"]
    click.echo(
        f"The simulated GPUs drew {true_j / 3.6e6:,.3f} kWh; the books have {booked_j / 3.6e6:,.3f} kWh "
        f"({abs(booked_j / true_j - 1):.4%} apart)."
    )


def _run(arguments: list[str]) -> None:
    """Run a verb as a person would."""
    from scarbon.cli import cli

    try:
        cli.main(arguments, prog_name="scarbon", standalone_mode=False)
    except click.exceptions.Exit as stop:
        if stop.exit_code:
            raise
