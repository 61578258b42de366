"""The hooks' journal: lines to holds, and what is no line of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounting.model import Job, Reject, Tag
from accounting.sources import SourceError
from collectors.journal import Journal, Trouble

GPU = {"index": 0, "minor": 1, "uuid": "GPU-1", "mig": None}
OTHER = {"index": 1, "minor": 0, "uuid": "GPU-2", "mig": None}


def line(event: str, time: float | str, job_id: int = 42, **changes: Any) -> str:
    """A line as the hook writes it, with changes."""
    row = {
        "v": 1, "event": event, "time": time, "cluster": "alpha", "job_id": job_id, "restart": 0, "sluid": None,
        "uid": 1000, "user": "ada", "account": "phys", "node": "n1", "gpus": [GPU], "share": None,
    }  # fmt: skip
    return json.dumps({**row, **changes}) + "\n"


def read(
    folder: Path, *lines: str, node: str = "n1", window: tuple[float, float] = (0, 1e10), jobs: tuple[int, ...] = ()
) -> list[Tag | Reject]:
    """What a journal of these lines says of the window, where these jobs were there."""
    (folder / f"{node}.jsonl").write_text("".join(lines))
    there = [Job("alpha", job_id, 0, str(job_id), "RUNNING") for job_id in jobs]
    return list(Journal("alpha", folder).tags(*window, there, []))


def spans(found: list[Tag | Reject]) -> list[tuple[int, str | None, float, float | None, bool]]:
    """The tags as (job, device, start, end, whether a hook saw it all)."""
    assert all(isinstance(one, Tag) for one in found), found
    return [(one.job_id, one.uuid, one.start_s, one.end_s, one.exact) for one in found if isinstance(one, Tag)]


# --- pairing


def test_a_start_and_its_end_are_a_hold(tmp_path: Path) -> None:
    (tag,) = read(tmp_path, line("start", 100.5), line("end", 200.25))
    assert tag == Tag(
        cluster="alpha", job_id=42, node="n1", uuid="GPU-1", index=0, start_s=100.5, end_s=200.25, source="journal",
        exact=True, restart=0, mig=None, share=None,
    )  # fmt: skip


def test_each_gpu_of_a_job_is_held(tmp_path: Path) -> None:
    both = [GPU, {**OTHER, "mig": "3"}]
    found = read(tmp_path, line("start", 100, gpus=both), line("end", 200, gpus=both))
    assert spans(found) == [(42, "GPU-1", 100, 200, True), (42, "GPU-2", 100, 200, True)]
    assert [one.mig for one in found if isinstance(one, Tag)] == [None, "3"]


def test_a_job_that_runs_is_open(tmp_path: Path) -> None:
    assert spans(read(tmp_path, line("start", 100))) == [(42, "GPU-1", 100, None, True)]


def test_an_end_whose_start_was_missed(tmp_path: Path) -> None:
    found = read(tmp_path, line("end", 200))
    assert spans(found) == [(42, "GPU-1", 200, 200, False)]
    assert [one.epilog_only for one in found if isinstance(one, Tag)] == [True]


def test_an_end_whose_start_was_missed_tells_of_earlier_windows_where_its_job_was(tmp_path: Path) -> None:
    assert spans(read(tmp_path, line("end", 2000), window=(0, 1000), jobs=(42,))) == [(42, "GPU-1", 2000, 2000, False)]
    assert read(tmp_path, line("end", 2000), window=(0, 1000), jobs=(43,)) == []


def test_two_starts_of_one_job_are_two_attempts_where_no_restart_tells_them_apart(tmp_path: Path) -> None:
    """A node crashed, so no epilog ran; before Slurm 22.05 the hook is told no restart count."""
    lines = [line("start", 100, restart=None), line("start", 500, restart=None), line("end", 600, restart=None)]
    assert spans(read(tmp_path, *lines)) == [(42, "GPU-1", 100, None, True), (42, "GPU-1", 500, 600, True)]


def test_attempts_are_told_apart_by_their_restart(tmp_path: Path) -> None:
    lines = [line("start", 100), line("start", 500, restart=1), line("end", 501), line("end", 600, restart=1)]
    assert spans(read(tmp_path, *lines)) == [(42, "GPU-1", 100, 501, True), (42, "GPU-1", 500, 600, True)]


def test_the_epilog_of_an_attempt_that_is_requeued_may_count_the_next_one(tmp_path: Path) -> None:
    """As Slurm 22.05 was seen to do."""
    lines = [
        line("start", 100),
        line("end", 200, restart=1),
        line("start", 300, restart=1),
        line("end", 400, restart=2),
    ]
    assert spans(read(tmp_path, *lines)) == [(42, "GPU-1", 100, 200, True), (42, "GPU-1", 300, 400, True)]


def test_the_order_of_lines_counts_and_not_their_times(tmp_path: Path) -> None:
    """The clock stepped back by an hour between the two jobs: sorted by time, 43 would end before it starts."""
    lines = [line("start", 5000), line("end", 5100), line("start", 1400, 43), line("end", 1500, 43)]
    assert spans(read(tmp_path, *lines)) == [(42, "GPU-1", 5000, 5100, True), (43, "GPU-1", 1400, 1500, True)]


def test_an_end_before_its_start_is_told_by_slurm(tmp_path: Path) -> None:
    """The clock stepped back during the job: it was held at one of the two times, so Slurm bounds the hold."""
    assert spans(read(tmp_path, line("start", 5000), line("end", 1500))) == [(42, "GPU-1", 1500, 5000, False)]


def test_nodes_and_jobs_do_not_end_each_others_holds(tmp_path: Path) -> None:
    read(tmp_path, line("start", 100), line("start", 110, 43, gpus=[OTHER]), line("end", 190, 43, gpus=[OTHER]))
    found = read(tmp_path, line("start", 101, node="n2"), line("end", 201, node="n2"), node="n2")
    assert sorted((tag.node, tag.job_id, tag.start_s, tag.end_s) for tag in found if isinstance(tag, Tag)) == [
        ("n1", 42, 100, None), ("n1", 43, 110, 190), ("n2", 42, 101, 201),
    ]  # fmt: skip


def test_a_hold_may_span_a_journal_that_was_put_aside(tmp_path: Path) -> None:
    (tmp_path / "n1.000001.jsonl").write_text(line("start", 100))
    assert spans(read(tmp_path, line("end", 200))) == [(42, "GPU-1", 100, 200, True)]


def test_journals_that_were_put_aside_go_before_the_one_that_is_written(tmp_path: Path) -> None:
    """By name, the millionth would come before the one before it; by time, as the clock stepped, all would be wrong."""
    (tmp_path / "n1.1000000.jsonl").write_text(line("end", 50) + line("start", 60, restart=1))
    (tmp_path / "n1.999999.jsonl").write_text(line("start", 100))
    (tmp_path / "n1-b.jsonl").write_text(line("end", 10, 43, node="n1-b"))
    found = read(tmp_path, line("end", 70, restart=1))
    assert sorted(spans(found)) == [
        (42, "GPU-1", 50, 100, False),
        (42, "GPU-1", 60, 70, True),
        (43, "GPU-1", 10, 10, False),
    ]


def test_journals_that_were_sent_follow_each_other_by_their_first_event(tmp_path: Path) -> None:
    (tmp_path / "n1.ffffffffffffffff.jsonl").write_text(line("start", 100))
    (tmp_path / "n1.0000000000000000.jsonl").write_text(line("end", 200) + line("start", 300, 43))
    assert spans(list(Journal("alpha", tmp_path).tags(0, 1e10, [], []))) == [
        (42, "GPU-1", 100, 200, True), (43, "GPU-1", 300, None, True),
    ]  # fmt: skip


def test_only_what_overlaps_the_window(tmp_path: Path) -> None:
    lines = [line("start", 100), line("end", 200), line("start", 300, 43), line("end", 400, 43), line("start", 500, 44)]
    assert [span[0] for span in spans(read(tmp_path, *lines, window=(200, 300)))] == [42]
    assert [span[0] for span in spans(read(tmp_path, *lines, window=(201, 300)))] == []
    assert [span[0] for span in spans(read(tmp_path, *lines, window=(350, 501)))] == [43, 44]
    assert [span[0] for span in spans(read(tmp_path, *lines, window=(9000, 9001)))] == [44]


def test_other_clusters_are_left_out_and_lines_that_name_none_are_ours(tmp_path: Path) -> None:
    lines = [line("start", 100, 1, cluster="beta"), line("start", 100, 2, cluster=None), line("start", 100, 3)]
    assert [span[0] for span in spans(read(tmp_path, *lines))] == [2, 3]


def test_an_older_hook_says_less(tmp_path: Path) -> None:
    little = {"v": 1, "event": "start", "time": 100, "job_id": 42, "node": "n1", "gpus": [{"index": 0}]}
    (tag,) = read(tmp_path, json.dumps(little) + "\n")
    assert isinstance(tag, Tag)
    assert (tag.uuid, tag.index, tag.restart, tag.share, tag.mig) == (None, 0, None, None, None)


def test_shares_of_the_job_or_of_each_gpu(tmp_path: Path) -> None:
    gpus = [GPU, {**OTHER, "share": 0.25}]
    found = read(tmp_path, line("start", 100, gpus=gpus, share=0.5))
    assert [tag.share for tag in found if isinstance(tag, Tag)] == [0.5, 0.25]


def trouble(time: float, **changes: Any) -> str:
    """A line in which a hook tells that it could not do its work."""
    row = {
        "v": 1,
        "event": "error",
        "time": time,
        "cluster": "alpha",
        "job_id": 42,
        "node": "n1",
        "message": "disk full",
    }
    return json.dumps({**row, **changes}) + "\n"


def test_what_the_hook_noted_of_itself_is_no_hold(tmp_path: Path) -> None:
    assert spans(read(tmp_path, trouble(1), "\n", line("start", 100))) == [(42, "GPU-1", 100, None, True)]


def test_what_the_hooks_noted_of_themselves(tmp_path: Path) -> None:
    lines = [
        trouble(99),
        trouble(300, job_id=None, message="no"),
        line("start", 200),
        trouble(100),
        trouble(250, cluster="b"),
    ]
    read(tmp_path, *lines)
    assert Journal("alpha", tmp_path).troubles(100) == [
        Trouble("n1", 100, 42, "disk full"), Trouble("n1", 300, None, "no"),
    ]  # fmt: skip


# --- what is no line of it


def rejected(found: list[Tag | Reject]) -> Reject:
    (one,) = (each for each in found if isinstance(each, Reject))
    return one


def test_a_torn_last_line(tmp_path: Path) -> None:
    torn = line("end", 200)[:50]
    read(tmp_path, line("start", 100), torn)
    os.utime(tmp_path / "n1.jsonl", (1e9, 1e9))
    found = list(Journal("alpha", tmp_path).tags(0, 1e10, [], []))
    reject = rejected(found)
    assert (reject.source, reject.where, reject.raw) == ("journal", f"{tmp_path}/n1.jsonl:2", torn)
    assert reject.reason == "the last line is torn: it was cut off while it was written"
    assert len(found) == 2


def test_a_last_line_that_may_just_be_written_is_left_for_the_next_run(tmp_path: Path) -> None:
    torn = line("end", 200)[:50]
    assert spans(read(tmp_path, line("start", 100), torn)) == [(42, "GPU-1", 100, None, True)]
    assert spans(read(tmp_path, line("start", 100), line("end", 200))) == [(42, "GPU-1", 100, 200, True)]


def test_a_last_line_without_its_newline_counts_where_it_is_whole(tmp_path: Path) -> None:
    assert spans(read(tmp_path, line("start", 100), line("end", 200).rstrip("\n"))) == [(42, "GPU-1", 100, 200, True)]


def test_a_torn_line_costs_no_other(tmp_path: Path) -> None:
    """After a power cut the hook begins its next line on a line of its own."""
    found = read(tmp_path, line("start", 100), line("end", 150, 41)[:50] + "\n", line("end", 200))
    reject = rejected(found)
    assert (reject.where, reject.reason) == (f"{tmp_path}/n1.jsonl:2", "not a line of JSON")
    assert len(found) == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense\n", "not a line of JSON"),
        ("[" * 100_000 + "\n", "not a line of JSON"),
        ("[1]\n", "not an event of version 1"),
        ('{"v":2,"event":"start"}\n', "not an event of version 1"),
        (line("begin", 100), "unknown event 'begin'"),
        (line("start", 100, job_id="42"), "job_id: missing, or not what it should be"),
        (line("start", 100, job_id=True), "job_id: missing, or not what it should be"),
        (line("start", 100, job_id=None), "job_id: missing, or not what it should be"),
        (line("start", "noon", node=None), "time, node: missing, or not what it should be"),
        (line("start", float("nan")), "time: missing, or not what it should be"),
        (line("start", float("inf")), "time: missing, or not what it should be"),
        (line("start", -1), "time: missing, or not what it should be"),
        (line("start", 10**400), "time: missing, or not what it should be"),
        (line("start", 100, restart=[1]), "restart: missing, or not what it should be"),
        (line("start", 100, cluster=5), "cluster: missing, or not what it should be"),
        (line("start", 100, share="half"), "share: missing, or not what it should be"),
        (line("start", 100, share=0), "share: missing, or not what it should be"),
        (line("start", 100, share=1.5), "share: missing, or not what it should be"),
        (line("start", 100, gpus=None), "gpus: missing, or not what it should be"),
        (trouble(100, message=None), "message: missing, or not what it should be"),
        (line("start", 100, gpus=["GPU-1"]), "gpus: missing, or not what it should be"),
        (line("start", 100, gpus=[{**GPU, "uuid": 7}]), "gpus: missing, or not what it should be"),
        (line("start", 100, gpus=[{**GPU, "index": "0"}]), "gpus: missing, or not what it should be"),
        (line("start", 100, gpus=[{**GPU, "mig": [1]}]), "gpus: missing, or not what it should be"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_bad_line_goes_to_quarantine_as_it_came(tmp_path: Path, text: str, reason: str) -> None:
    found = read(tmp_path, line("start", 90, 7), text, line("end", 110, 7))
    reject = rejected(found)
    assert (reject.raw, reject.reason) == (text.rstrip("\n"), reason)
    assert [one.job_id for one in found if isinstance(one, Tag)] == [7]


def test_bytes_that_are_no_text_are_kept_readable(tmp_path: Path) -> None:
    (tmp_path / "n1.jsonl").write_bytes(b"\xff\xfe\x00caf\xe9\n" + line("start", 100).encode())
    found = list(Journal("alpha", tmp_path).tags(0, 1e10, [], []))
    assert rejected(found).raw == "\\xff\\xfe\x00caf\\xe9"
    assert len(found) == 2


def test_a_line_separator_inside_a_name_ends_no_line(tmp_path: Path) -> None:
    text = json.dumps(json.loads(line("start", 100, user="a\u2028b\x85c")), ensure_ascii=False) + "\n"
    assert len(spans(read(tmp_path, text))) == 1


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as refused:
        list(Journal("alpha", tmp_path / "none").tags(0, 1, [], []))
    assert refused.value.what == f"the journal's folder {tmp_path}/none does not exist"
    assert "scarbon hooks status" in refused.value.advice


def test_an_empty_folder_has_no_holds(tmp_path: Path) -> None:
    assert list(Journal("alpha", tmp_path).tags(0, 1e10, [], [])) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=40).map(lambda text: text.replace("\n", " ")),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            ).map(json.dumps),
            st.tuples(
                st.sampled_from(["start", "end"]), st.integers(0, 50), st.integers(1, 3), st.sampled_from([None, 0, 1])
            ).map(lambda parts: line(parts[0], parts[1], parts[2], restart=parts[3]).rstrip("\n")),
        ),
        max_size=12,
    )
)
def test_every_line_ends_as_a_hold_or_in_quarantine(tmp_path: Path, lines: list[str]) -> None:
    found = read(tmp_path, *(f"{one}\n" for one in lines))
    good = [json.loads(one) for one in lines if one.startswith('{"v": 1')]
    bad = [one for one in lines if one.strip() and not one.startswith('{"v": 1')]
    assert [one.raw for one in found if isinstance(one, Reject)] == bad
    tags = [one for one in found if isinstance(one, Tag)]

    def told(event: str) -> list[tuple[int, float]]:
        return sorted((row["job_id"], row["time"]) for row in good if row["event"] == event)

    # A hold of which the hook saw both ends in the wrong order, as the clock stepped, has them the other way round.
    stepped = [tag for tag in tags if not tag.exact and tag.end_s is not None and tag.end_s > tag.start_s]
    starts = [(tag.job_id, tag.start_s) for tag in tags if tag.exact]
    starts += [(tag.job_id, tag.end_s) for tag in stepped if tag.end_s is not None]
    ends = [(tag.job_id, tag.end_s) for tag in tags if tag.exact and tag.end_s is not None]
    ends += [(tag.job_id, tag.start_s) for tag in tags if not tag.exact]
    assert (sorted(starts), sorted(ends)) == (told("start"), told("end"))
