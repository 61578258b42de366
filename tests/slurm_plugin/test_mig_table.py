"""The table of MIG instances: by the driver's library, and read again by the hook."""

# ruff: noqa: N802 (the functions have the library's names)

import ctypes
import ctypes.util
import subprocess
import sys

import pytest

from slurm_plugin import hook
from tests.slurm_plugin.conftest import HOOK

A, B, C = (f"GPU-{letter * 8}-0000-0000-0000-000000000000" for letter in "abc")
NOT_SUPPORTED, NOT_FOUND, DRIVER_NOT_LOADED = 3, 6, 9


UUIDS = (A, B, C)
INSTANCES = {0: {0: ("MIG-1", 7), 2: ("MIG-2", 11)}, 1: {}}  # by GPU and place: the UUID and the GPU instance


class Nvml:
    """Stands in for libnvidia-ml: what its functions return and write, by NVIDIA's description of the interface.

    The first GPU has two instances in places 0 and 2, the second MIG switched off, the third knows no MIG.
    """

    def __init__(self, init=0):
        self.init = init
        self.names = {}  # what handles stand for

    def _handle(self, name):
        self.names[len(self.names) + 1] = name
        return len(self.names)

    def nvmlInit_v2(self):
        return self.init

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = len(UUIDS)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, device):
        device._obj.value = self._handle(index)
        return 0

    def nvmlDeviceGetMaxMigDeviceCount(self, device, most):
        if self.names[device.value] not in INSTANCES:
            return NOT_SUPPORTED
        most._obj.value = 7 if INSTANCES[self.names[device.value]] else 0
        return 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device, place, mig):
        found = INSTANCES[self.names[device.value]].get(place)
        if found is None:
            return NOT_FOUND
        mig._obj.value = self._handle(found)
        return 0

    def nvmlDeviceGetGpuInstanceId(self, mig, instance):
        instance._obj.value = self.names[mig.value][1]
        return 0

    def nvmlDeviceGetUUID(self, device, text, size):
        assert size == ctypes.sizeof(text)
        name = self.names[device.value]
        text.value = (UUIDS[name] if isinstance(name, int) else name[0]).encode()
        return 0


def test_a_line_for_each_instance():
    assert hook.mig_table(Nvml()) == f"MIG-1 {A} 7\nMIG-2 {A} 11\n"


def test_the_hook_reads_it(tmp_path):
    path = tmp_path / "mig.table"
    path.write_text("# <MIG UUID> <GPU UUID> <GPU instance id>\n" + hook.mig_table(Nvml()))
    problems = []
    assert hook.read_table(str(path), problems) == {"MIG-1": (A, "7"), "MIG-2": (A, "11")}
    assert problems == []


def test_a_driver_that_does_not_answer():
    with pytest.raises(hook.HookError, match="the NVIDIA driver says 9 to nvmlInit_v2"):
        hook.mig_table(Nvml(init=DRIVER_NOT_LOADED))


def test_a_node_without_a_driver_is_told_in_one_line(tmp_path):
    """The library is looked for where there is none."""
    if ctypes.util.find_library("nvidia-ml"):
        pytest.skip("this machine has the driver's library")
    done = subprocess.run([sys.executable, "-IS", HOOK, "mig-table"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("scarbon-mig-table: the NVIDIA driver's library cannot be loaded: ")
    assert len(done.stderr.splitlines()) == 1
