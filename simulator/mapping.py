"""dcgm-exporter's reading of its HPC job mapping folder, traps included (github.com/NVIDIA/dcgm-exporter, 4.5 to 4.8).

One file for each GPU, named by DCGM's index (`0`), or `<gpu>.<GPU_I_ID>` for a MIG instance; a job id a line.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAME = re.compile(r"[0-9]+(\.[0-9]+)?")

#: Go's bufio.Scanner gives up on a longer line.
_LONGEST_LINE = 64 * 1024


def read_mapping(folder: Path) -> dict[str, list[str]]:
    """The lines of each file, by the file's name.

    Lines are taken as they stand, blank ones too; only a carriage return at the end of a line is cut, as Go does.
    A folder that is not there is no error. A file that went between the listing and the open, cannot be read or has
    a line of 64 KiB raises OSError, and the exporter's whole page fails.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return {}
    found = {}
    for entry in entries:
        if not _NAME.fullmatch(entry.name) or entry.is_dir(follow_symlinks=False):
            continue
        path = Path(entry.path)
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        lines = text.removesuffix("\n").split("\n") if text else []
        if any(len(line) >= _LONGEST_LINE for line in lines):
            raise OSError(f"{path}: token too long")
        found[path.name] = [line.removesuffix("\r") for line in lines]
    return found
