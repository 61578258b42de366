"""Windows to post: a small one that can be checked by hand, and random histories with every kind of change."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from accounting.ledger.postings import BalanceRow, Meter, MeterKey, UsageRow, Window
from accounting.model import AttemptKey, FactorSlot, Job, Method, Reject

HOUR_S = 3600
DAY_S = 24 * HOUR_S
#: Midnight in UTC, the zone that these books are kept by.
FIRST_DAY = date(2026, 10, 30)
START_S = int(datetime(2026, 10, 30, tzinfo=UTC).timestamp())

GPU = Meter(MeterKey("gpu", "GPU-1"), "n1", "A100")
OTHER = Meter(MeterKey("gpu", "GPU-2"), "n1", "H100")
HOST = Meter(MeterKey("host", ""), "", "")
UNNAMED = Meter(MeterKey("gpu", ""), "", "")

RUN = {"started_s": 1.0, "version": "0", "config_digest": "0"}


def day_of(time_s: float) -> str:
    """The day, in UTC."""
    return (FIRST_DAY + timedelta(days=(int(time_s) - START_S) // DAY_S)).isoformat()


def job(number: int, **changes: object) -> Job:
    """A job of ada's that took the first two hours."""
    plain = Job(
        cluster="alpha", job_id=number, submit_s=START_S, label=str(number), state="COMPLETED", start_s=START_S,
        end_s=START_S + 2 * HOUR_S, user="ada", uid=1001, account="phys", partition="gpu", qos="normal", name="train",
        nodes=("n1",), cpus=8, memory_mb=1024.0, gpus=1,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def usage(of: Job, slot: int, energy_j: float | None = 3600.0, meter: Meter = GPU, **changes: object) -> UsageRow:
    """What a job used in a slot, by the number of its hour: its energy × 1.2 × 100 g/kWh."""
    facility_j = None if energy_j is None else energy_j * 1.2
    location_g = None if facility_j is None else facility_j / 3.6e6 * 100.0
    row = UsageRow(
        of.key, meter.key, START_S + slot * HOUR_S, "none" if energy_j is None else "counter", "journal", 3600.0,
        0.0 if energy_j is None else 3600.0, 0.0 if energy_j is None else 3500.0, energy_j, facility_j, location_g,
        None, 1.5,
    )  # fmt: skip
    return row._replace(**changes)


def balance(slot: int, metered_j: float, idle_j: float, meter: Meter = GPU) -> BalanceRow:
    """What a meter metered in a slot."""
    return BalanceRow(
        meter.key, START_S + slot * HOUR_S, "counter", 3600.0, 3600.0, metered_j, 1800.0, idle_j, idle_j * 1.2,
        idle_j * 1.2 / 3.6e6 * 100.0, None, 0.5,
    )  # fmt: skip


def window(
    first: int,
    beyond: int,
    jobs: Sequence[Job] = (),
    rows: Sequence[UsageRow] = (),
    balances: Sequence[BalanceRow] = (),
    rejects: Sequence[Reject] = (),
    cluster: str = "alpha",
    booked: tuple[int, int] | None = None,
) -> Window:
    """A window of the hours [first, beyond) of one day."""
    start_s, end_s = START_S + first * HOUR_S, START_S + beyond * HOUR_S
    day_s = start_s - (start_s - START_S) % DAY_S
    meters = dict.fromkeys((*(row.meter for row in rows), *(row.meter for row in balances)))
    known = {meter.key: meter for meter in (GPU, OTHER, HOST, UNNAMED)}
    stretch = (first, beyond) if booked is None else booked
    return Window(
        cluster=cluster, start_s=start_s, end_s=end_s,
        booked=[(float(START_S + stretch[0] * HOUR_S), float(START_S + stretch[1] * HOUR_S))],
        slots_s=range(start_s, end_s, HOUR_S), days=[(day_of(day_s), day_s, day_s + DAY_S)], jobs=jobs,
        meters=[known[key] for key in meters], usage=rows, balance=balances,
        factors=[("pue", FactorSlot(start_s, end_s, 1.2, "test"))], rejects=rejects, silent_since_s={},
    )  # fmt: skip


def history(seed: int, days: int = 4, jobs: int = 12) -> Iterator[Window]:
    """A history of the cluster: every day in windows of some hours, and some of them again with other figures.

    Jobs cross midnights, some hold GPUs of which nothing is known, pause for a day, move to another account, or are
    gone from a later account of the same hours.
    """
    chance = random.Random(seed)
    made = [_random_job(chance, number, days) for number in range(1, jobs - 1)]
    made += [_requeued(one, hours) for one, hours in zip(made, (7, 30), strict=False)]
    hours = days * 24
    windows = [(a, min(a + size, (a // 24 + 1) * 24)) for a, size in _cuts(chance, hours)]
    again = [chance.choice(windows) for _ in range(4)]
    end = 0
    for first, beyond in (*windows, *again):
        end = max(end, beyond)
        made = [_changed(chance, one) for one in made]
        there = [one for one in made if chance.random() < 0.9 and _overlaps(one, first, beyond)]
        rows = [row for one in there for row in _random_usage(chance, one, first, beyond)]
        balances = [balance(slot, chance.random() * 1e6, chance.random() * 1e5) for slot in range(first, beyond)]
        yield window(first, beyond, there, rows, balances, booked=(0, end))


def _cuts(chance: random.Random, hours: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < hours:
        size = min(chance.choice([1, 2, 5, 11, 24]), 24 - at % 24)
        yield at, size
        at += size


def _random_job(chance: random.Random, number: int, days: int) -> Job:
    start_s = START_S + chance.randrange(days * 24) * HOUR_S
    return job(
        number,
        submit_s=start_s - chance.randrange(HOUR_S),
        start_s=start_s,
        end_s=start_s + chance.choice([1, 3, 20, 40, 70]) * HOUR_S,
        user=chance.choice(["ada", "Ada", "bob", None]),
        account=chance.choice(["phys", "chem", None]),
        qos=chance.choice(["normal", "high"]),
        gpus=chance.choice([0, 1, 2]),
        comment=[None, "scarbon:project=x", "scarbon:project=y,phase=train"][number % 3],
    )


def _requeued(one: Job, hours: int) -> Job:
    """The same job once more, some hours later."""
    assert one.start_s is not None and one.end_s is not None
    later_s = hours * HOUR_S
    return replace(
        one, submit_s=one.submit_s + later_s, start_s=one.start_s + later_s, end_s=one.end_s + later_s, restarts=1
    )


def _changed(chance: random.Random, one: Job) -> Job:
    return replace(one, account=chance.choice(["phys", "bio"])) if chance.random() < 0.03 else one


def _overlaps(one: Job, first: int, beyond: int) -> bool:
    assert one.start_s is not None and one.end_s is not None
    return one.start_s < START_S + beyond * HOUR_S and one.end_s > START_S + first * HOUR_S


def _random_usage(chance: random.Random, one: Job, first: int, beyond: int) -> Iterator[UsageRow]:
    assert one.start_s is not None and one.end_s is not None
    pause = START_S + one.job_id % 3 * DAY_S  # some are not seen for a day in their midst
    for slot in range(first, beyond):
        at_s = START_S + slot * HOUR_S
        if not one.start_s <= at_s < one.end_s or (one.job_id % 4 == 0 and pause <= at_s < pause + DAY_S):
            continue
        for meter in (GPU, OTHER, UNNAMED)[: one.gpus + (one.job_id % 5 == 0)]:
            energy_j = None if meter is UNNAMED or (one.job_id % 3 == 0 and slot % 7) else chance.random() * 1e6
            method: Method = "none" if energy_j is None else chance.choice(["counter", "power", "model"])
            unknown = {"location_g": None} if energy_j is not None and chance.random() < 0.05 else {}
            yield usage(one, slot, energy_j, meter, method=method, **unknown)
        yield usage(one, slot, chance.random() * 1e5, HOST, method="model", embodied_g=None)


def attempt_keys(windows: Sequence[Window]) -> set[AttemptKey]:
    """The attempts that windows use."""
    return {row.attempt for one in windows for row in one.usage}
