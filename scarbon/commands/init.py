"""`scarbon init`: write a commented site.yaml, asking what cannot be found out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zoneinfo import available_timezones

import click

from scarbon.errors import UserError
from site_config.errors import near
from site_config.schema import is_cluster_name
from site_config.tables import grid_intensity

EXAMPLE = """\b
Examples:
  scarbon init                         ask, and write ./site.yaml
  scarbon init --yes -o /etc/scarbon/site.yaml
"""

TEMPLATE = """\
# What Scarbon knows of this site. Check it with: scarbon --config {name} doctor
# Relative paths are relative to this file. Secrets never stand here: use token_file or token_env.

site:
  name: {site}
  timezone: {timezone}            # days and months of the books are those of this zone

# The books. One file on a local disk (not NFS).
ledger: sqlite:///{ledger}

clusters:
  {cluster}:                      # Slurm's ClusterName
    jobs: {{source: auto}}        # or file, with path: a `sacct -P` dump
{gpu}
    # CPUs and memory, where nodes have no meter: a model. 4 W a core is about a server CPU's TDP over its cores;
    # 0.3725 W a GB is Green Algorithms' figure. `method: none` leaves the host out of the books. Nodes that have one:
    # {{method: prometheus, preset: ipmi, idle_w: 350}}, or redfish, rapl, cray, or PromQL of your own: docs/hosts.md.
    host: {{method: model, cpu_w_per_core: 4.0, memory_w_per_gb: 0.3725}}
    # What making one GPU emitted, in kgCO2e, and its years of service. Published figures differ by a factor of 2.5;
    # these are an A100 SXM4 40 GB by Falk 2025, Boavizta and Chien 2023.
    embodied: {{gpu_kgco2e: {{low: 128, best: 273, high: 318}}, lifetime_years: 5}}

# Facility energy over IT energy: a number, or a list of {{from, to, value, category, source}}.
pue: {pue}

grid:
  zone: {zone}                    # ISO 3166 code of the country (three letters)
  # The first source that has an hour gives its intensity. `file` is a CSV: start,end,gco2e_per_kwh[,estimated];
  # `static` is the bundled table of yearly means.
  location: [{{source: static}}]
  # What your contracts say of your electricity, for the market-based figure of GHG Protocol's Scope 2:
  # market: {{factor_g_per_kwh: 12, coverage: 0.8, residual_mix_g_per_kwh: 60}}

# What accounts may use or emit in a month or a year (docs/budgets.md), and how their pages are mailed (docs/mail.md):
# budgets: [{{account: phys, period: year, kgco2e: 1200}}]
# mail: {{from: hpc@example.org, sendmail: /usr/sbin/sendmail, domain: example.org}}

# What the whole site draws, start,end,kwh, or a query: scarbon audit holds the books against it (docs/audit.md):
# site_meter: {{csv: meter.csv}}

# How reports look, and the language that they are in: en, fr, de, or with a territory, de_CH (docs/reports.md):
# report: {{language: en, logo: logo.svg, footer: "Questions: hpc@example.org"}}
"""

GPU = """\
    gpu:
      prometheus: {{url: {url}}}  # Prometheus, Thanos, Mimir or VictoriaMetrics that has dcgm-exporter's metrics
      match: {{}}                 # label matchers added to every query, such as {{job: dcgm}}
      holders: [journal, hpc_job, whole_node]   # who held which GPU: the first that knows
      journal: {journal}          # a folder of *.jsonl, written by the hooks (scarbon hooks install)
"""


#: How long Slurm is waited for.
SCONTROL_S = 10.0


@click.command(epilog=EXAMPLE)
@click.option("-o", "--output", default="site.yaml", show_default=True, metavar="FILE", help="Where to write it.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: take what was found out, and the defaults.")
@click.option("--force", is_flag=True, help="Write over an existing file.")
def init(output: str, yes: bool, force: bool) -> None:
    """Write a commented configuration, asking what cannot be found out."""
    path = Path(output)
    if path.exists() and not force:
        raise UserError(f"{path} exists already, and is left as it is", "name another with -o, or say --force")
    if not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist", f"make it: mkdir -p {path.parent}")

    try:
        text = _interview(path, yes)
    except click.Abort:
        if sys.stdin.isatty():
            raise  # Ctrl-C
        click.echo(err=True)
        raise UserError("nobody is there to answer", "say --yes to take what is found out, and the defaults") from None
    path.write_text(text, encoding="utf-8")
    if yes:
        click.echo(
            "Assumed where nothing could be found out: the country, the PUE, the Prometheus; check them.", err=True
        )
    click.echo(f"Wrote {path}. Next: scarbon --config {path} doctor", err=True)


def _interview(path: Path, yes: bool) -> str:
    """Ask for what the configuration needs (with `yes`, take what is found out), and return it as YAML."""

    def ask(question: str, found: str) -> str:
        answer = found if yes else click.prompt(question, default=found, err=True)
        return str(answer).strip()

    site = ask("Name of the site", os.uname().nodename)
    timezone = _ask_until(lambda: ask("Time zone of its days and months", _timezone()), _check_timezone, yes)
    cluster = _ask_until(lambda: ask("Slurm's ClusterName", _cluster_name()), _check_cluster, yes)
    zone = _ask_until(lambda: ask("Country, as an ISO code of three letters", _country(timezone)), _check_zone, yes)
    pue = _ask_until(lambda: ask("PUE (facility energy over IT energy)", "1.5"), _check_pue, yes)
    gpu = "    # gpu: (this cluster has none)\n"
    if yes or click.confirm("Has it GPUs, with dcgm-exporter and a Prometheus?", default=True, err=True):
        url = ask("URL of the Prometheus", "http://localhost:9090")
        journal = ask("Folder of the hooks' journals, as seen from here", "/var/spool/scarbon")
        gpu = GPU.format(url=_quoted(url), journal=_quoted(journal))
    return TEMPLATE.format(
        name=path.name, ledger=_ledger(path), site=_quoted(site), timezone=timezone, cluster=_quoted(cluster),
        gpu=gpu.rstrip("\n"), pue=float(pue), zone=zone,
    )  # fmt: skip


def _ledger(path: Path) -> str:
    """Beside the configuration; for one in /etc, where data does not belong, in /var/lib."""
    return "/var/lib/scarbon/ledger.db" if Path("/etc") in path.resolve().parents else "ledger.db"


def _ask_until(ask: Callable[[], str], check: Callable[[str], str | None], yes: bool) -> str:
    """Ask until the answer is good; without a person to ask, a bad one is an error."""
    while True:
        answer = ask()
        problem = check(answer)
        if problem is None:
            return answer
        if yes:
            raise UserError(problem, "run scarbon init without --yes")
        click.echo(problem, err=True)


def _check_timezone(name: str) -> str | None:
    return None if name in available_timezones() else f"no time zone {name!r}{near(name, available_timezones())}"


def _check_cluster(name: str) -> str | None:
    return None if is_cluster_name(name) else f"{name!r} is no ClusterName of Slurm's: letters, digits, -, _ and ."


def _check_zone(code: str) -> str | None:
    return None if code in grid_intensity() else f"no country {code!r}{near(code, grid_intensity())}"


def _check_pue(text: str) -> str | None:
    try:
        good = 1 <= float(text) <= 10
    except ValueError:
        good = False
    return None if good else f"{text!r} is no PUE: a number from 1 to 10"


def _timezone() -> str:
    """The machine's zone: TZ, /etc/timezone, or where /etc/localtime points."""
    candidates = [os.environ.get("TZ", "")]
    if Path("/etc/timezone").is_file():
        candidates.append(Path("/etc/timezone").read_text(encoding="utf-8").strip())
    candidates.append(str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2])
    return next((name for name in candidates if name in available_timezones()), "UTC")


def _country(timezone: str) -> str:
    """A guess by the time zone's country, as far as the tz database's table is there; else France."""
    table = Path("/usr/share/zoneinfo/iso3166.tab"), Path("/usr/share/zoneinfo/zone.tab")
    if not all(path.is_file() for path in table):
        return "FRA"
    names = dict(
        line.split("\t") for line in table[0].read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    )
    for line in table[1].read_text(encoding="utf-8").splitlines():
        parts = line.split("\t")
        if len(parts) > 2 and parts[2] == timezone:
            country = names.get(parts[0], "")
            for code, entry in grid_intensity().items():
                if entry.name == country:
                    return code
    return "FRA"


def _cluster_name() -> str:
    """Slurm's own answer, where it is installed and configured."""
    scontrol = shutil.which("scontrol")
    if scontrol is None:
        return "cluster"
    try:
        shown = subprocess.run(
            [scontrol, "show", "config"], capture_output=True, text=True, timeout=SCONTROL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "cluster"
    match = re.search(r"^ClusterName\s*=\s*(\S+)", shown.stdout, re.MULTILINE)
    return match[1] if match else "cluster"


def _quoted(text: str) -> str:
    """The text as YAML: in quotes where it would be read as something else."""
    plain = re.fullmatch(r"[A-Za-z/][A-Za-z0-9_./:-]*( [A-Za-z0-9_./-]+)*", text) and not text.endswith(":")
    words = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
    if plain and ": " not in text and text.lower() not in words:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
