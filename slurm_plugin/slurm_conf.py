"""What slurm.conf must say for the hooks to run, and what it tells about the node's GPUs."""

import re
from pathlib import Path, PurePosixPath
from typing import Dict, List, NamedTuple, Tuple

from slurm_plugin import render

#: Each of these brings Alloc with it.
IMPLY_ALLOC = ("contain", "deferbatch", "forcerequeueonfail", "nohold", "x11")
#: Slurm's value for "no limit".
NO_LIMIT = 65534
#: Lines that hold the keys of something else.
OTHER_LINES = ("nodename", "partitionname", "downnodes", "nodeset", "switchname", "frontendname")
SETTING = re.compile(r'(\w+)\s*=\s*("[^"]*"|[^\s"]+)')
#: What slurm.conf must have, where it cannot be looked at.
NEEDED_LINES = (
    "PrologFlags=Alloc",
    "Prolog=%s/*" % render.PROLOG.rpartition("/")[0],
    "Epilog=%s/*" % render.EPILOG.rpartition("/")[0],
    "PrologEpilogTimeout=60",
    "AccountingStoreFlags=job_comment",
)
#: The hook stops its own work after `budget_s`, and may tell of that for two seconds more.
TELLING_S = 2


class Finding(NamedTuple):
    """One thing that was looked at. `level` is ok, advice or problem; `line` is the line to put into slurm.conf."""

    level: str
    message: str
    line: str


class SlurmConf:
    """The settings of a slurm.conf and of what it includes: lower-case key to all its values, in their order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings: Dict[str, List[str]] = {}
        self.missing: List[Path] = []
        self._read(path)

    def _read(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", "")
        for line in text.splitlines():
            line = re.sub(r"(?<!\\)#.*", "", line).strip()
            include = re.match(r"include\s+(\S+)", line, re.IGNORECASE)
            if include:
                self._include(self.path.parent / include.group(1))
                continue
            pairs = SETTING.findall(line)
            if pairs and pairs[0][0].lower() in OTHER_LINES:
                continue
            for key, value in pairs:
                self.settings.setdefault(key.lower(), []).append(value.strip('"'))

    def _include(self, path: Path) -> None:
        if path.is_file():
            self._read(path)
        else:
            self.missing.append(path)

    def last(self, key: str) -> str:
        """The value that holds, or nothing."""
        return self.settings.get(key.lower(), [""])[-1]

    def words(self, key: str) -> List[str]:
        """A comma-separated value in lower case."""
        return [word.strip().lower() for word in self.last(key).split(",") if word.strip()]


def check(conf: SlurmConf, budget_s: float) -> List[Finding]:
    """Whether Slurm will run the hooks, at the right time, and give them long enough."""
    findings = [_flags(conf)]
    findings += [_program(conf, "Prolog", render.PROLOG), _program(conf, "Epilog", render.EPILOG)]
    findings += _timeouts(conf, budget_s)
    findings.append(_comments(conf))
    user = conf.last("SlurmdUser")
    if user and user.partition("(")[0] != "root":
        message = (
            "SlurmdUser=%s: the hooks run as that user, who must own the journal's and the mapping's folder" % user
        )
        findings.append(Finding("advice", message, ""))
    findings += [
        Finding("advice", "Include %s: there is no such file here, so what it says was not looked at" % path, "")
        for path in conf.missing
    ]
    return findings


def _flags(conf: SlurmConf) -> Finding:
    flags = conf.words("PrologFlags")
    if "alloc" in flags:
        return Finding("ok", "PrologFlags has Alloc", "")
    implied = [flag for flag in flags if flag in IMPLY_ALLOC]
    if implied:
        return Finding("ok", "PrologFlags has %s, which implies Alloc" % implied[0], "")
    line = "PrologFlags=" + ",".join([word for word in conf.last("PrologFlags").split(",") if word] + ["Alloc"])
    message = "without PrologFlags=Alloc a node where no step runs has an Epilog and no Prolog"
    return Finding("problem", message, line)


def _program(conf: SlurmConf, key: str, ours: str) -> Finding:
    values = conf.settings.get(key.lower(), [])
    for value in values:
        pattern = value if value.startswith("/") else "%s/%s" % (conf.path.parent, value)
        if PurePosixPath(ours).match(pattern):
            return Finding("ok", "%s=%s runs %s" % (key, value, ours), "")
    folder = ours.rpartition("/")[0]
    line = "%s=%s/*" % (key, folder)
    if values:
        message = "%s=%s does not run %s; put what it runs now into %s (executable) and name the folder" % (
            key,
            values[-1],
            ours,
            folder,
        )
    else:
        message = "%s is not set" % key
    return Finding("problem", message, line)


def _timeouts(conf: SlurmConf, budget_s: float) -> List[Finding]:
    """One Finding for each limit that is set (two keys of their own since Slurm 24.05), or advice where none is."""
    least = int(budget_s + TELLING_S) + 1
    findings = []
    for key in ("PrologEpilogTimeout", "PrologTimeout", "EpilogTimeout"):
        value = conf.last(key)
        if not value.isdigit() or int(value) >= NO_LIMIT:
            continue
        if int(value) < least:
            message = "%s=%s is shorter than the hook's budget_s allows: a slow disk would drain the node" % (
                key,
                value,
            )
            findings.append(Finding("problem", message, "%s=%d" % (key, max(60, least))))
        else:
            findings.append(Finding("ok", "%s=%s leaves the hook its %g s" % (key, value, budget_s), ""))
    if not findings:
        message = "PrologEpilogTimeout is not set, so Slurm waits for ever for any hook of the site"
        findings.append(Finding("advice", message, "PrologEpilogTimeout=%d" % max(60, least)))
    return findings


def _comments(conf: SlurmConf) -> Finding:
    """Whether the comments of jobs, with their labels, reach Slurm's accounting (no matter of the hooks)."""
    flags = conf.words("AccountingStoreFlags")
    if "job_comment" in flags:
        return Finding("ok", "AccountingStoreFlags has job_comment: labels of jobs (scarbon tag) are kept", "")
    kept = [word for word in conf.last("AccountingStoreFlags").split(",") if word]
    message = "without AccountingStoreFlags=job_comment the labels of jobs (scarbon tag) do not reach the books"
    return Finding("advice", message, "AccountingStoreFlags=" + ",".join([*kept, "job_comment"]))


def gpu_settings(conf: SlurmConf) -> Tuple[Dict[str, str], List[str]]:
    """What Slurm's configuration says for hook.conf, and for each setting why."""
    settings, reasons = {}, []
    gres = conf.words("GresTypes")
    preempt = conf.words("PreemptMode")
    if "gpu" in gres and not {"shard", "mps"} & set(gres) and not {"suspend", "gang"} & set(preempt):
        settings["shared_gpus"] = "no"
        reasons.append("shared_gpus = no: GresTypes=%s has no shard and no mps" % conf.last("GresTypes"))
    gres_conf = conf.path.parent / "gres.conf"
    if gres_conf.is_file():
        autodetect = SlurmConf(gres_conf).words("AutoDetect")
        if "nvml" in autodetect:
            settings["gres_order"] = "pci"
            reasons.append("gres_order = pci: gres.conf has AutoDetect=nvml")
    return settings, reasons
