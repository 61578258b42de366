"""What the controller says of running jobs' GPUs: its answer read, kept, and given as tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accounting.holders import settle
from accounting.model import Device, GpuSamples, Job, Reject, Tag
from accounting.sources import SourceError
from collectors.gres_index import GresIndex, Sighting, Sightings, ask, read_jobs, shards_per_gpu

#: An answer of Slurm 22.05's `SLURM_TIME_FORMAT=%s scontrol show job -d`, cut down to the lines that matter.
ANSWER = """\
JobId=1 JobName=wrap
   UserId=ada(1008) GroupId=ada(1008) MCS_label=N/A
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   StartTime=1790000000 EndTime=1821536000 Deadline=N/A
   JOB_GRES=gpu:a100:2
     Nodes=n1 CPU_IDs=0 Mem=100 GRES=gpu:a100:2(IDX:0-1)
   TresPerJob=gres:gpu:2


JobId=2 JobName=wrap
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=1 Restarts=3 BatchFlag=1 Reboot=0 ExitCode=0:0
   StartTime=1790000010 EndTime=Unknown Deadline=N/A
   JOB_GRES=shard:3
     Nodes=n1 CPU_IDs=1 Mem=100 GRES=shard:3(IDX:2)
   TresPerNode=gres:shard:3


JobId=7 ArrayJobId=3 ArrayTaskId=0 JobName=wrap
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=0 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   StartTime=1790000020 EndTime=Unknown Deadline=N/A
   JOB_GRES=gpu:8
     Nodes=n[1-2] CPU_IDs=0-1 Mem=200 GRES=gpu:2(IDX:0,3)
     Nodes=n4 CPU_IDs=0 Mem=100 GRES=gpu:a100:1(IDX:1),mps:a100:50(IDX:2),gpu:v100(CNT:1)


JobId=4 JobName=wrap
   JobState=PENDING Reason=Resources Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   StartTime=Unknown EndTime=Unknown Deadline=N/A
   TresPerNode=gres:gpu:1


JobId=5 JobName=wrap
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   StartTime=1790000030 EndTime=1821536030 Deadline=N/A
   JOB_GRES=(null)
     Nodes=n1 CPU_IDs=4 Mem=100 GRES=


JobId=6 JobName=wrap
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   StartTime=1790000040 EndTime=1821536030 Deadline=N/A
   JOB_GRES=gpu:a100_1g.5gb:1
     Nodes=n1 CPU_IDs=4 Mem=100 GRES=gpu:a100_1g.5gb:1(IDX:5)


"""

NOW_S = 1790000100.5


def sighting(
    job_id: int = 1, start_s: int = 1790000000, indices: tuple[int, ...] = (0, 1), **changes: object
) -> Sighting:
    """Job 1 on n1, with changes."""
    values: dict[str, object] = {
        "time_s": NOW_S, "cluster": "alpha", "job_id": job_id, "restart": 0, "start_s": start_s, "node": "n1",
        "indices": indices, "share": None,
    }  # fmt: skip
    return Sighting(**{**values, **changes})  # type: ignore[arg-type]


def job(job_id: int = 1, start_s: int = 1790000000, end_s: int | None = None, submit_s: int = 1) -> Job:
    """An attempt on n1."""
    return Job("alpha", job_id, submit_s, str(job_id), "RUNNING", start_s=start_s, end_s=end_s, nodes=("n1",), gpus=2)


def gpu(index: int, node: str = "n1") -> GpuSamples:
    """A GPU that nobody sampled."""
    nothing = np.zeros(0)
    device = Device("alpha", f"GPU-{node}-{index}", node, "A100", index)
    return GpuSamples(device, nothing, nothing, nothing, nothing)


# --- the controller's answer


def test_every_running_job_with_gpus_is_seen() -> None:
    assert list(read_jobs(ANSWER, "alpha", NOW_S, {"n1": 4.0})) == [
        sighting(1),
        sighting(2, 1790000010, (2,), restart=3, share=0.75),
        sighting(7, 1790000020, (0, 3)),
        sighting(7, 1790000020, (0, 3), node="n2"),
        sighting(7, 1790000020, (1,), node="n4"),
        sighting(7, 1790000020, (2,), node="n4", share=0.5),
    ]


def test_shards_of_a_node_that_is_not_known_are_no_share() -> None:
    assert [one.share for one in read_jobs(ANSWER, "alpha", NOW_S, {}) if one.job_id == 2] == [None]


def test_a_job_whose_name_looks_like_another_job_bills_nobody() -> None:
    """A job's name may have newlines; job 1 then seems to be there twice, and neither is believed."""
    forged = ANSWER.split("\n\n\n")[0].replace("IDX:0-1", "IDX:3")
    text = ANSWER.replace("JobId=5 JobName=wrap", f"JobId=5 JobName=x\n\n{forged}\n\n")
    assert 1 not in {one.job_id for one in read_jobs(text, "alpha", NOW_S, {})}
    assert 2 in {one.job_id for one in read_jobs(text, "alpha", NOW_S, {})}


def test_shards_per_gpu_by_what_the_nodes_have() -> None:
    text = (
        "NodeName=n1 Arch=x86_64 Gres=gpu:a100:4(S:0-1),shard:a100:16(S:0-1) State=IDLE\n"
        "NodeName=n2 Arch=x86_64 Gres=gpu:2,shard:3 State=IDLE\n"
        "NodeName=n3 Gres=gpu:a100:4 State=IDLE\nNodeName=n4 Gres=(null)\n"
    )
    assert shards_per_gpu(text) == {"n1": 4.0, "n2": 1.5}


def test_a_controller_that_does_not_answer(tmp_path: Path) -> None:
    program = tmp_path / "scontrol"
    program.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(SourceError) as refused:
        ask("alpha", str(program), NOW_S)
    assert refused.value.what.endswith("(exit 1): slurm_load_jobs error: Unable to contact slurm controller")
    assert "gpu.holders" in refused.value.advice


def test_one_question_for_all_jobs_and_one_for_the_nodes_where_shards_are_in_use(tmp_path: Path) -> None:
    (tmp_path / "answer").write_text(ANSWER)
    program = tmp_path / "scontrol"
    program.write_text(
        f'#!/bin/sh\necho "$SLURM_TIME_FORMAT $*" >>{tmp_path}/asked\n'
        f'case "$*" in *node*) echo "NodeName=n1 Gres=gpu:4,shard:8";; *) cat {tmp_path}/answer;; esac\n'
    )
    program.chmod(0o755)
    seen = ask("alpha", str(program), NOW_S)
    assert len(seen) == 6
    assert [one.share for one in seen if one.job_id == 2] == [1.0]  # three shards of two each GPU has: all of it
    assert (tmp_path / "asked").read_text().splitlines() == [
        "%s --clusters=alpha show job -d", "%s --clusters=alpha --oneliner show node",
    ]  # fmt: skip


# --- what is kept


def test_what_was_seen_before_is_not_written_again(tmp_path: Path) -> None:
    kept = Sightings(tmp_path / "seen" / "alpha")
    assert kept.keep([sighting(1), sighting(2)]) == 2
    assert kept.keep([sighting(1, time_s=NOW_S + 30), sighting(3)]) == 1
    assert kept.keep([sighting(1, restart=1, start_s=1790000090)]) == 1
    assert [path.name for path in kept.folder.iterdir()] == ["2026-09-21.jsonl"]  # date -u -d @1790000100
    assert list(kept.read(NOW_S, NOW_S)) == [
        sighting(1), sighting(2), sighting(3), sighting(1, restart=1, start_s=1790000090),
    ]  # fmt: skip


def test_each_day_has_a_file_that_is_whole(tmp_path: Path) -> None:
    kept = Sightings(tmp_path)
    days = [NOW_S + 86400 * day for day in range(5)]
    for day_s in days:
        assert kept.keep([sighting(1, time_s=day_s)]) == 1
    assert [one.time_s for one in kept.read(days[2], days[2] + 1) if isinstance(one, Sighting)] == days[1:4]
    assert len(list(kept.read(0, 1e12))) == 5


def test_a_torn_line_costs_no_other(tmp_path: Path) -> None:
    kept = Sightings(tmp_path)
    kept.keep([sighting(1), sighting(2)])
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-20])
    assert kept.keep([sighting(2), sighting(3)]) == 2
    found = list(kept.read(NOW_S, NOW_S))
    assert [one for one in found if isinstance(one, Sighting)] == [sighting(1), sighting(2), sighting(3)]
    (reject,) = (one for one in found if isinstance(one, Reject))
    assert (reject.source, reject.where) == ("gres_index", f"{path}:2")


@pytest.mark.parametrize(
    "text", ["nonsense", "[1]", '{"v": 2}', '{"v": 1}', '{"v": 1, "time": 1, "job_id": "7"}', "[" * 100_000]
)
def test_what_is_no_sighting_goes_to_quarantine(tmp_path: Path, text: str) -> None:
    (tmp_path / "2026-09-21.jsonl").write_text(text + "\n")
    (found,) = Sightings(tmp_path).read(NOW_S, NOW_S)
    assert isinstance(found, Reject)
    assert found.raw == text


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError) as refused:
        Sightings(tmp_path / "file" / "alpha").keep([sighting()])
    assert f"cannot be kept in {tmp_path}/file/alpha: " in refused.value.what


# --- as tags


def tags(folder: Path, jobs: list[Job], minors: dict[str, tuple[int, ...]] | None = None) -> list[Tag | Reject]:
    return list(GresIndex("alpha", folder, minors or {}).tags(1790000000, 1790003600, jobs, []))


def test_a_sighting_is_a_tag_from_the_jobs_start_on(tmp_path: Path) -> None:
    Sightings(tmp_path).keep([sighting(1, indices=(2,), restart=1, share=0.5), sighting(9)])
    assert tags(tmp_path, [job(1)]) == [
        Tag("alpha", 1, "n1", None, 2, 1790000000.0, NOW_S, "gres_index", exact=False, restart=1, share=0.5)
    ]


def test_slurm_bounds_the_hold_and_the_index_is_dcgms(tmp_path: Path) -> None:
    Sightings(tmp_path).keep([sighting(1)])
    jobs = [job(1, end_s=1790000500)]
    settled = settle(
        [("gres_index", [one for one in tags(tmp_path, jobs) if isinstance(one, Tag)])], jobs, [gpu(0), gpu(1)], 2e9
    )
    assert [(hold.uuid, hold.start_s, hold.end_s) for hold in settled.holds] == [
        ("GPU-n1-0", 1790000000, 1790000500), ("GPU-n1-1", 1790000000, 1790000500),
    ]  # fmt: skip


def test_minors_that_do_not_follow_the_bus_are_translated(tmp_path: Path) -> None:
    """The first GPU on the bus is /dev/nvidia1, the third one /dev/nvidia0."""
    Sightings(tmp_path).keep([sighting(1, indices=(0, 1, 7))])
    found = tags(tmp_path, [job(1)], {"n1": (1, 3, 0, 2)})
    assert [one.index for one in found if isinstance(one, Tag)] == [2, 0, None]


def test_a_clock_that_is_behind_still_names_the_attempt(tmp_path: Path) -> None:
    """The second attempt is seen, by the clock of this host, before it began and while the first one ran."""
    Sightings(tmp_path).keep([sighting(1, start_s=1790000120, restart=1, indices=(0,))])
    jobs = [job(1, 1790000000, 1790000120, submit_s=1), job(1, 1790000120, 1790000900, submit_s=2)]
    settled = settle(
        [("gres_index", [one for one in tags(tmp_path, jobs) if isinstance(one, Tag)])], jobs, [gpu(0)], 2e9
    )
    assert [hold.attempt.submit_s for hold in settled.holds] == [2]


def test_a_folder_that_is_not_there_has_no_tags(tmp_path: Path) -> None:
    assert tags(tmp_path / "none", [job(1)]) == []
