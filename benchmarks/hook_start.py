"""How much longer a job's start takes with the hook than with a Prolog that does nothing.

Side by side, turn by turn: `python3 -I -S -c pass`, the installed Prolog (compiled, as `scarbon hooks install` leaves
it) and the bare file (compiled anew each time, as a plain copy without a __pycache__ is). Goal: the installed Prolog
takes at most 1.5 times the bare interpreter's start; medians are compared. What the journal's fsync takes is the
disk's, so the folders are in memory unless --folder says otherwise.

    python benchmarks/hook_start.py [--python /usr/bin/python3] [--rounds 200] [--folder DIR]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from slurm_plugin import hook, render

GOAL = 1.5
ENV = {
    "SLURM_SCRIPT_CONTEXT": "prolog_slurmd",
    "SLURM_JOB_ID": "42",
    "SLURM_JOB_UID": "1000",
    "SLURM_JOB_USER": "ada",
    "SLURM_JOB_ACCOUNT": "phys",
    "SLURM_JOB_GPUS": "0,1,2,3",
    "CUDA_VISIBLE_DEVICES": "0,1,2,3",
    "SLURM_CLUSTER_NAME": "alpha",
    "SLURMD_NODENAME": "n1",
}


def prepare(home: Path, python: str) -> dict[str, list[str]]:
    """A node with eight GPUs under `home`. Returns the commands to compare."""
    for minor in range(8):
        gpu = home / "gpus" / f"0000:{minor:02x}:00.0"
        gpu.mkdir(parents=True)
        (gpu / "information").write_text(f"GPU UUID: GPU-{minor}\nBus Location: {gpu.name}\nDevice Minor: {minor}\n")
    settings = {"journal_dir": f"{home}/spool", "mapping_dir": f"{home}/mapping", "nvidia_proc": f"{home}/gpus"}
    config = home / "hook.conf"
    config.write_text(render.hook_conf(settings))
    library = home / "scarbon_hook.py"
    library.write_text(Path(hook.__file__).read_text())
    subprocess.run([python, "-I", "-S", "-m", "py_compile", str(library)], check=True)
    words = {
        "marker": render.MARKER,
        "library": home,
        "config": config,
        "name": "Prolog",
        "verb": "prolog",
        "python": python,
    }
    prolog = home / "prolog"
    prolog.write_text(render.WRAPPER.format(**words))
    return {
        "the bare interpreter": [python, "-I", "-S", "-c", "pass"],
        "the installed Prolog": [python, "-I", "-S", str(prolog)],
        "the bare file": [python, "-I", "-S", str(library)],
    }


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, the commands taking turns so that a busy machine is as unkind to each."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, env=ENV, stdin=subprocess.DEVNULL, check=True)
            taken[name].append(time.perf_counter() - begin)
    return taken


def main() -> int:
    """Print the medians and their ratios; exit code 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--folder", default="/dev/shm")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        taken = measure(prepare(Path(folder), options.python), options.rounds)
        lines = len((Path(folder) / "spool" / "n1.jsonl").read_text().splitlines())
    if lines != 2 * options.rounds:
        raise SystemExit(f"the journal has {lines} lines after {2 * options.rounds} hooks")
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    bare = medians["the bare interpreter"]
    version = subprocess.run([options.python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{version}, {options.rounds} rounds, folders in {options.folder}")
    for name, median in medians.items():
        print(f"{name:22} {1e3 * median:7.2f} ms  {median / bare:5.2f}")
    met = medians["the installed Prolog"] <= GOAL * bare
    print(f"goal for the installed Prolog: {GOAL} - {'met' if met else 'missed'}")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
