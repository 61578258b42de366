"""From a file to objects, and from a mistake to its line."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from site_config.errors import ConfigError
from site_config.factors import Contract
from site_config.grid import FileGrid, StaticGrid
from site_config.load import load
from site_config.place import find_config
from tests.site_config.conftest import DESIGN, Problems, Read


def test_the_configuration_of_the_design(read: Read, tmp_path: Path) -> None:
    config = read(DESIGN)
    assert (config.site.name, config.site.zone.key) == ("Example HPC", "Europe/Paris")
    assert config.ledger.url == f"sqlite:///{tmp_path}/ledger.db"
    alpha = config.clusters["alpha"]
    assert alpha.jobs.source == "auto"
    assert alpha.gpu is not None and alpha.gpu.prometheus is not None
    assert (alpha.gpu.prometheus.url, alpha.gpu.prometheus.timeout_s) == ("http://prometheus:9090", 30.0)
    assert (alpha.gpu.match, alpha.gpu.max_gap_s, alpha.gpu.preset) == ({"job": "dcgm"}, 600.0, "dcgm")
    assert alpha.gpu.holders == ("journal", "hpc_job", "gres_index", "whole_node")
    assert alpha.gpu.journal == Path("/var/spool/scarbon")
    assert (alpha.host.method, alpha.host.cpu_w_per_core, alpha.host.memory_w_per_gb) == ("model", 4.0, 0.3725)
    assert alpha.embodied is not None and alpha.embodied.gpu_kgco2e is not None
    assert (alpha.embodied.gpu_kgco2e.best, alpha.embodied.lifetime_years) == (273.0, 5.0)
    assert (config.pue, config.grid.zone, config.collect.settle_s) == (1.2, "FRA", 900.0)
    assert config.grid.location == (FileGrid(source="file", path=tmp_path / "intensity.csv"), StaticGrid())
    assert config.grid.market == Contract(factor_g_per_kwh=12, coverage=0.8, residual_mix_g_per_kwh=60)


def test_the_least_that_is_needed(read: Read) -> None:
    config = read(
        "site: {name: A, timezone: UTC}\nledger: sqlite:////books/a.db\nclusters: {a: {}}\npue: 1\ngrid: {zone: SWE}\n"
    )
    cluster = config.clusters["a"]
    assert (cluster.jobs.source, cluster.gpu, cluster.host.method, cluster.embodied) == ("auto", None, "none", None)
    assert config.ledger.url == "sqlite:////books/a.db"
    assert (config.grid.location, config.grid.market) == ((StaticGrid(),), None)


def test_the_near_key_is_named_with_its_line(problems: Problems) -> None:
    assert problems(DESIGN.replace("prometheus:", "promethius:", 1)) == [
        "site.yaml:7: clusters.alpha.gpu.promethius: unknown key; did you mean 'prometheus'?"
    ]


def test_every_mistake_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    text = (
        DESIGN.replace("Europe/Paris", "Europe/Pari")
        .replace("4.0", "true")
        .replace("pue: 1.2", 'pue: "1.2"')
        .replace("FRA", "France")
        .replace("coverage: 0.8", "coverage: 80")
        .replace("journal, hpc_job", "journal, hpcjob")
        + "gird: {}\n"
    )
    assert problems(text) == [
        "site.yaml:1: site.timezone: unknown time zone 'Europe/Pari'; did you mean 'Europe/Paris'?",
        "site.yaml:9: clusters.alpha.gpu.holders[1]: must be one of journal, hpc_job, gres_index, whole_node, "
        "but is 'hpcjob'; did you mean 'hpc_job'?",
        "site.yaml:11: clusters.alpha.host.cpu_w_per_core: must be a number, but is true",
        "site.yaml:13: pue: must be a number, a list of {from, to, value} or {prometheus, query}, but is '1.2'",
        "site.yaml:15: grid.zone: unknown zone 'France': use the country's three letters (ISO 3166-1), as FRA; "
        "did you mean 'FRA'?",
        "site.yaml:17: grid.market.coverage: must be at most 1, but is 80",
        "site.yaml:18: gird: unknown key; did you mean 'grid'?",
    ]


def test_what_is_missing_says_what_it_is(problems: Problems) -> None:
    assert problems("clusters: {a: {gpu: {openmetrics: {}}}}\n") == [
        "site.yaml:1: site: missing ({name: …, timezone: …})",
        "site.yaml:1: ledger: missing (for example sqlite:///ledger.db)",
        "site.yaml:1: clusters.a.gpu.openmetrics.path: missing",
        "site.yaml:1: pue: missing (the facility's energy over the IT energy, for example 1.2)",
        "site.yaml:1: grid: missing (for example {zone: FRA})",
    ]


def test_a_missing_key_stands_on_its_sections_line(problems: Problems) -> None:
    assert problems(DESIGN.replace(", timezone: Europe/Paris", "")) == [
        "site.yaml:1: site.timezone: missing (for example Europe/Paris)"
    ]
    assert problems(DESIGN.replace("source: file, path: intensity.csv", "source: file")) == [
        "site.yaml:16: grid.location[0].path: missing"
    ]


def test_a_key_given_twice(problems: Problems) -> None:
    assert problems(DESIGN + "pue: 1.3\n") == ["site.yaml:18:1: pue: given twice; first on line 13"]


def test_both_kinds_of_mistake_at_once(problems: Problems) -> None:
    assert problems(DESIGN.replace("auto", "autoo") + "pue: 1.3\n") == [
        "site.yaml:5: clusters.alpha.jobs.source: must be one of auto, pyslurm, sacct, slurmrestd, file, "
        "but is 'autoo'; did you mean 'auto'?",
        "site.yaml:18:1: pue: given twice; first on line 13",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("site: {name: A\n", "site.yaml:2:1: is not YAML: "),
        ("site:\n\tname: A\n", "site.yaml:2:1: is not YAML: "),
        ("site: *nowhere\n", "site.yaml:1:7: is not YAML: found undefined alias 'nowhere'"),
        ("a: 1\n---\nb: 2\n", "site.yaml:2:1: is not YAML: "),
        ("site: \x07\n", "site.yaml: is not YAML: "),
        ("", "site.yaml: is empty; `scarbon init` writes a configuration to start from"),
        ("# nothing yet\n", "site.yaml: is empty; "),
        ("null\n", "site.yaml:1: must be a mapping that begins with `site:`"),
        ("- site\n- ledger\n", "site.yaml:1: must be a mapping that begins with `site:`"),
        ("just words\n", "site.yaml:1: must be a mapping that begins with `site:`"),
    ],
)
def test_what_is_no_configuration(problems: Problems, text: str, said: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(said)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "site.yaml")
    assert str(error.value) == (
        f"{tmp_path}/site.yaml: no such file; write one with `scarbon init`, or name yours with --config or "
        "$SCARBON_CONFIG"
    )


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        load(tmp_path)


def test_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(b"site:\n  name: Universit\xe9\n")
    with pytest.raises(ConfigError, match=r"site\.yaml:2: is not UTF-8 text; save it as UTF-8"):
        load(path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + DESIGN.encode())
    assert load(path).pue == 1.2


def test_tags_are_not_obeyed(problems: Problems) -> None:
    (problem,) = problems(DESIGN.replace("Example HPC", "!!python/name:os.system x"))
    assert problem.startswith("site.yaml:1:14: site.name: is not understood")


def test_a_key_that_is_no_word(problems: Problems) -> None:
    assert problems(DESIGN + "? [a, b]\n: 1\n") == ["site.yaml:18:3: a key must be a word"]


def test_names_that_yaml_takes_for_something_else(read: Read) -> None:
    config = read(DESIGN.replace("alpha:", "no:"))
    assert list(config.clusters) == ["no"]


def test_an_alias_of_yaml(read: Read) -> None:
    text = DESIGN.replace("gpu:\n", "gpu: &gpu\n").replace("pue: 1.2", "  beta: {gpu: *gpu}\npue: 1.2")
    config = read(text)
    assert config.clusters["beta"].gpu == config.clusters["alpha"].gpu


def test_an_alias_of_itself(problems: Problems) -> None:
    assert "site.yaml:1:7: site.name: contains itself" in problems("site: &me\n  name: *me\n")


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "site.yaml").write_text(DESIGN)
    monkeypatch.chdir(tmp_path)
    config = load(Path("etc/site.yaml"))
    assert config.ledger.url == f"sqlite:///{folder}/ledger.db"
    assert config.grid.location[0] == FileGrid(source="file", path=folder / "intensity.csv")


def test_dates_without_a_zone_are_the_sites(read: Read) -> None:
    config = read(
        DESIGN.replace(
            "pue: 1.2",
            "pue:\n"
            "  - {from: 2026-07-01, to: 2026-10-25 12:00:00, value: 1.3}\n"
            "  - {from: 2026-10-25T12:00:00Z, value: 1.2, category: 2, source: meter}",
        )
    )
    first, second = config.pue
    assert first.from_ == datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=2)))  # summer in Paris
    assert first.end_s == datetime(2026, 10, 25, 11, tzinfo=UTC).timestamp()  # winter from that morning on
    assert (second.start_s, second.end_s) == (datetime(2026, 10, 25, 12, tzinfo=UTC).timestamp(), float("inf"))
    assert (second.value, second.category, second.source) == (1.2, 2, "meter")


def test_a_day_that_does_not_exist(problems: Problems) -> None:
    assert problems(DESIGN.replace("pue: 1.2", "pue: [{from: 2026-02-30, value: 1.2}]")) == [
        "site.yaml:13:14: pue[0].from: '2026-02-30': day is out of range for month"
    ]


def test_the_digest_is_that_of_the_content(read: Read) -> None:
    digest = read(DESIGN).digest()
    assert read("# a comment\n" + DESIGN.replace("pue: 1.2", "pue:   1.20")).digest() == digest
    assert read(DESIGN.replace("pue: 1.2", "pue: 1.3")).digest() != digest
    assert len(digest) == 64


def test_where_the_configuration_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCARBON_CONFIG", "/from/the/environment.yaml")
    assert find_config("mine.yaml") == Path("mine.yaml")
    assert find_config(None) == Path("/from/the/environment.yaml")
    monkeypatch.setenv("SCARBON_CONFIG", "")
    assert find_config(None) == Path("/etc/scarbon/site.yaml")
