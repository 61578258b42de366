"""What a machine must have for the cluster tests; what is missing is said in one line, and the tests are skipped."""

from __future__ import annotations

import os
import shutil
import sys

#: Programs, each with the Debian package that brings it (tests/install-debian.sh installs them).
PROGRAMS = {
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "mariadb": "mariadb-client",
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "slurmrestd": "slurmrestd",
    "prometheus": "prometheus",
    "setpriv": "util-linux",
    "useradd": "passwd",
    "python3": "python3",
}
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def missing() -> str | None:
    """Why no cluster can be started here; None where everything is there."""
    if sys.platform != "linux":
        return "Slurm needs Linux"
    if os.geteuid() != 0:
        return "not root: munge, slurmd and the test users need it"
    absent = {program: package for program, package in PROGRAMS.items() if shutil.which(program, path=PATH) is None}
    if absent:
        packages = " ".join(sorted(set(absent.values())))
        return f"{', '.join(absent)} not found (Debian packages: {packages}; tests/install-debian.sh installs them)"
    return None
