"""The secret by which names are replaced, as the verbs that publish figures read it."""

from __future__ import annotations

import stat
from pathlib import Path

from accounting.pseudonyms import SHORTEST_KEY, Pseudonyms, read_key
from scarbon.errors import UserError


def pseudonyms_of(path: Path, *, accounts: bool) -> Pseudonyms:
    """Pseudonyms by the secret in a file. UserError where it cannot be read, is too short, or others may read it."""
    try:
        key = read_key(path)
        mode = path.stat().st_mode
    except OSError as error:
        raise UserError(
            f"the secret for pseudonyms, {path}, cannot be read: {(error.strerror or str(error)).lower()}",
            f"make one, and keep it: (umask 077; head -c 32 /dev/urandom | base64 > {path})",
        ) from None
    except ValueError as error:
        raise UserError(f"{path} {error}", f"put at least {SHORTEST_KEY} random bytes into it") from None
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        raise UserError(f"others may read the secret {path}, and could turn pseudonyms back", f"chmod 600 {path}")
    return Pseudonyms(key, accounts)
