"""What each section accepts, and what it says of what it does not."""

from pathlib import Path

import pytest

from site_config import grid as grids
from site_config.schema import Jobs
from tests.site_config.conftest import DESIGN, Problems, Read

PROMETHEUS = "prometheus: {url: http://prometheus:9090}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # types are not guessed
        ("name: Example HPC", "name: 5", "site.yaml:1: site.name: must be text, but is 5; put it in quotes"),
        ("name: Example HPC", "name: ''", "site.yaml:1: site.name: must not be empty"),
        (
            "cpu_w_per_core: 4.0",
            'cpu_w_per_core: "4"',
            "11: clusters.alpha.host.cpu_w_per_core: must be a number, but is '4'",
        ),
        (
            "cpu_w_per_core: 4.0",
            "cpu_w_per_core: .nan",
            "11: clusters.alpha.host.cpu_w_per_core: must be a finite number",
        ),
        (
            "cpu_w_per_core: 4.0",
            "cpu_w_per_core: -1",
            "11: clusters.alpha.host.cpu_w_per_core: must be at least 0, but is -1",
        ),
        (
            "match: {job: dcgm}",
            "match: {job: 5}",
            "8: clusters.alpha.gpu.match.job: must be text, but is 5; put it in quotes",
        ),
        ("match: {job: dcgm}", "match: {a-b: dcgm}", "8: clusters.alpha.gpu.match.a-b: "),
        (
            "match: {job: dcgm}",
            "match: [job]",
            "8: clusters.alpha.gpu.match: must be a mapping of keys to values, but is a list",
        ),
        (
            "[journal, hpc_job, gres_index, whole_node]",
            "journal",
            "9: clusters.alpha.gpu.holders: must be a list, but is 'journal'",
        ),
        (
            "{job: dcgm}",
            "{job: dcgm}\n      max_gap_s: 0",
            "9: clusters.alpha.gpu.max_gap_s: must be more than 0, but is 0",
        ),
        (
            "host: {method: model, cpu_w_per_core: 4.0, memory_w_per_gb: 0.3725}",
            "host:",
            "11: clusters.alpha.host: must be a mapping",
        ),
        # the site
        ("Europe/Paris", "Europe", "site.yaml:1: site.timezone: unknown time zone 'Europe'"),
        ("Europe/Paris", "../etc/passwd", "site.yaml:1: site.timezone: unknown time zone '../etc/passwd'"),
        # the ledger
        (
            "sqlite:///ledger.db",
            "ledger.db",
            "2: ledger.url: must be one of sqlite://…, postgresql+psycopg://…, mysql+pymysql://…",
        ),
        ("sqlite:///ledger.db", "postgresql://host/db", "2: ledger.url: must be one of"),
        ("sqlite:///ledger.db", "sqlite://", "2: ledger.url: must name a file"),
        ("sqlite:///ledger.db", "'sqlite:///:memory:'", "2: ledger.url: must name a file"),
        (
            "sqlite:///ledger.db",
            "postgresql+psycopg://ada:geheim@db/books",
            "2: ledger.url: a password does not belong in this file",
        ),
        # jobs
        ("  alpha:", "  my cluster:", "4: clusters.my cluster: is no ClusterName of Slurm's: up to 64 letters, digits"),
        ("  alpha:", f"  {'a' * 65}:", "is no ClusterName of Slurm's"),
        ("{source: auto}", "{source: file}", "5: clusters.alpha.jobs: source: file needs path"),
        ("{source: auto}", "{source: sacct, path: a}", "5: clusters.alpha.jobs.path: only source: file has a path"),
        ("{source: auto}", "{source: slurmrestd}", "5: clusters.alpha.jobs: source: slurmrestd needs url"),
        (
            "{source: auto}",
            "{source: slurmrestd, url: 'unix:rest'}",
            "5: clusters.alpha.jobs.url: must name a socket as unix:///run/slurmrestd.sock, but is 'unix:rest'",
        ),
        (
            "{source: auto}",
            "{token: abc}",
            "5: clusters.alpha.jobs.token: a secret does not belong in this file; put it in a file or the",
        ),
        (
            "{source: auto}",
            "{token_file: a, token_env: B}",
            "5: clusters.alpha.jobs: has both token_file and token_env",
        ),
        # gpu
        (
            PROMETHEUS,
            "preset: dcgm",
            "6: clusters.alpha.gpu: needs either prometheus: {url: …} or openmetrics: {path: …}",
        ),
        (PROMETHEUS, PROMETHEUS + "\n      openmetrics: {path: a.om}", "6: clusters.alpha.gpu: needs either"),
        ("      journal: /var/spool/scarbon\n", "", "9: clusters.alpha.gpu.holders: names the journal, but"),
        (
            "[journal, hpc_job, gres_index",
            "[hpc_job, hpc_job",
            "9: clusters.alpha.gpu.holders: names the same source twice",
        ),
        (
            "[journal, hpc_job, gres_index, whole_node]",
            "[]",
            "9: clusters.alpha.gpu.holders: must have at least 1 entry",
        ),
        # servers and their secrets
        (
            "http://prometheus:9090",
            "prometheus:9090",
            "7: clusters.alpha.gpu.prometheus.url: must be a URL such as http://host:9090",
        ),
        ("http://prometheus:9090", "http://", "7: clusters.alpha.gpu.prometheus.url: must be a URL"),
        ("http://prometheus:9090", "http://prometheus:port", "7: clusters.alpha.gpu.prometheus.url: must be a URL"),
        ("http://prometheus:9090", "'http://prome theus'", "7: clusters.alpha.gpu.prometheus.url: must be a URL"),
        (
            "http://prometheus:9090",
            "http://ada:geheim@host",
            "7: clusters.alpha.gpu.prometheus.url: a user or password does not belong",
        ),
        (
            "9090}",
            "9090, password: geheim}",
            "7: clusters.alpha.gpu.prometheus.password: a secret does not belong in this file",
        ),
        ("9090}", "9090, username: ada}", "7: clusters.alpha.gpu.prometheus: username and password_file go together"),
        ("9090}", "9090, token_env: A, token_file: b}", "7: clusters.alpha.gpu.prometheus: sign in one way"),
        ("9090}", "9090, ca_file: ca.pem}", "7: clusters.alpha.gpu.prometheus.ca_file: has no use with"),
        (
            "9090}",
            "9090, query_max_samples: 1.5}",
            "7: clusters.alpha.gpu.prometheus.query_max_samples: must be a whole number",
        ),
        # host and embodied
        ("cpu_w_per_core: 4.0, ", "", "11: clusters.alpha.host: method: model needs cpu_w_per_core"),
        (
            "method: model",
            "method: prometheus",
            "11: clusters.alpha.host: method: prometheus needs either preset (ipmi, redfish, rapl, cray) or query",
        ),
        (
            "method: model",
            "method: prometheus, preset: ipmi, query: node_watts, includes_gpus: true",
            "11: clusters.alpha.host: method: prometheus needs either preset",
        ),
        (
            "method: model",
            "method: prometheus, preset: impi",
            "11: clusters.alpha.host.preset: must be one of ipmi, redfish, rapl, cray, but is 'impi'; did you mean",
        ),
        (
            "method: model",
            "method: prometheus, preset: rapl, unit: J",
            "11: clusters.alpha.host.unit: goes with a query; a preset has its own",
        ),
        (
            "method: model",
            "method: prometheus, query: node_watts, unit: w, includes_gpus: true",
            "11: clusters.alpha.host.unit: must be one of mW, W, kW, mJ, J, kJ, Wh, kWh, but is 'w'",
        ),
        (
            "method: model",
            "method: prometheus, query: node_watts, match: {job: ipmi}, includes_gpus: true",
            "11: clusters.alpha.host.match: goes with a preset; write the matchers into the query",
        ),
        (
            "method: model",
            "method: prometheus, query: node_watts",
            "11: clusters.alpha.host: needs includes_gpus: true or false",
        ),
        ("method: model", "method: slurm", "11: clusters.alpha.host: needs includes_gpus: true or false"),
        (
            "method: model",
            "method: prometheus, preset: ipmi, node_pattern: '(.+'",
            "11: clusters.alpha.host.node_pattern: is no regular expression: ",
        ),
        (
            "method: model",
            "method: prometheus, preset: ipmi, node_pattern: '.+-bmc'",
            "11: clusters.alpha.host.node_pattern: must have one group (…), which is the node's name in Slurm",
        ),
        (
            "method: model",
            "method: model, nodes: {'n[1-4]': {cpus: 0}}",
            "11: clusters.alpha.host.nodes.n[1-4].cpus: must be more than 0, but is 0",
        ),
        (
            "best: 273",
            "best: 400",
            "12: clusters.alpha.embodied.gpu_kgco2e: must rise from low to high, but 130, 400, 320 do not",
        ),
        ("lifetime_years: 5", "lifetime_years: 0", "12: clusters.alpha.embodied.lifetime_years: must be more than 0"),
        # PUE
        ("pue: 1.2", "pue: 0.9", "13: pue: must be from 1 to 10"),
        ("pue: 1.2", "pue: true", "13: pue: must be a number, a list of"),
        ("pue: 1.2", "pue: []", "13: pue: must not be an empty list"),
        ("pue: 1.2", "pue: {query: a}", "13: pue.prometheus: missing"),
        ("pue: 1.2", "pue: [{from: 2026-01-01, to: 2026-01-01, value: 1.2}]", "13: pue[0].to: must be later than from"),
        ("pue: 1.2", "pue: [{from: 2026-01-01, value: 0.5}]", "13: pue[0].value: must be at least 1, but is 0.5"),
        ("pue: 1.2", "pue: [{from: '2026-01-01', value: 1.2}]", "13: pue[0].from: must be a date such as 2026-10-01"),
        ("pue: 1.2", "pue: [{from: 2026-01-01, value: 1.2, category: 4}]", "13: pue[0].category: must be at most 3"),
        (
            "pue: 1.2",
            "pue:\n- {from: 2026-01-01, value: 1.2}\n- {from: 2026-02-01, value: 1.3}",
            "15: pue[1]: overlaps an earlier entry",
        ),
        # the grid
        ("zone: FRA", "zone: fra", "15: grid.zone: unknown zone 'fra'"),
        ("zone: FRA", "zone: 5", "15: grid.zone: must be text, but is 5"),
        (
            "[{source: file, path: intensity.csv}, {source: static}]",
            "[]",
            "16: grid.location: must name at least one source",
        ),
        (
            "[{source: file, path: intensity.csv}, {source: static}]",
            "static",
            "16: grid.location: must be a list, but is 'static'",
        ),
        ("{source: static}]", "static]", "16: grid.location[1]: must be a mapping such as {source: static}"),
        (
            "{source: static}]",
            "{source: statik}]",
            "16: grid.location[1].source: must be one of file, static, prometheus, ",
        ),
        ("{source: static}]", "{source: static, path: a}]", "16: grid.location[1].path: unknown key"),
        ("path: intensity.csv", "path: ''", "16: grid.location[0].path: must be a path, but is empty"),
        (
            "{source: static}]",
            "{source: watttime, region: A, username: b, password_file: c}]",
            "16: grid.location[1].source: watttime gives marginal",
        ),
        (
            "{source: static}]",
            "{source: static}]\n  advice: {source: rte}",
            "17: grid.advice.source: must be one of watttime, electricity_maps, neso, but is 'rte'",
        ),
        (
            "{source: static}]",
            "{source: electricity_maps, zone: FR}]",
            "16: grid.location[1]: needs its key, as token_file or token_env",
        ),
        ("{source: static}]", "{source: neso, region: 18}]", "16: grid.location[1].region: must be at most 17"),
        (
            ", residual_mix_g_per_kwh: 60",
            "",
            "17: grid.market: needs residual_mix_g_per_kwh for what the coverage leaves",
        ),
        ("market: {factor", "market: [{factor", "is not YAML"),
    ],
)
def test_what_is_refused(problems: Problems, old: str, new: str, said: str) -> None:
    assert old in DESIGN
    found = problems(DESIGN.replace(old, new))
    assert len(found) == 1, found
    assert said in found[0]
    assert "geheim" not in found[0]


def test_a_list_has_all_its_mistakes_told(problems: Problems) -> None:
    text = DESIGN.replace("{source: static}]", "{source: statik}, {source: neso, url: 5}, 7]")
    assert [problem.split(": ")[1] for problem in problems(text)] == [
        "grid.location[1].source",
        "grid.location[2].url",
        "grid.location[3]",
    ]


def test_no_cluster(problems: Problems) -> None:
    text = "site: {name: A, timezone: UTC}\nledger: sqlite:///a.db\nclusters: {}\npue: 1\ngrid: {zone: SWE}\n"
    assert problems(text) == ["site.yaml:3: clusters: needs at least one cluster, by its Slurm ClusterName"]


def test_whole_numbers_are_numbers(read: Read) -> None:
    config = read(DESIGN.replace("pue: 1.2", "pue: 1"))
    assert (config.pue, type(config.pue)) == (1.0, float)


def test_without_a_journal_it_is_no_holder(read: Read) -> None:
    text = DESIGN.replace("      holders: [journal, hpc_job, gres_index, whole_node]\n", "")
    gpu = read(text).clusters["alpha"].gpu
    assert gpu is not None and gpu.holders == ("journal", "hpc_job", "gres_index", "whole_node")
    gpu = read(text.replace("      journal: /var/spool/scarbon\n", "")).clusters["alpha"].gpu
    assert gpu is not None and gpu.holders == ("hpc_job", "gres_index", "whole_node")


def test_a_recording_in_the_place_of_a_prometheus(read: Read) -> None:
    gpu = read(DESIGN.replace(PROMETHEUS, "openmetrics: {path: /data/dcgm.om}")).clusters["alpha"].gpu
    assert gpu is not None and gpu.prometheus is None and gpu.openmetrics is not None
    assert str(gpu.openmetrics.path) == "/data/dcgm.om"


def test_ledgers_on_servers(read: Read) -> None:
    for url in ("postgresql+psycopg://scarbon@db/books", "mysql+pymysql://scarbon@db/books?charset=utf8mb4"):
        assert read(DESIGN.replace("sqlite:///ledger.db", url)).ledger.url == url
    ledger = read(
        DESIGN.replace("sqlite:///ledger.db", "{url: postgresql+psycopg://scarbon@db/books, password_env: PW}")
    ).ledger
    assert (ledger.url, ledger.password_env) == ("postgresql+psycopg://scarbon@db/books", "PW")


def test_every_source_of_the_grid(read: Read) -> None:
    config = read(
        DESIGN.replace(
            "{source: static}]",
            "{source: electricity_maps, zone: FR, token_env: A}, {source: neso, region: 13}, {source: rte}, "
            "{source: energinet, area: DK1}, {source: entsoe, zone: 10YNL----------L, token_env: B}, "
            "{source: ember, token_env: C}, {source: plugin, name: mine, options: {a: 1}}, "
            "{source: prometheus, prometheus: {url: http://p}, query: grid}, {source: static}]",
        )
    )
    assert [type(source) for source in config.grid.location] == [
        grids.FileGrid,
        grids.ElectricityMapsGrid,
        grids.NesoGrid,
        grids.RteGrid,
        grids.EnerginetGrid,
        grids.EntsoeGrid,
        grids.EmberGrid,
        grids.PluginGrid,
        grids.PrometheusGrid,
        grids.StaticGrid,
    ]


def test_sources_of_forecasts_for_advice(read: Read) -> None:
    advice = read(DESIGN + "  advice: {source: watttime, region: A, username: b, password_file: c}\n").grid.advice
    assert isinstance(advice, grids.WattTime)
    assert advice.region == "A"
    assert read(DESIGN + "  advice: {source: neso, region: 13}\n").grid.advice == grids.NesoGrid(
        source="neso", region=13
    )


def test_where_the_answers_of_services_are_kept(read: Read, tmp_path: Path) -> None:
    config = read(DESIGN)
    assert config.grid_cache == Path(config.ledger.url.removeprefix("sqlite:///")).parent / "grid.db"
    assert read(DESIGN + "  cache: kept/answers.db\n").grid_cache == tmp_path / "kept" / "answers.db"
    server = DESIGN.replace("ledger: sqlite:///ledger.db", "ledger: postgresql+psycopg://books@db/scarbon")
    assert read(server).grid_cache == Path("/var/lib/scarbon/grid.db")


def test_dated_contracts_in_order_of_time(read: Read) -> None:
    config = read(
        DESIGN.replace(
            "market: {factor_g_per_kwh: 12, coverage: 0.8, residual_mix_g_per_kwh: 60}",
            "market:\n"
            "  - {from: 2026-07-01, factor_g_per_kwh: 5}\n"
            "  - {from: 2026-01-01, to: 2026-07-01, factor_g_per_kwh: 9}",
        )
    )
    market = config.grid.market
    assert isinstance(market, tuple)
    assert [contract.market_g_per_kwh for contract in market] == [9, 5]


def test_a_part_of_a_country(read: Read) -> None:
    assert read(DESIGN.replace("zone: FRA", "zone: USA-CAMX")).grid.zone == "USA-CAMX"


def test_nothing_can_be_changed_afterwards(read: Read) -> None:
    config = read(DESIGN)
    with pytest.raises(ValueError, match="frozen"):
        config.pue = 1.3  # type: ignore[misc]


def test_slurmrestd_may_be_a_socket() -> None:
    assert Jobs(source="slurmrestd", url="unix:///run/slurmrestd.sock").url == "unix:///run/slurmrestd.sock"
