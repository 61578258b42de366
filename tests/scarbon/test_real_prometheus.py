"""A recording that a real Prometheus holds gives the same books as the recording itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from simulator.cluster import Cluster
from simulator.scenarios import random_cluster
from tests.collectors.real_prometheus import MISSING, RealPrometheus
from tests.site import Site, days_cluster, iso, make_site, query

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"NOT TESTED: a real Prometheus: no {' and '.join(MISSING)} (Debian's package prometheus)"
)

USAGE = """
SELECT job_id, submit_s, kind, uuid, slot_s, method, holder, held_s, known_s, measured_s, energy_j, facility_j,
       location_g
FROM usage_slots JOIN attempts USING (attempt_id) JOIN meters USING (meter_id)
WHERE superseded_by IS NULL ORDER BY job_id, submit_s, kind, uuid, slot_s
"""
BALANCE = """
SELECT uuid, node, model, slot_s, method, known_s, measured_s, metered_j, idle_s, idle_j
FROM balance JOIN meters USING (meter_id) WHERE superseded_by IS NULL ORDER BY uuid, slot_s
"""


def same(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> None:
    """Two answers are the same: texts and times equal, figures to 1e-9."""
    assert len(one) == len(other) > 0
    for left, right in zip(one, other, strict=True):
        for a, b in zip(left, right, strict=True):
            assert a == (pytest.approx(b, rel=1e-9, abs=1e-6) if isinstance(b, float) else b), (left, right)


@pytest.mark.parametrize(
    ("cluster", "pieces"),
    [
        pytest.param(days_cluster, 1, id="four days at once"),
        pytest.param(days_cluster, 13, id="four days in thirteen runs"),
        pytest.param(partial(random_cluster, 3), 1, id="MIG, shards and every trouble"),
    ],
)
def test_the_books_are_the_same(tmp_path: Path, cluster: Callable[[], Cluster], pieces: int) -> None:
    from_file = make_site(tmp_path / "file", cluster(), "Europe/Paris")
    from_file.collect()
    from_server = from_file.copy(tmp_path / "server")
    for path in from_server.folder.glob("ledger.db*"):
        path.unlink()
    with RealPrometheus(tmp_path, from_file.folder / "dcgm.om") as prometheus:
        from_server.change(
            "openmetrics: {path: dcgm.om}", f"prometheus: {{url: '{prometheus.url}'}}\n      match: {{job: dcgm}}"
        )
        for start_s, end_s in windows(from_server, pieces):
            from_server.collect("-S", iso(start_s), "-E", iso(end_s))
    for sql in (USAGE, BALANCE):
        same(query(from_file.ledger, sql), query(from_server.ledger, sql))


def windows(site: Site, pieces: int) -> list[tuple[int, int]]:
    """The recording's period cut into pieces of whole seconds."""
    cuts = [site.start_s + (site.end_s - site.start_s) * piece // pieces for piece in range(pieces + 1)]
    return list(pairwise(cuts))


def test_labels_choose_whose_samples_count(tmp_path: Path, recorded: Site) -> None:
    """A matcher that fits no series leaves the jobs' energy unknown, and not 0."""
    site = recorded.copy(tmp_path / "site")
    with RealPrometheus(tmp_path, recorded.folder / "dcgm.om") as prometheus:
        site.change(
            "openmetrics: {path: dcgm.om}", f"prometheus: {{url: '{prometheus.url}'}}\n      match: {{job: other}}"
        )
        site.collect()
    held = [job for job in site.good("jobs", "-a", "--json", "-S", "2026-01-01").json["jobs"] if job["gpus"]]
    assert held
    assert {job["gpu_energy_j"] for job in held} == {None}
