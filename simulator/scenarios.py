"""Ready clusters: a month for the demo, and small random ones with every trouble for property tests."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from simulator.cluster import Cluster, Sampling, Troubles, make_cluster
from simulator.hardware import A100, H100, make_node
from simulator.workload import Mix


def demo_month(seed: int = 2026, year: int = 2026, month: int = 10) -> Cluster:
    """A calendar month (UTC) of a small site: three nodes with 8 GPUs, six users in three accounts.

    Read every 60 s; one exporter is down for some hours, and one driver is loaded again.
    """
    rng = random.Random(seed)
    nodes = [make_node(rng, "n1", 4), make_node(rng, "n2", 2), make_node(rng, "n3", 2, H100)]
    start = datetime(year, month, 1, tzinfo=UTC)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return make_cluster(
        "alpha",
        seed,
        int(start.timestamp()),
        int(end.timestamp()),
        nodes,
        Mix(submissions=360),
        Sampling(scrape_interval_s=60.0, power=False),
        Troubles(driver_reloads=1, outages=1, outage_s=(2 * 3600.0, 5 * 3600.0)),
    )


def random_cluster(
    seed: int,
    *,
    hours: float = 3.0,
    jobs: int = 30,
    mig: bool | None = None,
    shards: bool | None = None,
    sampling: Sampling | None = None,
    troubles: Troubles | None = None,
) -> Cluster:
    """A few hours of two small nodes with 3 or 4 GPUs, by default with every trouble switched on.

    One GPU is cut into MIG instances in every second cluster, and one is shared by shards in every third, or as
    `mig` and `shards` say.
    """
    troubles = troubles or Troubles(
        driver_reloads=1,
        outages=1,
        outage_s=(120.0, 900.0),
        sentinel_rate=0.01,
        gain_sigma=0.02,
        missed_prolog_rate=0.05,
        missed_epilog_rate=0.05,
        hook_lag_s=0.4,
        unprofiled_rate=0.02,
        cooling=0.03,
    )
    rng = random.Random(seed)
    cut = bool(seed % 2) if mig is None else mig
    profiles = {0: ("3g.20gb", "2g.10gb", "1g.5gb")} if cut else None
    shared = {1: 4} if (seed % 3 == 0 if shards is None else shards) else None
    gain = troubles.gain_sigma
    nodes = [
        make_node(rng, "n1", 2, A100, minors=(1, 0), gain_sigma=gain, shards=shared),
        make_node(rng, "n2", rng.randint(1, 2), gain_sigma=gain, mig=profiles),
    ]
    start = 1_790_000_000 + rng.randrange(86400)
    return make_cluster(
        "beta",
        seed,
        start,
        start + int(hours * 3600),
        nodes,
        Mix(submissions=jobs, longest_s=hours * 1800.0, pause_s=60.0, back_to_back=0.3, requeues=0.1, arrays=0.1),
        sampling or Sampling(collect_interval_s=rng.choice((10.0, 30.0, 45.0)), jitter_s=0.05),
        troubles,
    )
