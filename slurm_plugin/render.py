"""The files that put the hook on a node, as text: pure functions from a configuration to what stands in each file.

`scarbon hooks install` writes them; `deploy/hooks/` holds them rendered for sites that copy files by other means.
"""

from pathlib import Path
from typing import Dict, List, NamedTuple

from slurm_plugin import hook

#: Stands in one of the first lines of every file that we write; a file without it is somebody else's.
MARKER = "scarbon-hooks:"
LIBRARY = "/usr/local/lib/scarbon"
CONFIG = hook.CONFIG_PATH
PROLOG = "/etc/slurm/prolog.d/50-scarbon"
EPILOG = "/etc/slurm/epilog.d/50-scarbon"
EXPORTER_UNIT = "nvidia-dcgm-exporter.service"
PYTHON = "/usr/bin/python3"
#: On a file system that a reboot empties; dcgm-exporter must be able to read it.
MAPPING_DIR = "/run/scarbon/gpu-jobs"
#: Journals that were put aside go after this many days.
KEEP_DAYS = 400

WRAPPER = '''\
#!{python} -IS
# {marker} written by `scarbon hooks install`, which replaces it
"""Slurm's {name}: hands over to Scarbon's hook. Whatever is wrong with that, the job goes on."""

import posix
import sys

try:
    sys.dont_write_bytecode = True
    sys.path.insert(0, "{library}")
    import scarbon_hook

    del sys.path[0]
    scarbon_hook.main(["--config", "{config}", "{verb}"])
except BaseException as error:
    sys.stderr.write("scarbon: %s\\n" % error)
finally:
    posix._exit(0)
'''

TMPFILES = """\
# {marker} written by `scarbon hooks install`, which replaces it
# The journal: root writes it, the accounting user's group may read it.
d {journal_dir} 0750 root {group} -
"""

TMPFILES_MAPPING = """\
# dcgm-exporter's job mapping.
d {mapping_dir} 0755 root root -
"""

LOGROTATE = """\
# {marker} written by `scarbon hooks install`, which replaces it
# The hook puts a full journal aside by itself, as <node>.<number>.jsonl; this only removes what is old.
{journal_dir}/*.[0-9][0-9][0-9][0-9][0-9][0-9].jsonl {{
    daily
    minage {days}
    rotate 0
    missingok
    nocreate
}}
"""

EXPORTER = """\
# {marker} written by `scarbon hooks install`, which replaces it
[Unit]
After=systemd-tmpfiles-setup.service

[Service]
Environment=DCGM_HPC_JOB_MAPPING_DIR={mapping_dir}
"""

SHIP_SERVICE = """\
# {marker} written by `scarbon hooks install`, which replaces it
[Unit]
Description=Send Scarbon's journal to the accounting host
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart={python} -I -S {library}/scarbon_hook.py --config {config} ship
Nice=19
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
NoNewPrivileges=yes
"""

SHIP_TIMER = """\
# {marker} written by `scarbon hooks install`, which replaces it
[Unit]
Description=Send Scarbon's journal to the accounting host every five minutes

[Timer]
OnBootSec=2min
OnUnitActiveSec=5min
RandomizedDelaySec=4min

[Install]
WantedBy=timers.target
"""

#: What each setting is for, as hook.conf tells it; the order is the file's.
ABOUT = {
    "journal_dir": "Who held which GPU, one JSON object a line. On the node's own disk, or on a share; empty: none.",
    "journal_gid": "The accounting user's group, as a number: it may read the journal.",
    "rotate_mb": "A journal larger than this is put aside.",
    "mapping_dir": "dcgm-exporter's --hpc-job-mapping-dir; empty: no mapping.",
    "shared_gpus": "no: a GPU or MIG instance has one job at most (no gres/shard, no gres/mps, no gang scheduling).",
    "gres_order": "What Slurm's GPU indices are: minor (gres.conf has File=) or pci (AutoDetect=nvml).",
    "gres_table": "Where Slurm's word is not enough: a file of `<gres index or MIG-UUID> <GPU UUID> [GPU instance]`.",
    "shards_per_gpu": "gres/shard on each GPU.",
    "cluster": "The cluster's name, where Slurm does not give SLURM_CLUSTER_NAME.",
    "budget_s": "The longest that a job may be made to wait, in seconds.",
    "syslog": "Where messages go.",
    "nvidia_proc": "The NVIDIA driver's list of GPUs.",
    "amd_sys": "The AMD driver's list of GPUs.",
    "ship_url": "Where the journal is sent every five minutes; empty: it is not sent.",
    "ship_token_file": "A file with the token for it, readable by root alone.",
    "ship_ca_file": "The authority that signed the server's certificate; empty: one that the system knows.",
}


class RenderedFile(NamedTuple):
    """A file of ours: its absolute path on the node, its permissions and its text."""

    path: str
    mode: int
    text: str


def hook_conf(settings: Dict[str, str]) -> str:
    """hook.conf: the settings given, and the others as comments with their defaults."""
    lines = ["# %s the node hook's settings; `scarbon hooks install` keeps the values" % MARKER]
    for key, about in ABOUT.items():
        setting = "%s = %s" % (key, settings.get(key, hook.DEFAULTS[key]))
        lines += ["", "# " + about, (setting if key in settings else "#" + setting).rstrip()]
    return "\n".join(lines) + "\n"


def render(settings: Dict[str, str], exporter_unit: str = EXPORTER_UNIT, python: str = PYTHON) -> List[RenderedFile]:
    """Every file for a node with these settings (`hook.conf`'s keys; what is left out has its default)."""
    every = dict(hook.DEFAULTS, **settings)
    words = dict(every, marker=MARKER, library=LIBRARY, config=CONFIG, days=KEEP_DAYS, python=python)
    words["group"] = every["journal_gid"] or "root"
    files = [
        RenderedFile(LIBRARY + "/scarbon_hook.py", 0o755, Path(hook.__file__).read_text(encoding="utf-8")),
        RenderedFile(CONFIG, 0o644, hook_conf(settings)),
        RenderedFile(PROLOG, 0o755, WRAPPER.format(name="Prolog", verb="prolog", **words)),
        RenderedFile(EPILOG, 0o755, WRAPPER.format(name="Epilog", verb="epilog", **words)),
    ]
    tmpfiles = TMPFILES.format(**words) if every["journal_dir"] else ""
    if every["mapping_dir"]:
        tmpfiles += TMPFILES_MAPPING.format(**words)
        drop_in = "/etc/systemd/system/%s.d/scarbon.conf" % exporter_unit
        files.append(RenderedFile(drop_in, 0o644, EXPORTER.format(**words)))
    if tmpfiles:
        files.append(RenderedFile("/etc/tmpfiles.d/scarbon.conf", 0o644, tmpfiles))
    if every["journal_dir"]:
        files.append(RenderedFile("/etc/logrotate.d/scarbon", 0o644, LOGROTATE.format(**words)))
    if every["ship_url"]:
        unit = "/etc/systemd/system/scarbon-ship"
        files.append(RenderedFile(unit + ".service", 0o644, SHIP_SERVICE.format(**words)))
        files.append(RenderedFile(unit + ".timer", 0o644, SHIP_TIMER.format(**words)))
    return files
