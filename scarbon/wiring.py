"""From what a site declares to the sources and rules of an accounting run: the one place that knows both."""

from __future__ import annotations

import math
import os
from pathlib import Path

from accounting.booking import HostModel, Rules, Sources
from accounting.model import FactorSlot
from accounting.sources import GpuEnergySource, HolderSource, JobSource, SourceError
from collectors.dcgm import DcgmSource
from collectors.grid.chain import fill
from collectors.grid.registry import grid_sources
from collectors.holders import HpcJobLabels, WholeNode
from collectors.journal import Journal
from collectors.openmetrics import OpenMetricsSource
from collectors.prometheus import Endpoint, Prometheus
from collectors.slurm.file import FileSource
from collectors.slurm.sacct import SacctSource
from site_config.schema import Cluster, Gpu, SiteConfig
from site_config.server import PrometheusServer


def sources(config: SiteConfig, name: str) -> Sources:
    """The sources of one cluster. SourceError where one of them cannot be made."""
    cluster = config.clusters[name]
    return Sources(
        jobs=job_source(config, name),
        gpu=gpu_source(name, cluster.gpu) if cluster.gpu is not None else None,
        holders=holder_sources(name, cluster.gpu) if cluster.gpu is not None else (),
        location=grid_sources(config.grid),
    )


def rules(config: SiteConfig, name: str) -> Rules:
    """What the site declares for one cluster's accounting."""
    cluster = config.clusters[name]
    embodied = cluster.embodied
    return Rules(
        zone=config.site.zone,
        max_gap_s=cluster.gpu.max_gap_s if cluster.gpu is not None else math.inf,
        host=_host_model(name, cluster),
        pue=_pue(config),
        market=_market(config),
        fill=lambda sources, start_s, end_s: fill(sources, start_s, end_s)[0],
        embodied_gpu_g=None if embodied is None or embodied.gpu_kgco2e is None else embodied.gpu_kgco2e.best * 1000,
        lifetime_years=5.0 if embodied is None else embodied.lifetime_years,
    )


def job_source(config: SiteConfig, name: str) -> JobSource:
    """Where the cluster's jobs are read."""
    jobs = config.clusters[name].jobs
    if jobs.source == "file":
        assert jobs.path is not None
        return FileSource(name, jobs.path, config.site.zone)
    if jobs.source in ("auto", "sacct"):
        return SacctSource(name, str(jobs.sacct or "sacct"))
    raise SourceError(f"clusters.{name}.jobs.source: {jobs.source} is not read by this version", "use sacct or file")


def gpu_source(name: str, gpu: Gpu) -> GpuEnergySource:
    """Where the cluster's GPU energy is read."""
    if gpu.openmetrics is not None:
        return OpenMetricsSource(name, gpu.openmetrics.path)
    assert gpu.prometheus is not None
    return DcgmSource(name, Prometheus(endpoint(gpu.prometheus, gpu.match)))


def holder_sources(name: str, gpu: Gpu) -> list[HolderSource]:
    """Who says which job held which GPU, in the site's order of trust."""
    made: list[HolderSource] = []
    for holder in gpu.holders:
        if holder == "journal":
            assert gpu.journal is not None
            made.append(Journal(name, gpu.journal))
        elif holder == "hpc_job":
            made.append(HpcJobLabels())
        elif holder == "whole_node":
            made.append(WholeNode())
    return made


def endpoint(server: PrometheusServer, match: dict[str, str]) -> Endpoint:
    """How to talk to a declared server; its secrets are read here, from a file or the environment."""
    headers, auth = {}, None
    if server.token_file is not None:
        headers["Authorization"] = f"Bearer {_secret_file(server.token_file)}"
    elif server.token_env is not None:
        headers["Authorization"] = f"Bearer {_secret_env(server.token_env)}"
    elif server.username is not None and server.password_file is not None:
        auth = (server.username, _secret_file(server.password_file))
    return Endpoint(
        url=server.url.rstrip("/"),
        match=match,
        timeout_s=server.timeout_s,
        headers=headers,
        auth=auth,
        ca_file=None if server.ca_file is None else str(server.ca_file),
    )


def _host_model(name: str, cluster: Cluster) -> HostModel | None:
    host = cluster.host
    if host.method == "none":
        return None
    if host.method != "model":
        raise SourceError(
            f"clusters.{name}.host.method: {host.method} is not read by this version", "use model or none"
        )
    assert host.cpu_w_per_core is not None
    return HostModel(host.cpu_w_per_core, host.memory_w_per_gb)


def _pue(config: SiteConfig) -> list[FactorSlot]:
    if isinstance(config.pue, float):
        return [FactorSlot(-math.inf, math.inf, config.pue, "site.yaml: pue")]
    if isinstance(config.pue, tuple):
        return [
            FactorSlot(period.start_s, period.end_s, period.value, period.source or "site.yaml: pue")
            for period in config.pue
        ]
    raise SourceError("pue: a live PUE is not read by this version", "give a number, or a list of {from, to, value}")


def _market(config: SiteConfig) -> list[FactorSlot]:
    market = config.grid.market
    if market is None:
        return []
    if isinstance(market, tuple):
        return [
            FactorSlot(one.start_s, one.end_s, one.market_g_per_kwh, one.source or "site.yaml: grid.market")
            for one in market
        ]
    return [FactorSlot(-math.inf, math.inf, market.market_g_per_kwh, market.source or "site.yaml: grid.market")]


def _secret_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SourceError(
            f"the secret in {path} cannot be read: {error.strerror}", "check its owner and mode"
        ) from None


def _secret_env(name: str) -> str:
    if not os.environ.get(name):
        raise SourceError(
            f"the environment has no {name}, which the configuration names for a token", f"export {name}=…"
        )
    return os.environ[name]
