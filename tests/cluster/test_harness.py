"""The harness itself: it skips loudly, and leaves nothing behind."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import harness, requirements
from tests.cluster.gpus import CHECKOUT
from tests.cluster.processes import ClusterError, Processes

SKIPPED_RUN = """\
import sys, pytest
from tests.cluster import requirements
requirements.PROGRAMS["no-such-daemon"] = "no-such-package"
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/cluster/test_below_the_books.py"]))
"""

#: Starts a service in the folder that is given, says its process id, and waits.
OWNER = """\
import pathlib, sys, time
from tests.cluster.processes import Processes
service = Processes(pathlib.Path(sys.argv[1])).start("sleep", ["sleep", "600"])
print(service.process.pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(met: Callable[[], bool]) -> bool:
    """Whether a condition is met within ten seconds."""
    deadline = time.monotonic() + 10
    while not met() and time.monotonic() < deadline:
        time.sleep(0.02)
    return met()


def test_what_is_missing_is_said_with_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(requirements, "PROGRAMS", {"no-such-daemon": "some-package", "sh": "dash"})
    assert requirements.missing() == (
        "no-such-daemon not found (Debian packages: some-package; tests/install-debian.sh installs them)"
    )
    monkeypatch.setattr(requirements, "PROGRAMS", {"sh": "dash"})
    assert requirements.missing() is None
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert requirements.missing() == "not root: munge, slurmd and the test users need it"


def test_a_run_without_a_cluster_says_so_at_its_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SKIPPED_RUN],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("CLUSTER TESTS DID NOT RUN: ")]
    reason = "not root" if os.geteuid() else "no-such-daemon not found"
    assert reason in line
    assert " skipped in " in done.stdout


def test_what_outlives_its_service_is_found_and_killed(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    # In sessions of their own, and on when their daemon ends: one hides its environment, as slurmstepd does, and the
    # other one goes elsewhere, as a job may.
    script = "setsid env -i sleep 600 & cd / && setsid sleep 700 & exec sleep 500"
    processes.start("daemon", ["sh", "-c", script])
    running = ["sleep 500", "sleep 600", "sleep 700"]
    processes.wait_until(lambda: sorted(processes.ours().values()) == running, "all three run")
    assert sorted(processes.stop_all()) == ["sleep 600", "sleep 700"]
    assert processes.ours() == {}


def test_services_end_when_the_tests_are_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        # Until then it is setpriv, which has not asked yet to end with its owner.
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
        assert alive(pid)
        owner.kill()
    assert wait_until(lambda: not alive(pid))


def test_what_a_killed_run_left_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    mine, dead = (tmp_path / f"{harness.PREFIX}{name}" for name in ("mine", "dead"))
    running = []
    for folder, owner in ((mine, str(os.getpid())), (dead, "no such process")):
        folder.mkdir()
        (folder / harness.OWNER).write_text(owner)
        processes = Processes(folder)
        processes.start("sleep", ["sleep", "600"])
        running.append(processes)
    harness.clear_away_dead_runs(tmp_path)
    assert not dead.exists()
    assert running[1].ours() == {}
    assert mine.exists()
    assert list(running[0].ours().values()) == ["sleep 600"]
    for processes in running:
        processes.stop_all()


def test_a_service_that_ends_early_is_named_with_its_last_words(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.start("broken", ["sh", "-c", "echo no such key; exit 1"])
    with pytest.raises(ClusterError, match=r"(?s)broken ended while waiting until it answers.*no such key"):
        processes.wait_until(lambda: False, "it answers", timeout_s=30)
    processes.stop_all()


@pytest.mark.cluster
def test_a_set_up_that_fails_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if reason := requirements.missing():
        pytest.skip(reason)
    seen: list[Processes] = []
    users = {user.pw_name for user in pwd.getpwall()}

    def no_database(processes: Processes, folder: Path) -> None:
        seen.append(processes)
        assert len(processes.services) == 4  # two exporters, Prometheus, munged
        raise ClusterError("no database today")

    monkeypatch.setattr(harness, "start_mariadb", no_database)
    with pytest.raises(ClusterError, match="no database today"), harness.running_cluster():
        pass
    (processes,) = seen
    assert processes.ours() == {}
    assert not processes.folder.exists()
    assert {user.pw_name for user in pwd.getpwall()} == users
