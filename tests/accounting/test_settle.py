"""Tags to holds: which attempt, device, time and source each kind of tag means, on a few seconds of one node, by hand.

Times are seconds; a job's attempt is told from another by its submit time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from accounting.holders import CLOCK_TOLERANCE_S, EPILOG_TOLERANCE_S, Hold, settle
from accounting.model import Device, GpuSamples, Job, Reject, Tag

UNTIL_S = 100_000.0


def job(start_s: int | None, end_s: int | None, job_id: int = 42, submit_s: int | None = None, **changes: Any) -> Job:
    submit_s = submit_s if submit_s is not None else (start_s or 0) - 10
    return Job("alpha", job_id, submit_s, str(job_id), "COMPLETED", start_s, end_s, nodes=("n1",), gpus=1, **changes)


def tag(start_s: float, end_s: float | None, job_id: int = 42, **changes: Any) -> Tag:
    """A hold that a hook saw begin, and perhaps end."""
    words = {"uuid": "GPU-1", "index": 0, "node": "n1", "source": "journal", "exact": True, **changes}
    return Tag(cluster="alpha", job_id=job_id, start_s=start_s, end_s=end_s, **words)


def orphan_end(at_s: float, job_id: int = 42, **changes: Any) -> Tag:
    """An epilog whose prolog was missed."""
    return tag(at_s, at_s, job_id, exact=False, epilog_only=True, **changes)


def seen(first_s: float, last_s: float, job_id: int = 42, **changes: Any) -> Tag:
    """A label on samples."""
    return tag(first_s, last_s, job_id, exact=False, source="hpc_job", **changes)


def gpu(uuid: str, node: str, index: int) -> GpuSamples:
    nothing = np.zeros(0)
    return GpuSamples(Device("alpha", uuid, node, "A100", index), nothing, nothing, nothing, nothing)


GPUS = [gpu("GPU-1", "n1", 0), gpu("GPU-2", "n1", 1), gpu("GPU-3", "n2", 0)]


def holds_of(*tags: Tag, jobs: Sequence[Job]) -> list[Hold]:
    """The holds of tags of one source, where nothing is rejected."""
    settled = settle([("journal", tags)], jobs, GPUS, UNTIL_S)
    assert settled.rejects == []
    return list(settled.holds)


def spans(holds: Sequence[Hold]) -> list[tuple[int, str, float, float]]:
    """(submit time, device, start, end) of each hold."""
    return [(hold.attempt.submit_s, hold.uuid, hold.start_s, hold.end_s) for hold in holds]


def reject_of(*tags: Tag, jobs: Sequence[Job]) -> Reject:
    settled = settle([("journal", tags)], jobs, GPUS, UNTIL_S)
    assert settled.holds == []
    (reject,) = settled.rejects
    return reject


# --- when


def test_what_a_hook_saw_stands() -> None:
    (hold,) = holds_of(tag(1000.5, 2003.25), jobs=[job(1000, 2000)])
    assert (hold.start_s, hold.end_s) == (1000.5, 2003.25)
    assert (hold.uuid, hold.node, hold.capacity, hold.source) == ("GPU-1", "n1", 1.0, "journal")


def test_a_missed_epilog_ends_where_slurm_says() -> None:
    assert spans(holds_of(tag(1000.5, None), jobs=[job(1000, 2000)])) == [(990, "GPU-1", 1000.5, 2000)]


def test_a_missed_prolog_begins_where_slurm_says() -> None:
    assert spans(holds_of(orphan_end(2003), jobs=[job(1000, 2000)])) == [(990, "GPU-1", 1000, 2000)]


def test_a_label_is_bound_by_slurms_times() -> None:
    assert spans(holds_of(seen(1020, 1980), jobs=[job(1000, 2000)])) == [(990, "GPU-1", 1000, 2000)]


def test_a_job_that_runs_holds_until_the_run_ends() -> None:
    for one in (tag(1000.5, None), seen(1020, 5000)):
        ((_, _, _, end_s),) = spans(holds_of(one, jobs=[job(1000, None)]))
        assert end_s == UNTIL_S


@pytest.mark.parametrize("late_s", [0, 30, EPILOG_TOLERANCE_S])
def test_an_epilog_may_be_late_and_the_job_pays_until_then(late_s: float) -> None:
    """The devices are not free before it has run."""
    ((_, _, _, end_s),) = spans(holds_of(tag(1000, 2000 + late_s), jobs=[job(1000, 2000)]))
    assert end_s == 2000 + late_s


def test_an_epilog_that_is_later_than_can_be_is_not_believed() -> None:
    ((_, _, _, end_s),) = spans(holds_of(tag(1000, 2000 + 9 * EPILOG_TOLERANCE_S), jobs=[job(1000, 2000)]))
    assert end_s == 2000 + EPILOG_TOLERANCE_S


def test_a_hold_of_no_time_pays_nothing() -> None:
    assert holds_of(tag(1000, 1000), jobs=[job(1000, 1000)]) == []


def test_a_hook_that_ran_twice_is_one_hold() -> None:
    assert spans(holds_of(tag(1000, None), tag(1500, 2001), jobs=[job(1000, 2000)])) == [(990, "GPU-1", 1000, 2001)]


# --- which attempt

FIRST, SECOND = job(1000, 2000), job(2100, 9000)
RUNS = [FIRST, SECOND]


def test_a_requeued_jobs_attempts_each_hold_for_themselves() -> None:
    found = holds_of(tag(1000.2, 2000.4), tag(2100.2, 9000.4, restart=1), jobs=RUNS)
    assert spans(found) == [(990, "GPU-1", 1000.2, 2000.4), (2090, "GPU-1", 2100.2, 9000.4)]


def test_a_crashed_nodes_open_hold_is_the_attempts_that_began_then() -> None:
    """No epilog ran, the second attempt is the longer one, and still the first does not reach into it."""
    found = holds_of(tag(1000.2, None), tag(2100.2, 9000.4), jobs=RUNS)
    assert spans(found) == [(990, "GPU-1", 1000.2, 2000), (2090, "GPU-1", 2100.2, 9000.4)]


def test_an_orphan_epilog_is_the_attempts_that_ended_then() -> None:
    assert spans(holds_of(orphan_end(2003), jobs=RUNS)) == [(990, "GPU-1", 1000, 2000)]
    assert spans(holds_of(orphan_end(9003), jobs=RUNS)) == [(2090, "GPU-1", 2100, 9000)]


def test_a_label_across_both_attempts_is_both() -> None:
    """Samples are seldom, and a requeued job keeps its number: the label was never seen to go."""
    assert spans(holds_of(seen(1020, 8980), jobs=RUNS)) == [(990, "GPU-1", 1000, 2000), (2090, "GPU-1", 2100, 9000)]


def test_a_number_that_was_given_again_is_the_job_of_its_time() -> None:
    """Job numbers begin again at MaxJobId."""
    old, new = job(1000, 2000), job(90_000, 95_000)
    assert spans(holds_of(tag(90_001, 95_001), jobs=[old, new])) == [(89_990, "GPU-1", 90_001, 95_001)]


def test_an_open_hold_of_a_number_that_was_given_again_is_not_the_new_jobs() -> None:
    """Its epilog was missed years ago."""
    assert reject_of(tag(1000, None), jobs=[job(90_000, 95_000)]).reason == (
        "job 42 did not run at that time by Slurm's accounting"
    )


def test_attempts_that_never_started_hold_nothing() -> None:
    assert spans(holds_of(tag(2100, 9001), jobs=[job(None, 1500, submit_s=1), SECOND])) == [
        (2090, "GPU-1", 2100, 9001)
    ]  # fmt: skip


@pytest.mark.parametrize("early_s", [0, 1, CLOCK_TOLERANCE_S])
def test_clocks_may_differ_a_little(early_s: float) -> None:
    (hold,) = holds_of(tag(1000 - early_s, 2000), jobs=[job(1000, 2000)])
    assert hold.attempt.submit_s == 990


# --- which device


def test_a_device_by_its_place_where_the_hook_did_not_know_its_uuid() -> None:
    assert spans(holds_of(tag(1000, 2000, uuid=None, index=1), jobs=[FIRST])) == [(990, "GPU-2", 1000, 2000)]
    assert spans(holds_of(tag(1000, 2000, uuid=None, index=0, node="n2"), jobs=[FIRST])) == [
        (990, "GPU-3", 1000, 2000)
    ]  # fmt: skip


def test_a_device_that_nobody_sampled_is_held_by_its_uuid() -> None:
    """Its energy is unknown, and its time is not."""
    assert spans(holds_of(tag(1000, 2000, uuid="GPU-9"), jobs=[FIRST])) == [(990, "GPU-9", 1000, 2000)]


def test_every_device_of_a_job() -> None:
    found = holds_of(tag(1000, 2000), tag(1000, 2000, uuid="GPU-2", index=1), jobs=[FIRST])
    assert [hold.uuid for hold in found] == ["GPU-1", "GPU-2"]


def test_two_instances_of_a_gpu_are_two_holds() -> None:
    found = holds_of(tag(1000, 2000, mig="1"), tag(1000, 2000, mig="2"), jobs=[FIRST])
    assert [hold.mig for hold in found] == ["1", "2"]
    assert all(0 < hold.capacity < 1 for hold in found)


# --- which source


def sources(*by_source: tuple[str, list[Tag]], jobs: Sequence[Job]) -> list[tuple[str, str]]:
    settled = settle(by_source, jobs, GPUS, UNTIL_S)
    assert settled.rejects == []
    return sorted((hold.uuid, hold.source) for hold in settled.holds)


def test_the_first_source_that_knows_an_attempt_on_a_node_wins() -> None:
    """The label says another GPU, as it does where the mapping folder was written by Slurm's index."""
    found = sources(("journal", [tag(1000, 2000)]), ("hpc_job", [seen(1020, 1980, uuid="GPU-2")]), jobs=[FIRST])
    assert found == [("GPU-1", "journal")]


def test_the_order_of_trust_is_the_sites() -> None:
    found = sources(("hpc_job", [seen(1020, 1980, uuid="GPU-2")]), ("journal", [tag(1000, 2000)]), jobs=[FIRST])
    assert found == [("GPU-2", "hpc_job")]


def test_another_node_may_be_known_by_another_source() -> None:
    """The hook ran on one of two nodes."""
    found = sources(
        ("journal", [tag(1000, 2000)]),
        ("hpc_job", [seen(1020, 1980), seen(1020, 1980, uuid="GPU-3", node="n2")]),
        jobs=[FIRST],
    )
    assert found == [("GPU-1", "journal"), ("GPU-3", "hpc_job")]


def test_another_attempt_may_be_known_by_another_source() -> None:
    found = sources(("journal", [tag(1000, 2000)]), ("hpc_job", [seen(2200, 8000)]), jobs=RUNS)
    assert found == [("GPU-1", "hpc_job"), ("GPU-1", "journal")]


# --- what cannot be settled


def test_a_job_that_slurm_does_not_know() -> None:
    one = tag(1000, 2000, 43)
    reject = reject_of(one, jobs=[FIRST])
    assert reject.reason == "job 43 is not in Slurm's accounting of cluster alpha"
    assert reject.source == "journal"
    assert json.loads(reject.raw) == {
        "cluster": "alpha", "job_id": 43, "node": "n1", "uuid": "GPU-1", "index": 0, "start_s": 1000, "end_s": 2000,
        "source": "journal", "exact": True, "restart": None, "mig": None, "share": None, "epilog_only": False,
    }  # fmt: skip
    assert reject.where.startswith("journal on n1, at 1000.000")


def test_a_time_at_which_the_job_did_not_run() -> None:
    reject = reject_of(tag(5000, 6000), jobs=[FIRST])
    assert reject.reason == "job 42 did not run at that time by Slurm's accounting"


def test_a_device_that_nobody_knows() -> None:
    reject = reject_of(tag(1000, 2000, uuid=None, index=7), jobs=[FIRST])
    assert reject.reason == "no device with index 7 is known on node n1, and the tag has no UUID"


def test_a_label_in_quarantine_is_the_same_however_far_it_was_read() -> None:
    rejects = [reject_of(seen(5000, last_s), jobs=[FIRST]) for last_s in (5600, 6000)]
    assert rejects[0] == rejects[1] and json.loads(rejects[0].raw)["start_s"] == 5000
    other = reject_of(seen(5030, 6000), jobs=[FIRST])
    assert other.raw != rejects[0].raw


def test_what_lies_outside_of_the_window_is_another_windows_to_reject() -> None:
    for one in (tag(1000, 2000, 43), tag(1000, None, 43), orphan_end(9000, 43)):
        settled = settle([("journal", [one])], [FIRST], GPUS, UNTIL_S, (3000, 8000))
        assert (settled.holds, settled.rejects) == ([], [])


def test_a_label_that_stays_after_its_jobs_end_is_of_the_window_in_which_it_came() -> None:
    """Its epilog was missed; later windows do not have the job any more, and Slurm knows it all the same."""
    stale = seen(2500, 9000, 43)
    for within_s, rejects in (((2000, 3000), 1), ((3000, 8000), 0), ((8000, 9500), 0)):
        assert len(settle([("hpc_job", [stale])], [FIRST], GPUS, UNTIL_S, within_s).rejects) == rejects


def test_a_bad_tag_costs_no_other() -> None:
    settled = settle([("journal", [tag(1000, 2000, 43), tag(1000, 2000)])], [FIRST], GPUS, UNTIL_S)
    assert (len(settled.holds), len(settled.rejects)) == (1, 1)
