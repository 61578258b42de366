"""Secrets, read from where the configuration says they are: a file or the environment, when they are needed."""

from __future__ import annotations

import os
from pathlib import Path

from site_config.errors import ConfigError, Problem


def read_secret(file: Path | None, env: str | None) -> str | None:
    """Return the secret, or None where none is declared. Raise `ConfigError` where it cannot be read."""
    if file is not None:
        try:
            secret = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = (getattr(error, "strerror", None) or "not text").lower()
            raise ConfigError((Problem(str(file), f"the secret in it cannot be read: {reason}"),)) from None
        if not secret:
            raise ConfigError((Problem(str(file), "is empty, but should hold a secret"),))
        return secret
    if env is not None:
        secret = os.environ.get(env, "").strip()
        if not secret:
            raise ConfigError((Problem(f"${env}", "is not set, but should hold a secret"),))
        return secret
    return None
