"""Record what an NVIDIA GPU's own meters say, every 100 ms, idle and under a few loads.

Needs a GPU that nobody else uses, nvidia-ml-py, and PyTorch for the loads. Each load is a process of its own, as a job
is: it starts Python, makes a context, works, and is gone. Some follow each other at once, one is short, one works
in bursts, one holds the GPU and does nothing. No setting of the GPU is touched.

    python benchmarks/record_gpu.py OUT.csv

OUT.csv has a comment line with the GPU, the driver and the date, then a comment line for each job (its name, start and
end in seconds), then the samples: seconds since the beginning, the energy counter (mJ), the power that NVML calls
average, and the one that it calls instant (mW). About six minutes. `benchmarks.recorded_gpu` holds the methods
against it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pynvml

EVERY_S = 0.1

MATMUL = "a = torch.randn(8192, 8192, device='cuda', dtype=torch.bfloat16)\nwork = lambda: a @ a"
COPY = "a = torch.randn(2**30, device='cuda')\nb = torch.empty_like(a)\nwork = lambda: b.copy_(a)"
SMALL = "a = torch.randn(1024, 1024, device='cuda')\nwork = lambda: a @ a"

#: (name, seconds before it begins, what it does, seconds that it works, seconds on and off)
JOBS = (
    ("long", 60, MATMUL, 70, None),
    ("short", 25, MATMUL, 3, None),
    ("copies", 25, COPY, 35, None),
    ("at once", 0, MATMUL, 20, None),
    ("bursts", 20, MATMUL, 30, (0.7, 0.7)),
    ("light", 15, SMALL, 25, None),
    ("nothing", 10, "torch.zeros(1, device='cuda')\nwork = None", 15, None),
)
LAST_IDLE_S = 45

CHILD = """
import time, torch
{setup}
end = time.time() + {seconds}
on = {on}
while time.time() < end:
    if work is None:
        time.sleep(0.1)
        continue
    for _ in range(4):
        work()
    torch.cuda.synchronize()
    if on and time.time() % sum(on) > on[0]:
        time.sleep(on[1])
"""


class Recorder(threading.Thread):
    """Reads the meters until it is told to stop."""

    def __init__(self, began_s: float) -> None:
        super().__init__(daemon=True)
        self.began_s = began_s
        self.rows: list[tuple[float, int, int, int]] = []
        self.over = threading.Event()
        self._device = pynvml.nvmlDeviceGetHandleByIndex(0)

    def run(self) -> None:
        """Take a sample every `EVERY_S`, at its own time."""
        due_s = time.time()
        while not self.over.is_set():
            energy_mj = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._device)
            now_s = time.time() - self.began_s
            average, instant = pynvml.nvmlDeviceGetFieldValues(
                self._device, [pynvml.NVML_FI_DEV_POWER_AVERAGE, pynvml.NVML_FI_DEV_POWER_INSTANT]
            )
            self.rows.append((now_s, energy_mj, average.value.uiVal, instant.value.uiVal))
            due_s += EVERY_S
            time.sleep(max(due_s - time.time(), 0.0))


def main() -> None:
    """Run the jobs beside the recorder, and write what was seen."""
    out = Path(sys.argv[1])
    pynvml.nvmlInit()
    device = pynvml.nvmlDeviceGetHandleByIndex(0)
    began_s = time.time()
    recorder = Recorder(began_s)
    recorder.start()
    lines = [
        f"# {pynvml.nvmlDeviceGetName(device)}, driver {pynvml.nvmlSystemGetDriverVersion()}, "
        f"{datetime.now(UTC):%Y-%m-%d}, limit {pynvml.nvmlDeviceGetPowerManagementLimit(device) / 1000:g} W"
    ]
    for name, wait_s, setup, seconds, on in JOBS:
        time.sleep(wait_s)
        start_s = time.time() - began_s
        subprocess.run([sys.executable, "-c", CHILD.format(setup=setup, seconds=seconds, on=on)], check=True)
        lines.append(f"# job {name},{start_s:.3f},{time.time() - began_s:.3f}")
    time.sleep(LAST_IDLE_S)
    recorder.over.set()
    recorder.join()
    lines.append("time_s,energy_mj,average_mw,instant_mw")
    lines += [f"{at_s:.3f},{energy_mj},{average},{instant}" for at_s, energy_mj, average, instant in recorder.rows]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
