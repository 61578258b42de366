"""Whether a file lies on a file system that other machines share: SQLite's log and its locks do not work there."""

from __future__ import annotations

import ctypes
import os

#: What statfs(2) calls file systems that several machines write to (linux/magic.h, and the projects' own headers).
SHARED = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x00C36400: "Ceph",
    0x01021997: "9p",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
    0x01161970: "GFS2",
    0x7461636F: "OCFS2",
}


def shared_filesystem(path: str) -> str | None:
    """The name of the shared file system that `path` lies on; None where it is on none that is known."""
    return SHARED.get(filesystem_type(path))


def filesystem_type(path: str) -> int:
    """What statfs(2) says of a path's file system: the `f_type`, as an unsigned number; 0 where it says nothing."""
    statfs = getattr(ctypes.CDLL(None), "statfs", None)
    answer = (ctypes.c_long * 64)()  # the structure begins with f_type, a long, and has less than 64 of them
    if statfs is None or statfs(os.fsencode(path), answer) != 0:
        return 0
    return answer[0] & 0xFFFFFFFF
