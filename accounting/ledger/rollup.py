"""The daily sums, kept in step with the postings in force, in the same transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import Connection, text

from accounting.ledger.methods import METHODS

_RANK = "CASE method " + " ".join(f"WHEN '{method}' THEN {rank}" for rank, method in enumerate(METHODS)) + " END"
_NAME = "CASE MAX(CASE WHEN energy_j IS NOT NULL THEN {rank} END) {names} ELSE 'none' END".format(
    rank=_RANK, names=" ".join(f"WHEN {rank} THEN '{method}'" for rank, method in enumerate(METHODS))
)


def _whole(column: str, base: str) -> str:
    """A sum that is unknown as soon as one of its parts is, where there is energy at all."""
    return (
        f"CASE WHEN SUM({base} IS NOT NULL AND {base} <> 0 AND {column} IS NULL) > 0 THEN NULL ELSE SUM({column}) END"
    )


_USAGE_DAYS = f"""
INSERT INTO usage_days (attempt_id, day, kind, model, method, held_s, known_s, measured_s, energy_j,
                        facility_j, location_g, market_g, embodied_g)
SELECT attempt_id, :day, kind, model, {_NAME}, SUM(held_s), SUM(known_s), SUM(measured_s), SUM(energy_j),
       {_whole("facility_j", "energy_j")}, {_whole("location_g", "energy_j")}, {_whole("market_g", "energy_j")},
       SUM(embodied_g)
FROM usage JOIN meters USING (meter_id)
WHERE attempt_id IN ({{ids}}) AND slot_s >= :start_s AND slot_s < :end_s AND superseded_by IS NULL
GROUP BY attempt_id, kind, model
"""

_IDLE_DAYS = f"""
INSERT INTO idle_days (meter_id, day, metered_j, known_s, measured_s, idle_s, idle_j, idle_facility_j,
                       idle_location_g, idle_market_g, idle_embodied_g)
SELECT meter_id, :day, SUM(metered_j), SUM(known_s), SUM(measured_s), SUM(idle_s), SUM(idle_j),
       {_whole("idle_facility_j", "idle_j")}, {_whole("idle_location_g", "idle_j")},
       {_whole("idle_market_g", "idle_j")}, SUM(idle_embodied_g)
FROM balance
WHERE meter_id IN ({{ids}}) AND slot_s >= :start_s AND slot_s < :end_s AND superseded_by IS NULL
GROUP BY meter_id
"""


def roll_up(
    connection: Connection,
    days: Sequence[tuple[str, int, int]],
    attempt_ids: Collection[int],
    meter_ids: Collection[int],
) -> None:
    """Sum the given days anew for the attempts and meters whose postings changed."""
    for day, start_s, end_s in days:
        values = {"day": day, "start_s": start_s, "end_s": end_s}
        for ids in _lists(attempt_ids):
            connection.execute(text(f"DELETE FROM usage_days WHERE day = :day AND attempt_id IN ({ids})"), {"day": day})
            connection.execute(text(_USAGE_DAYS.format(ids=ids)), values)
        for ids in _lists(meter_ids):
            connection.execute(text(f"DELETE FROM idle_days WHERE day = :day AND meter_id IN ({ids})"), {"day": day})
            connection.execute(text(_IDLE_DAYS.format(ids=ids)), values)


def _lists(ids: Collection[int]) -> Iterator[str]:
    """The ids as SQL lists of at most 500 (they are integers of our own, so they need no binding)."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), 500):
        yield ",".join(str(int(one)) for one in ordered[start : start + 500])
