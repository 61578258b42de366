"""From what a site declares to the sources and rules of an accounting run: the one place that knows both."""

from __future__ import annotations

import math
from datetime import datetime

from accounting.accounts import AccountTree
from accounting.booking import Rules, Sources
from accounting.host import HostBySlurm, HostMetered, HostModel, HostRule
from accounting.sources import (
    Factors,
    FactorSource,
    GpuEnergySource,
    HolderSource,
    HostEnergySource,
    JobSource,
    NodeSource,
    SiteMeterSource,
    SourceError,
)
from collectors.dcgm import DcgmSource
from collectors.gres_index import GresIndex
from collectors.grid.chain import fill
from collectors.grid.declared import market_slots, pue_slots
from collectors.grid.registry import grid_sources
from collectors.grid.store import SlotStore
from collectors.holders import HpcJobLabels, WholeNode
from collectors.host import HostQuery, PrometheusHosts
from collectors.journal import Journal
from collectors.openmetrics import OpenMetricsSource
from collectors.prometheus import Endpoint, Prometheus
from collectors.site_meter import FileSiteMeter, PrometheusSiteMeter
from collectors.slurm.accounts import ask_accounts, read_dump
from collectors.slurm.choose import choose
from collectors.slurm.fields import nodes as node_names
from collectors.slurm.nodes import ClusterNodes
from site_config.host import Host
from site_config.schema import Cluster, Gpu, Jobs, SiteConfig
from site_config.secrets import read_secret
from site_config.server import PrometheusServer


def sources(config: SiteConfig, name: str) -> Sources:
    """The sources of one cluster. SourceError where one of them cannot be made."""
    cluster = config.clusters[name]
    return Sources(
        jobs=job_source(config, name),
        gpu=gpu_source(name, cluster.gpu) if cluster.gpu is not None else None,
        holders=holder_sources(config, name) if cluster.gpu is not None else (),
        host=host_source(cluster),
        nodes=node_source(name, cluster),
        factors=factor_source(config),
    )


def rules(config: SiteConfig, name: str) -> Rules:
    """What the site declares for one cluster's accounting."""
    cluster = config.clusters[name]
    embodied = cluster.embodied
    return Rules(
        zone=config.site.zone,
        max_gap_s=cluster.gpu.max_gap_s if cluster.gpu is not None else math.inf,
        host=_host_rule(cluster.host),
        embodied_gpu_g=None if embodied is None or embodied.gpu_kgco2e is None else embodied.gpu_kgco2e.best * 1000,
        embodied_gpu_model_g=(
            {} if embodied is None else {model: figure.best * 1000 for model, figure in embodied.gpu_models.items()}
        ),
        lifetime_years=5.0 if embodied is None else embodied.lifetime_years,
        gpu_load=None if cluster.gpu is None or cluster.gpu.model is None else cluster.gpu.model.load,
        embodied_node_g=None if embodied is None or embodied.node_kgco2e is None else embodied.node_kgco2e.best * 1000,
    )


def job_source(config: SiteConfig, name: str) -> JobSource:
    """Where the cluster's jobs are read."""
    return choose(name, config.clusters[name].jobs, config.site.zone)[0]


def gpu_source(name: str, gpu: Gpu) -> GpuEnergySource:
    """Where the cluster's GPU energy is read."""
    if gpu.openmetrics is not None:
        return OpenMetricsSource(name, gpu.openmetrics.path, gpu.meter)
    assert gpu.prometheus is not None
    return DcgmSource(name, Prometheus(endpoint(gpu.prometheus, gpu.match)), gpu.meter)


def holder_sources(config: SiteConfig, name: str) -> list[HolderSource]:
    """Who says which job held which GPU, in the site's order of trust."""
    gpu = config.clusters[name].gpu
    assert gpu is not None
    made: list[HolderSource] = []
    for holder in gpu.holders:
        if holder == "journal":
            assert gpu.journal is not None
            made.append(Journal(name, gpu.journal))
        elif holder == "hpc_job":
            made.append(HpcJobLabels())
        elif holder == "gres_index":
            made.append(GresIndex(name, config.gres_index_dir(name), _minors(name, gpu)))
        elif holder == "whole_node":
            made.append(WholeNode())
    return made


def _minors(name: str, gpu: Gpu) -> dict[str, tuple[int, ...]]:
    """The order of each node's device minors, where the site declares it."""
    found: dict[str, tuple[int, ...]] = {}
    for nodes, minors in gpu.gres_minors.items():
        try:
            found |= dict.fromkeys(node_names(nodes), minors)
        except ValueError as error:
            raise SourceError(
                f"clusters.{name}.gpu.gres_minors: {error}", "write a host list, such as n[1-16]"
            ) from None
    return found


def scontrol(cluster: Cluster) -> str | None:
    """The program that asks the cluster's controller, beside the site's sacct; None where there is no Slurm to ask."""
    return _beside_sacct(cluster.jobs, "scontrol")


def account_tree(config: SiteConfig, name: str) -> AccountTree | None:
    """The cluster's accounts as Slurm now has them; None where nobody is there to ask. SourceError where that fails."""
    jobs = config.clusters[name].jobs
    if jobs.accounts is not None:
        return read_dump(name, jobs.accounts)
    sacctmgr = _beside_sacct(jobs, "sacctmgr")
    return None if sacctmgr is None else ask_accounts(name, sacctmgr)


def _beside_sacct(jobs: Jobs, program: str) -> str | None:
    if jobs.source not in ("auto", "sacct", "pyslurm"):
        return None
    return str(jobs.sacct or "sacct").removesuffix("sacct") + program


def endpoint(server: PrometheusServer, match: dict[str, str]) -> Endpoint:
    """How to talk to a declared server; its secrets are read here, from a file or the environment."""
    headers, auth = {}, None
    if token := read_secret(server.token_file, server.token_env):
        headers["Authorization"] = f"Bearer {token}"
    elif server.username is not None and (password := read_secret(server.password_file, None)):
        auth = (server.username, password)
    return Endpoint(
        url=server.url.rstrip("/"),
        match=match,
        timeout_s=server.timeout_s,
        headers=headers,
        auth=auth,
        ca_file=None if server.ca_file is None else str(server.ca_file),
    )


def host_source(cluster: Cluster) -> HostEnergySource | None:
    """Where the power of the cluster's nodes is read; None where they are not metered."""
    host = cluster.host
    if host.meter is None:
        return None
    server = host.prometheus or (None if cluster.gpu is None else cluster.gpu.prometheus)
    assert server is not None
    return PrometheusHosts(
        Prometheus(endpoint(server, {})), HostQuery(host.meter, host.match, host.node_pattern, host.step_s)
    )


def node_source(name: str, cluster: Cluster) -> NodeSource:
    """What the cluster's nodes are."""
    return ClusterNodes(name, cluster.host, scontrol(cluster))


def site_meter(config: SiteConfig) -> SiteMeterSource | None:
    """Where the meter of the whole site is read; None where none is declared."""
    declared = config.site_meter
    if declared is None:
        return None
    if declared.csv is not None:
        return FileSiteMeter(declared.csv)
    assert declared.prometheus is not None and declared.query is not None and declared.unit is not None
    prometheus = Prometheus(endpoint(declared.prometheus, {}))
    return PrometheusSiteMeter(prometheus, declared.query, declared.unit, declared.step_s, declared.max_gap_s)


def _host_rule(host: Host) -> HostRule | None:
    if host.method == "model":
        assert host.cpu_w_per_core is not None
        return HostModel(host.cpu_w_per_core, host.memory_w_per_gb)
    if host.method == "slurm":
        return HostBySlurm(includes_gpus=bool(host.includes_gpus))
    return None if host.meter is None else HostMetered(host.meter.includes_gpus, host.max_gap_s)


def factor_source(config: SiteConfig) -> FactorSource:
    """The site's PUE, its grid and its contracts; a grid source that fails costs a warning, and the next stands in."""
    store = SlotStore(config.grid_cache)
    grid = grid_sources(config.grid, store)

    def factors(start_s: float, end_s: float) -> Factors:
        location, report = fill(grid, start_s, end_s)
        holes = [f"no source has the grid's intensity from {_shown(a)} to {_shown(b)}" for a, b in report.holes]
        return Factors(
            pue=pue_slots(config.pue, start_s, end_s, store),
            location=location,
            market=market_slots(config.grid.market, start_s, end_s),
            warnings=(*report.problems, *holes),
        )

    def _shown(time_s: float) -> str:
        return datetime.fromtimestamp(time_s, config.site.zone).isoformat(" ", "minutes")

    return factors
