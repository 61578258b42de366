"""Names replaced by others that nobody can turn back: for figures that are published.

A pseudonym is the beginning of HMAC-SHA256 (RFC 2104) of a name under a secret key: the same person has the same one in
every cluster, month and export that is made with the same key, and without the key nobody can try out names.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from pathlib import Path

#: A shorter key could be guessed.
SHORTEST_KEY = 16

#: Hexadecimal digits of a pseudonym: among a million names two are the same with a chance of one in forty million.
DIGITS = 16


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Pseudonyms under one key; those of users always, those of accounts and WCKeys where `accounts` says so."""

    key: bytes = field(repr=False)
    accounts: bool = False

    def user(self, name: str | None) -> str | None:
        """A user's, `u-…`."""
        return self._of("u", name)

    def account(self, name: str | None) -> str | None:
        """An account's, `a-…`, or its name."""
        return self._of("a", name) if self.accounts else name

    def wckey(self, name: str | None) -> str | None:
        """A WCKey's, `w-…`, or its name."""
        return self._of("w", name) if self.accounts else name

    def _of(self, kind: str, name: str | None) -> str | None:
        if name is None:
            return None
        digest = hmac.digest(self.key, f"{kind}\0{name}".encode("utf-8", "surrogateescape"), "sha256")
        return f"{kind}-{digest.hex()[:DIGITS]}"


def read_key(path: Path) -> bytes:
    """The key in a file, without the line's end. ValueError where it is too short; OSError where it cannot be read."""
    key = path.read_bytes().rstrip(b"\r\n")
    if len(key) < SHORTEST_KEY:
        raise ValueError(f"holds {len(key)} bytes, and a key has at least {SHORTEST_KEY}")
    return key
