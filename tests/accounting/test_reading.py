"""How far out samples are looked for, so that a silence at a window's edge is bridged."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from accounting.model import Device, GpuSamples, LabelSpan, MigInstance, Reject
from accounting.reading import LOOK_OUT_S, joined, read_bridged

HOUR, DAY = 3600.0, 86_400.0
START_S, END_S, MARGIN_S = 40 * DAY, 40 * DAY + HOUR, 600.0


def gpu(
    uuid: str, times: list[float], *labels: LabelSpan, activity: dict[str, list[float]] | None = None
) -> GpuSamples:
    """A GPU that draws a watt, read at these times."""
    time_s = np.array(times, dtype=float)
    instances = tuple(
        MigInstance(name, "1g.5gb", np.array(at, dtype=float), np.ones(len(at)))
        for name, at in (activity or {}).items()
    )
    return GpuSamples(Device("alpha", uuid, "n1"), time_s, time_s.copy(), np.zeros(0), np.zeros(0), labels, instances)


@dataclass
class Source:
    """What is known of each GPU by its sampling times, and what was asked: (start, end, GPUs)."""

    times: dict[str, list[float]]
    asked: list[tuple[float, float, frozenset[str] | None]] = field(default_factory=list)

    def __call__(self, start_s: float, end_s: float, uuids: Collection[str] | None) -> Iterator[GpuSamples | Reject]:
        self.asked.append((start_s, end_s, None if uuids is None else frozenset(uuids)))
        yield Reject("gpu", "a series", "{}", "the series names no GPU")
        for uuid, times in self.times.items():
            inside = [time for time in times if start_s <= time <= end_s]
            if inside and (uuids is None or uuid in uuids):
                yield gpu(uuid, inside)


def bridged(source: Source, known: Collection[str] = ()) -> dict[str, list[float]]:
    """The sampling times of each GPU that comes out."""
    found = [one for one in read_bridged(source, START_S, END_S, MARGIN_S, known) if isinstance(one, GpuSamples)]
    assert len({one.device.uuid for one in found}) == len(found)
    return {one.device.uuid: one.energy_time_s.tolist() for one in found}


def every(step_s: float, start_s: float, end_s: float) -> list[float]:
    return np.arange(start_s, end_s + 1, step_s).tolist()


def test_where_nobody_was_silent_it_asks_once() -> None:
    times = every(30, START_S - HOUR, END_S + HOUR)
    source = Source({"GPU-1": times})
    inside = [time for time in times if START_S - MARGIN_S <= time <= END_S + MARGIN_S]
    assert bridged(source, ["GPU-1"]) == {"GPU-1": inside}
    assert source.asked == [(START_S - MARGIN_S, END_S + MARGIN_S, None)]


def test_a_silence_at_the_start_is_bridged_for_the_silent_alone() -> None:
    source = Source(
        {
            "GPU-1": every(30, START_S - 10 * HOUR, END_S + MARGIN_S),
            "GPU-2": [*every(30, START_S - 3 * HOUR, START_S - 2 * HOUR), *every(30, START_S + 900, END_S + MARGIN_S)],
        }
    )
    found = bridged(source)
    assert max(time for time in found["GPU-2"] if time < START_S) == START_S - 2 * HOUR
    assert [(a, b, uuids) for a, b, uuids in source.asked if uuids] == [
        (START_S - LOOK_OUT_S[0], START_S - MARGIN_S, {"GPU-2"}),
        (START_S - LOOK_OUT_S[1], START_S - LOOK_OUT_S[0], {"GPU-2"}),
    ]  # fmt: skip


def test_a_silence_at_the_end_is_bridged() -> None:
    source = Source(
        {"GPU-1": [*every(30, START_S - HOUR, START_S + 900), *every(30, END_S + 5 * HOUR, END_S + 6 * HOUR)]}
    )
    assert min(time for time in bridged(source)["GPU-1"] if time > END_S) == END_S + 5 * HOUR


def test_a_known_gpu_that_was_silent_for_all_of_the_window_is_looked_for_on_both_sides() -> None:
    source = Source({"GPU-1": [START_S - 2 * DAY, START_S - 2 * DAY + 30, END_S + 3 * DAY, END_S + 3 * DAY + 30]})
    assert bridged(source, ["GPU-1"]) == {"GPU-1": source.times["GPU-1"]}


def test_a_gpu_that_nobody_knows_is_not_looked_for() -> None:
    assert bridged(Source({"GPU-1": [START_S - 2 * DAY]})) == {}


def test_what_was_silent_for_longer_than_a_week_is_unknown() -> None:
    source = Source({"GPU-1": [START_S - 8 * DAY, *every(30, START_S + 900, END_S + MARGIN_S)]})
    assert min(bridged(source)["GPU-1"]) == START_S + 900
    assert min(start_s for start_s, _, _ in source.asked) == START_S - LOOK_OUT_S[-1] == START_S - 7 * DAY


def test_a_row_that_cannot_be_understood_is_told_once() -> None:
    source = Source({"GPU-1": [START_S + 900, START_S + 930]})  # silent on both sides, so that it asks seven times
    rejects = [one for one in read_bridged(source, START_S, END_S, MARGIN_S, ()) if isinstance(one, Reject)]
    assert len(source.asked) == 7
    assert len(rejects) == 1


def test_two_readings_are_one_in_order_of_time() -> None:
    early = gpu("GPU-1", [10, 20], LabelSpan(41, 10, 20), activity={"1": [10, 20], "2": [10]})
    late = gpu("GPU-1", [30, 40], LabelSpan(42, 30, 40), activity={"1": [30], "3": [40]})
    for one in (joined(early, late), joined(late, early)):
        assert one.energy_time_s.tolist() == one.energy_j.tolist() == [10, 20, 30, 40]
        assert one.power_w.size == 0
        assert [span.job_id for span in one.labels] == [41, 42]
        assert {each.name: each.activity_time_s.tolist() for each in one.instances} == {
            "1": [10, 20, 30], "2": [10], "3": [40],
        }  # fmt: skip
