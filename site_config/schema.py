"""What a site declares, as frozen objects: the shape of `site.yaml`.

`site_config.load` reads a file into a `SiteConfig`. Units are in the keys' names; every path is absolute by the time
it stands here, and every date has a time zone (the site's, where the file names none).
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from site_config.budgets import Budgets
from site_config.errors import near
from site_config.factors import Grid, Pue
from site_config.gpu import CUSTOM, GpuMeter, GpuMetrics, GpuModel, Preset, gpu_meters
from site_config.host import Host
from site_config.mail import Mail
from site_config.pages import ReportStyle
from site_config.section import (
    FilePath,
    HttpUrlOrSocket,
    NotNegative,
    Positive,
    Section,
    Share,
    Text,
    shown,
    without_password,
    wrong,
    wrong_at,
)
from site_config.server import Labels, PrometheusServer
from site_config.site_meter import SiteMeter

Holder = Literal["journal", "hpc_job", "gres_index", "whole_node"]


def find_zone(name: str) -> ZoneInfo | None:
    """Return the time zone of that name, or None where there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # not there; a folder such as `Europe`; a path
        return None


def _timezone(value: str) -> str:
    if find_zone(value) is None:
        raise wrong(f"unknown time zone {shown(value)}{near(value, available_timezones())}")
    return value


class Site(Section):
    """The site itself; its time zone is that of days, months and dates without a zone."""

    name: Text = Field(description="the site's name, as reports print it")
    timezone: Annotated[Text, AfterValidator(_timezone)] = Field(description="for example Europe/Paris")

    @property
    def zone(self) -> ZoneInfo:
        """The time zone as an object."""
        return ZoneInfo(self.timezone)


class Jobs(Section):
    """Where a cluster's jobs are read."""

    source: Literal["auto", "pyslurm", "sacct", "slurmrestd", "file"] = "auto"
    path: FilePath | None = None  # file: a `sacct -P` or `sacct --json` dump
    sacct: FilePath | None = None  # the program, where it is not on the PATH
    accounts: FilePath | None = None  # a dump of sacctmgr's accounts, where it cannot be asked
    url: HttpUrlOrSocket | None = None  # slurmrestd
    user: Text | None = None  # slurmrestd: whose token it is
    token_file: FilePath | None = None
    token_env: Text | None = None
    timeout_s: Positive = 300.0

    @model_validator(mode="after")
    def _source_has_its_place(self) -> Self:
        if self.source == "file" and self.path is None:
            raise wrong("source: file needs path, a `sacct -P` or `sacct --json` dump")
        if self.source == "slurmrestd" and self.url is None:
            raise wrong("source: slurmrestd needs url")
        if self.path is not None and self.source != "file":
            raise wrong_at(("path",), "only source: file has a path")
        if self.token_file is not None and self.token_env is not None:
            raise wrong("has both token_file and token_env; keep one")
        return self


class OpenMetrics(Section):
    """A recording of samples as OpenMetrics text, in the place of a Prometheus."""

    path: FilePath


Index = Annotated[int, Field(ge=0, strict=True)]


def _known_holders(data: dict[str, Any]) -> tuple[Holder, ...]:
    """Every way to know a holder; the journal only where there is one."""
    labels: tuple[Holder, ...] = ("hpc_job", "gres_index", "whole_node")
    return ("journal", *labels) if data.get("journal") else labels


class Gpu(Section):
    """Where the GPUs' energy is read, and who says which job held which GPU."""

    prometheus: PrometheusServer | None = None
    openmetrics: OpenMetrics | None = None
    match: Labels = Field(default_factory=dict)  # label matchers added to every query
    preset: Preset = "dcgm"  # whose metrics they are
    metrics: GpuMetrics | None = None  # the site's own, for preset: custom
    max_gap_s: Positive = 600.0  # a longer gap between samples is counted as interpolated
    model: GpuModel | None = None  # where nothing at all was measured; absent: that energy stays unknown
    journal: FilePath | None = None  # a folder of *.jsonl
    gres_index: FilePath | None = (
        None  # the folder in which is kept what the controller said; absent: beside the ledger
    )
    gres_minors: dict[Text, tuple[Index, ...]] = Field(default_factory=dict)  # by nodes: minors in the PCI bus's order
    holders: Annotated[tuple[Holder, ...], Field(min_length=1, default_factory=_known_holders)]

    @model_validator(mode="after")
    def _one_source_of_samples(self) -> Self:
        if (self.prometheus is None) == (self.openmetrics is None):
            raise wrong("needs either prometheus: {url: …} or openmetrics: {path: …}, and not both")
        if (self.preset == CUSTOM) != (self.metrics is not None):
            raise wrong("preset: custom goes with metrics: {…}, the one with the other")
        if "journal" in self.holders and self.journal is None:
            raise wrong_at(("holders",), "names the journal, but `journal:`, the folder, is missing beside it")
        if len(set(self.holders)) < len(self.holders):
            raise wrong_at(("holders",), "names the same source twice")
        return self

    @property
    def meter(self) -> GpuMeter:
        """What the metrics and their labels are called."""
        return gpu_meters()[self.preset] if self.metrics is None else self.metrics.meter()


class Range(Section):
    """A figure that is published with a spread: low, best and high."""

    low: NotNegative
    best: NotNegative
    high: NotNegative

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low <= self.best <= self.high:
            raise wrong(f"must rise from low to high, but {self.low:g}, {self.best:g}, {self.high:g} do not")
        return self


class Embodied(Section):
    """What making the hardware emitted, in kgCO2e for each piece, and over how many years it is written off."""

    gpu_kgco2e: Range | None = None
    gpu_models: dict[Text, Range] = Field(default_factory=dict)  # by the model's name as DCGM has it
    node_kgco2e: Range | None = None  # a node without its GPUs
    lifetime_years: Positive = 5.0
    reference: Text | None = None  # who published the figures

    def figure(self, kind: str, model: str) -> Range | None:
        """What making a GPU of a model (kind: gpu), or a node without its GPUs (host), emitted; None: not declared."""
        return self.gpu_models.get(model, self.gpu_kgco2e) if kind == "gpu" else self.node_kgco2e


class Cluster(Section):
    """One Slurm cluster; its key is Slurm's ClusterName."""

    jobs: Jobs = Jobs()
    gpu: Gpu | None = None  # None: a cluster without GPUs
    host: Host = Host()
    embodied: Embodied | None = None

    @model_validator(mode="after")
    def _host_knows_of_gpus(self) -> Self:
        host = self.host
        own_meter = host.method == "slurm" or (host.method == "prometheus" and host.preset is None)
        if self.gpu is not None and own_meter and host.includes_gpus is None:
            raise wrong_at(("host",), "needs includes_gpus: true or false, whether that meter has the GPUs, too")
        if host.method == "prometheus" and host.prometheus is None and (self.gpu is None or not self.gpu.prometheus):
            raise wrong_at(("host",), "needs prometheus: {url: …}; there is none under gpu that it could share")
        return self


class Uncertainty(Section):
    """How accurate the site's meters and factors are: what 95 % of them are within, relative to the truth."""

    sensor: Share = 0.05  # of each GPU's and node's own meter (NVML's specification)
    model: Share = 0.5  # of what is modelled and not measured
    pue: Share = 0.05
    intensity: Share = 0.1


class Collect(Section):
    """How `scarbon collect` runs."""

    settle_s: NotNegative = 900.0  # how long samples and job records may arrive late
    again_days: NotNegative = 1.0  # how far back the jobs are read again at each run, to find what changed since


_LEDGERS = ("sqlite", "postgresql+psycopg", "mysql+pymysql")


def _ledger(value: str, info: ValidationInfo) -> str:
    """Check the ledger's URL; SQLite's file is relative to the configuration."""
    scheme, mark, rest = value.partition("://")
    if not mark or scheme not in _LEDGERS:
        raise wrong(
            f"must be one of {', '.join(f'{name}://…' for name in _LEDGERS)}, but is {without_password(value)!r}"
        )
    if scheme == "sqlite":
        if not rest.startswith("/") or rest in ("/", "/:memory:"):
            raise wrong(
                "must name a file: sqlite:///ledger.db beside this file, or sqlite:////var/lib/scarbon/ledger.db"
            )
        base: Path = (info.context or {}).get("base", Path.cwd())
        return f"sqlite:///{base / rest[1:]}"
    try:
        parts = urlsplit(value)
        has_password = parts.password is not None
    except ValueError:
        raise wrong("is not a URL") from None
    if has_password:
        raise wrong("a password does not belong in this file; use ledger: {url, password_file} or {url, password_env}")
    return value


class Ledger(Section):
    """The database of the books; a plain URL in the file is the same as `{url: …}`."""

    url: Annotated[Text, AfterValidator(_ledger)]
    password_file: FilePath | None = None
    password_env: Text | None = None

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        if self.password_file is not None and self.password_env is not None:
            raise wrong("has both password_file and password_env; keep one")
        return self


def _as_mapping(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


def is_cluster_name(name: str) -> bool:
    """Whether Slurm may call a cluster so: letters, digits, `-`, `_` and `.`, no more than the books have room for."""
    return re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) is not None


def _clusters(value: dict[str, Cluster]) -> dict[str, Cluster]:
    if not value:
        raise wrong("needs at least one cluster, by its Slurm ClusterName")
    for name in value:
        if not is_cluster_name(name):
            raise wrong_at((name,), "is no ClusterName of Slurm's: up to 64 letters, digits, -, _ and .")
    return value


class SiteConfig(Section):
    """The whole of `site.yaml`."""

    site: Site = Field(description="{name: …, timezone: …}")
    ledger: Annotated[Ledger, BeforeValidator(_as_mapping)] = Field(description="for example sqlite:///ledger.db")
    clusters: Annotated[dict[Text, Cluster], AfterValidator(_clusters)] = Field(
        description="at least one cluster, by its Slurm ClusterName"
    )
    pue: Pue = Field(description="the facility's energy over the IT energy, for example 1.2")
    grid: Grid = Field(description="for example {zone: FRA}")
    wue_l_per_kwh: NotNegative | None = None  # litres of water for a kWh of IT energy (ISO/IEC 30134-9)
    collect: Collect = Collect()
    uncertainty: Uncertainty = Uncertainty()
    site_meter: SiteMeter | None = None  # what scarbon audit holds the books against
    budgets: Budgets = ()
    mail: Mail | None = None
    report: ReportStyle = ReportStyle()

    @model_validator(mode="after")
    def _budgets_are_of_its_clusters(self) -> Self:
        for position, budget in enumerate(self.budgets):
            if budget.cluster is not None and budget.cluster not in self.clusters:
                guess = near(budget.cluster, self.clusters)
                raise wrong_at(("budgets", position, "cluster"), f"no cluster {shown(budget.cluster)}{guess}")
        return self

    @property
    def grid_cache(self) -> Path:
        """Where the answers of grid services are kept."""
        if self.grid.cache is not None:
            return self.grid.cache
        file = self.ledger.url.removeprefix("sqlite:///")
        return Path("/var/lib/scarbon/ledger.db" if file == self.ledger.url else file).with_name("grid.db")

    def gres_index_dir(self, cluster: str) -> Path:
        """The folder in which is kept what the cluster's controller said of its jobs' GPUs."""
        gpu = self.clusters[cluster].gpu
        if gpu is not None and gpu.gres_index is not None:
            return gpu.gres_index
        return self.grid_cache.with_name("gres_index") / cluster

    def digest(self) -> str:
        """Return the SHA-256 of what is declared: equal for two files that say the same."""
        content = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()
