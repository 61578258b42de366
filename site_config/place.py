"""Where a site's configuration is; apart from its reading, so that to know it costs nothing."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_PATH = Path("/etc/scarbon/site.yaml")


def find_config(option: str | None) -> Path:
    """Return where the configuration is: `--config`, else `$SCARBON_CONFIG`, else `/etc/scarbon/site.yaml`."""
    return Path(option or os.environ.get("SCARBON_CONFIG") or DEFAULT_PATH)
