#!/usr/bin/python3 -IS
"""Slurm's Prolog and Epilog on a node: says which job holds which GPU.

One self-contained file: standard library only, Python 3.6 and later, no other program, no network, no shell.
Slurm runs it as root when a job starts and ends on a node. It appends a line to the journal
(`<journal_dir>/<node>.jsonl`) and keeps dcgm-exporter's mapping folder, from which the label `hpc_job` comes.

A Prolog that fails drains the node, and one that hangs delays the job. So the work is done in a child process:
whatever happens to it, the parent waits no longer than `budget_s` and exits 0. What went wrong goes to syslog and,
where it can still be written, into the journal as a line with `"event":"error"`.

Every start of a job waits for this file to be compiled and run: it imports `posix` where others would import `os`,
and modules that only a failure needs are imported there. `re`, `json`, `enum` (and so `signal`) take longer than
all the rest together.
"""

import posix
import sys
import time

CONFIG_PATH = "/etc/scarbon/hook.conf"
DEFAULTS = {
    "journal_dir": "/var/spool/scarbon",  # empty: no journal
    "journal_gid": "",  # the accounting user's group, a number: it may read the journal
    "mapping_dir": "",  # dcgm-exporter's --hpc-job-mapping-dir; empty: no mapping
    "nvidia_proc": "/proc/driver/nvidia/gpus",
    "cluster": "",  # where Slurm does not say SLURM_CLUSTER_NAME
    "budget_s": "5",  # the longest that a job may be made to wait
    "syslog": "/dev/log",
}
LOCK_SHARE = 0.6  # of the budget that may be spent on waiting for a lock
KILL = 9  # signal.SIGKILL, without importing enum


class HookError(Exception):
    """Something that went wrong, told in one line for the node's administrator."""


# --- configuration and environment


def read_config(path, must_exist):
    """`key = value` lines; `#` begins a comment line. Returns the settings and what was wrong with the file."""
    settings, problems = dict(DEFAULTS), []
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        if must_exist or error.errno != 2:
            problems.append("configuration %s cannot be read: %s" % (path, error.strerror))
        lines = []
    for number, line in enumerate(lines, 1):
        key, equals, value = line.partition("=")
        key, value = key.strip(), value.strip()
        if not key or key.startswith("#"):
            continue
        if not equals or key not in DEFAULTS:
            problems.append("%s line %d: unknown setting %s" % (path, number, key))
            continue
        settings[key] = value
    for key in ("budget_s", "journal_gid"):
        try:
            settings[key] = float(settings[key]) if key == "budget_s" else int(settings[key] or -1)
        except ValueError:
            problems.append("%s: %s is not a number: %s" % (path, key, settings[key]))
            settings[key] = 5.0 if key == "budget_s" else -1
    settings["budget_s"] = min(max(settings["budget_s"], 0.2), 60.0)
    return settings, problems


def environment():
    """The environment as text; bytes that are not UTF-8 survive as surrogates and are escaped in the journal."""
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for name, value in posix.environ.items()
    }


def node_name(env):
    """Slurm's name of this node, which need not be the host's."""
    return env.get("SLURMD_NODENAME") or posix.uname().nodename.partition(".")[0]


# --- which GPUs


def nvidia_gpus(folder):
    """The node's GPUs as dicts of index (DCGM's: PCI bus order), minor and uuid; empty where there is no driver."""
    try:
        names = posix.listdir(folder)
    except OSError:
        return []
    found = []
    for name in names:
        try:
            text = read_text("%s/%s/information" % (folder, name))
        except OSError:
            continue
        facts = {}
        for line in text.splitlines():
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
        minor = facts.get("Device Minor", "")
        if minor.isdigit():
            bus = facts.get("Bus Location", name).lower()
            found.append((bus, int(minor), facts.get("GPU UUID") or None))
    found.sort()
    return [{"index": i, "minor": minor, "uuid": uuid, "mig": None} for i, (_, minor, uuid) in enumerate(found)]


def index_list(text):
    """`0,2-3` as [0, 2, 3]. Raises ValueError for anything else."""
    numbers = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        numbers.extend(range(int(first), int(last if dash else first) + 1))
    return numbers


def held_gpus(env, gpus, problems):
    """What the job holds here. UUIDs say it best; then gres indices, which are device minors."""
    visible = env.get("CUDA_VISIBLE_DEVICES", "")
    held = []
    if "GPU-" in visible or "MIG-" in visible:
        for name in visible.split(","):
            name = name.strip()
            known = [gpu for gpu in gpus if gpu["uuid"] == name]
            if known:
                held.append(known[0])
            elif name.startswith("MIG-"):
                held.append({"index": None, "minor": None, "uuid": None, "mig": name})
            else:
                held.append({"index": None, "minor": None, "uuid": name, "mig": None})
                problems.append("no GPU of this node has the UUID %s" % name)
        return held
    listed = env.get("SLURM_JOB_GPUS") or visible
    if not listed:
        return held
    try:
        minors = index_list(listed)
    except ValueError:
        problems.append("SLURM_JOB_GPUS or CUDA_VISIBLE_DEVICES is not understood: %s" % listed)
        return held
    for minor in minors:
        known = [gpu for gpu in gpus if gpu["minor"] == minor]
        if known:
            held.append(known[0])
        elif gpus:
            held.append({"index": None, "minor": minor, "uuid": None, "mig": None})
            problems.append("no GPU of this node has the device minor %d" % minor)
        else:  # no NVIDIA driver: all that is known is Slurm's own number
            held.append({"index": minor, "minor": minor, "uuid": None, "mig": None})
    return held


# --- the journal


def quoted(value):
    """A value as JSON, in ASCII: no name can break the line or the file."""
    if value is None:
        return "null"
    if isinstance(value, (int, float)):
        return "%.3f" % value if isinstance(value, float) else str(value)
    out = []
    for char in value:
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


def json_object(pairs):
    """The pairs as a JSON object, in their order."""
    return "{" + ",".join('"%s":%s' % (name, value) for name, value in pairs) + "}"


def number_or_none(text):
    """A whole number from the environment, or None."""
    return int(text) if text and text.isdigit() and len(text) < 20 else None


def journal_line(env, settings, event, gpus):
    """A start or an end, as DESIGN's journal has it."""
    gpu_objects = [json_object((name, quoted(gpu[name])) for name in ("index", "minor", "uuid", "mig")) for gpu in gpus]
    return json_object(
        (
            ("v", "1"),
            ("event", quoted(event)),
            ("time", quoted(time.time())),
            ("cluster", quoted(env.get("SLURM_CLUSTER_NAME") or settings["cluster"] or None)),
            ("job_id", quoted(number_or_none(env.get("SLURM_JOB_ID")))),
            ("restart", quoted(number_or_none(env.get("SLURM_JOB_RESTART_COUNT")))),
            ("sluid", quoted(env.get("SLURM_JOB_SLUID") or None)),
            ("uid", quoted(number_or_none(env.get("SLURM_JOB_UID")))),
            ("user", quoted(env.get("SLURM_JOB_USER") or None)),
            ("account", quoted(env.get("SLURM_JOB_ACCOUNT") or None)),
            ("node", quoted(node_name(env))),
            ("gpus", "[" + ",".join(gpu_objects) + "]"),
            ("share", "null"),
        )
    )


def error_line(env, settings, message):
    """What went wrong, for whoever reads the journal."""
    return json_object(
        (
            ("v", "1"),
            ("event", '"error"'),
            ("time", quoted(time.time())),
            ("cluster", quoted(env.get("SLURM_CLUSTER_NAME") or settings["cluster"] or None)),
            ("job_id", quoted(number_or_none(env.get("SLURM_JOB_ID")))),
            ("node", quoted(node_name(env))),
            ("message", quoted(message)),
        )
    )


def append_journal(env, settings, line):
    """One append of one line, in one write, then on the disk. A torn line before it is closed first."""
    folder = settings["journal_dir"]
    if not folder:
        return
    safe = "".join(c if c.isalnum() and ord(c) < 128 or c in "._-" else "_" for c in node_name(env)[:200])
    path = "%s/%s.jsonl" % (folder, safe.lstrip(".") or "_")
    make_folder(folder, 0o750, settings["journal_gid"])
    fd = open_regular(path, posix.O_RDWR | posix.O_APPEND | posix.O_CREAT, 0o640)
    try:
        size = posix.fstat(fd).st_size
        if size == 0 and settings["journal_gid"] >= 0:
            posix.fchown(fd, -1, settings["journal_gid"])
        torn = size > 0 and posix.pread(fd, 1, size - 1) != b"\n"
        data = (("\n" if torn else "") + line + "\n").encode("ascii")
        if posix.write(fd, data) != len(data):
            raise HookError("journal %s: only a part of the line could be written" % path)
        posix.fsync(fd)
    finally:
        posix.close(fd)


# --- dcgm-exporter's mapping folder


def update_mapping(env, settings, event, gpus, deadline):
    """Add the job to the files of its GPUs, or take it out of every file."""
    folder = settings["mapping_dir"]
    if not folder:
        return
    job = env["SLURM_JOB_ID"]
    make_folder(folder, 0o755, -1)
    lock = take_lock(folder + "/.scarbon.lock", deadline)
    try:
        if event == "start":
            for gpu in gpus:
                if gpu["index"] is not None:
                    name = str(gpu["index"])
                    jobs = read_mapping(folder, name)
                    if job not in jobs:
                        write_mapping(folder, name, jobs + [job])
            return
        for name in posix.listdir(folder):
            if name.replace(".", "", 1).isdigit():
                jobs = read_mapping(folder, name)
                if job in jobs:
                    write_mapping(folder, name, [other for other in jobs if other != job])
    finally:
        posix.close(lock)


def read_mapping(folder, name):
    """The job ids in a file; anything that is not a job id is left behind, as it would break the exporter's page."""
    try:
        fd = open_regular("%s/%s" % (folder, name), posix.O_RDONLY, 0)
    except (OSError, HookError):
        return []
    try:
        return [job for job in posix.read(fd, 1 << 16).decode("ascii", "replace").split("\n") if job.isdigit()]
    finally:
        posix.close(fd)


def write_mapping(folder, name, jobs):
    """Put a new file in the place of the old one. The exporter answers 500 when a file goes, so none is removed."""
    temporary = "%s/.scarbon.%s.new" % (folder, name)
    try:
        posix.unlink(temporary)  # of a hook that was killed, or planted
    except OSError:
        pass
    fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o644)
    try:
        data = "".join(job + "\n" for job in jobs).encode("ascii")
        if posix.write(fd, data) != len(data):
            raise HookError("mapping file %s/%s: the disk is full" % (folder, name))
        posix.fchmod(fd, 0o644)  # the exporter need not be root, whatever the umask
    finally:
        posix.close(fd)
    posix.rename(temporary, "%s/%s" % (folder, name))


# --- files


def read_text(path):
    """A small file as text."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    try:
        return posix.read(fd, 1 << 16).decode("utf-8", "replace")
    finally:
        posix.close(fd)


def open_regular(path, flags, mode):
    """Open a plain file and nothing else: no link that leads out of the folder, no pipe that blocks."""
    fd = posix.open(path, flags | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC, mode)
    facts = posix.fstat(fd)
    if facts.st_mode & 0o170000 != 0o100000 or facts.st_nlink > 1:
        posix.close(fd)
        raise HookError("%s is not a plain file of its own" % path)
    return fd


def make_folder(path, mode, gid):
    """Make the last part of a path, where it is missing."""
    try:
        posix.mkdir(path, mode)
    except OSError as error:
        if error.errno != 17:
            raise
        return
    posix.chown(path, -1, gid)


def take_lock(path, deadline):
    """An exclusive lock against hooks that run at the same time; raises HookError when the time is over."""
    import fcntl

    fd = open_regular(path, posix.O_RDWR | posix.O_CREAT, 0o600)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except OSError:
            if time.monotonic() > deadline:
                posix.close(fd)
                raise HookError("%s is still locked by another hook" % path)
            time.sleep(0.002)


# --- failures


def tell(env, settings, message):
    """Send a line to syslog, never waiting for it; then to the journal, if it can be written."""
    text = "job %s: %s" % (env.get("SLURM_JOB_ID"), message)
    try:
        import socket

        link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        priority = 24 + 4  # daemon.warning
        record = "<%d>scarbon-hook[%d]: %s" % (priority, posix.getpid(), text.replace("\n", " ")[:900])
        link.sendto(record.encode("utf-8", "replace"), socket.MSG_DONTWAIT, settings["syslog"])
    except Exception:
        pass  # no syslog on this node
    try:
        append_journal(env, settings, error_line(env, settings, message))
    except Exception:
        pass  # the journal may be what failed


def said(error):
    """An exception as one line."""
    if isinstance(error, OSError):
        return "%s: %s" % (error.filename or "write", error.strerror)
    return str(error) if isinstance(error, HookError) else "%s: %s" % (type(error).__name__, error)


def record(env, settings, event, problems, deadline):
    """The hook's work: the journal first, as the books live on it, then the mapping."""
    if number_or_none(env.get("SLURM_JOB_ID")) is None:
        problems.append("SLURM_JOB_ID is not a number: %s" % env.get("SLURM_JOB_ID"))
    else:
        gpus = held_gpus(env, nvidia_gpus(settings["nvidia_proc"]), problems)
        steps = [lambda: update_mapping(env, settings, event, gpus, deadline)]
        if gpus:
            steps.insert(0, lambda: append_journal(env, settings, journal_line(env, settings, event, gpus)))
        for step in steps:
            try:
                step()
            except Exception as error:
                problems.append(said(error))
    for problem in problems:
        tell(env, settings, problem)


def guarded(work, seconds):
    """Run `work` in a child process for `seconds` at most. Returns what became of it, or None when it ended well."""
    import select

    read_end, write_end = posix.pipe()
    child = posix.fork()
    if child == 0:
        try:
            null = posix.open("/dev/null", posix.O_RDWR)
            for fd in (0, 1, 2):  # slurmd waits for whoever keeps its pipe open
                posix.dup2(null, fd)
            posix.umask(0o022)
            work()
            posix._exit(0)
        finally:
            posix._exit(1)
    posix.close(write_end)
    if not select.select([read_end], [], [], seconds)[0]:  # readable: the child is gone, and its end with it
        posix.kill(child, KILL)
        return "not done after %.1f s and given up" % seconds
    status = posix.waitpid(child, 0)[1]
    if status:
        return "the hook's child ended with status %d" % status
    return None


def main(argv):
    """`hook.py [--config FILE] [prolog|epilog]`: without a verb, SLURM_SCRIPT_CONTEXT says which."""
    arguments = list(argv)
    config, must_exist = CONFIG_PATH, False
    if "--config" in arguments[:-1]:
        place = arguments.index("--config")
        config, must_exist = arguments[place + 1], True
        del arguments[place : place + 2]
    else:
        beside = __file__.rpartition("/")[0] + "/hook.conf"
        try:
            posix.stat(beside)
            config, must_exist = beside, True
        except OSError:
            pass
    env = environment()
    settings, problems = read_config(config, must_exist)
    context = arguments[0] if arguments else env.get("SLURM_SCRIPT_CONTEXT", "")
    event = {"prolog": "start", "prolog_slurmd": "start", "epilog": "end", "epilog_slurmd": "end"}.get(context)
    if event is None:
        problems.append("neither a Prolog nor an Epilog: SLURM_SCRIPT_CONTEXT is %r" % context)
        outcome = guarded(lambda: [tell(env, settings, problem) for problem in problems], 1.0)
        return
    deadline = time.monotonic() + LOCK_SHARE * settings["budget_s"]
    outcome = guarded(lambda: record(env, settings, event, problems, deadline), settings["budget_s"])
    if outcome:
        guarded(lambda: tell(env, settings, outcome), 1.0)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        posix._exit(0)  # whatever happened: a hook never harms a job
