"""How long it takes to post into the ledger and to ask it, against floors in the same run.

Posting: a large site's days (40,000 jobs each, one GPU and the host's part, one or two hours, 1000 metered GPUs) go
into the books a day at a time, on each database; the floor is the bare driver putting the same rows into the same
tables of an empty ledger, in the same transactions, turn by turn (sqlite3's executemany, psycopg's COPY,
pymysql's rows of many). Goal: at most 3 times the floor.

Asking: on SQLite, the books of a million job-days and of five million (the same days five times, months apart), a
user's day (`scarbon jobs -u`) and an account's month (`scarbon report`), each as a process of its own, against
`scarbon --version`, by the processor's time. Goals: at most 3 and 5 times, and hardly longer on the long history
than on the short one: the answer is the same.

    python benchmarks/ledger.py [--quick] [--databases sqlite,postgresql,mariadb] [--folder DIR]

`--folder` keeps the books for a next run. The servers are started as the tests start them (root, Debian's packages);
where they cannot be, they are left out, and it is said. Whole, it takes some 15 minutes and 12 GB.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from accounting.jobs import JobFilter, list_jobs
from accounting.ledger.address import parse_address
from accounting.ledger.drivers import connect_mariadb, connect_postgresql, connect_sqlite
from accounting.ledger.postings import Window
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.report import make_report
from benchmarks._ledger_days import day_name, days, start_of
from tests.ledger.servers import Place, missing, running_servers

POST_GOAL, DAY_GOAL, MONTH_GOAL, GROWTH_GOAL = 3.0, 3.0, 5.0, 1.25
DAYS = 25
COPIES = 5
RUN = {"started_s": 0.0, "version": "0", "config_digest": "0"}

#: The rows of a window, table by table, in an order that respects what refers to what.
OF_WINDOW = (
    ("runs", "run_id = :run"),
    ("payers", "payer_id > :payer"),
    ("attempts", "attempt_id > :attempt"),
    ("meters", "meter_id > :meter"),
    ("usage_slots", "run_id = :run"),
    ("balance", "run_id = :run"),
    ("factors", "run_id = :run"),
    ("usage_days", "day = :day"),
    ("idle_days", "day = :day"),
    ("payer_days", "day = :day"),
    ("payer_jobs", "day = :day"),
)


#: A table, its columns, and rows of it.
Rows = tuple[str, list[str], list[tuple[Any, ...]]]


class Floor:
    """The bare driver on an empty ledger's tables."""

    def __init__(self, place: Place) -> None:
        Ledger(place.url, "UTC", place.password).close()
        address = parse_address(place.url, place.password)
        self.kind = place.kind
        if self.kind == "sqlite":
            self._driver: Any = connect_sqlite(address.path)
        else:
            self._driver = connect_postgresql(address) if self.kind == "postgresql" else connect_mariadb(address)

    def put(self, tables: Sequence[Rows]) -> float:
        """Put the rows into their tables, in one transaction; how long it took, s."""
        cursor = self._driver.cursor()
        started = time.perf_counter()
        if self.kind == "sqlite":
            cursor.execute("BEGIN")
        for table, columns, rows in tables:
            names = f"{table} ({', '.join(columns)})"
            if self.kind == "sqlite":
                cursor.executemany(f"INSERT INTO {names} VALUES ({', '.join('?' * len(columns))})", rows)
            elif self.kind == "postgresql":
                with cursor.copy(f"COPY {names} FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)
            else:
                cursor.executemany(f"INSERT INTO {names} VALUES ({', '.join(['%s'] * len(columns))})", rows)
        self._driver.commit()
        return time.perf_counter() - started

    def close(self) -> None:
        """Let go of the database."""
        self._driver.close()


def post(place: Place, floor: Floor, count: int, jobs_a_day: int) -> bool:
    """Post day by day, and let the floor put the same rows; whether the goal is met."""
    ledger = Ledger(place.url, "UTC", place.password)
    ours_s = floor_s = 0.0
    rows = 0
    last = {"payer": 0, "attempt": 0, "meter": 0}
    for number, window in enumerate(days(count, jobs_a_day), 1):
        started = time.perf_counter()
        with ledger.lock():
            ledger.post(window, RUN)
        ours_s += time.perf_counter() - started
        tables = list(_posted(place, number, window, last))
        rows += sum(len(rows) for _, _, rows in tables)
        floor_s += floor.put(tables)
    ledger.close()
    floor.close()
    ratio = ours_s / floor_s
    print(
        f"{place.kind:10} {count * jobs_a_day:>9,} job-days, {rows:,} rows: posted in {ours_s:.1f} s, bare driver "
        f"{floor_s:.1f} s: {ratio:.2f} times (goal: at most {POST_GOAL:g})",
        flush=True,
    )
    return ratio <= POST_GOAL


def _posted(place: Place, number: int, window: Window, last: dict[str, int]) -> Iterator[Rows]:
    """What a window put into each table. `last`: the highest numbers before it; brought up to it."""
    values = {"run": number, "day": window.days[0][0], **last}
    with Books(place.url, place.password) as books:
        for table, chosen in OF_WINDOW:
            rows = books.rows(f"SELECT * FROM {table} WHERE {chosen}", values)
            if rows:
                columns = list(rows[0].keys())
                yield table, columns, [tuple(row[column] for column in columns) for row in rows]
        for name in last:
            last[name] = books.rows(f"SELECT MAX({name}_id) AS last FROM {name}s")[0]["last"]


def lengthen(path: Path, count: int, jobs_a_day: int) -> None:
    """Repeat the history: the same days again, 31 days later each time, as other jobs."""
    driver = connect_sqlite(str(path))
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000"):
        driver.execute(f"PRAGMA {pragma}")
    of = {"attempts": "attempt_id <= :jobs", "usage_slots": "usage_id <= :usages", "balance": "balance_id <= :balances"}
    numbers = [
        driver.execute(f"SELECT MAX({name}) FROM {table}").fetchone()[0]
        for name, table in (("usage_id", "usage_slots"), ("balance_id", "balance"))
    ]
    for copy in range(1, COPIES):
        shift = {"ids": copy * count * jobs_a_day, "s": copy * 31 * 86400, "days": f"+{copy * 31} days"}
        shift |= {"usage": copy * numbers[0], "balance": copy * numbers[1]}
        shift |= {"jobs": count * jobs_a_day, "usages": numbers[0], "balances": numbers[1], "day": day_name(count)}
        driver.execute("BEGIN")
        for table, changes in SHIFTS.items():
            columns = [row[1] for row in driver.execute(f"PRAGMA table_info({table})")]
            chosen = ", ".join(changes.get(column, column) for column in columns)
            where = of.get(table, "day < :day")
            driver.execute(f"INSERT INTO {table} SELECT {chosen} FROM {table} WHERE {where}", shift)
        driver.execute("COMMIT")
    driver.execute("UPDATE booked SET end_s = ?", (start_of(31 * COPIES),))
    driver.execute("PRAGMA journal_mode = WAL")
    driver.close()


_DAY = "date(day, :days)"
SHIFTS = {
    "attempts": {
        "attempt_id": "attempt_id + :ids", "job_id": "job_id + :ids", "label": "job_id + :ids",
        "submit_s": "submit_s + :s", "start_s": "start_s + :s", "end_s": "end_s + :s",
    },
    "usage_slots": {"usage_id": "usage_id + :usage", "attempt_id": "attempt_id + :ids", "slot_s": "slot_s + :s"},
    "balance": {"balance_id": "balance_id + :balance", "slot_s": "slot_s + :s"},
    "usage_days": {"attempt_id": "attempt_id + :ids", "day": _DAY},
    "idle_days": {"day": _DAY},
    "payer_days": {"day": _DAY},
    "payer_jobs": {"day": _DAY},
}  # fmt: skip

SITE = """\
site: {name: Large site, timezone: UTC}
ledger: sqlite:///ledger.db
clusters: {alpha: {jobs: {source: sacct}, gpu: {prometheus: {url: "http://127.0.0.1:9"}}}}
pue: 1.2
grid: {zone: FRA}
"""


def ask(folders: Sequence[tuple[str, Path]], rounds: int) -> bool:
    """Ask the short and the long history the same, turn by turn; whether the goals are met."""
    window = ["-S", f"{day_name(12)}T00:00", "-E", f"{day_name(13)}T00:00"]
    questions = {
        "a user's day": (["jobs", "-u", "user007", *window], DAY_GOAL),
        "an account's month": (["report", "--month", day_name(0)[:7], "--by", "account"], MONTH_GOAL),
    }
    seconds: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds + 1):
        for size, folder in folders:
            for what, words in (("start", ["--version"]), *((what, words) for what, (words, _) in questions.items())):
                took_s = _process(folder, words)
                if turn:  # the first keeps what it read of the configuration, and the disk's pages
                    seconds.setdefault((size, what), []).append(took_s)
    (short, _), (long, _) = folders
    start_s = statistics.median([*seconds[short, "start"], *seconds[long, "start"]])
    print(f"scarbon --version takes {start_s * 1000:.0f} ms of the processor")
    good = True
    for what, (_, goal) in questions.items():
        short_s, long_s = (statistics.median(seconds[size, what]) for size in (short, long))
        good &= long_s / start_s <= goal and long_s / short_s <= GROWTH_GOAL
        print(
            f"{what}: {long_s * 1000:.0f} ms on {long}, {long_s / start_s:.2f} times the start (at most {goal:g}); "
            f"{short_s * 1000:.0f} ms on {short}: {long_s / short_s:.2f} times as long (at most {GROWTH_GOAL:g})"
        )
    return good & _queries(folders, rounds)


def _queries(folders: Sequence[tuple[str, Path]], rounds: int) -> bool:
    """The same without the start of a process: what would hide how a query grows."""
    start_s, end_s = float(start_of(12)), float(start_of(13))
    first, last = day_name(0), day_name(30)
    asked: dict[str, Callable[[Books], object]] = {
        "a user's day": lambda books: list(list_jobs(books, JobFilter(start_s, end_s, users=["user007"]))),
        "everybody's hour": lambda books: list(list_jobs(books, JobFilter(start_s, start_s + 3600))),
        "one job": lambda books: list(list_jobs(books, JobFilter(jobs=["500000"]))),
        "an account's month": lambda books: make_report(books, first, last, "account", None),
    }
    good = True
    for what, question in asked.items():
        seconds: dict[str, list[float]] = {size: [] for size, _ in folders}
        for _ in range(rounds):
            for size, folder in folders:
                with Books(f"sqlite:///{folder / 'ledger.db'}") as books:
                    started = time.perf_counter()
                    question(books)
                    seconds[size].append(time.perf_counter() - started)
        short_s, long_s = (min(values) for values in seconds.values())
        good &= long_s <= short_s * 1.5 + 0.001
        print(f"  the query alone, {what}: {short_s * 1000:.1f} ms and {long_s * 1000:.1f} ms")
    return good


def _process(folder: Path, words: list[str]) -> float:
    """How much of the processor the command takes, s: a machine that is busy otherwise makes no difference."""
    command = [sys.executable, "-m", "scarbon", "--config", str(folder / "site.yaml"), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[1])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return used.ru_utime + used.ru_stime


def on_sqlite(home: Path, jobs_a_day: int, rounds: int) -> bool:
    """Post, lengthen the history, and ask; whether the goals are met. Books that an earlier run kept are only asked."""
    short, long = home / "short", home / "long"
    good = True
    if not (long / "done").exists():
        for folder in (short, long, home / "floor"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "site.yaml").write_text(SITE)
        floor = Floor(Place("sqlite", f"sqlite:///{home / 'floor' / 'ledger.db'}"))
        good &= post(Place("sqlite", f"sqlite:///{short / 'ledger.db'}"), floor, DAYS, jobs_a_day)
        source = connect_sqlite(str(short / "ledger.db"))
        source.execute("VACUUM INTO ?", (str(long / "ledger.db"),))
        source.close()
        lengthen(long / "ledger.db", DAYS, jobs_a_day)
        (long / "done").touch()
    sizes = [(f"{DAYS * jobs_a_day * times:,} job-days", folder) for times, folder in ((1, short), (COPIES, long))]
    return ask(sizes, rounds) and good


def on_servers(kinds: Sequence[str], jobs_a_day: int) -> bool:
    """Post on each; whether the goals are met."""
    if reason := missing():
        print(f"WITHOUT SERVERS: {reason}")
        return True
    good = True
    with running_servers(in_memory=False) as servers:
        for kind in kinds:
            ours, bare = servers[kind].database(), servers[kind].database()
            good &= post(ours, Floor(bare), DAYS, jobs_a_day)
            for place in (ours, bare):
                servers[kind].drop(place)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fiftieth of it, for continuous integration")
    parser.add_argument("--databases", default="sqlite,postgresql,mariadb")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    jobs_a_day = 800 if options.quick else 40_000
    wanted = options.databases.split(",")
    good = True
    if "sqlite" in wanted:
        with ExitStack() as stack:
            home = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scarbon-bench-")))
            good &= on_sqlite(home, jobs_a_day, 3 if options.quick else 9)
    if kinds := [kind for kind in wanted if kind != "sqlite"]:
        good &= on_servers(kinds, jobs_a_day)
    print("goals met" if good else "GOALS NOT MET")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
