"""A recording as OpenMetrics text: what is read of it, and what is no recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from accounting.model import GpuSamples
from accounting.sources import SourceError
from collectors.openmetrics import OpenMetricsSource

ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
POWER = "DCGM_FI_DEV_POWER_USAGE"
LABELS = 'gpu="0",UUID="GPU-1",modelName="NVIDIA A100",Hostname="n1"'


def read(folder: Path, text: str, start_s: float = 0, end_s: float = 1e10, **words: object) -> list[GpuSamples]:
    path = folder / "dcgm.om"
    path.write_text(text)
    found = list(OpenMetricsSource("alpha", path).samples(start_s, end_s, **words))  # type: ignore[arg-type]
    assert all(isinstance(one, GpuSamples) for one in found), found
    return [one for one in found if isinstance(one, GpuSamples)]


def sample(metric: str, time: float, value: float, labels: str = LABELS) -> str:
    return f"{metric}{{{labels}}} {value:g} {time:.3f}\n"


def test_a_recording_in_base_units_in_order_of_time(tmp_path: Path) -> None:
    """DCGM counts in mJ and shows W."""
    text = (
        f"# TYPE {ENERGY} unknown\n" + sample(ENERGY, 60, 5_000_000) + sample(ENERGY, 30, 2_000_000)
        + f"# TYPE {POWER} gauge\n" + sample(POWER, 30.5, 99.5) + "# EOF\n"
    )  # fmt: skip
    (one,) = read(tmp_path, text)
    assert (one.device.cluster, one.device.uuid, one.device.node) == ("alpha", "GPU-1", "n1")
    assert (one.device.model, one.device.index) == ("NVIDIA A100", 0)
    assert (one.energy_time_s.tolist(), one.energy_j.tolist()) == ([30, 60], [2000, 5000])
    assert (one.power_time_s.tolist(), one.power_w.tolist()) == ([30.5], [99.5])
    assert (one.first_s, one.last_s) == (30, 60)


def test_only_the_window_with_its_edges(tmp_path: Path) -> None:
    text = "".join(sample(ENERGY, time, time) for time in (10, 20, 30, 40)) + "# EOF\n"
    (one,) = read(tmp_path, text, 20, 30)
    assert one.energy_time_s.tolist() == [20, 30]
    assert read(tmp_path, text, 41, 50) == []


def test_only_the_gpus_that_are_asked_for(tmp_path: Path) -> None:
    other = LABELS.replace("GPU-1", "GPU-2")
    text = sample(ENERGY, 10, 1) + sample(ENERGY, 10, 1, other) + "# EOF\n"
    assert [one.device.uuid for one in read(tmp_path, text, uuids={"GPU-2"})] == ["GPU-2"]


def test_what_is_not_a_gpus_energy_is_left_out(tmp_path: Path) -> None:
    text = "# HELP up x\nup 1 10\n" + sample("DCGM_FI_DEV_SM_CLOCK", 10, 1) + sample(ENERGY, 10, 1) + "# EOF\n"
    (one,) = read(tmp_path, text)
    assert one.energy_j.size == 1


def test_labels_may_hold_quotes_commas_and_blanks(tmp_path: Path) -> None:
    labels = r'gpu="0",UUID="GPU-1",modelName="A \"big\", B {1} 2",Hostname="n1"'
    (one,) = read(tmp_path, sample(ENERGY, 10, 1, labels) + "# EOF\n")
    assert one.device.model == 'A "big", B {1} 2'


def test_a_gpu_without_samples_is_not_one_of_0_j(tmp_path: Path) -> None:
    assert read(tmp_path, "# EOF\n") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not end with `# EOF`: it was cut short"),
        (sample(ENERGY, 10, 1), "does not end with `# EOF`: it was cut short"),
        ("# EOF\n" + sample(ENERGY, 10, 1) + "# TYPE x gauge\n", "does not end with `# EOF`"),
        (sample(ENERGY, 10, 1)[:-9] + "\n# EOF\n", "line 1 is not `series value time`"),
        (f"{ENERGY}{{{LABELS}}} 1 now\n# EOF\n", "line 1 is not `series value time`"),
        ("\n# EOF\n", "line 1 is not `series value time`"),
        (ENERGY + '{UUID="GPU-1} 1 10\n# EOF\n', "has a series that is not OpenMetrics"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SourceError) as refused:
        read(tmp_path, text)
    assert refused.value.what.startswith(f"the recording {tmp_path}/dcgm.om ")
    assert says in refused.value.what
    assert refused.value.advice == "check gpu.openmetrics.path in the configuration"


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file or directory"):
        list(OpenMetricsSource("alpha", tmp_path / "none.om").samples(0, 1))
    (tmp_path / "bytes.om").write_bytes(b"\xff\xfe\n")
    with pytest.raises(SourceError, match=r"bytes\.om cannot be read: 'utf-8' codec can't decode"):
        list(OpenMetricsSource("alpha", tmp_path / "bytes.om").samples(0, 1))
