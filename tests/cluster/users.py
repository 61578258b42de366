"""Ordinary users for the cluster tests, made for one run and removed after it."""

from __future__ import annotations

import pwd
import secrets
from contextlib import ExitStack
from pathlib import Path

from tests.cluster.processes import Processes

COMMENT = "scarbon cluster test in"


def add_users(processes: Processes, names: list[str], stack: ExitStack) -> dict[str, str]:
    """Make a user for each name; the name it has on this machine, unlike that of a run beside ours.

    The stack removes them. Users of a run that was killed before it could remove them are removed first.
    """
    for entry in pwd.getpwall():
        text, _, folder = entry.pw_gecos.rpartition(" ")
        if text == COMMENT and not Path(folder).exists():
            remove_user(processes, entry.pw_name)

    suffix = secrets.token_hex(2)
    users = {}
    for name in names:
        user = f"{name}_{suffix}"
        options = ["--no-create-home", "--home-dir=/nonexistent", "--shell=/bin/sh", "--user-group"]
        processes.run(["useradd", *options, f"--comment={COMMENT} {processes.folder}", user])
        stack.callback(remove_user, processes, user)
        users[name] = user
    return users


def remove_user(processes: Processes, user: str) -> None:
    """Remove a user made by `add_users`."""
    processes.run(["userdel", user])
