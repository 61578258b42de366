"""Who held which GPU, by the sources that need no hook of their own: the exporter's labels, and whole nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from accounting.model import GpuSamples, Job, Reject, Tag


class HpcJobLabels:
    """The label `hpc_job` that dcgm-exporter adds from its mapping folder.

    It names a job and no more, and is seen only at samples, so Slurm's start and end of the job bound the hold.
    """

    name = "hpc_job"

    def tags(
        self, start_s: float, end_s: float, jobs: Sequence[Job], samples: Sequence[GpuSamples]
    ) -> Iterator[Tag | Reject]:
        """Yield one tag for each stretch over which a device carried a job's label."""
        for one in samples:
            for span in one.labels:
                if span.last_s < start_s or span.first_s > end_s:
                    continue  # samples from beyond the window bridge a gap; their jobs were not read
                yield Tag(
                    cluster=one.device.cluster,
                    job_id=span.job_id,
                    node=one.device.node,
                    uuid=one.device.uuid,
                    index=one.device.index,
                    start_s=span.first_s,
                    end_s=span.last_s,
                    source=self.name,
                    exact=False,
                    mig=span.mig,
                )


class WholeNode:
    """Jobs that had all of a node's GPUs: then there is nothing to find out.

    A job of n nodes with g GPUs in all held whole nodes where g is the number of GPUs that its nodes have.
    """

    name = "whole_node"

    def tags(
        self, start_s: float, end_s: float, jobs: Sequence[Job], samples: Sequence[GpuSamples]
    ) -> Iterator[Tag | Reject]:
        """Yield a tag for each device of the nodes of such jobs."""
        by_node: dict[str, list[GpuSamples]] = defaultdict(list)
        for one in samples:
            by_node[one.device.node].append(one)
        for job in jobs:
            devices = [one.device for node in job.nodes for one in by_node.get(node, ())]
            if not job.gpus or job.start_s is None or len(devices) != job.gpus:
                continue
            if not all(by_node.get(node) for node in job.nodes):
                continue
            for device in devices:
                yield Tag(
                    cluster=job.cluster,
                    job_id=job.job_id,
                    node=device.node,
                    uuid=device.uuid,
                    index=device.index,
                    start_s=float(job.start_s),
                    end_s=None if job.end_s is None else float(job.end_s),
                    source=self.name,
                    exact=False,
                )
