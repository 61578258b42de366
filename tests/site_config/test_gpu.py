"""The section `gpu`: presets, a site's own metrics, a model; and what is said of mistakes."""

from __future__ import annotations

import pytest

from site_config.gpu import gpu_meters
from tests.site_config.conftest import DESIGN, Problems, Read

OWN = """match: {job: dcgm}
      preset: custom
      metrics:
        energy: {metric: site_energy, unit: J}
        labels: {uuid: id}"""


def test_the_presets() -> None:
    scales = {name: {what: one.scale for what, one in meter.metrics.items()} for name, meter in gpu_meters().items()}
    assert scales == {
        "dcgm": {"energy": 1e-3, "power": 1.0, "activity": 1.0},
        "amd": {"energy": 1e-6, "power": 1.0},
        "jobstats": {"power": 1e-3},
        "slurm-job-exporter": {"power": 1e-3},
    }


@pytest.mark.parametrize("name", gpu_meters())
def test_a_preset_by_its_name(name: str, read: Read) -> None:
    gpu = read(DESIGN.replace("match: {job: dcgm}", f"preset: {name}")).clusters["alpha"].gpu
    assert gpu is not None and gpu.meter is gpu_meters()[name]


def test_a_sites_own_metrics(read: Read) -> None:
    gpu = read(DESIGN.replace("match: {job: dcgm}", OWN)).clusters["alpha"].gpu
    assert gpu is not None
    assert (gpu.meter.metrics["energy"].names, gpu.meter.metrics["energy"].scale) == (("site_energy",), 1.0)
    assert gpu.meter.labels == {"uuid": ("id",), "node": ("instance",)}


def test_a_model_is_a_load(read: Read) -> None:
    gpu = read(DESIGN.replace("match: {job: dcgm}", "model: {load: 0.5}")).clusters["alpha"].gpu
    assert gpu is not None and gpu.model is not None and gpu.model.load == 0.5


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("preset: dgcm", "did you mean 'dcgm'?"),
        ("preset: custom", "preset: custom goes with metrics: {…}, the one with the other"),
        (OWN.replace("preset: custom", "preset: amd"), "preset: custom goes with metrics: {…}, the one with the other"),
        (OWN.replace("unit: J", "unit: W"), "must be one of uJ, mJ, J, kJ, Wh, kWh"),
        (OWN.replace("metric: site_energy, ", ""), "needs either metric, a name, or query, PromQL, and not both"),
        (OWN.replace("uuid: id", "node: host"), "needs labels: {uuid: …}, or {index: …} to tell a node's GPUs apart"),
        (OWN.replace("energy: {metric: site_energy, unit: J}", "{}").replace("{}\n", "\n"), "needs energy, power"),
        ("model: {load: 50}", "must be at most 1"),
    ],
)
def test_mistakes_in_plain_words(section: str, said: str, problems: Problems) -> None:
    found = problems(DESIGN.replace("match: {job: dcgm}", section))
    assert any(said in line for line in found), found
