"""What an audit has to say of single meters, beside their balance: where a figure stands on weaker ground.

From the books: restarts of an energy counter, energy that is a lower bound, time that several held one device, shared
time on an assumed idle level, counters that disagree with the power gauge of the same device, and devices that worked
while no job held them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accounting.ledger.reading import Books

#: Counter and gauge of one sensor agree within a per cent or two over an hour; samples of a load in bursts, less well.
#: Beyond this, one of the two is not what it says.
DISAGREE = 0.10

#: Holds of two jobs may overlap by moments, when the clocks of their hooks do not agree.
MOMENTS_S = 60.0

#: A GPU that nobody holds draws much the same at all times. Where it drew this many times what it did in its quietest
#: hour, something ran on it that no hook and no job told of.
AT_WORK = 2.0


@dataclass(frozen=True, slots=True)
class MeterFinding:
    """What is to be known of a meter over some time."""

    cluster: str
    uuid: str
    node: str
    restarts: int  # of its counter
    lower_bound_s: float  # whose energy is a lower bound, because no power was known across a restart
    overheld_s: float  # in which several held more than the whole of it
    assumed_s: float  # in which it was shared and its idle level was assumed
    at_work_s: float  # in which nobody held it and it drew `AT_WORK` times what it draws at its quietest, or more
    counter_over_gauge: float | None  # the ratio of both energies over the hours in which both are whole

    @property
    def disagrees(self) -> bool:
        """Whether counter and gauge say different things."""
        return self.counter_over_gauge is not None and disagree(self.counter_over_gauge)

    @property
    def notable(self) -> bool:
        """Whether a person should see it."""
        return self.disagrees or self.restarts > 0 or self.overheld_s > MOMENTS_S or self.assumed_s + self.at_work_s > 0


def disagree(counter_over_gauge: float) -> bool:
    """Whether an energy by the counter and one by the gauge are too far apart."""
    return abs(counter_over_gauge - 1) > DISAGREE


def meter_findings(books: Books, start_s: float | None, end_s: float | None) -> Sequence[MeterFinding]:
    """What is notable of the meters in the slots that begin in [start_s, end_s), or in all."""
    values = {"start_s": -1e18 if start_s is None else start_s, "end_s": 1e18 if end_s is None else end_s}
    at_work_s = {(row["cluster"], row["uuid"]): row["at_work_s"] for row in books.rows(_AT_WORK, values)}
    found = (
        MeterFinding(
            cluster=row["cluster"],
            uuid=row["uuid"],
            node=row["node"],
            restarts=row["restarts"],
            lower_bound_s=row["lower_bound_s"],
            overheld_s=row["overheld_s"],
            assumed_s=row["assumed_s"],
            at_work_s=at_work_s.get((row["cluster"], row["uuid"]), 0.0),
            counter_over_gauge=row["counter_j"] / row["gauge_j"] if row["gauge_j"] else None,
        )
        for row in books.rows(_METERS, values)
    )
    return [one for one in found if one.notable]


# Counter and gauge are held against each other over whole hours without gaps and restarts.
_WHOLE = "b.method = 'counter' AND b.gauge_j IS NOT NULL AND b.restarts = 0 AND b.measured_s >= 3599"

_METERS = f"""
SELECT m.cluster, m.uuid, m.node, SUM(b.restarts) AS restarts, SUM(b.lower_bound_s) AS lower_bound_s,
       SUM(b.overheld_s) AS overheld_s, SUM(b.assumed_s) AS assumed_s,
       SUM(CASE WHEN {_WHOLE} THEN b.metered_j END) AS counter_j,
       SUM(CASE WHEN {_WHOLE} THEN b.gauge_j END) AS gauge_j
FROM balance b JOIN meters m ON m.meter_id = b.meter_id
WHERE b.superseded_by IS NULL AND b.slot_s >= :start_s AND b.slot_s < :end_s AND m.kind = 'gpu'
GROUP BY m.cluster, m.uuid, m.node
ORDER BY m.cluster, m.node, m.uuid
"""

_UNHELD = """
SELECT meter_id, idle_s, idle_j / idle_s AS power_w FROM balance
WHERE superseded_by IS NULL AND slot_s >= :start_s AND slot_s < :end_s AND measured_s >= 3599 AND idle_s >= 3599
"""

_AT_WORK = f"""
SELECT m.cluster, m.uuid, SUM(u.idle_s) AS at_work_s
FROM ({_UNHELD}) AS u
JOIN (SELECT meter_id, MIN(power_w) AS quiet_w FROM ({_UNHELD}) AS v GROUP BY meter_id) AS q ON q.meter_id = u.meter_id
JOIN meters m ON m.meter_id = u.meter_id
WHERE m.kind = 'gpu' AND u.power_w >= {AT_WORK} * q.quiet_w AND q.quiet_w > 0
GROUP BY m.cluster, m.uuid
"""
