"""The site's configuration and its books, as every verb asks for them."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import click

from accounting.ledger.errors import wrong_zone
from accounting.ledger.reading import Books
from accounting.uncertainty import Accuracy
from scarbon.errors import WrongUseError
from site_config.kept import KnownSite, load_kept
from site_config.place import find_config
from site_config.secrets import read_secret

if TYPE_CHECKING:
    from accounting.ledger.closing import By
    from accounting.ledger.store import Ledger
    from site_config.schema import SiteConfig


#: How far the books may lag behind without a word: an hourly timer, and a day of trouble.
LATE_S = 25 * 3600.0


def site(config: str | None) -> SiteConfig:
    """The configuration that `--config`, the environment or the default place names; ConfigError where it is wrong."""
    from site_config.load import load

    return load(find_config(config))


def known_site(config: str | None) -> KnownSite:
    """What verbs that only ask the books need of it, at once where the file has been read before."""
    return load_kept(find_config(config))


def open_books(config: SiteConfig | KnownSite) -> Books:
    """The site's books for reading, until the verb ends; LedgerError where there are none of the site's calendar."""
    books = Books(config.ledger.url, _password(config))
    if (context := click.get_current_context(silent=True)) is not None:
        context.call_on_close(books.close)
    if books.zone != config.site.timezone:
        raise wrong_zone(books.address.shown, books.zone, config.site.timezone)
    return books


def open_ledger(config: SiteConfig) -> Ledger:
    """The site's books for writing, made where there are none; LedgerError where they cannot be written."""
    from accounting.ledger.store import Ledger

    return Ledger(config.ledger.url, config.site.timezone, _password(config))


def who_does(why: str | None) -> By:
    """Who runs this, where, and why, as the books keep it."""
    from accounting.ledger.closing import By

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER")
    return By(name if not behind or behind == name else f"{behind} as {name}", os.uname().nodename, why)


def names(text: str | None) -> list[str] | None:
    """What stands between the commas of an option; None where it was not given. WrongUseError where nothing does."""
    if text is None:
        return None
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise WrongUseError(f"{text!r} names nothing", "leave the option out, or name something")
    return found


def chosen_clusters(config: SiteConfig | KnownSite, text: str | None) -> list[str] | None:
    """The clusters that an option names; WrongUseError for one that the site does not have."""
    found = names(text)
    for name in found or ():
        if name not in config.clusters:
            raise WrongUseError(f"no cluster {name!r} in the configuration", f"it has {', '.join(config.clusters)}")
    return found


def accuracy(config: SiteConfig | KnownSite) -> Accuracy:
    """What the site declares of how accurate its meters and factors are."""
    return Accuracy(**vars(config.uncertainty))


def _password(config: SiteConfig | KnownSite) -> str | None:
    return read_secret(config.ledger.password_file, config.ledger.password_env)
