"""How busy GPUs were, from a stand-in for Prometheus."""

from __future__ import annotations

import pytest

from accounting.sources import SourceError
from collectors.prometheus import Endpoint, Prometheus
from collectors.utilisation import mean_use
from tests.collectors.prometheus_stub import PrometheusStub, StoredSeries, trouble

PROFILED, GAUGE = "DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_DEV_GPU_UTIL"
TIMES = [100.0, 110.0, 120.0, 130.0]


def series(metric: str, values: list[str], **labels: str) -> StoredSeries:
    return StoredSeries({"__name__": metric, "UUID": "GPU-1", "job": "dcgm", **labels}, TIMES, values)


def use(*stored: StoredSeries, span: tuple[float, float] = (100.0, 130.0)) -> dict[str, float]:
    with PrometheusStub(list(stored)) as stub:
        return mean_use(Prometheus(Endpoint(stub.url, {"job": "dcgm"})), {"GPU-1": span, "GPU-9": span})


def test_the_profiled_gauge_counts_before_the_coarse_one() -> None:
    profiled, coarse = series(PROFILED, ["0.2", "0.4", "0.6", "0.8"]), series(GAUGE, ["100"] * 4)
    assert use(coarse, profiled) == {"GPU-1": pytest.approx(0.5)}
    assert use(coarse) == {"GPU-1": pytest.approx(1.0)}


def test_only_while_the_job_held_it() -> None:
    assert use(series(GAUGE, ["0", "50", "70", "0"]), span=(105.0, 125.0)) == {"GPU-1": pytest.approx(0.6)}


def test_an_instances_gauge_says_nothing_of_the_gpu() -> None:
    assert use(series(PROFILED, ["1"] * 4, GPU_I_ID="3")) == {}
    assert use(series(GAUGE, ["1"] * 4, UUID="GPU-2")) == {}


def test_half_an_answer_is_none() -> None:
    with PrometheusStub([series(GAUGE, ["1"] * 4)]) as stub:
        stub.answer = lambda query: trouble("warnings")
        with pytest.raises(SourceError):
            mean_use(Prometheus(Endpoint(stub.url, {})), {"GPU-1": (100.0, 130.0)})
