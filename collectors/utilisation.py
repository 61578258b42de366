"""How busy GPUs were, from the gauges of dcgm-exporter in Prometheus: for a person to see, not for the accounting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from accounting.arrays import Floats
from collectors.prometheus import Prometheus

#: The share of the time in which any part of the GPU worked, the profiled one first, and what makes it a ratio.
GAUGES = (("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 1.0), ("DCGM_FI_DEV_GPU_UTIL", 0.01))


def mean_use(prometheus: Prometheus, spans: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """The mean of each GPU's gauge over its span, 0 to 1, by UUID; GPUs without one are left out.

    SourceError where Prometheus gives no whole answer. A MIG instance's gauge says nothing of the whole GPU.
    """
    if not spans:
        return {}
    found: dict[str, float] = {}
    start_s, end_s = min(start for start, _ in spans.values()), max(end for _, end in spans.values())
    for metric, scale in GAUGES:
        missing = sorted(set(spans) - set(found))
        if not missing:
            break
        values: dict[str, list[Floats]] = defaultdict(list)
        matcher = f'UUID=~"{"|".join(missing)}",GPU_I_ID=""'
        for one in prometheus.raw(metric, start_s, end_s, matcher):
            uuid = one.labels.get("UUID", "")
            if uuid in spans:
                inside = (one.time_s >= spans[uuid][0]) & (one.time_s <= spans[uuid][1])
                values[uuid].append(one.value[inside])
        for uuid, parts in values.items():
            samples = np.concatenate(parts)
            if samples.size:
                found[uuid] = float(np.clip(np.mean(samples) * scale, 0.0, 1.0))
    return found
