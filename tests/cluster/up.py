"""A cluster to look at by hand: `python -m tests.cluster.up` starts it, says how to use it, and waits for Ctrl-C."""

from __future__ import annotations

import shlex
import signal
import sys

from tests.cluster.harness import running_cluster
from tests.cluster.requirements import missing


def main() -> int:
    """Start, wait, stop."""
    if reason := missing():
        print(f"no cluster here: {reason}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running_cluster() as cluster:
            settings = {**cluster.slurm.env, "SCARBON_SIM_LOAD_DIR": str(cluster.load_dir)}
            print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in settings.items()))
            users = " ".join(cluster.users.values())
            print(f"# folder {cluster.folder}, logs in log/; Prometheus {cluster.prometheus.url}; users {users}")
            ada = cluster.users["ada"]
            print(f"cd {cluster.home}; setpriv --reuid={ada} --regid={ada} --init-groups \\")
            print(f"  sbatch --gpus=1 --wrap='{cluster.load(20, 300)}'")
            print("# Ctrl-C stops it", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
