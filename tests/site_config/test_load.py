from pathlib import Path

import pytest

from site_config.errors import ConfigError
from site_config.load import load

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


def test_the_documented_configuration(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(DESIGN)
    config = load(path)
    assert config.ledger.url == f"sqlite:///{tmp_path}/ledger.db"
    assert config.clusters["alpha"].gpu.prometheus.url == "http://prometheus:9090"
    assert config.grid.location[0].path == tmp_path / "intensity.csv"
    assert config.pue == 1.2


def test_the_near_key_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(DESIGN.replace("prometheus:", "promethius:", 1))
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value) == f"{path}:7: clusters.alpha.gpu.promethius: unknown key; did you mean 'prometheus'?"
