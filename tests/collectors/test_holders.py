"""Holders without a hook: the exporter's labels, and whole nodes."""

from __future__ import annotations

import numpy as np
import pytest

from accounting.model import Device, GpuSamples, Job, LabelSpan, Tag
from collectors.holders import HpcJobLabels, WholeNode


def gpu(uuid: str, node: str, index: int = 0, *labels: LabelSpan) -> GpuSamples:
    time_s = np.array([0.0, 1000.0])
    return GpuSamples(Device("alpha", uuid, node, "A100", index), time_s, time_s, np.zeros(0), np.zeros(0), labels)


def job(nodes: tuple[str, ...], gpus: int, start_s: int | None = 100, end_s: int | None = 200, job_id: int = 42) -> Job:
    return Job("alpha", job_id, 50, str(job_id), "COMPLETED", start_s, end_s, nodes=nodes, gpus=gpus)


NODES = [gpu("GPU-1", "n1", 0), gpu("GPU-2", "n1", 1), gpu("GPU-3", "n2", 0), gpu("GPU-4", "n2", 1)]


# --- labels


def labelled(*labels: LabelSpan, window: tuple[float, float] = (0, 1000)) -> list[Tag]:
    return [tag for tag in HpcJobLabels().tags(*window, [], [gpu("GPU-1", "n1", 3, *labels)]) if isinstance(tag, Tag)]


def test_a_label_says_that_the_job_was_seen() -> None:
    (tag,) = labelled(LabelSpan(42, 110, 190, "5"))
    assert tag == Tag(
        "alpha", 42, "n1", "GPU-1", 3, start_s=110, end_s=190, source="hpc_job", exact=False, mig="5"
    )  # fmt: skip


def test_stretches_beyond_the_window_are_another_windows() -> None:
    spans = [LabelSpan(1, 0, 99), LabelSpan(2, 50, 100), LabelSpan(3, 200, 300), LabelSpan(4, 201, 300)]
    assert [tag.job_id for tag in labelled(*spans, window=(100, 200))] == [2, 3]


# --- whole nodes


def whole(*jobs: Job, samples: list[GpuSamples] | None = None) -> list[tuple[int, str | None]]:
    found = WholeNode().tags(0, 1000, jobs, NODES if samples is None else samples)
    return [(tag.job_id, tag.uuid) for tag in found if isinstance(tag, Tag)]


def test_a_job_with_all_of_a_nodes_gpus() -> None:
    tags = list(WholeNode().tags(0, 1000, [job(("n1",), 2)], NODES))
    assert [(tag.uuid, tag.start_s, tag.end_s, tag.exact, tag.source) for tag in tags if isinstance(tag, Tag)] == [
        ("GPU-1", 100, 200, False, "whole_node"), ("GPU-2", 100, 200, False, "whole_node"),
    ]  # fmt: skip


def test_a_job_with_all_of_two_nodes_gpus() -> None:
    assert whole(job(("n1", "n2"), 4)) == [(42, uuid) for uuid in ("GPU-1", "GPU-2", "GPU-3", "GPU-4")]


@pytest.mark.parametrize(
    "case",
    [
        job(("n1",), 1),  # one of two: it could be either
        job(("n1", "n2"), 2),  # one of each
        job(("n1",), 0),
        job(("n1",), 2, start_s=None),  # never started
        job(("n3",), 2),  # a node of which nothing is known
        job(("n1", "n3"), 2),  # as many GPUs as are known, but on one node of two
        job((), 2),
    ],
    ids=lambda case: f"{case.gpus} on {','.join(case.nodes) or 'none'} from {case.start_s}",
)
def test_what_cannot_be_told(case: Job) -> None:
    assert whole(case) == []


def test_a_job_that_runs_is_open() -> None:
    tags = list(WholeNode().tags(0, 1000, [job(("n1",), 2, end_s=None)], NODES))
    assert [tag.end_s for tag in tags if isinstance(tag, Tag)] == [None, None]
