#!/usr/bin/python3 -IS
# scarbon-hooks: this file belongs to Scarbon; `scarbon hooks install` replaces it
"""Slurm's Prolog and Epilog on a node: say which job holds which GPU. See docs/hooks.md.

One self-contained file: standard library only, Python 3.6 and later, no other program, no network, no shell.
Slurm runs it as root when a job starts and ends on a node. It appends a line to the journal
(`<journal_dir>/<node>.jsonl`) and keeps dcgm-exporter's mapping folder, from which the label `hpc_job` comes.

A Prolog that fails drains the node, and one that hangs holds the job up. So the work is done in a child process:
whatever becomes of it, the parent waits no longer than `budget_s` and exits 0. What went wrong goes to syslog and,
where it can still be written, into the journal as a line with `"event":"error"`.

Every job waits for this file to be compiled and run: it imports `posix` where others import `os`, and what only a
failure, `ship` or `mig-table` needs is imported there. `re`, `json` and `enum` (and so `signal`) would take longer than
the rest.
"""

import posix
import sys
import time

CONFIG_PATH = "/etc/scarbon/hook.conf"
DEFAULTS = {
    "journal_dir": "/var/spool/scarbon",  # empty: no journal
    "journal_gid": "",  # the accounting user's group, as a number; it may read the journal
    "rotate_mb": "64",  # a journal larger than this is put aside as <node>.<number>.jsonl
    "mapping_dir": "",  # dcgm-exporter's --hpc-job-mapping-dir; empty: no mapping
    "shared_gpus": "yes",  # no: a GPU or MIG instance has one job at most (no shard, no mps)
    "gres_order": "minor",  # what Slurm's GPU indices are: minor (File=) or pci (AutoDetect=nvml)
    "gres_table": "",  # a file: `<gres index or MIG-UUID> <GPU UUID> [GPU instance id]` a line
    "shards_per_gpu": "",  # gres/shard on each GPU, for the journal's share
    "cluster": "",  # where Slurm does not say SLURM_CLUSTER_NAME
    "budget_s": "5",  # the longest that a job may be made to wait
    "syslog": "/dev/log",
    "nvidia_proc": "/proc/driver/nvidia/gpus",
    "amd_sys": "/sys/class/drm",
    "ship_url": "",  # where `hook.py ship` sends the journal
    "ship_token_file": "",
    "ship_ca_file": "",  # the authority that signed the server's certificate; empty: the system's
}
NUMBERS = {"budget_s": 5.0, "rotate_mb": 64.0, "journal_gid": None, "shards_per_gpu": None}
LOCK_SHARE = 0.8  # of the budget may be spent on waiting for locks
TAIL_BYTES = 1 << 18  # of the journal, in which the last word on a job is looked for
BOOT_ID = "/proc/sys/kernel/random/boot_id"
GPU_KEYS = ("index", "minor", "uuid", "mig")
SHIP_TRIES = 5  # of one request, with growing pauses between them
SHIP_BYTES = 1 << 20  # in one request
SHIP_TIMEOUT_S = 30.0
SIGKILL = 9
ENOENT = 2
EEXIST = 17


TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to import than the hook to run
    from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

    Env = Dict[str, str]
    Settings = Dict[str, Any]
    Gpu = Dict[str, Any]
    Ask = Callable[[str, Optional[int], Optional[bytes]], int]


class HookError(Exception):
    """Something that went wrong, told in one line for the node's administrator."""


# --- configuration and environment


def read_config(path: str, required: bool) -> "Tuple[Settings, List[str]]":
    """`key = value` lines, `#` for comments. Returns the settings and what was wrong; raises OSError, HookError."""
    settings = dict(DEFAULTS)  # type: Settings
    problems = []
    try:
        text = read_text(path)
    except OSError as error:
        if required or error.errno != ENOENT:
            raise
        text = ""
    for number, line in enumerate(text.splitlines(), 1):
        key, equals, value = line.partition("=")
        key = key.strip()
        if not key or key.startswith("#"):
            continue
        if equals and key in DEFAULTS:
            settings[key] = value.strip()
        else:
            problems.append("%s line %d: unknown setting: %s" % (path, number, key))
    for key, default in NUMBERS.items():
        try:
            settings[key] = float(settings[key]) if settings[key] else default
        except ValueError:
            problems.append("%s: %s is not a number: %s" % (path, key, settings[key]))
            settings[key] = default
    settings["budget_s"] = min(max(settings["budget_s"], 0.2), 60.0)
    return settings, problems


def environment() -> "Env":
    """The environment as text; bytes that are not UTF-8 survive as surrogates and are escaped in the journal."""
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, value in posix.environ.items()
    }


def node_name(env: "Env") -> str:
    """Slurm's name of this node, which need not be the host's."""
    return env.get("SLURMD_NODENAME") or posix.uname().nodename.partition(".")[0]


def number(text: "Optional[str]") -> "Optional[int]":
    """A whole number in plain digits, or None."""
    return int(text) if text and len(text) < 20 and all("0" <= c <= "9" for c in text) else None


# --- which GPUs


def nvidia_gpus(folder: str) -> "List[Gpu]":
    """The node's GPUs in PCI bus order, which is DCGM's; empty where there is no driver."""
    found = []
    for name in list_or_nothing(folder):
        try:
            lines = read_text("%s/%s/information" % (folder, name)).splitlines()
        except OSError:
            continue
        facts = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
        minor = number(facts.get("Device Minor"))
        if minor is not None:
            found.append((facts.get("Bus Location", name).lower(), minor, facts.get("GPU UUID") or None))
    found.sort()
    return [gpu(index, minor, uuid) for index, (_, minor, uuid) in enumerate(found)]


def amd_gpus(folder: str) -> "List[Gpu]":
    """The node's AMD GPUs in PCI bus order, known by their unique_id."""
    found = []
    for name in list_or_nothing(folder):
        device = "%s/%s/device" % (folder, name)
        if name[:4] == "card" and number(name[4:]) is not None and text_or_nothing(device + "/vendor") == "0x1002":
            bus = posix.readlink(device).rpartition("/")[2]
            found.append((bus, text_or_nothing(device + "/unique_id") or None))
    found.sort()
    return [gpu(index, None, uuid) for index, (_, uuid) in enumerate(found)]


def gpu(index: "Optional[int]", minor: "Optional[int]", uuid: "Optional[str]", mig: "Optional[str]" = None) -> "Gpu":
    """A GPU as the journal has it; what is not known is None."""
    return {"index": index, "minor": minor, "uuid": uuid, "mig": mig}


def mig_instances(settings: "Settings") -> "List[Tuple[int, str]]":
    """The node's MIG instances as (device minor, GPU instance id), from the driver's capabilities."""
    folder = settings["nvidia_proc"].rpartition("/")[0] + "/capabilities"
    found = []
    for name in list_or_nothing(folder):
        if name[:3] == "gpu" and number(name[3:]) is not None:
            inside = list_or_nothing("%s/%s/mig" % (folder, name))
            found += [(int(name[3:]), each[2:]) for each in inside if each[:2] == "gi" and number(each[2:]) is not None]
    return found


def held_gpus(env: "Env", settings: "Settings", problems: "List[str]") -> "List[Gpu]":
    """What the job holds on this node. A UUID says it best, then the site's table, then Slurm's index."""
    visible = env.get("CUDA_VISIBLE_DEVICES") or env.get("ROCR_VISIBLE_DEVICES") or ""
    names = [name.strip() for name in visible.split(",")]
    listed = env.get("SLURM_JOB_GPUS") or visible
    if not listed:
        return []
    gpus = nvidia_gpus(settings["nvidia_proc"]) or amd_gpus(settings["amd_sys"])
    table = read_table(settings["gres_table"], problems)
    if not any(name.startswith(("GPU-", "MIG-")) for name in names):
        names = index_names(listed, problems)
    migs = mig_instances(settings)
    by_uuid = {each["uuid"]: each for each in gpus if each["uuid"]}
    held = []
    for name in names:
        found = by_uuid.get(name)
        if not found and name in table:
            uuid, instance = table[name]
            known = by_uuid.get(uuid, gpu(None, None, uuid))
            found = dict(known, mig=instance)
        if not found and name.startswith("MIG-"):
            found = mig_gpu(name, gpus, by_uuid, migs)
        if not found and not name.startswith("GPU-"):
            found = indexed_gpu(name, gpus, migs, settings["gres_order"])
        if not found:
            found = gpu(None, None, name if name.startswith("GPU-") else None)
        held.append(found)
        if found["index"] is None:
            problems.append("which GPU is %s? It is none that this node's driver or gres_table knows" % name)
    return held


def index_names(listed: str, problems: "List[str]") -> "List[str]":
    """`0,2-3` as ["0", "2", "3"]."""
    names = []  # type: List[str]
    for part in listed.split(","):
        begin, dash, end = part.strip().partition("-")
        first, last = number(begin), number(end if dash else begin)
        if first is None or last is None or last - first > 1024:
            problems.append("SLURM_JOB_GPUS or CUDA_VISIBLE_DEVICES is not understood: %s" % listed)
            return []
        names.extend(str(index) for index in range(first, last + 1))
    return names


def mig_gpu(name: str, gpus: "List[Gpu]", by_uuid: "Dict[str, Gpu]", migs: "List[Tuple[int, str]]") -> "Gpu":
    """A MIG instance by its name. Its UUID alone does not tell the GPU, unless only one comes into question."""
    parent, _, rest = name[4:].partition("/")  # older drivers: MIG-GPU-<uuid>/<GPU instance>/<compute instance>
    if parent in by_uuid:
        return dict(by_uuid[parent], mig=rest.partition("/")[0] or name)
    owners = [each for each in gpus if each["minor"] in {minor for minor, _ in migs}]
    if len(owners) == 1:
        return dict(owners[0], mig=migs[0][1] if len(migs) == 1 else name)
    return gpu(None, None, None, name)


def indexed_gpu(name: str, gpus: "List[Gpu]", migs: "List[Tuple[int, str]]", order: str) -> "Optional[Gpu]":
    """A GPU by Slurm's index; None where it cannot be told. With MIG, Slurm counts instances, not GPUs."""
    index = int(name)
    if not gpus:  # no driver: all that is known is Slurm's own number
        return gpu(index, index, None)
    if migs:
        return None
    key = "index" if order == "pci" or gpus[0]["minor"] is None else "minor"
    return next((each for each in gpus if each[key] == index), gpu(None, None if key == "index" else index, None))


def read_table(path: str, problems: "List[str]") -> "Dict[str, Tuple[str, Optional[str]]]":
    """The site's own word on which gres index or MIG UUID is which GPU."""
    table = {}
    if path:
        try:
            for line in read_text(path).splitlines():
                words = line.partition("#")[0].split()
                if len(words) >= 2:
                    table[words[0]] = (words[1], words[2] if len(words) > 2 else None)
        except OSError as error:
            problems.append("gres_table %s cannot be read: %s" % (path, error.strerror))
    return table


def share_of(env: "Env", settings: "Settings", gpus: "List[Gpu]") -> "Optional[float]":
    """The part of each GPU that the job holds, where Slurm's environment says it; None otherwise."""
    percent = number(env.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"))
    if percent:
        return min(percent / 100.0, 1.0)
    shards = number(env.get("SLURM_SHARDS_ON_NODE"))
    if shards and settings["shards_per_gpu"] and gpus:
        return float(min(shards / (settings["shards_per_gpu"] * len(gpus)), 1.0))
    return None


# --- the journal


def quoted(value: object) -> str:
    """A value as JSON, in ASCII: no name can break the line or the file."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return "%.3f" % value
    if isinstance(value, int):
        return str(value)
    out = []
    for char in str(value):
        code = ord(char)
        if char in '"\\':
            out.append("\\" + char)
        elif 32 <= code < 127:
            out.append(char)
        elif code < 0x10000:
            out.append("\\u%04x" % code)
        else:
            code -= 0x10000
            out.append("\\u%04x\\u%04x" % (0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF)))
    return '"' + "".join(out) + '"'


def json_object(pairs: "Iterable[Tuple[str, str]]") -> str:
    """The pairs as a JSON object, in their order."""
    return "{" + ",".join('"%s":%s' % pair for pair in pairs) + "}"


def holds_line(env: "Env", settings: "Settings", event: str, gpus: str, share: "Optional[float]") -> str:
    """A start or an end. `gpus` is JSON."""
    return json_object(
        (
            ("v", "1"),
            ("event", quoted(event)),
            ("time", quoted(time.time())),
            ("cluster", quoted(env.get("SLURM_CLUSTER_NAME") or settings["cluster"] or None)),
            ("job_id", quoted(number(env.get("SLURM_JOB_ID")))),
            ("restart", quoted(number(env.get("SLURM_JOB_RESTART_COUNT")))),
            ("sluid", quoted(env.get("SLURM_JOB_SLUID") or None)),
            ("uid", quoted(number(env.get("SLURM_JOB_UID")))),
            ("user", quoted(env.get("SLURM_JOB_USER") or None)),
            ("account", quoted(env.get("SLURM_JOB_ACCOUNT") or None)),
            ("node", quoted(node_name(env))),
            ("gpus", gpus),
            ("share", quoted(share)),
        )
    )


def error_line(env: "Env", settings: "Settings", message: str) -> str:
    """What went wrong, for whoever reads the journal."""
    return json_object(
        (
            ("v", "1"),
            ("event", '"error"'),
            ("time", quoted(time.time())),
            ("cluster", quoted(env.get("SLURM_CLUSTER_NAME") or settings["cluster"] or None)),
            ("job_id", quoted(number(env.get("SLURM_JOB_ID")))),
            ("node", quoted(node_name(env))),
            ("message", quoted(message)),
        )
    )


def journal_path(env: "Env", settings: "Settings") -> str:
    """This node's journal; a strange node name cannot lead out of the folder."""
    name = "".join(c if "a" <= c.lower() <= "z" or "0" <= c <= "9" or c in "._-" else "_" for c in node_name(env))
    return "%s/%s.jsonl" % (settings["journal_dir"], name[:200].lstrip(".") or "_")


def append_journal(env: "Env", settings: "Settings", line: str, deadline: float) -> None:
    """One line in one write, then on the disk. A line torn by a power cut is closed first."""
    if not settings["journal_dir"]:
        return
    make_folder(settings["journal_dir"], 0o750, settings["journal_gid"])
    path = journal_path(env, settings)
    fd = open_journal(path, settings, deadline)
    try:
        size = posix.fstat(fd).st_size
        if size > settings["rotate_mb"] * 1e6:
            rotate(path)
            posix.close(fd)
            fd = open_journal(path, settings, deadline)
            size = posix.fstat(fd).st_size
        torn = b"\n" if size and posix.pread(fd, 1, size - 1) != b"\n" else b""
        data = torn + line.encode("ascii") + b"\n"
        written = posix.write(fd, data)
        if written != len(data):
            posix.ftruncate(fd, size + len(torn))
            raise HookError("journal %s: the disk is full" % path)
        posix.lseek(fd, 0, 0)  # lockf counts from here
        posix.lockf(fd, posix.F_ULOCK, 0)  # a slow disk is not to hold the other hooks up
        posix.fsync(fd)
        if not size:
            sync_folder(settings["journal_dir"])
    finally:
        posix.close(fd)


def open_journal(path: str, settings: "Settings", deadline: float) -> int:
    """The journal, locked if that can be had in time, and not one that was put aside meanwhile."""
    while True:
        fd = open_regular(path, posix.O_RDWR | posix.O_APPEND | posix.O_CREAT, 0o640)
        try:
            lock(fd, path, deadline)
        except HookError:
            return fd  # a line in the wrong place is better than none
        facts = posix.fstat(fd)
        try:
            if posix.stat(path).st_ino == facts.st_ino:
                if not facts.st_size:
                    own(fd, settings["journal_gid"])
                return fd
        except OSError:
            pass
        posix.close(fd)


def rotate(path: str) -> None:
    """Put a full journal aside under the next number, which no clock can upset."""
    folder, _, name = path.rpartition("/")
    stem = name[: -len("jsonl")]
    taken = [number(other[len(stem) : -len(".jsonl")]) for other in posix.listdir(folder) if other.startswith(stem)]
    posix.rename(path, "%s/%s%06d.jsonl" % (folder, stem, max([n for n in taken if n] or [0]) + 1))


def journal_tail(env: "Env", settings: "Settings") -> bytes:
    """The last lines of this node's journal, or nothing."""
    try:
        fd = open_regular(journal_path(env, settings), posix.O_RDONLY, 0)
    except (OSError, HookError):
        return b""
    try:
        return posix.pread(fd, TAIL_BYTES, max(posix.fstat(fd).st_size - TAIL_BYTES, 0))
    finally:
        posix.close(fd)


def last_word(tail: bytes, job: int) -> bytes:
    """The last start or end of a job in the journal's last lines, or nothing."""
    place = len(tail)
    while place > 0:
        place = tail.rfind(b'"job_id":%d,' % job, 0, place)
        if place < 0:
            break
        line = tail[tail.rfind(b"\n", 0, place) + 1 : tail.find(b"\n", place)]
        if line.startswith((b'{"v":1,"event":"start"', b'{"v":1,"event":"end"')):
            return line
    return b""


# --- dcgm-exporter's mapping folder


def update_mapping(env: "Env", settings: "Settings", event: str, gpus: "List[Gpu]", deadline: float) -> None:
    """Bring every file up to date: this job in or out, and no job that is known to be gone."""
    folder = settings["mapping_dir"]
    if not folder:
        return
    make_folder(folder, 0o755, None)
    lock_path = folder + "/.scarbon.lock"
    fd = open_regular(lock_path, posix.O_RDWR | posix.O_CREAT, 0o600)
    try:
        lock(fd, lock_path, deadline)
        mine = number(env["SLURM_JOB_ID"])
        files = [mapping_name(each) for each in gpus] if event == "start" else []
        wanted = [name for name in files if name]
        boot, marked = text_or_nothing(BOOT_ID), text_or_nothing(folder + "/.scarbon.boot")
        rebooted = bool(boot and marked and boot != marked)  # no job in the folder is still there
        names = {name for name in posix.listdir(folder) if is_mapping_name(name)}
        tail = journal_tail(env, settings)
        failure = None
        for name in sorted(names.union(wanted)):
            raw = read_mapping(folder, name)
            jobs = [number(job) for job in raw.decode("ascii", "replace").split("\n")]
            alone = name in wanted and settings["shared_gpus"] == "no"
            kept = [
                job
                for job in jobs
                if job is not None and job != mine and not (rebooted or alone or has_ended(tail, job))
            ]
            if name in wanted and mine is not None:
                kept.append(mine)
            content = "".join("%d\n" % job for job in kept).encode("ascii")
            if content != raw or name not in names:
                try:
                    put(folder, name, content)
                except (OSError, HookError) as error:
                    failure = error  # the other GPUs are not to suffer for this one
        if failure:
            raise failure
        if boot != marked:
            put(folder, ".scarbon.boot", boot.encode("ascii", "replace"))
    finally:
        posix.close(fd)


def mapping_name(held: "Gpu") -> "Optional[str]":
    """The file of a GPU or a MIG instance; None where it is not known."""
    if held["index"] is None or (held["mig"] and number(held["mig"]) is None):
        return None
    return "%d.%s" % (held["index"], held["mig"]) if held["mig"] else "%d" % held["index"]


def is_mapping_name(name: str) -> bool:
    """`3` or `3.7`, as dcgm-exporter has it."""
    first, dot, last = name.partition(".")
    return number(first) is not None and (not dot or number(last) is not None)


def has_ended(tail: bytes, job: int) -> bool:
    """Whether the journal says that a job which the mapping still has is gone."""
    return last_word(tail, job).startswith(b'{"v":1,"event":"end"')


def read_mapping(folder: str, name: str) -> bytes:
    """A file's content; nothing where it is no plain file."""
    try:
        fd = open_regular("%s/%s" % (folder, name), posix.O_RDONLY, 0)
    except (OSError, HookError):
        return b""
    try:
        return posix.read(fd, 1 << 16)
    finally:
        posix.close(fd)


def put(folder: str, name: str, content: bytes) -> None:
    """Put a file in the old one's place. The exporter answers 500 when a file goes, so none is ever removed."""
    temporary = "%s/.scarbon.%s.new" % (folder, name)
    try:
        posix.unlink(temporary)  # of a hook that was killed, or planted
    except OSError:
        pass
    fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o644)
    try:
        if posix.write(fd, content) != len(content):
            raise HookError("%s/%s: the disk is full" % (folder, name))
    finally:
        posix.close(fd)
    posix.rename(temporary, "%s/%s" % (folder, name))


# --- files


def read_text(path: str) -> str:
    """A small file as text."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    try:
        return posix.read(fd, 1 << 16).decode("utf-8", "replace")
    finally:
        posix.close(fd)


def text_or_nothing(path: str) -> str:
    """A small file's text without the white space around it, or nothing."""
    try:
        return read_text(path).strip()
    except OSError:
        return ""


def list_or_nothing(path: str) -> "List[str]":
    """A folder's names, or none."""
    try:
        return posix.listdir(path)
    except OSError:
        return []


def open_regular(path: str, flags: int, mode: int) -> int:
    """Open a plain file and nothing else: no link that leads out of the folder, no pipe that blocks."""
    fd = posix.open(path, flags | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC, mode)
    facts = posix.fstat(fd)
    if facts.st_mode & 0o170000 != 0o100000 or facts.st_nlink > 1:
        posix.close(fd)
        raise HookError("%s is not a plain file of its own" % path)
    return fd


def own(fd: int, gid: "Optional[float]") -> None:
    """Give a new file or folder to the accounting user's group."""
    if gid is not None:
        posix.fchown(fd, -1, int(gid))


def sync_folder(path: str) -> None:
    """Make a new name in a folder last."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        posix.fsync(fd)
    finally:
        posix.close(fd)


def make_folder(path: str, mode: int, gid: "Optional[float]") -> None:
    """Make the last part of a path, where it is missing."""
    try:
        posix.mkdir(path, mode)
    except OSError as error:
        if error.errno != EEXIST:
            raise
        return
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        own(fd, gid)
    finally:
        posix.close(fd)


def lock(fd: int, path: str, deadline: float) -> None:
    """Keep out hooks that run at the same time; raises HookError when the time is over."""
    pause = 0.001
    while True:
        try:
            return posix.lockf(fd, posix.F_TLOCK, 0)
        except OSError as error:
            if time.monotonic() > deadline:
                raise HookError("%s is locked by another hook (%s)" % (path, error.strerror))
            time.sleep(pause)
            pause = min(2 * pause, 0.032)  # hundreds that wait are not to keep the holder from running


# --- failures


def to_syslog(env: "Env", settings: "Settings", message: str) -> None:
    """Send a line to syslog, never waiting for it."""
    try:
        import socket

        priority = 3 * 8 + 4  # daemon.warning
        text = "job %s: %s" % (env.get("SLURM_JOB_ID"), message.replace("\n", " "))
        datagram = "<%d>scarbon-hook[%d]: %s" % (priority, posix.getpid(), text[:900])
        link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        link.sendto(datagram.encode("utf-8", "replace"), socket.MSG_DONTWAIT, settings["syslog"])
    except Exception:
        pass  # no syslog on this node


def tell(env: "Env", settings: "Settings", message: str) -> None:
    """Say what went wrong: to syslog, then to the journal, if it can be written."""
    to_syslog(env, settings, message)
    try:
        append_journal(env, settings, error_line(env, settings, message), time.monotonic())
    except Exception:
        pass  # the journal may be what failed


def said(error: Exception) -> str:
    """An exception as one line."""
    if isinstance(error, HookError):
        return str(error)
    if isinstance(error, OSError):
        return "%s: %s" % (error.filename or "a write", error.strerror)
    return "%s: %s" % (type(error).__name__, error)


def guarded(work: "Callable[[], object]", seconds: float) -> "Optional[str]":
    """Run `work` in a child process, for `seconds` at most. Returns what became of it, or None if it ended well."""
    import select

    null = posix.open("/dev/null", posix.O_RDWR)
    while null < 3:  # should slurmd have left one of them closed
        null = posix.dup(null)
    read_end, write_end = posix.pipe()
    try:
        child = posix.fork()
    except OSError as error:
        return "no process for the hook's work: %s" % error.strerror
    if child == 0:
        try:
            for fd in (0, 1, 2):  # slurmd waits for whoever keeps its pipe open
                posix.dup2(null, fd)
            posix.umask(0o022)  # the exporter need not be root
            work()
            posix._exit(0)
        finally:
            posix._exit(1)
    posix.close(write_end)
    if not select.select([read_end], [], [], seconds)[0]:  # readable: the child is gone, and its end of the pipe too
        posix.kill(child, SIGKILL)
        return "not done after %.1f s, given up" % seconds
    status = posix.waitpid(child, 0)[1]
    return "the hook's child ended with wait status %d" % status if status else None


# --- the verbs


def record(env: "Env", settings: "Settings", event: str, problems: "List[str]") -> None:
    """The hook's work: the journal first, as the books live on it, then the mapping."""
    deadline = time.monotonic() + LOCK_SHARE * settings["budget_s"]
    job = number(env.get("SLURM_JOB_ID"))
    steps = []  # type: List[Callable[[], None]]
    if job is None:
        problems.append("SLURM_JOB_ID is not a number: %s" % env.get("SLURM_JOB_ID"))
    else:
        gpus = held_gpus(env, settings, problems)
        listed = "[%s]" % ",".join(json_object((key, quoted(each[key])) for key in GPU_KEYS) for each in gpus)
        if not gpus and event == "end":  # before Slurm 21.08 an Epilog is not told the GPUs: its start was
            before = last_word(journal_tail(env, settings), job)
            if before.startswith(b'{"v":1,"event":"start"'):
                listed = before.partition(b'"gpus":')[2].rpartition(b',"share"')[0].decode("ascii")
        if listed != "[]":
            line = holds_line(env, settings, event, listed, share_of(env, settings, gpus))
            steps.append(lambda: append_journal(env, settings, line, deadline))
        steps.append(lambda: update_mapping(env, settings, event, gpus, deadline))
    for step in steps:
        try:
            step()
        except Exception as error:
            problems.append(said(error))
    for problem in problems:
        tell(env, settings, problem)


def hook(verb: str, config: "Optional[str]") -> None:
    """Prolog or Epilog: whatever happens, it ends in time and nothing is raised for it."""
    env = environment()
    try:
        settings, problems = read_config(config or CONFIG_PATH, config is not None)
    except (OSError, HookError) as error:
        settings, message = dict(DEFAULTS, journal_dir=""), "configuration: " + said(error)
        guarded(lambda: tell(env, settings, message), 1.0)  # where the folders are is not known: none is touched
        return
    context = verb or env.get("SLURM_SCRIPT_CONTEXT", "")
    event = {"prolog": "start", "prolog_slurmd": "start", "epilog": "end", "epilog_slurmd": "end"}.get(context)
    if event is None:
        message = "neither a Prolog nor an Epilog: SLURM_SCRIPT_CONTEXT is %r" % context
        guarded(lambda: tell(env, settings, message), 1.0)
        return
    outcome = guarded(lambda: record(env, settings, event, problems), settings["budget_s"])
    if outcome and guarded(lambda: tell(env, settings, outcome), 1.0):
        to_syslog(env, settings, outcome)


def ship(config: "Optional[str]") -> int:
    """Send the accounting host what it does not have yet of the journals here. Returns the exit status."""
    settings, problems = read_config(config or CONFIG_PATH, config is not None)
    folder, sent = settings["journal_dir"], 0
    ask = asker(settings)
    for name in sorted(list_or_nothing(folder)):
        if name.endswith(".jsonl") and name[0] != ".":
            try:
                sent += ship_file(ask, folder, name)
            except (OSError, HookError) as error:
                problems.append("%s: %s" % (name, said(error)))
    for problem in problems:
        sys.stderr.write("scarbon-ship: %s\n" % problem)
    sys.stdout.write("scarbon-ship: %d bytes sent\n" % sent)
    return 1 if problems else 0


def ship_file(ask: "Ask", folder: str, name: str) -> int:
    """Send the whole lines of one journal that are not there yet. Returns how many bytes went over.

    A journal is known by its node and its first line, so that putting it aside under another name changes nothing,
    and the receiver says how much of it it holds: what is sent twice is kept once.
    """
    import hashlib

    fd = open_regular("%s/%s" % (folder, name), posix.O_RDONLY, 0)
    try:
        first, newline, _ = posix.pread(fd, SHIP_BYTES, 0).partition(b"\n")
        if not newline:
            return 0
        stem, _, rotated = name[: -len(".jsonl")].rpartition(".")
        node = stem if stem and len(rotated) == 6 and number(rotated) is not None else name[: -len(".jsonl")]
        where = "%s/%s" % (node, hashlib.sha256(first).hexdigest()[:16])
        offset, sent, went_back = ask(where, None, None), 0, False
        while True:
            block = posix.pread(fd, SHIP_BYTES, offset)
            block = block[: block.rfind(b"\n") + 1]  # a line that is being written goes another time
            if not block:
                if offset > posix.fstat(fd).st_size:
                    raise HookError("the accounting host holds more of it than there is; was it cut off here?")
                return sent
            held = ask(where, offset, block)
            if held == offset or (held < offset and went_back):
                raise HookError("the accounting host holds %d bytes and did not take those at %d" % (held, offset))
            sent += max(held - offset, 0)
            went_back = held < offset  # it has lost its end: go on from there, once
            offset = held
    finally:
        posix.close(fd)


def asker(settings: "Settings") -> "Ask":
    """A function that sends a block (or none) at an offset and returns how many bytes the receiver holds then."""
    import http.client
    import json
    import ssl
    import urllib.error
    import urllib.parse
    import urllib.request

    base = urllib.parse.urlsplit(settings["ship_url"])
    if base.scheme != "https" and base.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise HookError("ship_url must begin with https://, as the token goes with it: %r" % settings["ship_url"])
    if not settings["ship_token_file"]:
        raise HookError("ship_token_file is not set")
    token = read_text(settings["ship_token_file"]).strip()

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: "Any") -> None:
            return None  # the token is for this host alone

    context = ssl.create_default_context(cafile=settings["ship_ca_file"] or None)
    opener = urllib.request.build_opener(NoRedirect, urllib.request.HTTPSHandler(context=context))

    def held(answer: "Any") -> int:
        try:
            return int(json.loads(answer.read(4096).decode("ascii"))["offset"])
        except (ValueError, KeyError, TypeError):
            raise HookError("%s does not answer as an accounting host does" % base.netloc)

    def ask(where: str, offset: "Optional[int]", block: "Optional[bytes]") -> int:
        node, _, journal = where.partition("/")
        url = "%s/v1/journal/%s/%s" % (settings["ship_url"].rstrip("/"), urllib.parse.quote(node, safe=""), journal)
        if block is not None:
            url += "?offset=%s" % offset
        headers = {"Authorization": "Bearer " + token, "Content-Type": "application/jsonl"}
        for attempt in range(SHIP_TRIES):
            wait = 0.5 * 2**attempt
            try:
                request = urllib.request.Request(url, data=block, headers=headers)
                with opener.open(request, timeout=SHIP_TIMEOUT_S) as answer:
                    return held(answer)
            except urllib.error.HTTPError as error:
                if error.code == 409:  # there is a hole before this block: the answer says where to go on
                    return held(error)
                reason = "%s answers %d %s" % (base.netloc, error.code, error.reason)
                if error.code not in (408, 429) and error.code < 500:
                    raise HookError(reason)
                later = number(error.headers.get("Retry-After"))
                if later is not None:
                    wait = later
                if wait > SHIP_TIMEOUT_S:
                    raise HookError("%s, and asks to come back in %d s" % (reason, wait))
            except (OSError, http.client.HTTPException) as error:
                reason = "%s cannot be reached: %s" % (base.netloc, getattr(error, "reason", None) or error)
                if "CERTIFICATE_VERIFY_FAILED" in reason:
                    raise HookError(reason)
            if attempt + 1 < SHIP_TRIES:
                time.sleep(wait)
        raise HookError("%s (tried %d times)" % (reason, SHIP_TRIES))

    return ask


def mig_table(nvml: "Any") -> str:
    """The node's MIG instances as `gres_table` has them, by the driver's own library (libnvidia-ml, NVML)."""
    import ctypes

    def told(name: str, *arguments: "Any") -> bool:
        """Ask; whether there is an answer. 3, 6: there is no such thing (no MIG here, no instance of that number)."""
        status = getattr(nvml, name)(*arguments)
        if status not in (0, 3, 6):
            raise HookError("the NVIDIA driver says %d to %s" % (status, name))
        return bool(status == 0)

    def uuid(device: "Any") -> str:
        text = ctypes.create_string_buffer(96)
        told("nvmlDeviceGetUUID", device, text, 96)
        return text.value.decode("ascii", "replace")

    count, most, instance = ctypes.c_uint(), ctypes.c_uint(), ctypes.c_uint()
    lines = []
    told("nvmlInit_v2")
    told("nvmlDeviceGetCount_v2", ctypes.byref(count))
    for index in range(count.value):
        device = ctypes.c_void_p()
        told("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(device))
        if not told("nvmlDeviceGetMaxMigDeviceCount", device, ctypes.byref(most)):
            continue
        for place in range(most.value):
            mig = ctypes.c_void_p()
            if told("nvmlDeviceGetMigDeviceHandleByIndex", device, place, ctypes.byref(mig)):
                told("nvmlDeviceGetGpuInstanceId", mig, ctypes.byref(instance))
                lines.append("%s %s %d\n" % (uuid(mig), uuid(device), instance.value))
    return "".join(lines)


def print_mig_table() -> None:
    """Print it; HookError where the driver does not answer."""
    import ctypes

    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        raise HookError("the NVIDIA driver's library cannot be loaded: %s" % error)
    sys.stdout.write("# <MIG UUID> <GPU UUID> <GPU instance id>\n" + mig_table(nvml))


def main(argv: "List[str]") -> None:
    """`hook.py [--config FILE] [prolog | epilog | ship | mig-table]`; without a verb, SLURM_SCRIPT_CONTEXT says it."""
    arguments, config = list(argv), None
    if "--config" in arguments[:-1]:
        place = arguments.index("--config")
        config = arguments[place + 1]
        del arguments[place : place + 2]
    else:
        beside = __file__.rpartition("/")[0] + "/hook.conf"
        try:
            posix.stat(beside)
            config = beside
        except OSError:
            pass
    verb = arguments[0] if arguments else ""
    if verb in ("ship", "mig-table"):
        try:
            sys.exit(ship(config) if verb == "ship" else print_mig_table())
        except (OSError, HookError) as error:
            sys.exit("scarbon-%s: %s" % (verb, said(error)))
    try:
        hook(verb, config)
    finally:
        posix._exit(0)  # a hook never harms a job


if __name__ == "__main__":
    main(sys.argv[1:])
