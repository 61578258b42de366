"""What is known of a shared device: how far back its idle level is looked for, and what its parts did."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pytest

from accounting.energy import MARGIN_S, curve_from_samples
from accounting.gpus import GpuReader, Gpus, across, first_shared
from accounting.hardware import assumed_idle_w, mig_capacity, rated_w
from accounting.holders import Hold
from accounting.model import AttemptKey, Device, GpuSamples, HostReadings, Job, Tag
from accounting.sharing import IDLE_LOOK_BACK_S, IdleLevels, held_share

HOUR_S = 3600.0
NOON_S = 1_790_000_000.0 // 86400 * 86400 + 43200
NOTHING = np.zeros(0)


@pytest.mark.parametrize(
    ("model", "watts"),
    [
        ("NVIDIA A100-SXM4-80GB", 400.0),
        ("NVIDIA H100 80GB HBM3", 700.0),
        ("Tesla V100-SXM2-32GB", 300.0),
        ("AMD Instinct MI250X", 560.0),
        ("NVIDIA L40S", 350.0),
        ("Some GPU of tomorrow", None),
        ("", None),
        (None, None),
    ],
)
def test_rated_power_by_the_drivers_name(model: str | None, watts: float | None) -> None:
    assert rated_w(model) == watts
    assert assumed_idle_w(model) == (None if watts is None else pytest.approx(0.12 * watts))


@pytest.mark.parametrize(
    ("profile", "model", "share"),
    [
        ("1g.5gb", "NVIDIA A100", 1 / 7), ("2g.10gb", None, 2 / 7), ("3g.20gb", "NVIDIA A100", 3 / 7),
        ("4g.20gb", None, 4 / 7), ("7g.40gb", None, 1.0), ("a100_3g.20gb", None, 3 / 7), ("1g.10gb+me", None, 1 / 7),
        ("1c.3g.20gb", None, 1 / 7), ("NVIDIA A100-SXM4-40GB MIG 2g.10gb", None, 2 / 7), ("2g.12gb", "NVIDIA A30", 0.5),
        ("a100", None, None), ("", None, None),
    ],
)  # fmt: skip
def test_a_mig_profiles_share_is_its_compute_slices(profile: str, model: str | None, share: float | None) -> None:
    assert mig_capacity(profile, model) == (None if share is None else pytest.approx(share))


def test_a_level_counts_for_a_day() -> None:
    levels = IdleLevels(np.array([NOON_S, NOON_S + HOUR_S]), np.array([60.0, 62.0]), 48.0)
    at = np.array([NOON_S - 1, NOON_S, NOON_S + 3599, NOON_S + HOUR_S, NOON_S + HOUR_S + IDLE_LOOK_BACK_S + 1])
    watts, measured = levels.at(at)
    assert watts.tolist() == [48, 60, 60, 62, 48] and measured.tolist() == [False, True, True, True, False]


def test_what_share_of_each_window_a_part_was_held() -> None:
    """Windows of 30 s; the first part held over [10, 25] and from 50 on, the second not at all."""
    found = held_share(np.array([10.0, 50.0]), np.array([25.0, 500.0]), np.array([0, 0]), 2, np.arange(0.0, 91, 30))
    assert found[0].tolist() == pytest.approx([0.5, 1 / 3, 1.0]) and found[1].tolist() == [0, 0, 0]


def hold(job_id: int, start_s: float, end_s: float, capacity: float = 1.0) -> Hold:
    return Hold(AttemptKey("alpha", job_id, 0), "GPU-1", "n1", start_s, end_s, capacity, "journal")


@pytest.mark.parametrize(
    ("holds", "first_s"),
    [
        ([hold(1, 0, 100)], None),
        ([hold(1, 0, 100), hold(2, 100, 200)], None),
        ([hold(1, 0, 100, 0.5)], 50),  # from the period's beginning on
        ([hold(1, 60, 100, 0.5)], 60),
        ([hold(1, 0, 80), hold(2, 70, 200)], 70),
        ([hold(1, 0, 30, 0.5)], None),  # before the period
        ([hold(1, 200, 300, 0.5)], None),  # after it
        ([], None),
    ],
)
def test_when_a_device_is_first_shared(holds: list[Hold], first_s: float | None) -> None:
    assert first_shared(holds, 50, 150) == first_s


def test_a_window_that_lies_across_an_end_is_read_for() -> None:
    """Silent from 1 h before the period to 20 min in it: ten minutes more before the silence; after it all is near."""
    time_s = np.concatenate((np.arange(-7200.0, -3599, 30), np.arange(1200.0, 7201, 30)))
    curve = curve_from_samples(HostReadings(time_s, 100 * time_s + 1e6, NOTHING, NOTHING), 600)
    assert across(curve, 0.0, 3600.0) == (-3600.0 - 600, 3600.0 + MARGIN_S)


class Meters:
    """One GPU that draws 60 W free and 200 W held; it keeps what it was asked."""

    name = "by hand"

    def __init__(self, held: Sequence[tuple[float, float]]) -> None:
        self._held = held
        self.asked: list[tuple[float, float]] = []

    def samples(self, start_s: float, end_s: float, uuids: Collection[str] | None = None) -> Iterator[GpuSamples]:
        self.asked.append(((start_s - NOON_S) / HOUR_S, (end_s - NOON_S) / HOUR_S))
        time_s = np.arange(NOON_S - 60 * HOUR_S, NOON_S + 2 * HOUR_S, 30.0)
        watts = np.full(time_s.size, 60.0)
        for from_s, to_s in self._held:
            watts[(time_s >= from_s) & (time_s < to_s)] = 200.0
        energy_j = 1e6 + np.append(0.0, np.cumsum(watts[:-1] * 30))
        inside = (time_s >= start_s) & (time_s <= end_s)
        device = Device("alpha", "GPU-1", "n1", "NVIDIA A100-SXM4-80GB", 0)
        yield GpuSamples(device, time_s[inside], energy_j[inside], NOTHING, NOTHING)


class Hooks:
    """Each hold with its share of the GPU; None: all of it."""

    name = "journal"

    def __init__(self, held: Sequence[tuple[float, float]], share: float | None) -> None:
        self._held = held
        self._share = share

    def tags(self, start_s: float, end_s: float, jobs: Sequence[Job], samples: Sequence[GpuSamples]) -> Iterator[Tag]:
        for number, (from_s, to_s) in enumerate(self._held):
            if from_s < end_s and to_s >= start_s:
                yield Tag("alpha", number, "n1", "GPU-1", 0, from_s, to_s, "journal", share=self._share)


def read(held: Sequence[tuple[float, float]], meters: Meters, share: float | None = 0.5) -> Gpus:
    """The GPU over [noon, 13:00)."""

    def jobs(start_s: float, end_s: float) -> Iterator[Job]:
        for number, (from_s, to_s) in enumerate(held):
            if from_s < end_s and to_s >= start_s:
                yield Job("alpha", number, int(from_s), str(number), "COMPLETED", int(from_s), int(to_s), nodes=("n1",))

    period = (NOON_S, NOON_S + HOUR_S)
    reader = GpuReader(meters, [Hooks(held, share)], jobs, 600.0, period, period)
    return reader.read((), lambda _: period)


@pytest.mark.parametrize(
    ("free_until_h", "measured", "furthest_h"),
    [
        (-0.1, True, -0.2),  # in the margin: nothing more is read
        (-2.0, True, -3.2),
        (-20.0, True, -24.2),
        (-30.0, False, -24.2),  # more than a day ago: the level is assumed
    ],
)
def test_how_far_back_a_shared_gpus_idle_level_is_looked_for(
    free_until_h: float, measured: bool, furthest_h: float
) -> None:
    held = [(NOON_S + free_until_h * HOUR_S, NOON_S + 2 * HOUR_S)]
    meters = Meters(held)
    (gpu,) = read(held, meters).devices
    watts, known = gpu.idle(gpu.arrays({hold.attempt: 0 for hold in gpu.holds})).at(np.array([NOON_S + 600.0]))
    assert (watts.tolist(), known.tolist()) == ([pytest.approx(60.0 if measured else 48.0)], [measured])
    assert min(start_h for start_h, _ in meters.asked) == pytest.approx(furthest_h)


def test_a_whole_gpus_idle_level_is_not_looked_for() -> None:
    """One job holds it all, for thirty hours: then nothing depends on the level."""
    held = [(NOON_S - 30 * HOUR_S, NOON_S + 2 * HOUR_S)]
    meters = Meters(held)
    read(held, meters, None)
    assert meters.asked == [(pytest.approx(-0.2), pytest.approx(1.2))]
