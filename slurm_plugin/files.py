"""Putting rendered files onto a node, or into a node's image under another root: compare, show, back up, write.

A file that does not carry our marker is never touched.
"""

import difflib
import os
from pathlib import Path
from typing import List, NamedTuple, Optional

from slurm_plugin.render import MARKER, RenderedFile

#: Where what was there before is kept, under the root; never beside the hooks, which Slurm would run.
BACKUPS = "/var/backups/scarbon"


class NotOursError(Exception):
    """A file or folder that must not be written; the message says why and what to do."""


class Change(NamedTuple):
    """What installing one file means: `state` is new, same, changed or foreign."""

    file: RenderedFile
    target: Path
    state: str
    before: str


def target_of(root: Path, path: str) -> Path:
    """Where a node's path lies under the root. Raises NotOursError where a link leads out of it."""
    target = root / path.lstrip("/")
    if not str(target.parent.resolve()).startswith(str(root.resolve())):
        raise NotOursError("%s leads out of %s, to %s" % (target.parent, root, target.parent.resolve()))
    return target


def is_ours(target: Path) -> bool:
    """Whether a file was written by us."""
    if target.is_symlink() or not target.is_file():
        return False
    return MARKER in "".join(target.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[:3])


def compare(root: Path, files: List[RenderedFile]) -> List[Change]:
    """What installing the files would change, in their order."""
    changes = []
    for file in files:
        target = target_of(root, file.path)
        before = ""
        if not os.path.lexists(str(target)):
            state = "new"
        elif not is_ours(target):
            state = "foreign"
        else:
            before = target.read_text(encoding="utf-8", errors="replace")
            same = before == file.text and target.stat().st_mode & 0o777 == file.mode
            state = "same" if same else "changed"
        changes.append(Change(file, target, state, before))
    return changes


def diff(change: Change) -> str:
    """A change as a unified diff, with a line for the permissions of a new file."""
    name = change.file.path
    old = name if change.state == "changed" else "/dev/null"
    lines = difflib.unified_diff(
        change.before.splitlines(keepends=True), change.file.text.splitlines(keepends=True), old, name
    )
    return "%s %s (mode %o)\n%s" % (change.state, name, change.file.mode, "".join(lines))


def write(root: Path, change: Change, stamp: str) -> Optional[Path]:
    """Write one file, whole or not at all. Returns where what was there before is kept, if anything was."""
    kept = back_up(root, change.target, stamp) if change.state == "changed" else None
    change.target.parent.mkdir(parents=True, exist_ok=True)
    temporary = change.target.with_name("." + change.target.name + ".new")  # Slurm's globs pass over it
    temporary.write_text(change.file.text, encoding="utf-8")
    temporary.chmod(change.file.mode)
    temporary.replace(change.target)
    return kept


def back_up(root: Path, target: Path, stamp: str) -> Path:
    """Copy a file under the backup folder of this run, at the same path."""
    kept = target_of(root, BACKUPS + "/" + stamp) / target.resolve().relative_to(root.resolve())
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(target.read_bytes())
    kept.chmod(0o600)  # not executable: it is no hook any more
    return kept


def remove(root: Path, target: Path, stamp: str) -> Path:
    """Take one of our files away. Returns where it is kept."""
    kept = back_up(root, target, stamp)
    target.unlink()
    return kept
