"""A load for a simulated GPU, run inside a Slurm job as the job's user: `python -m simulator.load --seconds 20 ...`.

It says so in one small file for each GPU of the job on this node, in the folder that the stand-in exporter watches
(`simulator.exporter`); the file goes when the load ends. Standard library only, nothing of ours: it starts at once,
and may be run as a plain file.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType


def main() -> int:
    """Draw power for a while."""
    parser = argparse.ArgumentParser(prog="simulator.load", description="Draw power on the job's simulated GPUs.")
    parser.add_argument("--seconds", type=float, required=True, help="how long")
    parser.add_argument("--power-w", type=float, required=True, help="each GPU's power, its idle level included")
    parser.add_argument("--ramp-s", type=float, default=0.0, help="seconds from the idle level to the power")
    parser.add_argument("--gi-id", type=int, help="the MIG instance that is used, DCGM's GPU_I_ID")
    parser.add_argument("--load-dir", default=os.environ.get("SCARBON_SIM_LOAD_DIR"), help="$SCARBON_SIM_LOAD_DIR")
    options = parser.parse_args()
    if not options.load_dir:
        parser.error("no folder: set SCARBON_SIM_LOAD_DIR or give --load-dir")
    # Only CUDA_VISIBLE_DEVICES is set anew for each node: srun carries the first node's SLURM_JOB_GPUS along.
    listed = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("SLURM_JOB_GPUS") or ""
    try:
        minors = [int(part) for part in listed.split(",") if part]
    except ValueError:
        parser.error(f"the job's GPUs are not device minors: {listed}")
    node, job_id = os.environ.get("SLURMD_NODENAME"), os.environ.get("SLURM_JOB_ID")
    if not node or not job_id:
        parser.error("SLURMD_NODENAME and SLURM_JOB_ID are not set: this is no Slurm job")
    if not minors:
        parser.error("the job has no GPU: neither CUDA_VISIBLE_DEVICES nor SLURM_JOB_GPUS names one")

    for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(wanted, _leave)
    files: list[Path] = []
    try:
        for minor in minors:
            path = Path(options.load_dir, f"{node}.{minor}.{job_id}.{os.getpid()}.json")
            files.append(path)
            _write(
                path,
                {
                    "node": node,
                    "minor": minor,
                    "gi_id": options.gi_id,
                    "job_id": job_id,
                    "pid": os.getpid(),
                    "pid_start": pid_start(os.getpid()),
                    "power_w": options.power_w,
                    "ramp_s": options.ramp_s,
                    "time": time.time(),
                },
            )
        time.sleep(options.seconds)
    finally:
        for path in files:
            path.unlink(missing_ok=True)
    return 0


def pid_start(pid: int) -> int | None:
    """When a process began, in clock ticks since the boot, as /proc/PID/stat has it; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    # After the name: state is the 3rd field of the file, starttime the 22nd. A zombie draws no power.
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _write(path: Path, load: dict[str, object]) -> None:
    """Write the file whole or not at all, readable by everyone."""
    hidden = path.with_name(f".{path.name}")
    hidden.write_text(json.dumps(load), encoding="utf-8")
    hidden.chmod(0o644)
    hidden.rename(path)


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
