"""Nodes' own meters from Prometheus: any exporter's metric, or any PromQL that gives each node's power or energy.

A plain selector (`node_watts{job="ipmi"}`) is read raw, at the samples' own times. Anything else is evaluated on a grid
of `step_s` that does not depend on the window; Prometheus then carries a value on for up to five minutes where a
scrape is missing, and a counter is seen when the grid is, not when it was read. A selector is the better question.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from accounting.arrays import Floats
from accounting.model import HostReadings, HostSamples, Reject
from collectors.prometheus import Prometheus, Series
from site_config.host import ENERGY_UNITS, POWER_UNITS, HostMeter

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_BRACES = r"""\{(?:[^{}"']|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*\}"""
_SELECTOR = re.compile(rf"\s*(?:{_NAME}\s*(?:{_BRACES})?|{_BRACES})\s*")


@dataclass(frozen=True, slots=True)
class HostQuery:
    """What is asked: the meter with the site's matchers, and how its node label is read."""

    meter: HostMeter
    match: Mapping[str, str]
    node_pattern: str | None = None  # its group is the node's name; None: the label without port and domain
    step_s: float = 30.0

    def promql(self, nodes: Collection[str] | None) -> tuple[str, float | None]:
        """The query, and the step at which it is evaluated: None for a selector.

        A selector is narrowed to series whose label has the name of one of `nodes` somewhere in it.
        """
        matchers = [f"{name}={json.dumps(value)}" for name, value in sorted(self.match.items())]
        query = self.meter.query.replace("$match", ",".join(matchers))
        if not _SELECTOR.fullmatch(query):
            return query, self.step_s
        query = query.strip()
        if nodes is not None:
            names = "|".join(re.escape(name) for name in sorted(nodes))
            only = f"{self.meter.node_label}=~{json.dumps(f'.*({names}).*')}"
            head, _, inside = query.removesuffix("}").partition("{")
            inside = inside.strip().removesuffix(",")
            query = f"{head}{{{inside},{only}}}" if inside else f"{head}{{{only}}}"
        return query, None

    def node(self, labels: Mapping[str, str]) -> str | None:
        """The node that a series belongs to, as Slurm calls it; None where its labels do not say."""
        value = labels.get(self.meter.node_label, "")
        if self.node_pattern is not None:
            found = re.fullmatch(self.node_pattern, value)
            return found[1] if found else None
        name = re.sub(r":\d+$", "", value)
        is_address = name.replace(".", "").isdecimal()
        return (name if is_address else name.partition(".")[0]) or None


class PrometheusHosts:
    """The nodes of a cluster, from a Prometheus that scrapes their meters."""

    name = "prometheus"

    def __init__(self, prometheus: Prometheus, query: HostQuery) -> None:
        self._prometheus = prometheus
        self._query = query

    def samples(
        self, start_s: float, end_s: float, nodes: Collection[str] | None = None
    ) -> Iterator[HostSamples | Reject]:
        """Yield the samples in [start_s, end_s] of each node. SourceError where Prometheus gives no whole answer.

        A node of which two series say something at once is rejected: to add them up or to choose is the site's to say.
        """
        query, step_s = self._query.promql(nodes)
        by_node: dict[str, list[Series]] = defaultdict(list)
        for series in self._prometheus.over(query, start_s, end_s, step_s):
            node = self._query.node(series.labels)
            if node is None:
                reason = f"the label {self._query.meter.node_label} does not name a node"
                yield Reject("host", query, _shown(series.labels), reason)
            elif nodes is None or node in nodes:
                by_node[node].append(series)
        for node, found in by_node.items():
            parts: dict[str, HostReadings] = {}
            for part, pieces in self._parts(found).items():
                joined = _joined(pieces)
                if isinstance(joined, str):
                    reason = (
                        f"two series give the power or energy of node {node} at once: narrow the query with a label, "
                        f"or aggregate it, as in max by ({self._query.meter.node_label}) (…)"
                    )
                    yield Reject("host", query, joined, reason)
                    break
                time_s, value = joined
                if time_s.size:
                    parts[part] = self._readings(time_s, value)
            else:
                if parts:
                    yield HostSamples(node, parts)

    def _parts(self, found: Sequence[Series]) -> dict[str, list[Series]]:
        """A node's series by the labels that tell its parts apart."""
        parts: dict[str, list[Series]] = defaultdict(list)
        for series in found:
            parts[" ".join(series.labels.get(name, "") for name in self._query.meter.adds_up)].append(series)
        return parts

    def _readings(self, time_s: Floats, value: Floats) -> HostReadings:
        nothing = np.zeros(0)
        unit = self._query.meter.unit
        if unit in POWER_UNITS:
            return HostReadings(nothing, nothing, time_s, value * POWER_UNITS[unit])
        return HostReadings(time_s, value * ENERGY_UNITS[unit], nothing, nothing)


def _joined(pieces: Sequence[Series]) -> tuple[Floats, Floats] | str:
    """Times and values of pieces that follow one another, or the labels of two series that are there at once.

    A series whose labels change goes on as another one.
    """
    by_labels: dict[str, list[Series]] = defaultdict(list)
    for piece in pieces:
        by_labels[_shown(piece.labels)].append(piece)
    stretches = []
    for labels, same in by_labels.items():
        time_s, value = (np.concatenate([getattr(one, name) for one in same]) for name in ("time_s", "value"))
        good = np.isfinite(value)  # a sensor that cannot be read is NaN
        if good.any():
            stretches.append((time_s[good], value[good], labels))
    if not stretches:
        return np.zeros(0), np.zeros(0)
    stretches.sort(key=lambda stretch: float(stretch[0][0]))
    for (earlier_s, _, one), (later_s, _, other) in pairwise(stretches):
        if later_s[0] <= earlier_s[-1]:
            return f"{one} and {other}"
    return np.concatenate([stretch[0] for stretch in stretches]), np.concatenate([stretch[1] for stretch in stretches])


def _shown(labels: Mapping[str, str]) -> str:
    return (
        "{"
        + ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items()))
        + "}"
    )
