"""The host's section and the meters that are known by name."""

import textwrap
import typing
from pathlib import Path

import pytest

from site_config import host
from tests.site_config.conftest import DESIGN, Problems, Read

MODEL = "{method: model, cpu_w_per_core: 4.0, memory_w_per_gb: 0.3725}"


def test_every_unit_has_its_factor() -> None:
    units = typing.get_args(typing.get_args(host.Host.model_fields["unit"].annotation)[0])
    assert set(units) == {*host.POWER_UNITS, *host.ENERGY_UNITS}


@pytest.mark.parametrize("name", host.host_meters())
def test_a_preset_can_be_used(name: str) -> None:
    preset = host.host_meters()[name]
    assert preset.unit in host.POWER_UNITS or preset.unit in host.ENERGY_UNITS
    assert preset.query.count("$match") == 1


def test_the_presets() -> None:
    """RAPL counts packages and their memory in joules, apart from the GPUs; the others meter whole nodes."""
    presets = host.host_meters()
    assert {name: (one.unit, one.includes_gpus) for name, one in presets.items()} == {
        "ipmi": ("W", True),
        "redfish": ("W", True),
        "rapl": ("J", False),
        "cray": ("J", True),
    }
    assert presets["rapl"].adds_up == ("__name__", "index", "path")


def test_a_preset_can_be_bent_to_a_site(read: Read) -> None:
    section = "{method: prometheus, preset: ipmi, node_label: host, includes_gpus: false}"
    meter = read(DESIGN.replace(MODEL, section)).clusters["alpha"].host.meter
    assert meter is not None
    assert (meter.unit, meter.node_label, meter.includes_gpus) == ("W", "host", False)


def test_a_query_of_the_sites_own(read: Read) -> None:
    section = "{method: prometheus, query: node_energy, unit: kWh, node_label: node, includes_gpus: true}"
    meter = read(DESIGN.replace(MODEL, section)).clusters["alpha"].host.meter
    assert meter is not None
    assert (meter.query, meter.unit, meter.node_label, meter.adds_up) == ("node_energy", "kWh", "node", ())
    assert meter.includes_gpus


def test_a_query_gives_watts_unless_it_is_said(read: Read) -> None:
    section = "{method: prometheus, query: node_watts, includes_gpus: true}"
    meter = read(DESIGN.replace(MODEL, section)).clusters["alpha"].host.meter
    assert meter is not None
    assert (meter.unit, meter.node_label) == ("W", "instance")


def test_the_model_asks_no_server(read: Read) -> None:
    assert read(DESIGN).clusters["alpha"].host.meter is None


def test_a_server_is_needed(problems: Problems) -> None:
    """A cluster without GPUs has no Prometheus that its nodes' meters could share."""
    gpu = DESIGN[DESIGN.index("    gpu:") : DESIGN.index("    host:")]
    text = DESIGN.replace(gpu, "").replace(MODEL, "{method: prometheus, preset: rapl}")
    assert problems(text) == [
        "site.yaml:6: clusters.alpha.host: needs prometheus: {url: …}; there is none under gpu that it could share"
    ]


def test_the_sections_of_the_documentation_are_accepted(read: Read) -> None:
    page = (Path(__file__).parents[2] / "docs" / "hosts.md").read_text(encoding="utf-8")
    sections = [block.partition("```")[0] for block in page.split("```yaml\n")[1:]]
    assert len(sections) == 5
    methods = []
    for section in sections:
        text = DESIGN.replace(f"    host: {MODEL}\n", textwrap.indent(section, "    "))
        methods.append(read(text).clusters["alpha"].host.method)
    assert methods == ["model", "prometheus", "prometheus", "prometheus", "slurm"]


def test_the_presets_of_the_documentation_are_all_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "hosts.md").read_text(encoding="utf-8")
    table = page.partition("| `preset` |")[2].partition("\n\n")[0]
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    found = {row[0].strip("| `"): row[-1].strip(" |") == "yes" for row in rows}
    assert found == {name: meter.includes_gpus for name, meter in host.host_meters().items()}
