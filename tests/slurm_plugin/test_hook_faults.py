"""The hook where something is wrong, one fault at a time.

Each time it must exit 0 and print nothing (`Node.run` asserts both), write nowhere but in its two folders (`confined`
watches every run), say what went wrong, and leave journal and mapping readable.
"""

import contextlib
import fcntl
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

#: Notes, and ends the process, when the hook is about to change anything outside the two folders.
CONFINED = """
breach = posix.open({breach!r}, posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND)
def watch(event, args):
    flags = posix.O_WRONLY | posix.O_RDWR | posix.O_CREAT | posix.O_TRUNC
    if event == "open":
        paths = args[:1] if args[2] & flags else ()
    elif event in ("os.rename", "os.link", "os.symlink"):
        paths = args[:2]
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.truncate"):
        paths = args[:1]
    else:
        return
    for path in paths:
        if isinstance(path, str) and path != "/dev/null" and not path.startswith({folders!r}):
            posix.write(breach, (event + " " + path).encode())
            posix._exit(77)
sys.addaudithook(watch)
"""


class Faulty:
    """A node whose hook is interfered with."""

    def __init__(self, node) -> None:
        self.node = node

    def run(self, context="prolog", job=42, fault="", **env):
        """Run the hook, confined, with `fault` in its way. Returns what it said to syslog."""
        breach = self.node.home.with_name(self.node.home.name + ".breach")
        folders = (str(self.node.journal_dir), str(self.node.mapping_dir))
        watch = CONFINED.replace("{folders!r}", repr(folders)).replace("{breach!r}", repr(str(breach)))
        self.node.run(context, job, fault=watch + fault, **{"SLURM_JOB_GPUS": "0", **env})
        assert breach.read_text() == ""
        return self.node.said()


@pytest.fixture
def faulty(node):
    return Faulty(node)


def whole_and_torn(path):
    """The journal's objects, and how many lines are none."""
    whole, torn = [], 0
    for line in path.read_bytes().splitlines():
        try:
            whole.append(json.loads(line))
        except ValueError:
            torn += 1
    return whole, torn


def test_the_watch_sees_what_leaves_the_folders(node, faulty):
    with pytest.raises(AssertionError, match=r"open .*/out"):
        faulty.run(fault=f"hook.held_gpus = lambda *_: posix.open({str(node.home / 'out')!r}, posix.O_CREAT)")


# --- the disk


@pytest.fixture
def small_disk(node):
    """A file system of 64 kB under the node's folders."""
    disk = node.home / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    with contextlib.suppress(FileNotFoundError):
        if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
            node.journal_dir, node.mapping_dir = disk / "spool", disk / "mapping"
            node.configure(journal_dir=node.journal_dir, mapping_dir=node.mapping_dir)
            yield disk
            subprocess.run(["umount", str(disk)], check=True)
            return
    pytest.skip("a tmpfs cannot be mounted here")


def test_full_disk(node, faulty, small_disk):
    node.prolog(41)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb") as file:
        while True:
            file.write(bytes(512))
            file.flush()
    said = []
    for job in range(42, 60):  # the rest of the last page, then nothing more
        said += faulty.run(job=job)
    assert any("the disk is full" in line or "No space" in line for line in said)
    assert set(node.mapping()) == {"0"}
    assert (node.journal_dir / "n1.jsonl").read_bytes().endswith(b"}\n")
    known = len(node.holds())
    assert 1 <= known < 19
    filler.unlink()
    assert faulty.run(job=60) == []
    assert node.holds()[-1] == ("start", 60)
    assert "60" in node.mapping()["0"]


def test_a_line_is_on_the_disk_before_the_job_goes_on_and_a_new_journal_is_in_its_folder(node, faulty):
    """A slow disk is waited for without the lock: a process that asks for it meanwhile gets it."""
    node.journal_dir.mkdir()
    log = node.journal_dir / "log"
    watch = f"""
log = posix.open({str(log)!r}, posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC)
def fsync(fd, real=posix.fsync):
    posix.write(log, b"d" if posix.fstat(fd).st_mode & 0o40000 else b"f")
    if not posix.fork():
        posix.lockf(posix.open({str(node.journal_dir / "n1.jsonl")!r}, posix.O_RDWR), posix.F_TLOCK, 0)
        posix.write(log, b"u")
        posix._exit(0)
    posix.wait()
    real(fd)
fake.fsync = fsync
"""
    faulty.run(fault=watch)
    assert log.read_text() == "fudu"
    faulty.run(fault=watch)
    assert log.read_text() == "fu"


def test_a_line_that_the_disk_did_not_take_is_told(node, faulty):
    """fsync is where a failing disk is noticed."""
    node.prolog(41)
    said = faulty.run(fault="def fail(fd): raise OSError(5, 'Input/output error')\nfake.fsync = fail")
    assert "Input/output error" in said[0]
    assert node.mapping() == {"0": ["41", "42"]}


def test_a_journal_that_is_put_aside_while_its_lock_is_waited_for(node, faulty):
    node.prolog(41)
    spool = str(node.journal_dir)
    aside = f"""
def lockf(*args, waited=[]):
    if not waited:
        waited.append(posix.rename({spool!r} + "/n1.jsonl", {spool!r} + "/n1.000001.jsonl"))
    return posix.lockf(*args)
fake.lockf = lockf
"""
    assert faulty.run(fault=aside) == []
    assert [line["job_id"] for line in node.journal("n1.000001.jsonl")] == [41]
    assert [line["job_id"] for line in node.journal()] == [42]


def test_a_line_that_only_half_fits_is_taken_back(node, faulty):
    node.prolog(41)
    size = (node.journal_dir / "n1.jsonl").stat().st_size
    said = faulty.run(fault=f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 100}, {size + 100}))")
    assert "the disk is full" in said[0]
    assert (node.journal_dir / "n1.jsonl").stat().st_size == size
    assert node.mapping() == {"0": ["41", "42"]}


def test_read_only_folders(node, faulty, small_disk):
    node.prolog(41)
    before = (node.journal_dir / "n1.jsonl").read_bytes()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    said = faulty.run()
    assert len(said) == 2  # the journal, and the mapping
    assert all("Read-only file system" in line for line in said)
    assert (node.journal_dir / "n1.jsonl").read_bytes() == before
    assert node.mapping() == {"0": ["41"]}


def test_a_journal_that_cannot_be_had_does_not_hold_the_mapping_up(node, faulty):
    node.journal_dir = node.home / "away" / "spool"
    node.configure(journal_dir=node.journal_dir)
    assert "No such file or directory" in faulty.run()[0]
    assert not node.journal_dir.parent.exists()
    assert node.mapping() == {"0": ["42"]}


def test_a_mapping_folder_that_cannot_be_had_does_not_hold_the_journal_up(node, faulty):
    node.mapping_dir = node.home / "away" / "mapping"
    node.configure(mapping_dir=node.mapping_dir)
    assert "No such file or directory" in faulty.run()[0]
    assert node.holds() == [("start", 42)]
    assert "No such file or directory" in node.errors()[0]


def test_missing_folders_are_made_where_their_parent_is(node, faulty):
    assert faulty.run() == []
    assert node.journal_dir.is_dir()
    assert node.mapping_dir.is_dir()


def test_folders_that_are_files(node, faulty):
    node.journal_dir.write_text("a file")
    node.mapping_dir.write_text("a file")
    assert len(faulty.run()) == 2
    assert node.journal_dir.read_text() == node.mapping_dir.read_text() == "a file"


# --- the configuration


def test_no_configuration_where_one_is_named(node, faulty):
    node.config.unlink()
    faulty.run()  # where syslog is would stand in it, too
    assert sorted(path.name for path in node.home.iterdir()) == ["etc", "log"]


def test_a_configuration_that_is_a_folder(node, faulty):
    node.config.unlink()
    node.config.mkdir()
    faulty.run()
    assert sorted(path.name for path in node.home.iterdir()) == ["etc", "log"]


def test_a_configuration_with_mistakes_is_used_as_far_as_it_goes(node, faulty):
    with node.config.open("ab") as file:
        file.write(b"jornal_dir = /x\nno equals sign\nrotate_mb = lots\n\xff\xfe = \x00\n")
    said = faulty.run()
    assert "hook.conf line 7: unknown setting: jornal_dir" in said[0]
    assert "hook.conf line 8: unknown setting: no equals sign" in said[1]
    assert "hook.conf line 10: unknown setting: " in said[2]
    assert "rotate_mb is not a number: lots" in said[3]
    assert len(said) == len(node.errors()) == 4
    assert node.holds() == [("start", 42)]


# --- killed


@pytest.mark.parametrize("how", ["before", "half"])
@pytest.mark.parametrize("context", ["prolog", "epilog"])
def test_killed_in_each_of_its_writes(make_node, how, context):
    """The child is killed at its n-th call, for every n; a write is done by half first. The next hook repairs it."""
    fault = """
forks, calls = [0], [0]
def fork(real=posix.fork):
    forks[0] += 1
    return real()
def trap(name, real):
    def call(*args):
        if forks[0] == 1 and posix.getpid() != PARENT:
            calls[0] += 1
            if calls[0] == LAST:
                if name == "write" and HOW == "half":
                    real(args[0], args[1][: len(args[1]) // 2])
                posix.kill(posix.getpid(), 9)
        return real(*args)
    return call
PARENT = posix.getpid()
fake.fork = fork
for name in ("open", "write", "rename", "mkdir", "unlink", "fsync", "fchmod", "fchown", "lockf", "close"):
    setattr(fake, name, trap(name, getattr(posix, name)))
"""
    kills = 0
    for last in range(1, 200):
        node = make_node(str(last))
        node.prolog(41, "0,1")
        if context == "epilog":
            node.prolog(42, "0,1")
        said = Faulty(node).run(
            context, 42, f"LAST, HOW = {last}, {how!r}\n" + fault, SLURM_JOB_GPUS="0,1", SLURM_JOB_USER="Å" * 50
        )
        if not said:
            break
        kills += 1
        assert "wait status 9" in said[0]
        for lines in node.mapping().values():
            assert lines in (["41"], ["41", "42"])
        whole, torn = whole_and_torn(node.journal_dir / "n1.jsonl")
        assert torn <= 1
        assert [line["job_id"] for line in whole if line["event"] == "error"] == [42]
        node.prolog(43, "1")
        node.epilog(42, "0,1")
        assert node.mapping() == {"0": ["41"], "1": ["41", "43"]}
        whole, torn_later = whole_and_torn(node.journal_dir / "n1.jsonl")
        assert torn_later == torn
        assert [(line["event"], line["job_id"]) for line in whole[-2:]] == [("start", 43), ("end", 42)]
    assert kills > 20


def test_the_journal_after_a_power_cut_in_a_line(node, faulty):
    node.prolog(41)
    with (node.journal_dir / "n1.jsonl").open("ab") as file:
        file.write(b'{"v":1,"event":"start","time":179')
    faulty.run()
    whole, torn = whole_and_torn(node.journal_dir / "n1.jsonl")
    assert [line["job_id"] for line in whole] == [41, 42]
    assert torn == 1


@pytest.mark.parametrize("streams", ["open", "closed"])
def test_a_hook_that_hangs_is_given_up_and_ended(node, faulty, streams):
    """With slurmd's streams closed, the pipe to the child must not be taken for one of them."""
    node.configure(budget_s=0.2)
    node.journal_dir.mkdir()
    pid = node.journal_dir / "pid"
    hang = f"""
def hang(*_):
    fd = posix.open({str(pid)!r}, posix.O_WRONLY | posix.O_CREAT)
    posix.write(fd, b"%d" % posix.getpid())
    hook.time.sleep(600)
hook.held_gpus = hang
"""
    said = faulty.run(fault=hang + "for fd in (0, 1, 2): posix.close(fd)\n" * (streams == "closed"))
    assert "not done after 0.2 s, given up" in said[0]
    assert "given up" in node.errors()[0]
    stat = Path("/proc", pid.read_text(), "stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_journal_that_hangs_is_given_up(node, faulty):
    node.configure(budget_s=0.2)
    said = faulty.run(fault="fake.fsync = lambda fd: hook.time.sleep(600)")
    assert "given up" in said[0]
    assert node.holds() == [("start", 42)]


@pytest.mark.parametrize("fault", ["fork", "pipe"])
def test_no_process_and_no_descriptor_to_be_had(node, faulty, fault):
    failing = f"def no(*_): raise OSError(11, 'Resource temporarily unavailable')\nfake.{fault} = no"
    said = faulty.run(fault=failing)
    assert node.journal() == []
    assert fault != "fork" or "no process for the hook's work" in said[0]


def test_standard_streams_that_are_closed(node, faulty):
    assert faulty.run(fault="for fd in (0, 1, 2): posix.close(fd)") == []
    assert node.holds() == [("start", 42)]


# --- at the same time


def test_two_hundred_hooks_at_once_on_one_gpu(node):
    node.configure(budget_s=60)
    for context, left in (("prolog", [str(job) for job in range(1, 201)]), ("epilog", [])):
        running = [
            subprocess.Popen(node.command(), env=node.env(context, job, SLURM_JOB_GPUS="0"), stdin=subprocess.DEVNULL)
            for job in range(1, 201)
        ]
        assert {process.wait(timeout=240) for process in running} == {0}
        assert sorted(node.mapping()["0"], key=int) == left
    assert sorted(node.holds()) == sorted((event, job) for event in ("start", "end") for job in range(1, 201))
    assert node.said() == []


def test_hooks_at_once_while_the_journal_is_put_aside(node):
    node.configure(rotate_mb=0.000001)
    running = [
        subprocess.Popen(node.command(), env=node.env("prolog", job, SLURM_JOB_GPUS="0"), stdin=subprocess.DEVNULL)
        for job in range(1, 41)
    ]
    assert {process.wait(timeout=240) for process in running} == {0}
    lines = [line for path in node.journal_dir.glob("*.jsonl") for line in node.journal(path.name)]
    assert sorted(line["job_id"] for line in lines) == list(range(1, 41))
    assert node.said() == []


def test_a_lock_that_is_never_let_go(node, faulty):
    node.prolog(41)
    node.configure(budget_s=1)
    with (node.mapping_dir / ".scarbon.lock").open("r+") as mapping, (node.journal_dir / "n1.jsonl").open("r+") as own:
        fcntl.lockf(mapping, fcntl.LOCK_EX)
        fcntl.lockf(own, fcntl.LOCK_EX)
        said = faulty.run()
    assert "is locked by another hook" in said[0]
    assert node.holds() == [("start", 41), ("start", 42)]
    assert node.mapping() == {"0": ["41"]}


# --- time


def test_a_clock_that_steps_back_and_forth(node, faulty):
    node.configure(rotate_mb=0.0005)
    times = [2e9, -1.0, 4e12, 0.0, 1.7e9]
    for job, now in enumerate(times, 1):
        assert faulty.run(job=job, fault=f"hook.time.time = lambda: {now!r}") == []
    lines = [
        line
        for path in [*sorted(node.journal_dir.glob("n1.0*")), node.journal_dir / "n1.jsonl"]
        for line in node.journal(path.name)
    ]
    assert [line["job_id"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["time"] for line in lines] == times


# --- names


@pytest.mark.parametrize(
    "name",
    [
        '"',
        "\\",
        "a\nb",
        "\r\n\t\x01\x7f",
        "é漢😀",
        "x" * 4096,
        '","job_id":1,"x":"',
        "\udcff\udc80",
        "  ",
        "${HOME}`id`",
    ],
    ids=repr,
)
def test_hostile_user_and_account(node, faulty, name):
    said = faulty.run(SLURM_JOB_USER=name, SLURM_JOB_ACCOUNT=name, SLURM_CLUSTER_NAME=name)
    assert said == []
    line = node.journal()[0]
    assert line["user"] == line["account"] == line["cluster"] == name
    assert (node.journal_dir / "n1.jsonl").read_bytes().isascii()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("../../../../tmp/evil", "_.._.._.._tmp_evil.jsonl"),
        ("/etc/passwd", "_etc_passwd.jsonl"),
        (".", "_.jsonl"),
        (".hidden", "hidden.jsonl"),
        ("n\n1", "n_1.jsonl"),
        ("n" * 4096, "n" * 200 + ".jsonl"),
    ],
)
def test_hostile_node_name(node, faulty, name, file):
    assert faulty.run(SLURMD_NODENAME=name) == []
    assert [path.name for path in node.journal_dir.iterdir()] == [file]
    assert node.journal(file)[0]["node"] == name


@pytest.mark.parametrize("job", ["", "x", "../../etc/passwd", "42\n43", "-1", "4.2", "²", "٤٢", "9" * 30, '"'])
def test_hostile_job_id(node, faulty, job):
    said = faulty.run(job=job)
    assert "SLURM_JOB_ID is not a number" in said[0]
    assert node.holds() == []
    assert node.errors()[0] == f"SLURM_JOB_ID is not a number: {job}"
    assert not node.mapping_dir.exists()


@pytest.mark.parametrize(
    "gpus", ["x", "0-", "-1", "0,,1", "0-99999999999", "../1", "²", "GPU-", "MIG-", "\n", "NoDevFiles"]
)
def test_strange_gpus(node, faulty, gpus):
    said = faulty.run(SLURM_JOB_GPUS=gpus, CUDA_VISIBLE_DEVICES=gpus)
    assert len(said) == 1
    assert len(node.errors()) == 1
    assert node.mapping() == {}


def test_an_empty_environment(node, faulty):
    done = subprocess.run(node.command(), env={}, stdin=subprocess.DEVNULL, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert "neither a Prolog nor an Epilog" in node.said()[0]


# --- what is planted in the folders


@pytest.fixture
def victim(node):
    path = node.home / "victim"
    path.write_text("untouched")
    yield path
    assert path.read_text() == "untouched"


def test_a_symlink_for_the_journal(node, faulty, victim):
    node.journal_dir.mkdir()
    (node.journal_dir / "n1.jsonl").symlink_to(victim)
    assert any("n1.jsonl" in line for line in faulty.run())
    assert node.mapping() == {"0": ["42"]}


def test_a_hard_link_for_the_journal(node, faulty, victim):
    node.journal_dir.mkdir()
    (node.journal_dir / "n1.jsonl").hardlink_to(victim)
    assert any("is not a plain file of its own" in line for line in faulty.run())
    assert node.mapping() == {"0": ["42"]}


@pytest.mark.parametrize("name", ["0", ".scarbon.0.new", ".scarbon.boot", "..scarbon..scarbon.boot.new"])
def test_symlinks_in_the_mapping_folder_are_replaced(node, faulty, victim, name):
    node.mapping_dir.mkdir()
    (node.mapping_dir / name).symlink_to(victim)
    assert faulty.run() == []
    assert node.mapping() == {"0": ["42"]}
    assert not (node.mapping_dir / "0").is_symlink()


def test_a_symlink_for_the_lock(node, faulty, victim):
    node.mapping_dir.mkdir()
    (node.mapping_dir / ".scarbon.lock").symlink_to(victim)
    assert ".scarbon.lock" in faulty.run()[0]
    assert node.holds() == [("start", 42)]


def test_pipes_that_nobody_writes(node, faulty):
    node.journal_dir.mkdir()
    node.mapping_dir.mkdir()
    os.mkfifo(node.journal_dir / "n1.jsonl")
    os.mkfifo(node.mapping_dir / "0")
    assert any("is not a plain file of its own" in line for line in faulty.run())
    assert node.mapping() == {"0": ["42"]}


def test_a_folder_in_a_gpus_place_is_left_and_told_and_the_others_are_served(node, faulty):
    (node.mapping_dir / "0").mkdir(parents=True)
    said = faulty.run(SLURM_JOB_GPUS="0,1")
    assert "Is a directory" in said[0]
    assert (node.mapping_dir / "1").read_text() == "42\n"


# --- syslog


def test_no_syslog(node, faulty):
    node.mapping_dir = node.home / "away" / "mapping"
    node.configure(syslog=node.home / "nothing", mapping_dir=node.mapping_dir)
    assert faulty.run() == []
    assert len(node.errors()) == 1


def test_a_syslog_that_takes_nothing_more(node, faulty):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                sender.sendto(b"full", str(node.syslog_path))
    node.mapping_dir = node.home / "away" / "mapping"
    node.configure(mapping_dir=node.mapping_dir)
    faulty.run()
    assert len(node.errors()) == 1


def test_an_error_of_the_hook_itself(node, faulty):
    said = faulty.run(fault="hook.append_journal = lambda *_: 1 / 0")
    assert "ZeroDivisionError" in said[0]
    assert node.mapping() == {"0": ["42"]}
