"""The cluster, and the jobs that ran on it, once for all cluster tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from tests.cluster.evidence import Evidence, gather
from tests.cluster.harness import Cluster, running_cluster
from tests.cluster.requirements import missing
from tests.cluster.workload import Workload, run_workload
from tests.conftest import CLUSTER_SKIPPED


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running cluster; where this machine cannot have one, the tests are skipped and pytest's last lines say why."""
    if reason := missing():
        request.config.stash[CLUSTER_SKIPPED] = reason
        pytest.skip(reason)

    def terminated(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt("SIGTERM")  # so that the cluster is stopped, as after Ctrl-C

    before = signal.signal(signal.SIGTERM, terminated)
    try:
        with running_cluster() as cluster:
            yield cluster
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def workload(cluster: Cluster) -> Workload:
    """The jobs of `workload.py`, ended."""
    return run_workload(cluster)


@pytest.fixture(scope="session")
def evidence(cluster: Cluster, workload: Workload) -> Evidence:
    """What really happened to these jobs."""
    return gather(cluster, workload)
