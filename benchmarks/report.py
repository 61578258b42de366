"""How long a report takes on the books of a month with a million jobs.

The days of `benchmarks/ledger.py` (40,000 jobs each, one GPU and the host's part) go into SQLite, every twentieth job
failed. Then `scarbon report` is asked as people ask it, each time as a process of its own: the sums alone, by groups of
every kind, and everything that a page says, of the site and of one account. Goals: 5 s of the processor's time for any
of it; and an account's page takes a fifth of the site's at most, for all accounts' pages are made one after another.

    python benchmarks/report.py [--quick] [--folder DIR]

`--folder` keeps the books for a next run. Whole, it takes some 8 minutes, nearly all of it to fill the books, and 1 GB.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from accounting.ledger.drivers import connect_sqlite
from accounting.ledger.store import Ledger
from benchmarks._ledger_days import day_name, days
from benchmarks.ledger import DAYS, RUN, SITE, _process

GOAL_S = 5.0
ACCOUNT_GOAL = 0.2

#: What is asked, by what it is called.
QUESTIONS = {
    "the sums": ["--format", "table"],
    "by user": ["--format", "csv", "--by", "user"],
    "by GPU model": ["--format", "csv", "--by", "gpu-model"],
    "by label": ["--format", "csv", "--by", "tag"],
    "everything, JSON": ["--format", "json"],
    "everything, Markdown": ["--format", "md"],
    "everything, HTML": ["--format", "html"],
    "the year, JSON": ["--format", "json", "--year", day_name(0)[:4]],
}
OF_ACCOUNT = ["--format", "json", "--by", "user", "-A", "account07"]


def fill(folder: Path, jobs_a_day: int) -> None:
    """A month's books, in which every twentieth job failed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.yaml").write_text(SITE)
    started = time.perf_counter()
    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}", "UTC")
    with ledger.lock():
        for window in days(DAYS, jobs_a_day):
            ledger.post(window, RUN)
    ledger.close()
    driver = connect_sqlite(str(folder / "ledger.db"))
    driver.execute("UPDATE attempts SET state = 'FAILED' WHERE job_id % 20 = 0")
    driver.commit()
    driver.close()
    (folder / "done").touch()
    print(f"{DAYS * jobs_a_day:,} jobs: the books were filled in {time.perf_counter() - started:.0f} s", flush=True)


def ask(folder: Path, quick: bool) -> bool:
    """Ask each question; whether the goals are met."""
    month = ["--month", day_name(0)[:7]]
    _process(folder, ["report", *month])  # keeps what it read of the configuration, and the disk's pages
    seconds = {}
    for what, words in {**QUESTIONS, "an account, JSON": OF_ACCOUNT}.items():
        of = [] if "--year" in words else month
        seconds[what] = min(_process(folder, ["report", *of, *words]) for _ in range(2))
        print(f"{what}: {seconds[what]:.2f} s (at most {GOAL_S:g} s)", flush=True)
    start_s = _process(folder, ["--version"])
    share = (seconds["an account, JSON"] - start_s) / (seconds["everything, JSON"] - start_s)
    # On few jobs a page is mostly its start, and the share is noise.
    goal = "of so few jobs not judged" if quick else f"at most {ACCOUNT_GOAL:g}"
    print(f"an account's page takes {share:.2f} of the site's ({goal}), the start left out")
    return max(seconds.values()) <= GOAL_S and (quick or share <= ACCOUNT_GOAL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a fiftieth of it, for continuous integration")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with ExitStack() as stack:
        home = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scarbon-bench-")))
        if not (home / "done").exists():
            fill(home, 800 if options.quick else 40_000)
        good = ask(home, options.quick)
    print("goals met" if good else "GOALS NOT MET")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
