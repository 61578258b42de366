"""Books of simulated clusters: their recordings, read by the real collectors and accounted by real runs."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accounting.booking import account
from accounting.clock import split_by_day
from accounting.ledger.postings import Posted
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from scarbon.wiring import rules, sources
from simulator.cluster import Cluster, Sampling, Troubles
from simulator.recording import write_recording
from simulator.scenarios import random_cluster
from site_config.load import load

SITE = """\
site: {{name: Recorded, timezone: Europe/Paris}}
ledger: sqlite:///{ledger}.db
clusters:
  beta:
    jobs: {{source: file, path: jobs.sacct}}
    gpu:
      openmetrics: {{path: dcgm.om}}
      holders: [journal, hpc_job, whole_node]
      journal: journal
pue: 1.2
grid: {{zone: FRA}}
"""


def troubled(seed: int) -> Cluster:
    """Some hours of a small cluster in which everything goes wrong that the simulator knows, more or less often."""
    chance = random.Random(seed)
    troubles = Troubles(
        driver_reloads=chance.randint(0, 3),
        outages=chance.randint(0, 4),
        outage_s=(60.0, 4000.0),
        sentinel_rate=chance.choice((0.0, 0.01, 0.2)),
        gain_sigma=0.02,
        missed_prolog_rate=chance.choice((0.0, 0.05, 0.3)),
        missed_epilog_rate=chance.choice((0.0, 0.05, 0.3)),
        hook_lag_s=0.4,
        unprofiled_rate=chance.choice((0.0, 0.02, 0.3)),
        cooling=0.03,
    )
    sampling = Sampling(
        scrape_interval_s=chance.choice((10.0, 15.0, 30.0, 60.0)),
        collect_interval_s=chance.choice((None, 10.0, 30.0, 45.0)),
        jitter_s=chance.choice((0.0, 0.05, 1.0)),
        power=chance.random() < 0.7,
        hpc_job=chance.random() < 0.8,
    )
    hours = chance.choice((2.0, 3.0, 6.0))
    return random_cluster(seed, hours=hours, jobs=chance.randint(1, 60), sampling=sampling, troubles=troubles)


@dataclass
class Recorded:
    """A recording in a folder, to be accounted into ledgers beside it."""

    cluster: Cluster
    folder: Path

    @classmethod
    def of(cls, cluster: Cluster, folder: Path) -> Recorded:
        write_recording(cluster, folder)
        return cls(cluster, folder)

    def account(self, ledger: str, windows: Iterable[tuple[float, float]]) -> list[Posted]:
        """Account windows of the recording, one after the other, into the ledger of that name."""
        place = self.folder / f"{ledger}.yaml"
        place.write_text(SITE.format(ledger=ledger), encoding="utf-8")
        config = load(place)
        books = Ledger(config.ledger.url, config.site.timezone)
        read, declared = sources(config, "beta"), rules(config, "beta")
        try:
            return [
                account("beta", read, declared, books, *day, version="", config_digest="").posted
                for window in windows
                for day in split_by_day(config.site.zone, *window)
            ]
        finally:
            books.close()

    def rows(self, ledger: str, sql: str) -> list[dict[str, Any]]:
        """What a query says of that ledger."""
        return [dict(row) for row in Books(f"sqlite:///{self.folder / ledger}.db").rows(sql)]

    @property
    def whole(self) -> tuple[float, float]:
        """The whole of the recording's period."""
        return (self.cluster.start_s, self.cluster.end_s)


USAGE = """
SELECT a.job_id, a.submit_s, m.kind, m.uuid, u.slot_s, u.method, u.holder, u.held_s, u.known_s, u.measured_s,
       u.energy_j, u.facility_j, u.location_g, u.edges_j2, u.sharing_j
FROM usage_slots u JOIN attempts a ON a.attempt_id = u.attempt_id JOIN meters m ON m.meter_id = u.meter_id
WHERE u.superseded_by IS NULL
"""

BALANCE = """
SELECT m.kind, m.uuid, b.slot_s, b.method, b.known_s, b.measured_s, b.metered_j, b.idle_s, b.idle_j, b.overheld_s,
       b.assumed_s, b.lower_bound_s, b.restarts, b.gauge_j,
       (SELECT COALESCE(SUM(u.energy_j), 0) FROM usage_slots u
        WHERE u.meter_id = b.meter_id AND u.slot_s = b.slot_s AND u.superseded_by IS NULL) AS attributed_j
FROM balance b JOIN meters m ON m.meter_id = b.meter_id
WHERE b.superseded_by IS NULL
"""
