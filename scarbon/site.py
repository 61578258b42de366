"""The site's configuration and its books, as every verb asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accounting.ledger.errors import wrong_zone
from accounting.ledger.reading import Books
from site_config.load import find_config, load
from site_config.schema import SiteConfig
from site_config.secrets import read_secret

if TYPE_CHECKING:
    from accounting.ledger.store import Ledger


def site(config: str | None) -> SiteConfig:
    """The configuration that `--config`, the environment or the default place names; ConfigError where it is wrong."""
    return load(find_config(config))


def open_books(config: SiteConfig) -> Books:
    """The site's books for reading; LedgerError where there are none, or none of the site's calendar."""
    books = Books(config.ledger.url, _password(config))
    if books.zone != config.site.timezone:
        raise wrong_zone(books.address.shown, books.zone, config.site.timezone)
    return books


def open_ledger(config: SiteConfig) -> Ledger:
    """The site's books for writing, made where there are none; LedgerError where they cannot be written."""
    from accounting.ledger.store import Ledger

    return Ledger(config.ledger.url, config.site.timezone, _password(config))


def _password(config: SiteConfig) -> str | None:
    return read_secret(config.ledger.password_file, config.ledger.password_env)
