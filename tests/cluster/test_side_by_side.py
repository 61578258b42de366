"""`scarbon jobs` beside the real sacct, on the same jobs with the same words: the same lines, byte by byte.

What differs on purpose is in docs/jobs.md: of these here, that a state is shown without who cancelled the job.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from tests.cluster.books import Books, iso, open_books
from tests.cluster.harness import Cluster
from tests.cluster.workload import Workload
from tests.site import scarbon

pytestmark = pytest.mark.cluster

#: Every field that both have; Elapsed and CPUTime apart, which go on for jobs that run.
SHARED = (
    "JobID,JobIDRaw,Cluster,User,UID,Account,Partition,QOS,WCKey,JobName,Submit,Start,End,State,ExitCode,AllocNodes,"
    "NodeList,Suspended,Comment"
)
RUNS_ON = "JobID,Elapsed,ElapsedRaw,CPUTime,CPUTimeRAW,AllocCPUS,NCPUS,NNodes"


@dataclass(frozen=True)
class Scene:
    """The jobs that are asked for, by name, and the window in which they all were."""

    books: Books
    names: dict[str, str]  # what stands for `{name}` in the words

    def both(self, words: str, **env: str) -> tuple[tuple[int, str], tuple[int, str]]:
        """Exit code and stdout of sacct -X and of scarbon jobs -X; SLURM_TIME_FORMAT is Slurm's own default."""
        options = shlex.split(words.format(**self.names))
        env = {"SLURM_CONF": self.books.cluster.slurm.env["SLURM_CONF"], "TZ": "UTC", **env}
        slurm = subprocess.run(
            ["sacct", "-X", *options], env={**os.environ, **env}, capture_output=True, text=True, timeout=60
        )
        with mock.patch.dict(os.environ, env):
            ours = scarbon("--config", self.books.config, "jobs", "-X", *options)
        return (slurm.returncode, slurm.stdout), (ours.code, ours.out)


@pytest.fixture(scope="module")
def scene(cluster: Cluster, workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Jobs of every kind that have ended, one that runs, one that waits; all of it in the books."""
    slurm, submit = cluster.slurm, cluster.submit
    start_s = int(time.time())
    ids = {
        "array": submit("bob", "sleep 1", "--gpus=1", "--array=0-2", "--job-name=arr"),
        "long": submit("ada", "sleep 1", "--array=1-7:2", "--job-name=a-very-long-job-name-of-an-array"),
        "het": submit("ada", "sleep 2", "-n1", ":", "-n2"),
        "failed": submit("bob", "exit 3", "--cpus-per-task=3"),
        "pair": submit("ada", "sleep 2", "--nodes=2", "--comment=a note, and a longer one"),
    }
    first = submit("bob", "sleep 60", "--job-name=cancelled")
    suspended = submit("ada", "sleep 3", "--job-name=suspended")
    cluster.processes.wait_until(
        lambda: {slurm.queue().get(str(one)) for one in (first, suspended)} == {"RUNNING"}, "both run", timeout_s=60
    )
    slurm.run("scontrol", "suspend", str(suspended))
    time.sleep(2)
    slurm.run("scontrol", "resume", str(suspended))
    slurm.cancel(first)
    cluster.processes.wait_until(lambda: not slurm.queue(), "the jobs have ended", timeout_s=120)
    end_s = int(time.time()) + 1
    running = submit("eve", "sleep 600", "--nodelist=n1", "--gpus=4", "--nodes=1")
    waiting = submit("eve", "sleep 600", "--nodelist=n1", "--gpus=4", "--nodes=1")
    cluster.processes.wait_until(lambda: slurm.queue().get(str(running)) == "RUNNING", "it runs", timeout_s=60)
    cluster.processes.wait_until(lambda: waiting_in_books(cluster, waiting), "Slurm's books have it", timeout_s=60)
    books = open_books(tmp_path_factory.mktemp("side"), cluster)
    # All that ever ran on this cluster: other tests' jobs, too, are within the last day.
    books.scarbon("collect", "--quiet", "-S", "now-1days", "-E", iso(int(time.time())))
    try:
        yield Scene(
            books,
            {
                **{name: str(job_id) for name, job_id in ids.items()},
                **cluster.users,
                "part": str(ids["het"] + 1),
                "cancelled": str(first),
                "running": str(running),
                "requeued": str(workload.ids["requeued"]),
                "uid": slurm.sacct("UID", "-j", str(first))[0]["UID"],
                "time": f"-S {iso(start_s)[:-1]} -E {iso(end_s)[:-1]}",
                "middle": f"-S {iso(start_s + 2)[:-1]} -E {iso(start_s + 4)[:-1]}",
                "moment": f"-S {iso(start_s + 3)[:-1]} -E {iso(start_s + 3)[:-1]}",
                "work": f"-S {iso(workload.start_s)[:-1]} -E {iso(workload.end_s)[:-1]}",
                "start": iso(start_s)[:-1],
                "end": iso(end_s)[:-1],
            },
        )
    finally:
        slurm.cancel(waiting)
        slurm.cancel(running)
        cluster.processes.wait_until(lambda: not slurm.queue(), "the last jobs have ended", timeout_s=60)


def waiting_in_books(cluster: Cluster, job_id: int) -> bool:
    return any(row["State"] == "PENDING" for row in cluster.slurm.sacct("State", "-j", str(job_id)))


WORDS = [
    # every field, in the order, with the names and sides that sacct has
    f"-a -P -D {{work}} -o {SHARED}",
    f"-a -P {{time}} -o {SHARED}",
    f"-a -D {{work}} -o {SHARED}",
    f"-u {{ada}},{{bob}} {{time}} -o {RUNS_ON}",
    f"-u {{ada}},{{bob}} {{time}} -P -o {RUNS_ON}",
    # widths to both sides: what is cut, and with which mark
    *(f"-u {{ada}},{{bob}} -s CD,F {{time}} -o {','.join(f'{name}%{width}' for name in SHARED.split(','))}"
      for width in (1, 3, 7, 12, 30, -1, -4, -25)),
    *(f"-u {{ada}},{{bob}} {{time}} -o {','.join(f'{name}%{width}' for name in RUNS_ON.split(','))}"
      for width in (2, 20, -2, -20)),
    "-a {time} -o job,sta,exit,u,part,acc,q,w,sub,st,en,nodel,cl",
    "-a {time} -o jobid -o user%20,state",
    # headers and delimiters
    "-a {time} -b", "-a {time} -b -o user", "-a {time} -n -o jobid,state", "-a {time} -p -o jobid,user",
    "-a {time} -P -p -o jobid,user", "-a {time} -p -P -o jobid,user", "-a {time} -P --delimiter ; -o jobid,user",
    "-a {time} -p --delimiter=:: -o jobid,user", "-a {time} --delimiter ; -o jobid,user", "-a {time} -nPojobid",
    "-a {time} --noheader --parsable2 --format=jobid", "--allu --start={start} --end {end} -P --form jobid",
    # whose
    "-a {time} -u {bob} -P -o jobid", "-u {bob} -a {time} -P -o jobid", "-u {uid} {time} -P -o jobid",
    "-u {ada} -u {eve} {time} -P -o jobid", "--uid={bob} {time} -P -o jobid", "-A phys {time} -P -o jobid",
    "-A CHEM,phys {time} -P -o jobid", "--accounts=chem {work} -P -o jobid",
    # which
    "-j {array} -b", "-j {array}_1 -b", "-j {array}_1,{failed} -b", "-j {failed} -j {cancelled} -b -n",
    "-j {long}_3 -b",
    "-j {het} -b", "-j {het}+1 -b", "-j {part} -b", "-j {part} --whole-hetjob -b", "-j {het}+1 --whole-hetjob=yes -b",
    "-j {het} --whole-hetjob=no -b", "-j {requeued} -b", "-j {requeued} -D -b", "-j {running} -b -n", "-j 999999 -b",
    "-r gpu {time} -P -o jobid", "-q normal {time} -P -o jobid", "-q NORMAL -r GPU {time} -P -o jobid",
    "--name=ARR {time} -P -o jobid", "--name=arr,suspended {time} -P -o jobid", "-M alpha {time} -P -o jobid",
    "-M all {time} -P -o jobid", "-L {time} -P -o jobid",
    # where, and on how much
    "-N n1 {time} -P -o jobid", "-N n2 {work} -P -o jobid", "-N n[1-2] {time} -P -o jobid",
    "-N n1,n2 {time} -P -o jobid",
    "-i 2 {time} -P -o jobid", "-i 1-2 {work} -P -o jobid", "-i 0 {time} -P -o jobid", "-I 3 {time} -P -o jobid",
    "-I 2-3 {time} -P -o jobid", "-i 2 -N n1 -A phys {time} -P -o jobid", "-N n1 -D {work} -P -o jobid,submit",
    # when
    "-a {middle} -P -o jobid", "-a {moment} -P -o jobid", "-a -S {end} -P -o jobid",
    "-a -S now-1days -E {start} -P -o jobid",
    # in which state
    *(f"-a -s {state} {when} -P -o jobid,start,end"
      for state in ("CD", "R", "F", "ca", "CANCELLED", "RQ", "TO", "S", "CD,F", "R,CA", "completed,requeued")
      for when in ("{time}", "{work}", "{middle}")),
    "-a -s R -P -o jobid", "-a -s PD -P -o jobid", "-a -s CD -P -o jobid", "-a -s F -S {start} -P -o jobid",
    "-s CD -j {array},{failed} -P -o jobid", "-s F -j {array},{failed} -P -o jobid", "-s F -j {failed} -S {start} -b",
    "-a -s R -D {work} -P -o jobid,submit", "-a -s RQ -D {work} -P -o jobid,submit,state",
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
def test_the_same_lines(scene: Scene, words: str) -> None:
    (slurm_code, slurm), (code, ours) = scene.both(words)
    assert (slurm_code, code) == (0, 0)
    assert ours.splitlines() == without_who(slurm).splitlines()


def without_who(text: str) -> str:
    """What sacct says, where a state is not followed by who cancelled the job."""
    text = re.sub(r"CANCELLED by \d+(?=\||$)", "CANCELLED", text, flags=re.MULTILINE)  # -P
    return text.replace("CANCELLED+", " CANCELLED")  # in ten columns


@pytest.mark.parametrize(
    "words",
    [
        "-o bogus", "-s bogus", "-u nobody-of-that-name", "-u 987654", "-j x", "-j {array}_x", "-i 2-", "--units=X",
        "-S {end} -E {start}", "-q bogus", "-S bogus", "and more",
    ],
)  # fmt: skip
def test_what_both_refuse(scene: Scene, words: str) -> None:
    (slurm_code, _), (code, ours) = scene.both(words)
    assert slurm_code != 0
    assert (code, ours) == (2, "")


@pytest.mark.parametrize("wanted", ["standard", "relative", "%s", "%d.%m.%y %H:%M", "nothing"])
def test_times_as_the_environment_wants_them(scene: Scene, wanted: str) -> None:
    slurm, ours = scene.both("-P -j {failed} -o Submit,Start,End", SLURM_TIME_FORMAT=wanted)
    assert ours == slurm


@pytest.mark.parametrize("words", ["-j {failed}", "-j {failed} -b"])
def test_the_environments_format(scene: Scene, words: str) -> None:
    slurm, ours = scene.both(words, SACCT_FORMAT="jobid%20,state,user%-4")
    assert ours == slurm


def test_every_field_of_sacct_is_shown_or_refused_with_a_reason(scene: Scene) -> None:
    """So that a release with a new one is seen."""
    from scarbon.fields import FIELDS, ONLY_IN_SACCT

    env = {**os.environ, "SLURM_CONF": scene.books.cluster.slurm.env["SLURM_CONF"]}
    told = subprocess.run(["sacct", "-e"], env=env, capture_output=True, text=True, check=True).stdout
    names = {name.lower() for name in told.split()}
    assert len(names) > 90
    assert names <= FIELDS.keys() | ONLY_IN_SACCT


def test_every_option_of_sacct_is_taken_or_refused_with_a_reason(scene: Scene) -> None:
    from scarbon.commands.jobs import jobs

    env = {**os.environ, "SLURM_CONF": scene.books.cluster.slurm.env["SLURM_CONF"]}
    told = subprocess.run(["sacct", "--help"], env=env, capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^\s*(?:-\w, )?(?:--\w[\w-]*, )*(--\w[\w-]*)", told, re.MULTILINE))
    letters = set(re.findall(r"^\s+(-\w), --", told, re.MULTILINE))
    assert len(names) > 35 and len(letters) > 25
    known = {name for param in jobs.params for name in (*param.opts, *param.secondary_opts)} | {"-h", "--help"}
    assert (names | letters) - known == set()


def test_show_of_the_running_job(scene: Scene, tmp_path: Path) -> None:
    """What is not in the books yet, from Slurm and Prometheus as of now; and the books stay as they are."""
    before = scene.books.tables()
    (card,) = scene.books.json("show", scene.names["running"])["cards"]
    assert card["provisional"] and card["jobs"][0]["state"] == "RUNNING"
    assert 0 <= time.time() - card["as_of"] < 30
    assert len(card["held"]) == 4 and {one["node"] for one in card["held"]} == {"n1"}
    held_s = card["as_of"] - card["start"]
    assert card["gpu_seconds"] == pytest.approx(4 * held_s, abs=8)
    assert card["gpu_energy_j"] == pytest.approx(sum(one["energy_j"] for one in card["held"]))
    assert scene.books.tables() == before
    text = scene.books.scarbon("show", scene.names["running"])
    assert "still runs" in text and "read from energy counters" in text and "GPU power, W" in text


def test_show_without_prometheus(scene: Scene, cluster: Cluster, tmp_path: Path) -> None:
    """The card, with a note in the place of the plot."""
    books = open_books(tmp_path, cluster)
    books.config.write_text(
        books.config.read_text()
        .replace(cluster.prometheus.url, "http://127.0.0.1:9")
        .replace("sqlite:///ledger.db", f"sqlite:///{scene.books.folder / 'ledger.db'}")
    )
    (card,) = books.json("show", f"{scene.names['array']}_1")["cards"]
    assert card["gpu_energy_j"] > 0 and card["power"] is None
    assert re.search("no plot of its power: Prometheus at .* cannot be reached", " ".join(card["notes"]))
