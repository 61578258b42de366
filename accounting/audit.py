"""Whether the books balance: for each device and slot, attributed + idle = metered; and whether the roll-ups agree.

The three figures come from different places: metered from the device's curve at the slot's edges, attributed from the
postings of jobs, idle from the pieces that nobody held. They must agree to `TOLERANCE`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice

from accounting.agreement import Disagreement, disagreements
from accounting.holders import Disagreements
from accounting.ledger.reading import Books, Row

#: Of what was metered; what is left to floating point in sums of millions of pieces.
TOLERANCE = 1e-9

#: As many wrong rows of roll-ups are named; the rest is of the same kind.
MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Line:
    """The balance of a device, of a node's devices (`uuid` None), or of a cluster (`node` None, too)."""

    cluster: str
    node: str | None
    uuid: str | None
    model: str | None
    metered_j: float
    attributed_j: float
    idle_j: float
    held_s: float  # device time that jobs held; of a node or cluster, of its GPUs
    measured_s: float  # of which their energy was measured
    worst_j: float  # the largest difference in one slot
    slot_j: float  # the most that was metered in one slot

    @property
    def difference_j(self) -> float:
        """Metered less attributed and idle."""
        return self.metered_j - self.attributed_j - self.idle_j

    @property
    def coverage(self) -> float | None:
        """The share of the time that jobs held it in which its energy was measured; None where nobody did."""
        return self.measured_s / self.held_s if self.held_s else None

    @property
    def balanced(self) -> bool:
        """Whether the difference is no more than floating point explains, in sum and in each slot."""
        in_sum = abs(self.difference_j) <= TOLERANCE * max(self.metered_j, 1.0)
        return in_sum and self.worst_j <= TOLERANCE * max(self.slot_j, 1.0)


@dataclass(frozen=True, slots=True)
class Audit:
    """The balance by cluster, node and device, whether the roll-ups agree, and what the books could not use."""

    clusters: Sequence[Line]
    nodes: Sequence[Line]
    devices: Sequence[Line]
    roll_ups: Sequence[Disagreement]  # the first `MOST_NAMED` of them
    jobs_unknown: int  # attempts that held GPUs of whose energy nothing is known: jobs without samples
    quarantine: Mapping[str, int]  # rows by source
    holders: Mapping[str, int]  # how often the sources of holders disagreed, by the names of `holders.Disagreements`
    purged_before_s: float | None  # before it there are roll-ups only, and nothing to balance

    @property
    def balanced(self) -> bool:
        """Whether every device balances in every slot, and every roll-up is the sum of its postings."""
        return not self.roll_ups and all(line.balanced for line in (*self.clusters, *self.nodes, *self.devices))

    @property
    def unheld(self) -> list[Line]:
        """The GPUs and nodes that were metered and that no job held: samples without jobs."""
        return [line for line in self.devices if not line.held_s]


def audit(books: Books, start_s: float | None, end_s: float | None) -> Audit:
    """Audit the slots that begin in [start_s, end_s), or all; and the roll-ups of the days that it touches."""
    purged_s = books.purged_before_s
    first_s = max(-1e18 if start_s is None else start_s, -1e18 if purged_s is None else purged_s)
    values = {"start_s": first_s, "end_s": 1e18 if end_s is None else end_s}
    held = {(row["cluster"], row["kind"], row["uuid"]): row for row in books.rows(_HELD, values)}
    devices = [_line(row, held.get((row["cluster"], row["kind"], row["uuid"]))) for row in books.rows(_BALANCE, values)]
    on_node: dict[tuple[str, str | None], list[Line]] = defaultdict(list)
    in_cluster: dict[str, list[Line]] = defaultdict(list)
    for line in devices:
        on_node[line.cluster, line.node].append(line)
        in_cluster[line.cluster].append(line)
    gpus = [row for row in held.values() if row["kind"] == "gpu"]
    return Audit(
        clusters=[
            _sum(cluster, None, lines, (row for row in gpus if row["cluster"] == cluster))
            for cluster, lines in in_cluster.items()
        ],
        nodes=[
            _sum(cluster, node, lines, (row for row in gpus if (row["cluster"], row["node"]) == (cluster, node)))
            for (cluster, node), lines in on_node.items()
        ],
        devices=devices,
        roll_ups=list(islice(disagreements(books, start_s, end_s), MOST_NAMED)),
        jobs_unknown=books.rows(_UNKNOWN, values)[0]["attempts"],
        quarantine={row["source"]: row["count_of"] for row in books.rows(_QUARANTINE)},
        holders=holders_disagreed(books, values["start_s"], values["end_s"]),
        purged_before_s=purged_s,
    )


def holders_disagreed(books: Books, start_s: float, end_s: float) -> dict[str, int]:
    """The disagreements of the runs in force whose windows lie in [start_s, end_s), by `holders.Disagreements`' names.

    A run is not in force once a later one has accounted all of its window again. Two that overlap in part both count.
    One that read no holders (a restatement of factors) says nothing of them.
    """
    counts = dict.fromkeys((field.name for field in fields(Disagreements)), 0)
    later: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in books.rows("SELECT cluster, start_s, end_s, summary FROM runs ORDER BY run_id DESC"):
        a, b = row["start_s"], row["end_s"]
        found = json.loads(row["summary"]).get("holders")
        if found is None:
            continue
        if any(first <= a and b <= last for first, last in later[row["cluster"]]):
            continue
        later[row["cluster"]].append((a, b))
        if start_s <= a and b <= end_s:
            for name, count in found.items():
                counts[name] += count
    return counts


def quarantined(books: Books) -> Sequence[Row]:
    """The rows in quarantine: source, location, reason and the row as it came."""
    return books.rows("SELECT cluster, source, location, reason, raw FROM quarantine ORDER BY source, location")


# Postings of measured energy count also where no balance stands beside them: then they belong to nothing metered.
_BALANCE = """
SELECT m.cluster, m.kind, m.uuid, m.node, m.model, SUM(t.metered_j) AS metered_j, SUM(t.attributed_j) AS attributed_j,
       SUM(t.idle_j) AS idle_j, MAX(ABS(t.metered_j - t.attributed_j - t.idle_j)) AS worst_j, MAX(t.metered_j) AS slot_j
FROM (
  SELECT s.meter_id, s.slot_s, SUM(s.metered_j) AS metered_j, SUM(s.idle_j) AS idle_j,
         SUM(s.attributed_j) AS attributed_j
  FROM (
    SELECT meter_id, slot_s, metered_j, idle_j, 0.0 AS attributed_j, 1 AS of_meter FROM balance
    WHERE superseded_by IS NULL AND slot_s >= :start_s AND slot_s < :end_s AND metered_j IS NOT NULL
    UNION ALL
    SELECT meter_id, slot_s, 0.0, 0.0, energy_j, CASE WHEN method IN ('counter', 'power') THEN 1 ELSE 0 END
    FROM usage_slots
    WHERE superseded_by IS NULL AND slot_s >= :start_s AND slot_s < :end_s AND energy_j IS NOT NULL
  ) AS s
  GROUP BY s.meter_id, s.slot_s
  HAVING SUM(s.of_meter) > 0
) AS t
JOIN meters m ON m.meter_id = t.meter_id
GROUP BY m.cluster, m.kind, m.uuid, m.node, m.model
ORDER BY m.cluster, m.node, m.kind, m.uuid
"""

_HELD = """
SELECT m.cluster, m.kind, m.uuid, m.node, SUM(u.held_s) AS held_s, SUM(u.measured_s) AS measured_s
FROM usage_slots u JOIN meters m ON m.meter_id = u.meter_id
WHERE u.superseded_by IS NULL AND u.slot_s >= :start_s AND u.slot_s < :end_s
GROUP BY m.cluster, m.kind, m.uuid, m.node
"""

_UNKNOWN = """
SELECT COUNT(*) AS attempts FROM (
  SELECT attempt_id FROM usage_slots JOIN meters ON meters.meter_id = usage_slots.meter_id
  WHERE superseded_by IS NULL AND kind = 'gpu' AND slot_s >= :start_s AND slot_s < :end_s
  GROUP BY attempt_id HAVING SUM(known_s) = 0
) AS unknown
"""

_QUARANTINE = "SELECT source, COUNT(*) AS count_of FROM quarantine GROUP BY source ORDER BY source"


def _line(row: Row, held: Row | None) -> Line:
    held_s, measured_s = (0.0, 0.0) if held is None else (held["held_s"], held["measured_s"])
    return Line(
        row["cluster"], row["node"], row["uuid"], row["model"] or None, row["metered_j"], row["attributed_j"],
        row["idle_j"], held_s, measured_s, row["worst_j"], row["slot_j"],
    )  # fmt: skip


def _sum(cluster: str, node: str | None, lines: Sequence[Line], held: Iterable[Row]) -> Line:
    """The devices of a node or cluster; `held` is what jobs held of its GPUs, unnamed ones, too."""
    rows = list(held)
    return Line(
        cluster=cluster,
        node=node,
        uuid=None,
        model=None,
        metered_j=sum(line.metered_j for line in lines),
        attributed_j=sum(line.attributed_j for line in lines),
        idle_j=sum(line.idle_j for line in lines),
        held_s=sum(row["held_s"] for row in rows),
        measured_s=sum(row["measured_s"] for row in rows),
        worst_j=max(line.worst_j for line in lines),
        slot_j=max(line.slot_j for line in lines),
    )
