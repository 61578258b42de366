from collections.abc import Callable
from pathlib import Path

import pytest

from site_config.errors import ConfigError
from site_config.load import load
from site_config.schema import SiteConfig

#: The configuration of the design, as a site would write it.
DESIGN = """\
site: {name: Example HPC, timezone: Europe/Paris}
ledger: sqlite:///ledger.db
clusters:
  alpha:
    jobs: {source: auto}
    gpu:
      prometheus: {url: http://prometheus:9090}
      match: {job: dcgm}
      holders: [journal, hpc_job, gres_index, whole_node]
      journal: /var/spool/scarbon
    host: {method: model, cpu_w_per_core: 4.0, memory_w_per_gb: 0.3725}
    embodied: {gpu_kgco2e: {low: 130, best: 273, high: 320}, lifetime_years: 5}
pue: 1.2
grid:
  zone: FRA
  location: [{source: file, path: intensity.csv}, {source: static}]
  market: {factor_g_per_kwh: 12, coverage: 0.8, residual_mix_g_per_kwh: 60}
"""

Read = Callable[[str], SiteConfig]
Problems = Callable[[str], list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Load a text as a site's configuration."""

    def read_text(text: str) -> SiteConfig:
        path = tmp_path / "site.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path)

    return read_text


@pytest.fixture
def problems(read: Read, tmp_path: Path) -> Problems:
    """What is wrong with a text: a line each, without the folder."""

    def problems_of(text: str) -> list[str]:
        with pytest.raises(ConfigError) as error:
            read(text)
        return [line.removeprefix(f"{tmp_path}/") for line in str(error.value).splitlines()]

    return problems_of
