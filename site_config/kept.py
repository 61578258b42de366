"""What verbs that only ask the books need of the configuration, kept from the last time that it was read.

Reading a configuration takes three times as long as asking for a day's jobs: the schema must be built to check the file
by it. So what a file was found to say is kept in the user's cache folder, and is good as long as the file, and
the code that reads it, are the same. Without a cache folder the file is read each time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from zlib import crc32
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from site_config.schema import SiteConfig

HERE = Path(__file__).parent


@dataclass(frozen=True)
class KnownName:
    """As `schema.Site`."""

    name: str
    timezone: str

    @property
    def zone(self) -> ZoneInfo:
        """The time zone as an object."""
        return ZoneInfo(self.timezone)


@dataclass(frozen=True)
class KnownLedger:
    """As `schema.Ledger`."""

    url: str
    password_file: Path | None
    password_env: str | None


@dataclass(frozen=True)
class KnownHost:
    """As `schema.Host`, as far as it is needed."""

    method: str


@dataclass(frozen=True)
class KnownCluster:
    """As `schema.Cluster`, as far as it is needed."""

    host: KnownHost


@dataclass(frozen=True)
class KnownBudget:
    """As `budgets.Budget`: what of an account's is counted (`measure`), and up to what (`limit`, in g or J)."""

    account: str
    cluster: str | None
    period: str
    measure: str
    limit: float
    first_month: str | None
    end_month: str | None
    warn_at: float


@dataclass(frozen=True)
class KnownReportStyle:
    """As `pages.ReportStyle`."""

    template: Path | None
    logo: Path | None
    language: str | None
    footer: str | None


@dataclass(frozen=True)
class KnownSite:
    """As `schema.SiteConfig`, as far as it is needed: the same names lead to the same values."""

    site: KnownName
    ledger: KnownLedger
    clusters: Mapping[str, KnownCluster]
    uncertainty: SimpleNamespace
    wue_l_per_kwh: float | None
    budgets: tuple[KnownBudget, ...]
    report: KnownReportStyle


def load_kept(path: Path) -> KnownSite:
    """The configuration at `path`; ConfigError, as from `site_config.load.load`, where the file is wrong."""
    key = _key(path)
    place = _cache_folder() / f"site-{crc32(os.fsencode(path.absolute())):08x}.json"
    try:
        kept = json.loads(place.read_text(encoding="utf-8"))
        if key is not None and kept["key"] == key:
            return _known(kept)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not kept yet, or broken
    from site_config.load import load

    found = _needed(load(path))
    if key is not None:
        _keep(place, {"key": key, **found})
    return _known(found)


def _needed(config: SiteConfig) -> dict[str, Any]:
    ledger = config.ledger
    return {
        "site": [config.site.name, config.site.timezone],
        "ledger": [ledger.url, ledger.password_file and str(ledger.password_file), ledger.password_env],
        "hosts": {name: cluster.host.method for name, cluster in config.clusters.items()},
        "uncertainty": config.uncertainty.model_dump(),
        "wue_l_per_kwh": config.wue_l_per_kwh,
        "budgets": [{one.name: getattr(budget, one.name) for one in fields(KnownBudget)} for budget in config.budgets],
        "report": config.report.model_dump(mode="json"),
    }


def _known(found: Mapping[str, Any]) -> KnownSite:
    url, password_file, password_env = found["ledger"]
    style = found["report"]
    return KnownSite(
        KnownName(*found["site"]),
        KnownLedger(url, password_file and Path(password_file), password_env),
        {name: KnownCluster(KnownHost(method)) for name, method in found["hosts"].items()},
        SimpleNamespace(**found["uncertainty"]),
        found["wue_l_per_kwh"],
        tuple(KnownBudget(**budget) for budget in found["budgets"]),
        KnownReportStyle(
            style["template"] and Path(style["template"]),
            style["logo"] and Path(style["logo"]),
            style["language"],
            style["footer"],
        ),
    )


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 (no error without a home)
    return Path(base, "scarbon")


def _key(path: Path) -> list[object] | None:
    """What must be the same: the file and what stands in it, and the code that reads it. None: it cannot be read."""
    try:
        with os.scandir(HERE) as parts:
            code = sorted([part.path, part.stat().st_mtime_ns, part.stat().st_size] for part in parts if part.is_file())
        return [str(path.absolute()), path.read_text(encoding="utf-8"), code]
    except (OSError, UnicodeDecodeError):
        return None


def _keep(place: Path, content: object) -> None:
    """Write it whole or not at all; where it cannot be written, nothing is lost but time."""
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = place.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(content, file)
        new.replace(place)
    except OSError:
        return
