"""The traps of dcgm-exporter: one set of samples comes out for each physical GPU, however its series are cut and named.

Series are written as the exporter serves them and read as a recording, so that nothing here depends on how they travel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accounting.model import GpuSamples, LabelSpan, Reject
from collectors.dcgm import DcgmSource
from collectors.openmetrics import OpenMetricsSource
from collectors.prometheus import Endpoint, Prometheus
from tests.collectors.prometheus_stub import PrometheusStub, StoredSeries

ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
POWER = "DCGM_FI_DEV_POWER_USAGE"
BASE = {"gpu": "0", "UUID": "GPU-1", "device": "nvidia0", "modelName": "NVIDIA A100", "Hostname": "n1"}


def series(times: list[float], metric: str = ENERGY, without: str = "", **labels: str) -> str:
    """A series whose counter shows a joule a second."""
    named = {name: value for name, value in {**BASE, **labels}.items() if name not in without.split()}
    text = ",".join(f'{name}="{value}"' for name, value in named.items())
    scale = 1000 if metric == ENERGY else 1
    return "".join(f"{metric}{{{text}}} {time * scale:.0f} {time:.3f}\n" for time in times)


def read(folder: Path, *parts: str) -> list[GpuSamples | Reject]:
    path = folder / "dcgm.om"
    path.write_text("".join(parts) + "# EOF\n")
    return list(OpenMetricsSource("alpha", path).samples(0, 1e10))


def one(folder: Path, *parts: str) -> GpuSamples:
    """The only GPU that the series show."""
    (found,) = read(folder, *parts)
    assert isinstance(found, GpuSamples), found
    return found


def counted(gpu: GpuSamples) -> dict[float, float]:
    """The counter by time; where a time comes twice it says the same twice."""
    pairs = list(zip(gpu.energy_time_s.tolist(), gpu.energy_j.tolist(), strict=True))
    assert len(set(pairs)) == len(dict(pairs)), "two values at one time"
    assert (np.diff(gpu.energy_time_s) >= 0).all()
    return dict(pairs)


def test_a_jobs_start_and_end_make_new_series_and_one_counter(tmp_path: Path) -> None:
    gpu = one(
        tmp_path, series([10, 20]), series([30, 40, 50], hpc_job="42"), series([60, 70], hpc_job="43"), series([80])
    )
    assert counted(gpu) == {time: time for time in range(10, 90, 10)}
    assert gpu.labels == (LabelSpan(42, 30, 50), LabelSpan(43, 60, 70))


def test_lines_of_the_mapping_file_repeat_a_series_and_add_no_energy(tmp_path: Path) -> None:
    """Three jobs share the GPU: each series has the whole counter."""
    gpu = one(tmp_path, *(series([10, 20, 30], hpc_job=job) for job in ("41", "42", "43")))
    assert counted(gpu) == {10: 10, 20: 20, 30: 30}
    assert {span.job_id for span in gpu.labels} == {41, 42, 43}


def test_mig_instances_repeat_the_whole_gpus_energy(tmp_path: Path) -> None:
    parts = [
        series([10, 20], GPU_I_PROFILE=profile, GPU_I_ID=gi_id, hpc_job=job)
        for profile, gi_id, job in (("3g.20gb", "1", "41"), ("2g.10gb", "5", "42"))
    ]
    gpu = one(tmp_path, *parts)
    assert counted(gpu) == {10: 10, 20: 20}
    assert set(gpu.labels) == {LabelSpan(41, 10, 20, "1"), LabelSpan(42, 10, 20, "5")}
    assert {(instance.name, instance.profile) for instance in gpu.instances} == {("1", "3g.20gb"), ("5", "2g.10gb")}


def test_a_label_that_comes_again_is_two_stretches(tmp_path: Path) -> None:
    """A requeued job keeps its number; what lies between its runs is not its."""
    gpu = one(tmp_path, series([0, 100, 200, 1000, 1100], hpc_job="42"))
    assert gpu.labels == (LabelSpan(42, 0, 200), LabelSpan(42, 1000, 1100))


@pytest.mark.parametrize("job", ["", "abc", "42.0", "-1"])
def test_a_label_that_is_no_job_holds_nothing(tmp_path: Path, job: str) -> None:
    gpu = one(tmp_path, series([10, 20], hpc_job=job))
    assert gpu.labels == ()
    assert counted(gpu) == {10: 10, 20: 20}


@pytest.mark.parametrize(
    ("labels", "without", "node"),
    [
        ({}, "", "n1"),
        ({"hostname": "n2"}, "Hostname", "n2"),  # newer exporters
        ({"Hostname": "n3.cluster.example.org"}, "", "n3"),
        ({"instance": "n4:9400"}, "Hostname", "n4"),  # --no-hostname
        ({"instance": "n5.example.org:9400"}, "Hostname", "n5"),
        ({"instance": "10.0.0.7:9400"}, "Hostname", "10.0.0.7"),
    ],
)
def test_the_node_by_every_spelling(tmp_path: Path, labels: dict[str, str], without: str, node: str) -> None:
    assert one(tmp_path, series([10], without=without, **labels)).device.node == node


def test_the_uuid_in_small_letters(tmp_path: Path) -> None:
    assert one(tmp_path, series([10], without="UUID", uuid="GPU-9")).device.uuid == "GPU-9"


def test_what_names_no_gpu_is_rejected_and_counted(tmp_path: Path) -> None:
    found = read(tmp_path, series([10]), series([10, 20], without="UUID gpu Hostname"))
    rejects = [each for each in found if isinstance(each, Reject)]
    assert len(rejects) == 1
    assert "nvidia0" in rejects[0].raw
    assert len(found) == 2


def test_the_index_and_the_node_are_the_newest(tmp_path: Path) -> None:
    """A GPU was moved to another board."""
    gpu = one(tmp_path, series([10, 20]), series([30, 40], gpu="3", Hostname="n7"))
    assert (gpu.device.node, gpu.device.index) == ("n7", 3)


def test_two_exporters_of_one_gpu_are_not_mixed(tmp_path: Path) -> None:
    """Each reads the counter at a moment of its own, so that mixed samples would seem to fall."""
    often = series([10, 20, 30, 40, 50], job="dcgm", instance="n1:9400")
    late = "".join(
        line.replace(" 15000 ", " 9000 ").replace(" 45000 ", " 39000 ")
        for line in series([15, 45], job="other", instance="n1:9500").splitlines(keepends=True)
    )
    gpu = one(tmp_path, often, late)
    assert counted(gpu) == {time: time for time in (10, 20, 30, 40, 50)}


def test_power_alone(tmp_path: Path) -> None:
    gpu = one(tmp_path, series([10, 20], POWER, hpc_job="42"))
    assert gpu.energy_time_s.size == gpu.energy_j.size == 0
    assert gpu.power_w.tolist() == [10, 20]
    assert gpu.labels == (LabelSpan(42, 10, 20),)


def test_from_prometheus_it_is_the_same(tmp_path: Path) -> None:
    labels = dict(BASE)
    times = [float(time) for time in range(0, 20_000, 30)]
    stored = [
        StoredSeries(
            {"__name__": ENERGY, **labels, "hpc_job": "42"}, times[:300], [f"{t * 1000:.0f}" for t in times[:300]]
        ),
        StoredSeries({"__name__": ENERGY, **labels}, times[300:], [f"{t * 1000:.0f}" for t in times[300:]]),
        StoredSeries({"__name__": ENERGY, **labels, "UUID": "GPU-2"}, [5.0], ["1"]),
    ]
    with PrometheusStub(stored) as stub:
        source = DcgmSource("alpha", Prometheus(Endpoint(stub.url)))
        found = {each.device.uuid: each for each in source.samples(0, 20_000) if isinstance(each, GpuSamples)}
        chosen = [each for each in source.samples(0, 20_000, {"GPU-2"}) if isinstance(each, GpuSamples)]
    assert set(found) == {"GPU-1", "GPU-2"}
    assert counted(found["GPU-1"]) == {time: time for time in times}
    assert found["GPU-1"].labels == (LabelSpan(42, times[0], times[299]),)
    assert [each.device.uuid for each in chosen] == ["GPU-2"]
