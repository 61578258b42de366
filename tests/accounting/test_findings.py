"""What an audit names of single meters: from recordings that were spoilt on purpose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accounting.findings import meter_findings
from accounting.ledger.reading import Books
from simulator.cluster import Cluster, Sampling, Troubles
from simulator.scenarios import random_cluster
from tests.accounting.recorded import Recorded

POWER = "DCGM_FI_DEV_POWER_USAGE"


def quiet(*, mig: bool = False, reloads: int = 0, power: bool = True, hours: float = 3.0) -> Cluster:
    return random_cluster(
        4, hours=hours, mig=mig, shards=False, sampling=Sampling(power=power), troubles=Troubles(driver_reloads=reloads)
    )


def findings(recorded: Recorded) -> list[tuple[str, float | None, int]]:
    recorded.account("books", [recorded.whole])
    return [
        (one.uuid, one.counter_over_gauge, one.restarts)
        for one in meter_findings(Books(f"sqlite:///{recorded.folder / 'books.db'}"), None, None)
    ]


def test_of_sound_meters_nothing_is_said(tmp_path: Path) -> None:
    assert findings(Recorded.of(quiet(), tmp_path)) == []


def test_a_gauge_that_says_something_else_than_the_counter(tmp_path: Path) -> None:
    """One GPU's gauge shows a quarter more than it should: the counter has 1 / 1.25 of it."""
    cluster = quiet()
    recorded = Recorded.of(cluster, tmp_path)
    uuid = cluster.gpus[1].uuid
    samples = tmp_path / "dcgm.om"
    lines = []
    for line in samples.read_text().splitlines():
        if line.startswith(POWER) and uuid in line:
            series, value, time = line.rsplit(" ", 2)
            line = f"{series} {float(value) * 1.25:.3f} {time}"
        lines.append(line)
    samples.write_text("\n".join(lines) + "\n")
    ((named, ratio, restarts),) = findings(recorded)
    assert named == uuid and ratio == pytest.approx(0.8, rel=0.05) and restarts == 0


def test_a_restart_and_its_lower_bound(tmp_path: Path) -> None:
    """The driver of a node is loaded again, and there is no gauge: one sample window is a lower bound, for each GPU."""
    cluster = quiet(reloads=1, power=False)
    recorded = Recorded.of(cluster, tmp_path)
    recorded.account("books", [recorded.whole])
    found = meter_findings(Books(f"sqlite:///{tmp_path / 'books.db'}"), None, None)
    (node, reload_s) = cluster.driver_reloads[0]
    assert {one.uuid for one in found} == {gpu.uuid for gpu in cluster.gpus if gpu.node == node}
    for one in found:
        assert (one.restarts, one.counter_over_gauge) == (1, None)
        assert one.lower_bound_s == pytest.approx(30.0, abs=0.01)
    # Of the hours before it there is nothing to say.
    assert meter_findings(Books(f"sqlite:///{tmp_path / 'books.db'}"), None, reload_s // 3600 * 3600) == []


def test_several_jobs_that_hold_all_of_a_gpu(tmp_path: Path) -> None:
    """A second job whose hook names a GPU that another job holds for an hour or more."""
    cluster = quiet(hours=6.0)
    recorded = Recorded.of(cluster, tmp_path)
    journals = sorted((tmp_path / "journal").glob("*.jsonl"))
    events = [json.loads(line) for path in journals for line in path.read_text().splitlines()]
    start = next(one for one in events if one["event"] == "start")
    end = next(one for one in events if one["event"] == "end" and one["job_id"] == start["job_id"])
    rows = (tmp_path / "jobs.sacct").read_text()
    ran = next(line for line in rows.splitlines() if line.split("|")[1] == str(start["job_id"]))
    number = "999999"
    double = ran.split("|")
    double[0] = double[1] = number
    (tmp_path / "jobs.sacct").write_text(rows + "|".join(double) + "\n")
    path = tmp_path / "journal" / f"{start['node']}.jsonl"
    again = [{**one, "job_id": int(number)} for one in (start, end)]
    path.write_text(path.read_text() + "".join(json.dumps(one) + "\n" for one in again))
    recorded.account("books", [recorded.whole])
    found = meter_findings(Books(f"sqlite:///{tmp_path / 'books.db'}"), None, None)
    held_s = end["time"] - start["time"]
    assert held_s > 60
    assert {one.uuid for one in found} == {gpu["uuid"] for gpu in start["gpus"]}
    assert all(one.overheld_s == pytest.approx(held_s) for one in found)


def test_a_shared_gpu_that_was_never_seen_idle(tmp_path: Path) -> None:
    """The first hours of a GPU that is cut up: shared before it was free for the first time."""
    cluster = quiet(mig=True)
    recorded = Recorded.of(cluster, tmp_path)
    first_s = min(hold.start_s for attempt in cluster.attempts for hold in attempt.holds if hold.part is not None)
    # The samples begin a minute before: too short to know an idle level.
    samples = tmp_path / "dcgm.om"
    kept = [
        line
        for line in samples.read_text().splitlines()
        if line.startswith("#") or float(line.rsplit(" ", 1)[1]) > first_s - 60
    ]
    samples.write_text("\n".join(kept) + "\n")
    recorded.account("books", [recorded.whole])
    found = meter_findings(Books(f"sqlite:///{tmp_path / 'books.db'}"), None, None)
    assert {one.uuid for one in found if one.assumed_s > 0} <= {gpu.uuid for gpu in cluster.gpus if gpu.instances}
    assert any(one.assumed_s > 0 for one in found)
