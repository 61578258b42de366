"""Other exporters than dcgm-exporter, by preset or as a site declares its own: their names, units and labels.

Series are written as each exporter serves them and read as a recording.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accounting.hardware import mig_capacity
from accounting.model import GpuSamples, LabelSpan, Reject
from collectors.dcgm import DcgmSource
from collectors.openmetrics import OpenMetricsSource
from collectors.prometheus import Endpoint, Prometheus
from site_config.gpu import CUSTOM, GpuMeter, GpuMetrics, gpu_meters


def series(metric: str, labels: dict[str, str], values: dict[float, float]) -> str:
    text = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return "".join(f"{metric}{{{text}}} {value:.0f} {time:.3f}\n" for time, value in values.items())


def read(folder: Path, meter: GpuMeter, *parts: str) -> list[GpuSamples | Reject]:
    path = folder / "samples.om"
    path.write_text("".join(parts) + "# EOF\n")
    return list(OpenMetricsSource("alpha", path, meter).samples(0, 1e10))


def one(folder: Path, meter: GpuMeter, *parts: str) -> GpuSamples:
    (found,) = read(folder, meter, *parts)
    assert isinstance(found, GpuSamples), found
    return found


@pytest.mark.parametrize("name", gpu_meters())
def test_a_preset_reads_something_and_can_tell_gpus_apart(name: str) -> None:
    meter = gpu_meters()[name]
    assert meter.metrics.keys() & {"energy", "power"}
    assert meter.labels.keys() & {"uuid", "index"}
    assert meter.metrics.keys() <= {"energy", "power", "activity"}
    assert meter.labels.keys() <= {"uuid", "node", "index", "model", "job", "mig", "profile"}
    assert name != CUSTOM


def test_dcgm_energy_is_in_millijoules_and_power_in_watts(tmp_path: Path) -> None:
    labels = {"gpu": "0", "UUID": "GPU-1", "modelName": "NVIDIA A100", "Hostname": "n1"}
    gpu = one(
        tmp_path, gpu_meters()["dcgm"],
        series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", labels, {10: 5000, 20: 8000}),
        series("DCGM_FI_DEV_POWER_USAGE", labels, {10: 300, 20: 301}),
        series("DCGM_FI_DEV_POWER_USAGE_INSTANT", labels, {10: 1, 20: 2, 30: 3}),
    )  # fmt: skip
    assert gpu.energy_j.tolist() == pytest.approx([5.0, 8.0])
    # The instant power only where there is no other.
    assert gpu.power_w.tolist() == [300, 301]


def test_instant_power_alone(tmp_path: Path) -> None:
    labels = {"gpu": "0", "UUID": "GPU-1", "Hostname": "n1"}
    gpu = one(tmp_path, gpu_meters()["dcgm"], series("DCGM_FI_DEV_POWER_USAGE_INSTANT", labels, {10: 100, 20: 200}))
    assert gpu.power_w.tolist() == [100, 200] and not gpu.energy_j.size


AMD = {"gpu_id": "1", "serial_number": "692231000131", "card_model": "AMD Instinct MI300X", "hostname": "n7"}


def test_amd_energy_is_in_microjoules(tmp_path: Path) -> None:
    gpu = one(
        tmp_path, gpu_meters()["amd"],
        series("gpu_energy_consumed", {**AMD, "job_id": ""}, {10: 5_000_000}),
        series("gpu_energy_consumed", {**AMD, "job_id": "42"}, {20: 8_000_000, 30: 9_000_000}),
        series("gpu_package_power", AMD, {10: 160, 20: 170}),
        series("gpu_power_usage", AMD, {10: 1, 20: 2}),
    )  # fmt: skip
    device = gpu.device
    assert (device.uuid, device.node, device.index, device.model) == ("692231000131", "n7", 1, "AMD Instinct MI300X")
    assert gpu.energy_j.tolist() == pytest.approx([5.0, 8.0, 9.0])
    assert gpu.power_w.tolist() == [160, 170]
    assert gpu.labels == (LabelSpan(42, 20, 30),)


def test_amd_uuid_goes_before_the_serial_number(tmp_path: Path) -> None:
    labels = {**AMD, "gpu_uuid": "72ff740f-0000-1000-804c-3b58bf67050e"}
    gpu = one(tmp_path, gpu_meters()["amd"], series("gpu_average_package_power", labels, {10: 90, 20: 90}))
    assert gpu.device.uuid == labels["gpu_uuid"] and gpu.power_w.tolist() == [90, 90]


JOBSTATS = {"minor_number": "0", "ordinal": "0", "name": "NVIDIA A100-SXM4-40GB", "instance": "n3:9445", "userid": ""}


def test_jobstats_power_is_in_milliwatts(tmp_path: Path) -> None:
    """The exporter names no node: it is the one that was scraped."""
    labels = {**JOBSTATS, "uuid": "GPU-1", "GPU_I_ID": "", "jobid": "42"}
    gpu = one(
        tmp_path, gpu_meters()["jobstats"], series("nvidia_gpu_power_usage_milliwatts", labels, {10: 61200, 20: 300000})
    )
    assert (gpu.device.uuid, gpu.device.node, gpu.device.index) == ("GPU-1", "n3", 0)
    assert gpu.power_w.tolist() == pytest.approx([61.2, 300.0]) and not gpu.energy_j.size
    assert gpu.labels == (LabelSpan(42, 10, 20),)


def test_jobstats_repeats_a_gpus_power_under_each_instances_uuid(tmp_path: Path) -> None:
    """A GPU in two instances: one meter, and each instance's job."""
    power = {10: 200000.0, 20: 210000.0}
    metric = "nvidia_gpu_power_usage_milliwatts"
    instance = {"name": "NVIDIA A100-SXM4-40GB MIG 3g.20gb"}
    gpu = one(
        tmp_path, gpu_meters()["jobstats"],
        series(metric, {**JOBSTATS, "uuid": "GPU-1", "GPU_I_ID": "", "jobid": ""}, power),
        series(metric, {**JOBSTATS, **instance, "uuid": "MIG-a", "GPU_I_ID": "1", "jobid": "42"}, power),
        series(metric, {**JOBSTATS, **instance, "uuid": "MIG-b", "GPU_I_ID": "2", "jobid": ""}, power),
    )  # fmt: skip
    assert gpu.device.uuid == "GPU-1" and gpu.device.model == "NVIDIA A100-SXM4-40GB"
    assert set(zip(gpu.power_time_s.tolist(), gpu.power_w.tolist(), strict=True)) == {(10, 200.0), (20, 210.0)}
    assert gpu.labels == (LabelSpan(42, 10, 20, "1"),)
    capacities = {each.name: mig_capacity(each.profile or "", gpu.device.model) for each in gpu.instances}
    assert capacities == {"1": 3 / 7, "2": 3 / 7}


def test_an_instance_without_its_gpu_is_rejected(tmp_path: Path) -> None:
    labels = {**JOBSTATS, "uuid": "MIG-a", "GPU_I_ID": "1"}
    (found,) = read(tmp_path, gpu_meters()["jobstats"], series("nvidia_gpu_power_usage_milliwatts", labels, {10: 1}))
    assert isinstance(found, Reject) and "MIG instance" in found.reason


def test_slurm_job_exporter_names_a_gpu_by_node_and_index(tmp_path: Path) -> None:
    labels = {"gpu": "2", "gpu_type": "NVIDIA H100 80GB HBM3", "slurmjobid": "7", "user": "ada", "instance": "n5:9798"}
    gpu = one(
        tmp_path, gpu_meters()["slurm-job-exporter"], series("slurm_job_power_gpu", labels, {10: 90000, 20: 95000})
    )
    assert (gpu.device.uuid, gpu.device.node, gpu.device.index) == ("n5/2", "n5", 2)
    assert gpu.power_w.tolist() == pytest.approx([90.0, 95.0]) and gpu.labels == (LabelSpan(7, 10, 20),)


def custom(**changes: Any) -> GpuMeter:
    return GpuMetrics.model_validate(
        {
            "energy": {"metric": "site_gpu_energy", "unit": "kWh"},
            "power": {"metric": "site_gpu_power", "unit": "kW"},
            "labels": {"uuid": "id", "node": "host", "index": "slot", "model": "kind", "job": "slurm"},
        }
        | changes
    ).meter()


def test_a_sites_own_names(tmp_path: Path) -> None:
    labels = {"id": "GPU-1", "host": "n1.example.org", "slot": "3", "kind": "NVIDIA L40S", "slurm": "42"}
    gpu = one(
        tmp_path, custom(), series("site_gpu_energy", labels, {10: 1, 20: 2}), series("site_gpu_power", labels, {10: 1})
    )
    assert (gpu.device.uuid, gpu.device.node, gpu.device.index, gpu.device.model) == ("GPU-1", "n1", 3, "NVIDIA L40S")
    assert gpu.energy_j.tolist() == pytest.approx([3.6e6, 7.2e6]) and gpu.power_w.tolist() == [1000]


class Asked(Prometheus):
    """Notes what it is asked, and answers nothing."""

    def __init__(self) -> None:
        super().__init__(Endpoint("http://127.0.0.1:1", {"job": "gpus"}))
        self.queries: list[tuple[str, float | None]] = []

    def over(self, query: str, start_s: float, end_s: float, step_s: float | None = None) -> Any:
        self.queries.append((query, step_s))
        return iter(())


def test_what_prometheus_is_asked() -> None:
    """A metric by its selector, with the site's matchers; PromQL as it stands, at each step."""
    asked = Asked()
    query = {"query": "sum by (id) (rail_power)", "unit": "mW", "step_s": 10.0}
    list(DcgmSource("alpha", asked, custom(power=query)).samples(0, 60, {"GPU-2", "GPU-1"}))
    assert asked.queries == [
        ('site_gpu_energy{job="gpus",id=~"GPU-1|GPU-2"}', None),
        ("sum by (id) (rail_power)", 10.0),
    ]


def test_the_activity_of_whole_gpus_is_not_asked_for() -> None:
    asked = Asked()
    list(DcgmSource("alpha", asked).samples(0, 60))
    assert ('DCGM_FI_PROF_GR_ENGINE_ACTIVE{job="gpus",GPU_I_ID!=""}', None) in asked.queries
