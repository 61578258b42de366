"""What the roll-ups and reports must say, worked out in plain Python from the postings in force."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from accounting.ledger.reading import Books, Row
from tests.ledger.windows import day_of

METHODS = ("counter", "power", "slurm", "model")


def used(books: Books) -> list[Row]:
    """Each posting in force with its attempt and its meter."""
    return [
        {**row, "day": day_of(row["slot_s"])}
        for row in books.rows("""
            SELECT u.*, m.kind, m.model, a.cluster, a.user_name, a.account, a.partition_name, a.qos, a.wckey,
                   a.comment, a.job_id
            FROM usage_slots u JOIN meters m ON m.meter_id = u.meter_id
            JOIN attempts a ON a.attempt_id = u.attempt_id WHERE u.superseded_by IS NULL""")
    ]


def by(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """The rows of each key."""
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[key(row)].append(row)
    return found


def total(rows: Iterable[Row], column: str) -> float | None:
    """The sum of what is known; None where nothing is."""
    known = [row[column] for row in rows if row[column] is not None]
    return sum(known) if known else None


def figure(rows: Iterable[Row], column: str) -> float | None:
    """A sum of emissions or facility energy: unknown as soon as it is for some energy."""
    rows = list(rows)
    if any(row["energy_j"] and row[column] is None for row in rows):
        return None
    return total(rows, column)


def worst_method(rows: Iterable[Row]) -> str:
    """The least exact method that gave energy."""
    ranks = [METHODS.index(row["method"]) for row in rows if row["energy_j"] is not None]
    return METHODS[max(ranks)] if ranks else "none"


def usage_days(rows: Iterable[Row]) -> dict[Any, Mapping[str, Any]]:
    """`usage_days` by its key."""
    return {
        key: {
            "method": worst_method(of),
            **{column: total(of, column) for column in ("held_s", "known_s", "measured_s", "energy_j", "embodied_g")},
            **{column: figure(of, column) for column in ("facility_j", "location_g", "market_g")},
        }
        for key, of in by(rows, lambda row: (row["attempt_id"], row["day"], row["kind"], row["model"])).items()
    }


def job_of(row: Row) -> tuple[Any, ...]:
    """The job that a run is one of, and who pays for it: however often it was requeued, it is one job of theirs."""
    who = ("cluster", "user_name", "account", "partition_name", "qos", "wckey", "comment")
    return (row["job_id"], *(row[name] for name in who))


def report(rows: Iterable[Row], first: str, last: str, group: Callable[[Row], Any]) -> dict[Any, Mapping[str, Any]]:
    """The sums of a period by group."""
    inside = [row for row in rows if first <= row["day"] <= last]
    made = {}
    for key, of in by(inside, group).items():
        gpu = [row for row in of if row["kind"] == "gpu"]
        unknown = [
            its[0]
            for its in by(gpu, lambda row: row["attempt_id"]).values()
            if total(its, "held_s") and total(its, "energy_j") is None
        ]
        made[key] = {
            "jobs": len({job_of(row) for row in of}),
            "jobs_unknown": len({job_of(row) for row in unknown}),
            "gpu_seconds": total(gpu, "held_s") or 0.0,
            "gpu_energy_j": total(gpu, "energy_j"),
            "host_energy_j": total([row for row in of if row["kind"] == "host"], "energy_j"),
            "facility_energy_j": figure(of, "facility_j"),
            "co2e_location_g": figure(of, "location_g"),
            "co2e_market_g": figure(of, "market_g"),
            "co2e_embodied_g": total(of, "embodied_g"),
        }
    return made
