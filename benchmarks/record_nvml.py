"""Record a real NVIDIA GPU: its power and its energy counter every 100 ms, idle and under a few loads.

For holding the counter, the gauge and the division of edges against what a GPU really shows. It asks NVML itself
(libnvidia-ml, which comes with the driver), needs no root, and changes no setting of the GPU. Run it on a GPU that
nobody else uses.

    python benchmarks/record_nvml.py [--gpu 0] [--folder recording] [--load NAME=COMMAND …]

Each load is a command of its own, started in a quiet minute and ended after its time, as a job is. Without --load there
are three, which need PyTorch in the same interpreter: `steady` (matrix products without a pause), `bursts` (half a
second of them, half a second of rest) and `short-…` (processes of 1 to 20 seconds: mostly start-up). What
is written:

    samples.csv   time_s,power_w,energy_j    UTC epoch s; energy since the driver was loaded
    phases.csv    name,start_s,end_s         when each load's process was started and when it had ended
    about.json    the GPU, its driver, the period, the commands, and how long a reading took at most

Whoever keeps a recording as test data writes beside it which machine it was and who else was on it. NVML's power is a
mean over about a second on most boards, and its counter moves every 20 to 100 ms.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import json
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

PERIOD_S = 0.1
IDLE_S = 60.0
LOAD_S = 60.0

TORCH = """\
import sys, time, torch
busy_s, rest_s, total_s = map(float, sys.argv[1:])
one = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
end = time.monotonic() + total_s
while time.monotonic() < end:
    until = time.monotonic() + busy_s
    while time.monotonic() < until:
        torch.mm(one, one)
        torch.cuda.synchronize()
    time.sleep(rest_s)
"""


class NvmlError(Exception):
    """NVML refused; the message says which call and why."""


class Nvml:
    """The few calls of NVML that are needed, on one GPU."""

    def __init__(self, index: int) -> None:
        try:
            self._library = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError as error:
            raise NvmlError(f"no NVIDIA driver here: {error}") from None
        self._library.nvmlErrorString.restype = ctypes.c_char_p
        self._call("nvmlInit_v2")
        self._device = ctypes.c_void_p()
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(self._device))

    def power_w(self) -> float:
        """What the GPU draws now."""
        value = ctypes.c_uint()  # mW
        self._call("nvmlDeviceGetPowerUsage", self._device, ctypes.byref(value))
        return value.value / 1000.0

    def energy_j(self) -> float:
        """What it used since the driver was loaded."""
        value = ctypes.c_ulonglong()  # mJ
        self._call("nvmlDeviceGetTotalEnergyConsumption", self._device, ctypes.byref(value))
        return value.value / 1000.0

    def about(self) -> dict[str, str]:
        """The GPU's name and UUID, and the driver's version."""
        return {
            "name": self._text("nvmlDeviceGetName", self._device),
            "uuid": self._text("nvmlDeviceGetUUID", self._device),
            "driver": self._text("nvmlSystemGetDriverVersion"),
        }

    def _text(self, name: str, *arguments: ctypes.c_void_p) -> str:
        buffer = ctypes.create_string_buffer(96)
        self._call(name, *arguments, buffer, ctypes.c_uint(len(buffer)))
        return buffer.value.decode()

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise NvmlError(f"{name}: {self._library.nvmlErrorString(code).decode()}")


class Recorder:
    """Reads the GPU every `PERIOD_S` while time passes."""

    def __init__(self, gpu: Nvml) -> None:
        self._gpu = gpu
        self.samples: list[tuple[float, float, float]] = []
        self.phases: list[tuple[str, float, float]] = []
        self.longest_s = 0.0  # that one reading took
        self._next = time.monotonic()

    def until(self, end: float, process: subprocess.Popen[bytes] | None = None) -> None:
        """Record up to an instant of the monotonic clock, or until a process has ended."""
        while time.monotonic() < end and (process is None or process.poll() is None):
            time.sleep(max(0.0, self._next - time.monotonic()))
            self._next = max(self._next + PERIOD_S, time.monotonic())
            before = time.time()
            power_w, energy_j = self._gpu.power_w(), self._gpu.energy_j()
            after = time.time()
            self.longest_s = max(self.longest_s, after - before)
            self.samples.append(((before + after) / 2, power_w, energy_j))

    def load(self, name: str, command: list[str], seconds: float) -> None:
        """Run a command for some seconds, and note when it began and when it was gone."""
        start_s = time.time()
        process = subprocess.Popen(command)
        try:
            self.until(time.monotonic() + seconds, process)
            if process.poll() is None:
                process.terminate()
            self.until(time.monotonic() + 30.0, process)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.phases.append((name, start_s, time.time()))


def loads_of(given: list[str]) -> list[tuple[str, list[str], float]]:
    """Name, command and seconds of each load."""
    if given:
        return [(name, shlex.split(command), LOAD_S) for name, _, command in (one.partition("=") for one in given)]
    try:
        import torch  # noqa: F401
    except ImportError:
        raise SystemExit("no PyTorch here: name loads with --load NAME=COMMAND") from None
    command = [sys.executable, "-c", TORCH]
    short = [(f"short-{seconds}", [*command, "1", "0", str(seconds)], LOAD_S) for seconds in (1, 2, 5, 10, 20)]
    return [
        ("steady", [*command, "1", "0", "1e9"], LOAD_S),
        ("bursts", [*command, "0.5", "0.5", "1e9"], LOAD_S),
        *short,
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", type=int, default=0, help="its index in NVML")
    parser.add_argument("--folder", type=Path, default=Path("recording"))
    parser.add_argument("--load", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--idle", type=float, default=IDLE_S, metavar="S", help="between loads")
    parser.add_argument("--quick", action="store_true", help="only say whether a GPU can be recorded here")
    options = parser.parse_args()
    try:
        gpu = Nvml(options.gpu)
        about = gpu.about()
    except NvmlError as error:
        print(error, file=sys.stderr)
        return 0 if options.quick else 1
    print(f"{about['name']}, driver {about['driver']}", file=sys.stderr)
    if options.quick:
        return 0
    loads = loads_of(options.load)
    recorder = Recorder(gpu)
    recorder.until(time.monotonic() + options.idle)
    for name, command, seconds in loads:
        print(name, file=sys.stderr)
        recorder.load(name, command, seconds)
        recorder.until(time.monotonic() + options.idle)
    options.folder.mkdir(parents=True, exist_ok=True)
    for file, head, rows in (
        ("samples.csv", ("time_s", "power_w", "energy_j"), [(f"{t:.4f}", *rest) for t, *rest in recorder.samples]),
        (
            "phases.csv",
            ("name", "start_s", "end_s"),
            [(name, f"{a:.4f}", f"{b:.4f}") for name, a, b in recorder.phases],
        ),
    ):
        with (options.folder / file).open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out)
            writer.writerow(head)
            writer.writerows(rows)
    about |= {
        "period_s": PERIOD_S,
        "longest_reading_s": round(recorder.longest_s, 4),
        "loads": {name: shlex.join(command) for name, command, _ in loads},
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
    (options.folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print(f"{len(recorder.samples)} samples in {options.folder}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
