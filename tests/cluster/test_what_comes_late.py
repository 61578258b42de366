"""A real Slurm that is away, is changed afterwards, or runs no hook: the books are complete in the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from accounting.accounts import read_tree
from accounting.ledger.reading import Books as Reading
from tests.cluster.books import Books, iso, open_books
from tests.cluster.gpus import CHECKOUT
from tests.cluster.harness import Cluster

pytestmark = pytest.mark.cluster

DAY_S = 86400

#: `sacct` as it is, but before a window is asked for the second time, slurmdbd ends.
SACCT = """\
#!/bin/sh
case "$*" in *--starttime*) echo >>{calls} ;; esac
if [ "$(wc -l <{calls})" = 2 ] && kill {pid}; then
    until grep -q ') Z ' /proc/{pid}/stat; do sleep 0.1; done
fi 2>/dev/null
exec {sacct} "$@"
"""


def refused(books: Books, *words: str) -> str:
    """The one line with which a command fails."""
    done = subprocess.run(
        [sys.executable, "-m", "scarbon", "--config", str(books.config), *words],
        cwd=CHECKOUT,
        env={**os.environ, "SLURM_CONF": books.cluster.slurm.env["SLURM_CONF"]},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, ""), done
    (line,) = done.stderr.splitlines()
    return line


def in_force(books: Books) -> dict[str, list[tuple[object, ...]]]:
    """The books without who wrote them when."""
    return {name: rows for name, rows in books.tables().items() if name not in ("runs", "meta")}


@contextmanager
def without_hooks(cluster: Cluster) -> Iterator[None]:
    """While it lasts, Prolog and Epilog do nothing."""
    kept = {node.hook: node.hook.read_bytes() for node in cluster.nodes.values()}

    def write(path: Path, content: bytes) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.chmod(0o755)
        new.rename(path)

    for hook in kept:
        write(hook, b"#!/bin/sh\nexit 0\n")
    try:
        yield
    finally:
        for hook, content in kept.items():
            write(hook, content)


def test_slurmdbd_ends_in_the_middle_of_a_run(cluster: Cluster, tmp_path: Path) -> None:
    """The day before is in the books, the cursor is at midnight, and the next run completes them."""
    slurm = cluster.slurm
    cluster.submit("ada", cluster.load(5, 300), "--gpus=1")
    slurm.wait_for_all()
    end_s = int(time.time())
    midnight_s = end_s - end_s % DAY_S
    window = ("-S", iso(midnight_s - 3600), "-E", iso(end_s))

    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("scontrol", "sacctmgr"):
        (folder / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "calls").touch()
    program = folder / "sacct"
    (tmp_path / "one").mkdir()
    books = open_books(tmp_path / "one", cluster, holders="[journal]")
    text = books.config.read_text()
    books.config.write_text(text.replace("{source: sacct}", f"{{source: sacct, sacct: {program}}}"))
    pid = slurm.daemons["slurmdbd"].process.pid
    program.write_text(SACCT.format(calls=tmp_path / "calls", pid=pid, sacct=shutil.which("sacct")))
    program.chmod(0o755)
    with cluster.prometheus.not_scraping():  # what follows a window would tell the level at its end
        try:
            line = refused(books, "collect", *window)
        finally:
            slurm.stop_daemon("slurmdbd")
            slurm.start_daemon("slurmdbd")
            cluster.processes.wait_until(lambda: slurm.answers("sacctmgr", "-n", "show", "cluster"), "slurmdbd answers")
        assert "sacct failed (exit 1): " in line  # and then Slurm's own words
        assert "slurmdbd" in line.lower() or "connection" in line.lower()
        assert f"(accounted up to {iso(midnight_s).removesuffix('Z')})" in line
        assert books.tables()["booked"] == [("alpha", float(midnight_s - 3600), float(midnight_s))]

        books.scarbon("collect", "-E", iso(end_s))
        (tmp_path / "other").mkdir()
        other = open_books(tmp_path / "other", cluster, holders="[journal]")
        other.scarbon("collect", *window)
    assert in_force(books) == in_force(other)
    assert in_force(other)["usage_slots"]


def test_what_an_administrator_changes_afterwards(cluster: Cluster, tmp_path: Path) -> None:
    """A comment with a label, given to a job that is over and in the books; and the tree of accounts."""
    slurm, start_s = cluster.slurm, int(time.time()) - 1
    job = cluster.submit("ada", cluster.load(4, 300), "--gpus=1")
    slurm.wait_for_all()
    books = open_books(tmp_path, cluster, holders="[journal]")
    books.scarbon("collect", "-S", iso(start_s), "-E", iso(int(time.time())))

    def labels() -> dict[str, object]:
        rows = books.json("jobs", "-a", "-S", iso(start_s))["jobs"]
        return {row["job_id"]: row["tags"] for row in rows if row["job_id"] == str(job)}

    assert labels() == {str(job): {}}
    slurm.sacctmgr("modify", "job", "where", f"jobid={job}", "set", "comment=scarbon:project=late")
    bob = cluster.users["bob"]
    slurm.sacctmgr("add", "account", "dept", "organization=science")
    slurm.sacctmgr("add", "account", "team", "parent=dept")
    slurm.sacctmgr("add", "coordinator", "account=dept", f"names={bob}")
    books.scarbon("collect", "--again", "1")
    assert labels() == {str(job): {"project": "late"}}
    with Reading(f"sqlite:///{tmp_path}/ledger.db") as reading:
        tree = read_tree(reading, "alpha")
    assert tree.path("team") == ("root", "dept", "team")
    assert tree.coordinated_by(bob) == {"dept", "team"}
    assert tree.accounts["phys"].members == tuple(sorted(cluster.users[name] for name in ("ada", "bob")))
    slurm.sacctmgr("delete", "account", "team")
    slurm.sacctmgr("delete", "account", "dept")
    books.scarbon("collect", "--again", "1")
    with Reading(f"sqlite:///{tmp_path}/ledger.db") as reading:
        later = read_tree(reading, "alpha")
    gone = {name for name, account in later.accounts.items() if account.gone_s is not None}
    assert gone == {"dept", "team"}
    assert replace(later.accounts["team"], gone_s=None, members=(), coordinators=()) == replace(
        tree.accounts["team"], members=(), coordinators=()
    )


def test_a_requeued_attempt_whose_hooks_did_not_run(cluster: Cluster, tmp_path: Path) -> None:
    """The controller was asked while it ran, so it has its energy by the next source; without one, it is flagged."""
    slurm, start_s = cluster.slurm, int(time.time()) - 1
    (tmp_path / "all").mkdir()
    books = open_books(tmp_path / "all", cluster, holders="[journal, hpc_job, gres_index]")
    job = cluster.submit("eve", cluster.load(12, 310), "--gpus=1", "--requeue")

    def runs(restart: int) -> bool:
        return bool(slurm.running_gpus().get((job, restart)))

    cluster.processes.wait_until(lambda: runs(0), "the first attempt runs")
    time.sleep(6)
    slurm.requeue(job)
    cluster.processes.wait_until(lambda: str(job) in slurm.queue() and not runs(0), "the first attempt is over")
    time.sleep(2)  # its Epilogs are done
    with without_hooks(cluster):
        cluster.processes.wait_until(lambda: runs(1), "the second attempt runs", timeout_s=120)
        books.scarbon("collect", "--poll")
        slurm.wait_for_all()
        time.sleep(3)
    window = ("-S", iso(start_s), "-E", iso(int(time.time()) - 1))

    def energies(books: Books) -> list[tuple[float | None, str]]:
        books.scarbon("collect", "--quiet", *window)
        rows = [row for row in books.json("jobs", "-a", "-D", *window)["jobs"] if row["job_id"] == str(job)]
        return [(row["gpu_energy_j"], row["method"]) for row in sorted(rows, key=lambda row: row["submit"])]

    (first_j, first), (second_j, second) = energies(books)
    assert (first, second) == ("counter", "counter")
    assert first_j is not None and first_j > 5 * 300
    assert second_j is not None and second_j == pytest.approx(12 * 310, rel=0.15)
    holders = "SELECT DISTINCT holder FROM usage_slots JOIN attempts USING (attempt_id) WHERE job_id = :job"
    with Reading(f"sqlite:///{books.folder}/ledger.db") as reading:
        assert {row["holder"] for row in reading.rows(holders, {"job": job})} == {"journal", "gres_index"}

    (tmp_path / "hooks").mkdir()
    by_hooks = open_books(tmp_path / "hooks", cluster, holders="[journal, hpc_job]")
    assert energies(by_hooks) == [(pytest.approx(first_j, rel=0.02), "counter"), (None, "none")]
    assert by_hooks.json("audit")["jobs_unknown"] == 1
