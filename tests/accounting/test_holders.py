"""Tags to holds, rule by rule, and where the sources disagree: the examples of docs/holders.md."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from accounting.holders import Disagreements, Hold, settle
from accounting.model import Device, GpuSamples, Job, Tag

NOW_S = 100_000.0


def job(
    job_id: int = 42, start_s: int | None = 1000, end_s: int | None = 2000, submit_s: int = 1, **changes: object
) -> Job:
    """An attempt on n1 with one GPU."""
    made = Job("alpha", job_id, submit_s, str(job_id), "COMPLETED", start_s, end_s, nodes=("n1",), gpus=1)
    return replace(made, **changes)  # type: ignore[arg-type]


def hook(
    start_s: float = 1000.5,
    end_s: float | None = 2000.5,
    uuid: str | None = "GPU-0",
    job_id: int = 42,
    **changes: object,
) -> Tag:
    """What a hook saw from beginning to end."""
    made = Tag("alpha", job_id, "n1", uuid, None, start_s, end_s, "journal")
    return replace(made, **changes)  # type: ignore[arg-type]


def label(start_s: float, end_s: float, uuid: str = "GPU-0", job_id: int = 42) -> Tag:
    """A stretch of samples that carried the job's label."""
    return Tag("alpha", job_id, "n1", uuid, None, start_s, end_s, "hpc_job", exact=False)


def epilog(time_s: float, **changes: object) -> Tag:
    """An epilog whose prolog was missed."""
    return hook(time_s, time_s, exact=False, epilog_only=True, **changes)


def gpus() -> list[GpuSamples]:
    """Two GPUs of n1; DCGM's index 0 is GPU-0."""
    nothing = np.zeros(0)
    return [
        GpuSamples(Device("alpha", f"GPU-{index}", "n1", "A100", index), nothing, nothing, nothing, nothing)
        for index in range(2)
    ]


def spans(holds: object) -> list[tuple[int, int, str, float, float]]:
    """Holds as (job, submitted, device, start, end)."""
    assert isinstance(holds, list)
    assert all(isinstance(hold, Hold) for hold in holds)
    return [(hold.attempt.job_id, hold.attempt.submit_s, hold.uuid, hold.start_s, hold.end_s) for hold in holds]


def settled(
    *sources: list[Tag], jobs: list[Job] | None = None, within_s: tuple[float, float] = (0.0, NOW_S)
) -> tuple[list[tuple[int, int, str, float, float]], Disagreements]:
    """Who held what by these sources, in the order of trust, and where they disagreed; nothing is rejected."""
    named = [(tags[0].source, tags) for tags in sources]
    found = settle(named, [job()] if jobs is None else jobs, gpus(), NOW_S, within_s)
    assert found.rejects == []
    return spans(found.holds), found.disagreements


NONE = Disagreements()

# --- when


def test_a_hook_that_saw_both_ends_is_believed() -> None:
    assert settled([hook(1000.5, 2003.25)]) == ([(42, 1, "GPU-0", 1000.5, 2003.25)], NONE)


def test_a_missed_epilog_ends_where_slurm_says() -> None:
    found, counts = settled([hook(1000.5, None)])
    assert found == [(42, 1, "GPU-0", 1000.5, 2000)]
    assert counts == Disagreements(epilogs_missing=1)


def test_a_missed_prolog_begins_where_slurm_says() -> None:
    found, counts = settled([epilog(2000.75)])
    assert found == [(42, 1, "GPU-0", 1000, 2000)]
    assert counts == Disagreements(prologs_missing=1)


def test_a_job_that_runs_misses_no_epilog() -> None:
    found, counts = settled([hook(1000.5, None)], jobs=[job(end_s=None)])
    assert found == [(42, 1, "GPU-0", 1000.5, NOW_S)]
    assert counts == NONE


def test_a_reboot_in_the_middle() -> None:
    """The node crashed: no epilog. Slurm noticed at 1500 and ran the job again from 1700 on, with both hooks."""
    jobs = [job(end_s=1500, submit_s=1), job(start_s=1700, end_s=2700, submit_s=1500)]
    found, counts = settled([hook(1000.5, None), hook(1700.5, 2700.5)], jobs=jobs)
    assert found == [(42, 1, "GPU-0", 1000.5, 1500), (42, 1500, "GPU-0", 1700.5, 2700.5)]
    assert counts == Disagreements(epilogs_missing=1)


def test_an_epilog_of_a_later_attempt_ends_no_hold_after_that_attempt_began() -> None:
    """Both the first attempt's epilog and the second one's prolog were missed, so the journal has one long hold."""
    jobs = [job(end_s=1500, submit_s=1), job(start_s=1700, end_s=2700, submit_s=1500)]
    found, counts = settled([hook(1000.5, 2700.5)], jobs=jobs)
    assert found == [(42, 1, "GPU-0", 1000.5, 1700)]
    assert counts.ended_late == 1


def test_an_end_long_after_slurms_is_not_believed() -> None:
    """Slurm ended the job at 2000; its epilog came two hours later, when the node was back."""
    found, counts = settled([hook(1000.5, 9200.0)])
    assert found == [(42, 1, "GPU-0", 1000.5, 2000 + 3600)]
    assert counts == Disagreements(ended_late=1)


@pytest.mark.parametrize(("end_s", "late"), [(2060.0, 0), (2061.0, 1)])
def test_an_end_is_late_after_a_minute(end_s: float, late: int) -> None:
    found, counts = settled([hook(1000.5, end_s)])
    assert found == [(42, 1, "GPU-0", 1000.5, end_s)]
    assert counts == Disagreements(ended_late=late)


def test_a_label_in_passing_is_bounded_by_slurm() -> None:
    assert settled([label(1100, 1900)]) == ([(42, 1, "GPU-0", 1000, 2000)], NONE)


def test_a_single_sample_names_the_attempt_that_it_lies_in() -> None:
    """The first attempt's end is nearer than the second one's, and yet the sample is the second one's."""
    jobs = [job(end_s=1500, submit_s=1), job(start_s=1510, end_s=9000, submit_s=1500)]
    assert settled([label(1520, 1520)], jobs=jobs) == ([(42, 1500, "GPU-0", 1510, 9000)], NONE)


# --- which device, which source


def test_an_index_stands_for_the_device_that_has_it() -> None:
    tag = hook(uuid=None, index=1)
    assert settled([tag])[0] == [(42, 1, "GPU-1", 1000.5, 2000.5)]


def test_the_first_source_counts_where_a_later_one_names_another_device() -> None:
    found, counts = settled([hook()], [label(1100, 1900, "GPU-1")])
    assert found == [(42, 1, "GPU-0", 1000.5, 2000.5)]
    assert counts == Disagreements(other_devices=1)


def test_a_later_source_that_knows_less_does_not_disagree() -> None:
    both = [hook(), hook(uuid="GPU-1")]
    found, counts = settled(both, [label(1100, 1900)], jobs=[job(gpus=2)])
    assert len(found) == 2
    assert counts == NONE


def test_a_later_source_fills_in_for_jobs_that_the_first_does_not_know() -> None:
    jobs = [job(), job(43, 3000, 4000)]
    found, counts = settled([hook()], [label(1100, 1900), label(3100, 3900, job_id=43)], jobs=jobs)
    assert found == [(42, 1, "GPU-0", 1000.5, 2000.5), (43, 1, "GPU-0", 3000, 4000)]
    assert counts == NONE


# --- held twice


def test_a_device_that_two_jobs_held_whole_is_counted_once_for_the_second() -> None:
    """Slurm gave each of them a GPU of its own, but the mapping still names the first one's."""
    jobs = [job(), job(43, 1500, 2500)]
    found, counts = settled([hook()], [label(1600, 2400, job_id=43)], jobs=jobs)
    assert found == [(42, 1, "GPU-0", 1000.5, 2000.5), (43, 1, "GPU-0", 1500, 2500)]
    assert counts == Disagreements(held_twice=1)


def test_jobs_that_follow_each_other_may_overlap_by_a_clocks_difference() -> None:
    jobs = [job(), job(43, 2000, 2500)]
    assert settled([hook(1000.5, 2030.0), hook(2000.5, 2500.5, job_id=43)], jobs=jobs)[1] == NONE


@pytest.mark.parametrize("shared", [{"shards": 2, "gpus": 0}, {"mps_percent": 50, "gpus": 0}])
def test_jobs_that_share_by_slurm_are_no_disagreement(shared: dict[str, int]) -> None:
    jobs = [job(**shared), job(43, 1500, 2500, **shared)]
    assert settled([hook(), hook(1500.5, 2500.5, job_id=43)], jobs=jobs)[1] == NONE


# --- the window


def test_each_is_counted_in_one_window_only() -> None:
    """The job runs from 1000 to 2000; windows of 500 s."""
    tags = [hook(1000.5, None)], [label(1100, 1900, "GPU-1")]
    counts = [settled(*tags, within_s=(start_s, start_s + 500))[1] for start_s in range(500, 2500, 500)]
    assert counts == [NONE, Disagreements(other_devices=1), NONE, Disagreements(epilogs_missing=1)]


def test_a_tag_of_a_job_that_slurm_does_not_know_is_rejected_in_its_window() -> None:
    for within_s, count in (((0.0, NOW_S), 1), ((5000.0, NOW_S), 0)):
        found = settle([("journal", [hook(job_id=7)])], [job()], gpus(), NOW_S, within_s)
        assert list(found.holds) == []
        assert [reject.reason for reject in found.rejects] == [
            "job 7 is not in Slurm's accounting of cluster alpha"
        ] * count
