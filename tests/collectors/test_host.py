"""Nodes' meters, asked of a real Prometheus that has what the exporters write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from accounting.model import HostSamples, Reject
from accounting.sources import SourceError
from collectors.host import HostQuery, PrometheusHosts
from collectors.prometheus import Endpoint, Prometheus
from site_config.host import HostMeter, host_meters
from tests.collectors.real_prometheus import MISSING, RealPrometheus

T0 = 1_790_000_000  # no multiple of 30: 20 s after one


def series(name: str, step_s: float, count: int, first_s: float = 0.25, **rule: float) -> str:
    """Samples of a series, `first` and `rise` by sample."""
    first, rise = rule.get("first", 0.0), rule.get("rise", 0.0)
    return "".join(f"{name} {first + rise * k} {T0 + first_s + step_s * k:.3f}\n" for k in range(count))


def page() -> str:
    """Twenty minutes of every exporter, in their own spelling, a sample a minute."""
    ipmi, redfish = "ipmi_dcmi_power_consumption_watts", "redfish_chassis_power_average_consumed_watts"
    rapl, cray = "node_rapl_{}_joules_total", "ceems_cray_pm_counters_energy_joules"
    lines = [
        f"# TYPE {ipmi} gauge\n",
        series(f'{ipmi}{{instance="n1:9290",job="ipmi"}}', 60, 20, first=300.0),
        series(f'{ipmi}{{instance="n2.hpc.example.org:9290",job="ipmi"}}', 60, 20, 7.5, first=400.0, rise=1.0),
        series(f'{ipmi}{{instance="pdu7:9290",job="other"}}', 60, 20, first=9.0),
        "# TYPE ipmi_dcmi_power_consumption_current_watts gauge\n",
        series('ipmi_dcmi_power_consumption_current_watts{instance="10.1.2.3",job="ipmi"}', 60, 20, first=500.0),
        f"# TYPE {redfish} gauge\n",
        series(f'{redfish}{{instance="n1-bmc",power_voltage_id="0"}}', 60, 20, first=800.0),
        series(f'{redfish}{{instance="n1-bmc",power_voltage_id="1"}}', 60, 20, first=120.0),
        f"# TYPE {rapl.format('dram')} counter\n",
        series(f'{rapl.format("dram")}{{index="0",instance="n1:9100",path="/a:0"}}', 60, 20, first=5.0, rise=600.0),
        f"# TYPE {rapl.format('package')} counter\n",
        series(f'{rapl.format("package")}{{index="0",instance="n1:9100",path="/a"}}', 60, 20, first=7.0, rise=6000.0),
        series(f'{rapl.format("package")}{{index="1",instance="n1:9100",path="/b"}}', 60, 20, first=9.0, rise=3000.0),
        f"# TYPE {cray} gauge\n",
        series(f'{cray}{{domain="accel0",hostname="x1000c0s0b0n0"}}', 60, 20, first=1.0, rise=18000.0),
        series(f'{cray}{{domain="node",hostname="x1000c0s0b0n0"}}', 60, 20, first=1.0, rise=36000.0),
        "# TYPE moved_watts gauge\n",
        series('moved_watts{instance="n1:9290",rack="3"}', 60, 10, first=100.0),
        series('moved_watts{instance="n1:9290",rack="4"}', 60, 10, 600.25, first=200.0),
        "# TYPE nowhere_watts gauge\n",
        series("nowhere_watts", 60, 20, first=100.0),
        "# TYPE sick_watts gauge\n",
        f'sick_watts{{instance="n1"}} NaN {T0}\nsick_watts{{instance="n1"}} 50 {T0 + 60}\n',
        f'sick_watts{{instance="n2"}} NaN {T0}\n',
        "# TYPE twice_watts gauge\n",
        series('twice_watts{instance="n1:9290",replica="a"}', 60, 20, first=100.0),
        series('twice_watts{instance="n1:9290",replica="b"}', 60, 20, 30.25, first=100.0),
        series('twice_watts{instance="n2:9290",replica="a"}', 60, 20, first=70.0),
        "# EOF\n",
    ]
    return "".join(lines)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    if MISSING:
        pytest.skip(f"no {' and no '.join(MISSING)} here: apt-get install prometheus")
    folder: Path = tmp_path_factory.mktemp("prometheus")
    (folder / "page.om").write_text(page())
    with RealPrometheus(folder, folder / "page.om") as running:
        yield Prometheus(Endpoint(running.url))


def own(query: str, unit: str = "W") -> HostMeter:
    return HostMeter(query, unit, "instance", (), True, "test")


def read(
    prometheus: Prometheus, query: HostQuery, span: tuple[float, float] = (T0, T0 + 1200), nodes: set[str] | None = None
) -> tuple[dict[str, HostSamples], list[Reject]]:
    found = list(PrometheusHosts(prometheus, query).samples(*span, nodes))
    samples = {one.node: one for one in found if isinstance(one, HostSamples)}
    rejects = [one for one in found if isinstance(one, Reject)]
    assert len(samples) + len(rejects) == len(found)
    return samples, rejects


def test_ipmi_under_both_of_its_names(prometheus: Prometheus) -> None:
    """At the samples' own times; a node goes by its name without port and domain, an address stays whole."""
    samples, rejects = read(prometheus, HostQuery(host_meters()["ipmi"], {"job": "ipmi"}))
    assert not rejects
    assert set(samples) == {"n1", "n2", "10.1.2.3"}
    n2 = samples["n2"].parts[""]
    assert n2.power_time_s.tolist() == [T0 + 7.5 + 60 * k for k in range(20)]
    assert n2.power_w.tolist() == [400.0 + k for k in range(20)]
    assert not n2.energy_j.size
    assert samples["10.1.2.3"].parts[""].power_w.tolist() == [500.0] * 20


def test_redfish_takes_the_largest_entry_on_a_grid_of_its_own(prometheus: Prometheus) -> None:
    """The same instants whatever the span is; nothing before the first sample."""
    query = HostQuery(host_meters()["redfish"], {}, node_pattern="(.+)-bmc")
    samples, _ = read(prometheus, query, (T0 - 100, T0 + 600))
    part = samples["n1"].parts[""]
    assert part.power_time_s.tolist() == [T0 + 10 + 30 * k for k in range(20)]
    assert set(part.power_w.tolist()) == {800.0}
    first, _ = read(prometheus, query, (T0 - 100, T0 + 333))
    second, _ = read(prometheus, query, (T0 + 333, T0 + 600))
    times = [*first["n1"].parts[""].power_time_s, *second["n1"].parts[""].power_time_s]
    assert times == part.power_time_s.tolist()


def test_rapl_has_a_part_for_each_package_and_its_memory(prometheus: Prometheus) -> None:
    samples, rejects = read(prometheus, HostQuery(host_meters()["rapl"], {}))
    assert not rejects
    counted = {name: float(part.energy_j[-1] - part.energy_j[0]) for name, part in samples["n1"].parts.items()}
    assert counted == {
        "node_rapl_package_joules_total 0 /a": 19 * 6000.0,
        "node_rapl_package_joules_total 1 /b": 19 * 3000.0,
        "node_rapl_dram_joules_total 0 /a:0": 19 * 600.0,
    }


def test_cray_counts_the_whole_node(prometheus: Prometheus) -> None:
    samples, _ = read(prometheus, HostQuery(host_meters()["cray"], {}))
    assert set(samples) == {"x1000c0s0b0n0"}
    assert samples["x1000c0s0b0n0"].parts[""].energy_j[-1] == 1.0 + 19 * 36000.0


@pytest.mark.parametrize(
    ("unit", "power_w", "energy_j"),
    [
        ("mW", 0.3, None),
        ("kW", 3e5, None),
        ("mJ", None, 0.3),
        ("kJ", None, 3e5),
        ("Wh", None, 1.08e6),
        ("kWh", None, 1.08e9),
    ],
)
def test_units(prometheus: Prometheus, unit: str, power_w: float | None, energy_j: float | None) -> None:
    query = 'ipmi_dcmi_power_consumption_watts{instance="n1:9290"}'  # 300 of something
    part = read(prometheus, HostQuery(own(query, unit), {}))[0]["n1"].parts[""]
    assert (part.power_w[:1].tolist() or [None]) == [None if power_w is None else pytest.approx(power_w)]
    assert (part.energy_j[:1].tolist() or [None]) == [None if energy_j is None else pytest.approx(energy_j)]


def test_any_promql(prometheus: Prometheus) -> None:
    """Two packages at 100 W and 50 W; `rate` needs two samples, and extrapolates where its range is not full."""
    promql = "sum by (instance) (rate(node_rapl_package_joules_total[2m]))"
    part = read(prometheus, HostQuery(own(promql), {}, step_s=60.0), (T0, T0 + 900))[0]["n1"].parts[""]
    assert part.power_time_s[0] == T0 + 100
    assert part.power_w[1:] == pytest.approx([150.0] * 13)


def test_only_the_nodes_that_are_asked_for(prometheus: Prometheus) -> None:
    """n1 is not n10, nor is it a part of another name; an expression is narrowed after it was answered."""
    assert set(read(prometheus, HostQuery(host_meters()["ipmi"], {}), nodes={"n2", "n9"})[0]) == {"n2"}
    assert read(prometheus, HostQuery(host_meters()["ipmi"], {}), nodes={"n"})[0] == {}
    redfish = HostQuery(host_meters()["redfish"], {}, node_pattern="(.+)-bmc")
    assert set(read(prometheus, redfish, nodes={"n1"})[0]) == {"n1"}
    assert read(prometheus, redfish, nodes={"n2"})[0] == {}


def test_a_series_whose_labels_change_goes_on(prometheus: Prometheus) -> None:
    part = read(prometheus, HostQuery(own("moved_watts"), {}))[0]["n1"].parts[""]
    assert part.power_w.tolist() == [100.0] * 10 + [200.0] * 10
    assert part.power_time_s.tolist() == [T0 + 0.25 + 60 * k for k in range(20)]


def test_two_series_of_one_node_at_once_are_for_the_site_to_settle(prometheus: Prometheus) -> None:
    samples, rejects = read(prometheus, HostQuery(own("twice_watts"), {}))
    assert set(samples) == {"n2"}
    assert rejects[0].reason == (
        "two series give the power or energy of node n1 at once: narrow the query with a label, or aggregate it, "
        "as in max by (instance) (…)"
    )
    assert 'replica="a"' in rejects[0].raw
    assert 'replica="b"' in rejects[0].raw


def test_a_series_that_names_no_node_is_rejected(prometheus: Prometheus) -> None:
    samples, rejects = read(prometheus, HostQuery(own("nowhere_watts"), {}))
    assert not samples
    assert rejects[0].reason == "the label instance does not name a node"
    fits_nothing = HostQuery(host_meters()["ipmi"], {"job": "other"}, node_pattern="(.+)-bmc")
    assert len(read(prometheus, fits_nothing)[1]) == 1


def test_a_sensor_that_cannot_be_read_is_no_sample(prometheus: Prometheus) -> None:
    samples, rejects = read(prometheus, HostQuery(own("sick_watts"), {}))
    assert not rejects
    assert {node: one.parts[""].power_w.tolist() for node, one in samples.items()} == {"n1": [50.0]}


def test_what_prometheus_cannot_read_is_quoted(prometheus: Prometheus) -> None:
    with pytest.raises(SourceError, match="parse error"):
        read(prometheus, HostQuery(own("sum by instance (node_watts)"), {}))


# --- the question itself


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("node_watts", r'node_watts{instance=~".*(n1|n2).*"}'),
        ("node_watts{}", r'node_watts{instance=~".*(n1|n2).*"}'),
        ('node_watts{job="a}b"}', r'node_watts{job="a}b",instance=~".*(n1|n2).*"}'),
        ("{__name__='node_watts',}", r"""{__name__='node_watts',instance=~".*(n1|n2).*"}"""),
    ],
)
def test_a_selector_is_read_raw_and_narrowed(query: str, asked: str) -> None:
    assert HostQuery(own(query), {}).promql({"n1", "n2"}) == (asked, None)
    assert HostQuery(own(query), {}).promql(None) == (query, None)


@pytest.mark.parametrize("query", ["node_watts * 2", "sum by (a) (b)", 'a{b="c"} + a{d="e"}', "node_watts offset 5m"])
def test_anything_else_is_evaluated_on_the_grid(query: str) -> None:
    assert HostQuery(own(query), {}, step_s=15.0).promql({"n1"}) == (query, 15.0)


def test_names_with_dots_are_quoted_for_the_server() -> None:
    assert HostQuery(own("w"), {}).promql({"n1.a"}) == (r'w{instance=~".*(n1\\.a).*"}', None)
