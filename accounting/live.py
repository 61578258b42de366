"""Accounting what is not in the books yet, for a look: a running job as of now.

The same run as `scarbon collect` makes, into books of its own that are thrown away after it. Nothing of it reaches the
site's books: samples still come in, and Slurm's record of the job still changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from accounting.booking import Rules, Sources, account
from accounting.clock import split_by_day
from accounting.ledger.postings import MeterKey
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import GpuSamples, Job

#: How long before the present a sample may be for a device to count as one that is heard.
HEARD_S = 600.0


def jobs_between(sources: Sources, start_s: float, end_s: float) -> list[Job]:
    """The jobs of a time that the books do not hold yet. SourceError where Slurm cannot be asked."""
    return [job for job in sources.jobs.jobs(start_s, end_s) if isinstance(job, Job)]


def last_sample_s(sources: Sources, nodes: set[str], now_s: float) -> float:
    """When the GPUs of these nodes were last heard, up to now; now where they are not heard at all."""
    if sources.gpu is None:
        return now_s
    found = sources.gpu.samples(now_s - HEARD_S, now_s)
    heard = [one.last_s for one in found if isinstance(one, GpuSamples) and one.device.node in nodes]
    return min(max(heard, default=now_s), now_s)


@contextmanager
def provisional_books(
    books: Books, cluster: str, sources: Sources, rules: Rules, span: tuple[float, float], version: str
) -> Iterator[Books]:
    """Books of the cluster's time in `span` alone, as it is known now, beside `books`. SourceError where it is not."""
    with TemporaryDirectory(prefix="scarbon-") as folder:
        url = f"sqlite:///{Path(folder, 'ledger.db')}"
        ledger = Ledger(url, str(rules.zone))
        try:
            keeper = _Beside(ledger, books)
            for window in split_by_day(rules.zone, *span):
                account(cluster, sources, rules, keeper, *window, version=version, config_digest="")
        finally:
            ledger.close()
        with Books(url) as provisional:
            yield provisional


class _Beside:
    """A ledger that goes on from books: it knows their meters, which may be silent just now."""

    def __init__(self, ledger: Ledger, books: Books) -> None:
        self._books = books
        self.booked = ledger.booked
        self.post = ledger.post
        self._silent_since = ledger.silent_since

    def silent_since(self, cluster: str) -> dict[MeterKey, float | None]:
        """As `Ledger.silent_since`, of the books' meters, too."""
        sql = "SELECT kind, uuid, silent_since_s FROM meters WHERE cluster = :cluster AND uuid <> ''"
        rows = self._books.rows(sql, {"cluster": cluster})
        known = {MeterKey(row["kind"], row["uuid"]): row["silent_since_s"] for row in rows}
        return {**known, **self._silent_since(cluster)}
