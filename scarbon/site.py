"""The site's configuration, as every verb asks for it."""

from __future__ import annotations

from site_config.load import find_config, load
from site_config.schema import SiteConfig


def site(config: str | None) -> SiteConfig:
    """The configuration that `--config`, the environment or the default place names; ConfigError where it is wrong."""
    return load(find_config(config))
