"""Days of a large site, as windows to post: what `benchmarks/ledger.py` fills its books with."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from accounting.ledger.postings import BalanceRow, Meter, MeterKey, UsageRow, Window
from accounting.model import FactorSlot, Job

HOUR_S = 3600
DAY_S = 24 * HOUR_S
USERS = 500
ACCOUNTS = 60
JOBS_A_GPU = 40  # a day
FIRST_DAY = date(2026, 1, 1)

HOST = Meter(MeterKey("host", ""), "", "")


def start_of(day: int) -> int:
    """Midnight of a day of the benchmark, by its number; the books' zone is UTC."""
    return int(datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC).timestamp()) + day * DAY_S


def day_name(day: int) -> str:
    """Its date."""
    return (FIRST_DAY + timedelta(days=day)).isoformat()


def days(count: int, jobs_a_day: int) -> Iterator[Window]:
    """One window for each day. A job takes one GPU, and runs within a day in one or two slots, as most jobs do."""
    chance = random.Random(20261101)
    gpus = jobs_a_day // JOBS_A_GPU
    meters = [Meter(MeterKey("gpu", f"GPU-{number:032x}"), f"n{number // 4:04}", "A100") for number in range(gpus)]
    for day in range(count):
        yield _day(chance, day, jobs_a_day, meters)


def _day(chance: random.Random, day: int, jobs_a_day: int, meters: Sequence[Meter]) -> Window:
    start_s = start_of(day)
    jobs: list[Job] = []
    usage: list[UsageRow] = []
    for number in range(1 + day * jobs_a_day, 1 + (day + 1) * jobs_a_day):
        meter = meters[number % len(meters)]
        job = _job(chance, number, start_s, meter.node)
        assert job.start_s is not None and job.end_s is not None
        jobs.append(job)
        slot_s = job.start_s - job.start_s % HOUR_S
        while slot_s < job.end_s:
            held_s = float(min(job.end_s, slot_s + HOUR_S) - max(job.start_s, slot_s))
            usage.append(_usage(job, meter, slot_s, held_s, 300.0 * held_s * chance.random()))
            usage.append(_usage(job, HOST, slot_s, held_s, 40.0 * held_s))
            slot_s += HOUR_S
    slots = range(start_s, start_s + DAY_S, HOUR_S)
    balance = [
        BalanceRow(meter.key, slot_s, "counter", 3600.0, 3600.0, 4e5, 900.0, 5e4, 6e4, 1.2, 0.8, 3.5)
        for meter in meters
        for slot_s in slots
    ]
    return Window(
        cluster="alpha", start_s=start_s, end_s=start_s + DAY_S,
        booked=[(float(start_of(0)), float(start_s + DAY_S))], slots_s=slots,
        days=[(day_name(day), start_s, start_s + DAY_S)], jobs=jobs, meters=[HOST, *meters], usage=usage,
        balance=balance, factors=[("pue", FactorSlot(slot_s, slot_s + HOUR_S, 1.2, "benchmark")) for slot_s in slots],
        rejects=[], silent_since_s={},
    )  # fmt: skip


def _job(chance: random.Random, number: int, day_s: int, node: str) -> Job:
    user = chance.randrange(USERS)
    start_s = day_s + chance.randrange(22 * HOUR_S)
    return Job(
        cluster="alpha", job_id=number, submit_s=start_s - chance.randrange(2 * HOUR_S), label=str(number),
        state="COMPLETED", start_s=start_s, end_s=start_s + 60 + chance.randrange(HOUR_S), user=f"user{user:03}",
        uid=2000 + user, account=f"account{user % ACCOUNTS:02}", partition=chance.choice(["gpu", "long"]), qos="normal",
        name=f"train-{chance.randrange(1000)}", nodes=(node,), cpus=8, memory_mb=32000.0, gpus=1,
        exit_code="0:0",
    )  # fmt: skip


def _usage(job: Job, meter: Meter, slot_s: int, held_s: float, energy_j: float) -> UsageRow:
    facility_j = energy_j * 1.2
    gpu = meter is not HOST
    return UsageRow(
        job.key, meter.key, slot_s, "counter" if gpu else "model", "journal" if gpu else "slurm", held_s, held_s,
        held_s, energy_j, facility_j, facility_j / 3.6e6 * 60.0, facility_j / 3.6e6 * 25.0,
        held_s * 2e-3 if gpu else None,
    )  # fmt: skip
