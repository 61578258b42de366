"""Two small sites with books made by hand, for the tests of what a report says and how it is written.

*Plain*: one cluster, three accounts of which two are below a third, labels, a job that was requeued, one that failed,
what the months before used, a budget, and a row in quarantine. *Troubled*: two clusters, hours without a grid
intensity, a GPU of which nothing is known, names that upset tables, and time that is not accounted.

A used kilowatt-hour is 1.2 kWh at the facility and 120 g; a row of usage has 1.5 g of embodied emissions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from accounting.accounts import Account, AccountTree
from accounting.ledger.postings import Window
from accounting.ledger.store import Ledger
from accounting.model import FactorSlot, Job, Reject
from tests.ledger.windows import GPU, HOST, OTHER, RUN, START_S, UNNAMED, balance, job, usage, window
from tests.site import Site

KWH = 3.6e6
HOUR_S = 3600
#: When the reports are made: 2 November 2026, 05:00 UTC.
NOW_S = START_S + 3 * 86_400 + 5 * HOUR_S

ADA = job(1, state="FAILED", comment="scarbon:project=x")
AGAIN = replace(ADA, submit_s=START_S + 20 * HOUR_S, end_s=START_S + 26 * HOUR_S, state="COMPLETED", restarts=1)
BOB = job(2, label="7_2", user="bob", account="chem", partition="long", qos="high", wckey="w1", name="md")
CIL = job(3, user=None, account=None, name=None)
EVE = job(4, user="eve", account="phys", gpus=0, comment="scarbon:project=y,phase=train", state="TIMEOUT")

SITE = """\
site: {{name: {name}, timezone: UTC}}
ledger: sqlite:///ledger.db
clusters:
{clusters}
pue: 1.2
grid: {{zone: FRA}}
"""
CLUSTER = '  {name}: {{jobs: {{source: sacct}}, gpu: {{prometheus: {{url: "http://127.0.0.1:9"}}}}}}'
EXTRAS = "wue_l_per_kwh: 0.5\nbudgets: [{account: phys, period: month, kgco2e: 2}]\n"


def plain(folder: Path) -> Site:
    """October: ada 1 + 2 kWh on a GPU in two runs, bob 2 kWh, a nobody 0.5 kWh, eve 0.25 kWh of host; idle 0.75 kWh."""
    ledger = _site(folder, "Plain HPC", ["alpha"], EXTRAS)
    accounts = [
        Account("root", None),
        Account("science", "root"),
        Account("phys", "science"),
        Account("chem", "science"),
    ]
    ledger.keep_accounts(AccountTree("alpha", {one.name: one for one in accounts}))
    for days in (365, 30):  # 30 October 2025, 30 September 2026
        ledger.post(_day_before(days, 4), RUN)
    first = window(
        0, 24, [ADA, BOB, CIL, EVE],
        [
            usage(ADA, 0, 1 * KWH), usage(BOB, 1, 2 * KWH, OTHER, method="power"), usage(CIL, 2, 0.5 * KWH, OTHER),
            usage(EVE, 1, 0.25 * KWH, HOST, method="model", embodied_g=None),
        ],
        [_metered(0, 1.25, 0.25), _metered(1, 2.5, 0.5, OTHER), _metered(2, 0.5, 0, OTHER)],
        [Reject("sacct", "line 7", "x|y", "too few fields")],
    )  # fmt: skip
    second = window(24, 48, [AGAIN], [usage(AGAIN, 24, 2 * KWH)], [_metered(24, 2, 0)])
    for one, hours in ((first, 24), (second, 48)):
        ledger.post(_with_factors(replace(one, booked=_booked(hours))), RUN)
    ledger.close()
    return Site(folder, "alpha", ZoneInfo("UTC"), START_S, START_S + 48 * HOUR_S)


def september_again(ledger: Ledger, kwh: float) -> None:
    """30 September once more, with so much in place of the 4 kWh that its job used."""
    ledger.post(replace(_day_before(30, kwh), booked=_booked(48)), RUN)


def _day_before(days: int, kwh: float) -> Window:
    """The day so many days before the first, on which a job used this and 1 kWh was idle."""
    hour = -24 * days
    old = job(9, submit_s=START_S - 30 * 86_400)
    made = window(hour, hour + 24, [old], [usage(old, hour + 1, kwh * KWH)], [_metered(hour + 1, kwh + 1, 1)])
    return _with_factors(replace(made, booked=[(made.start_s, made.end_s)]))


def _booked(hours: int) -> list[tuple[float, float]]:
    """The days before, and so many hours from the first day on."""
    before = [(START_S - days * 86_400.0, START_S - (days - 1) * 86_400.0) for days in (365, 30)]
    return [*before, (float(START_S), START_S + hours * 3600.0)]


def troubled(folder: Path) -> Site:
    """Of one day: an hour of ada's without an intensity, a GPU of bob's that nobody measured, beta half accounted."""
    ledger = _site(folder, "Troubled HPC", ["alpha", "beta"], "")
    bob = replace(BOB, account="a|b *c* =1+1", user="bob_the_<b>")
    rows = [usage(ADA, 0, KWH), usage(ADA, 1, KWH, location_g=None), usage(bob, 2, None, UNNAMED), usage(CIL, 3, 0.001)]
    ledger.post(window(0, 24, [ADA, bob, CIL], rows, [_metered(0, 1, 0)]), RUN)
    there = replace(ADA, cluster="beta")
    ledger.post(window(0, 12, [there], [usage(there, 0, 3 * KWH)], [_metered(0, 3, 0)], cluster="beta"), RUN)
    ledger.close()
    return Site(folder, "alpha", ZoneInfo("UTC"), START_S, START_S + 24 * HOUR_S)


def _site(folder: Path, name: str, clusters: list[str], extras: str) -> Ledger:
    folder.mkdir(exist_ok=True)
    listed = "\n".join(CLUSTER.format(name=cluster) for cluster in clusters)
    (folder / "site.yaml").write_text(SITE.format(name=name, clusters=listed) + extras)
    return Ledger(f"sqlite:///{folder / 'ledger.db'}", "UTC")


def _metered(slot: int, metered_kwh: float, idle_kwh: float, meter=GPU):  # type: ignore[no-untyped-def]
    return balance(slot, metered_kwh * KWH, idle_kwh * KWH, meter)


def _with_factors(one: Window) -> Window:
    grid = FactorSlot(one.start_s, one.end_s, 100.0, "file grid.csv", True, "life cycle", NOW_S - 86_400)
    return replace(one, factors=[*one.factors, ("location", grid)])


__all__ = ["ADA", "AGAIN", "BOB", "CIL", "EVE", "NOW_S", "Job", "plain", "troubled"]
