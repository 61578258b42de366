"""Whether the books balance: for each device and slot, attributed + idle = metered.

The three figures come from different places: metered from the device's curve at the slot's edges, attributed from the
postings of jobs, idle from the pieces that nobody held. They must agree to `TOLERANCE`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from accounting.holders import Disagreements
from accounting.ledger.reading import Books, Row

#: Of what was metered; what is left to floating point in sums of millions of pieces.
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Line:
    """The balance of a device, or of a cluster (`uuid` None)."""

    cluster: str
    uuid: str | None
    node: str | None
    model: str | None
    metered_j: float
    attributed_j: float
    idle_j: float
    worst_j: float  # the largest difference in one slot
    slot_j: float  # the most that was metered in one slot

    @property
    def difference_j(self) -> float:
        """Metered less attributed and idle."""
        return self.metered_j - self.attributed_j - self.idle_j

    @property
    def balanced(self) -> bool:
        """Whether the difference is no more than floating point explains, in sum and in each slot."""
        in_sum = abs(self.difference_j) <= TOLERANCE * max(self.metered_j, 1.0)
        return in_sum and self.worst_j <= TOLERANCE * max(self.slot_j, 1.0)


@dataclass(frozen=True, slots=True)
class Audit:
    """The balance by cluster and by device, and what the books could not use."""

    clusters: Sequence[Line]
    devices: Sequence[Line]
    jobs_unknown: int  # attempts that held GPUs of whose energy nothing is known
    quarantine: Mapping[str, int]  # rows by source
    holders: Mapping[str, int]  # how often the sources of holders disagreed, by the names of `holders.Disagreements`

    @property
    def balanced(self) -> bool:
        """Whether every device balances in every slot."""
        return all(line.balanced for line in (*self.clusters, *self.devices))


def audit(books: Books, start_s: float | None, end_s: float | None) -> Audit:
    """Audit the slots that begin in [start_s, end_s), or all."""
    values = {"start_s": -1e18 if start_s is None else start_s, "end_s": 1e18 if end_s is None else end_s}
    by_device: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in books.rows(_BALANCE, values):
        by_device[row["cluster"], row["uuid"]].append(row)
    devices = [_line(cluster, uuid, rows) for (cluster, uuid), rows in by_device.items()]
    clusters = [
        _cluster_line(cluster, [line for line in devices if line.cluster == cluster])
        for cluster in dict.fromkeys(line.cluster for line in devices)
    ]
    unknown = books.rows(_UNKNOWN, values)[0]["attempts"]
    quarantine = {row["source"]: row["count_of"] for row in books.rows(_QUARANTINE)}
    return Audit(clusters, devices, unknown, quarantine, _holders(books, values["start_s"], values["end_s"]))


def _holders(books: Books, start_s: float, end_s: float) -> dict[str, int]:
    """The disagreements of the runs in force whose windows lie in [start_s, end_s).

    A run is not in force once a later one has accounted all of its window again. Two that overlap in part both count.
    """
    counts = dict.fromkeys((field.name for field in fields(Disagreements)), 0)
    later: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in books.rows("SELECT cluster, start_s, end_s, summary FROM runs ORDER BY run_id DESC"):
        a, b = row["start_s"], row["end_s"]
        if any(first <= a and b <= last for first, last in later[row["cluster"]]):
            continue
        later[row["cluster"]].append((a, b))
        if start_s <= a and b <= end_s:
            for name, count in json.loads(row["summary"]).get("holders", {}).items():
                counts[name] += count
    return counts


def quarantined(books: Books) -> Sequence[Row]:
    """The rows in quarantine: source, location, reason and the row as it came."""
    return books.rows("SELECT cluster, source, location, reason, raw FROM quarantine ORDER BY source, location")


# Postings of measured energy count also where no balance stands beside them: then they belong to nothing metered.
_BALANCE = """
SELECT m.cluster, m.uuid, m.node, m.model, s.slot_s, SUM(s.metered_j) AS metered_j,
       SUM(s.idle_j) AS idle_j, SUM(s.attributed_j) AS attributed_j
FROM (
  SELECT meter_id, slot_s, metered_j, idle_j, 0.0 AS attributed_j, 1 AS of_meter FROM balance
  WHERE superseded_by IS NULL AND slot_s >= :start_s AND slot_s < :end_s AND metered_j IS NOT NULL
  UNION ALL
  SELECT meter_id, slot_s, 0.0, 0.0, energy_j, CASE WHEN method IN ('counter', 'power') THEN 1 ELSE 0 END
  FROM usage_slots
  WHERE superseded_by IS NULL AND slot_s >= :start_s AND slot_s < :end_s AND energy_j IS NOT NULL
) AS s
JOIN meters m ON m.meter_id = s.meter_id
GROUP BY m.cluster, m.uuid, m.node, m.model, s.slot_s
HAVING SUM(s.of_meter) > 0
ORDER BY m.cluster, m.node, m.uuid, s.slot_s
"""

_UNKNOWN = """
SELECT COUNT(*) AS attempts FROM (
  SELECT attempt_id FROM usage_slots JOIN meters ON meters.meter_id = usage_slots.meter_id
  WHERE superseded_by IS NULL AND kind = 'gpu' AND slot_s >= :start_s AND slot_s < :end_s
  GROUP BY attempt_id HAVING SUM(known_s) = 0
) AS unknown
"""

_QUARANTINE = "SELECT source, COUNT(*) AS count_of FROM quarantine GROUP BY source ORDER BY source"


def _line(cluster: str, uuid: str, rows: Sequence[Row]) -> Line:
    def total(column: str) -> Any:
        return sum(row[column] for row in rows)

    worst_j = max(abs(row["metered_j"] - row["attributed_j"] - row["idle_j"]) for row in rows)
    return Line(
        cluster, uuid, rows[0]["node"], rows[0]["model"] or None,
        total("metered_j"), total("attributed_j"), total("idle_j"), worst_j, max(row["metered_j"] for row in rows),
    )  # fmt: skip


def _cluster_line(cluster: str, devices: Sequence[Line]) -> Line:
    return Line(
        cluster,
        None,
        None,
        None,
        sum(line.metered_j for line in devices),
        sum(line.attributed_j for line in devices),
        sum(line.idle_j for line in devices),
        max(line.worst_j for line in devices),
        max(line.slot_j for line in devices),
    )
