"""The fields of `scarbon jobs` and its table: sacct's names, widths, sides and cuts."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.jobs import JobUsage
from scarbon.errors import WrongUseError
from scarbon.fields import DEFAULT_FORMAT, FIELDS, Field, Style, parse_format, table

JOB = JobUsage(
    cluster="alpha",
    job_id="42_3",
    job_id_raw=45,
    submit=1_790_000_000,
    start=1_790_000_010,
    end=1_790_090_071,
    state="COMPLETED",
    user="ada",
    uid=1001,
    account="phys",
    partition="gpu",
    qos="normal",
    wckey=None,
    name="train|all",
    comment="a note",
    tags={"project": "x", "phase": "train"},
    nodes="n1,n2,n3",
    cpus=24,
    memory_mb=4096.0,
    exit_code="0:0",
    suspended_s=61,
    gpus=2,
    gpu_seconds=180_122.0,
    gpu_energy_j=36e6,
    host_energy_j=3.6e6,
    it_energy_j=39.6e6,
    facility_energy_j=47.52e6,
    co2e_location_g=792.0,
    co2e_market_g=None,
    co2e_embodied_g=1234.5,
    intensity_g_per_kwh=60.0,
    pue=1.2,
    coverage=0.937,
    method="counter",
)
PENDING = replace(
    JOB, start=None, end=None, state="PENDING", nodes="", gpus=0, gpu_seconds=0.0, gpu_energy_j=None,
    host_energy_j=None, it_energy_j=None, facility_energy_j=None, co2e_location_g=None, co2e_embodied_g=None,
    intensity_g_per_kwh=None, pue=None, coverage=None, method="none", suspended_s=0,
)  # fmt: skip
STYLE = Style(ZoneInfo("Europe/Paris"), now_s=1_790_100_000.0)
RAW = replace(STYLE, noconvert=True)


def show(field: str, job: JobUsage = JOB, style: Style = STYLE) -> str:
    return FIELDS[field.lower()].show(job, style)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("Account", "phys"),
        ("AllocCPUS", "24"),
        ("CO2e", "792 g"),
        ("CO2eMarket", ""),
        ("CO2eEmbodied", "1.23 kg"),
        ("Coverage", "93.7%"),
        ("Elapsed", "1-01:00:00"),  # end − start − suspended = 90,000 s
        ("ElapsedRaw", "90000"),
        ("CPUTimeRAW", "2160000"),  # times 24 CPUs
        ("CPUTime", "25-00:00:00"),
        ("AllocNodes", "3"),
        ("Comment", "a note"),
        ("Start", "2026-09-21T16:13:30"),  # 14:13:30 UTC
        ("End", "2026-09-22T17:14:31"),
        ("FacilityEnergy", "13.2 kWh"),
        ("GpuEnergy", "10.0 kWh"),
        ("HostEnergy", "1.00 kWh"),
        ("ItEnergy", "11.0 kWh"),
        ("Intensity", "60"),
        ("JobID", "42_3"),
        ("JobIDRaw", "45"),
        ("JobName", "train|all"),
        ("Method", "counter"),
        ("NGPUs", "2"),
        ("NNodes", "3"),
        ("NodeList", "n[1-3]"),
        ("PUE", "1.20"),
        ("Suspended", "00:01:01"),
        ("Tags", "project=x,phase=train"),
        ("UID", "1001"),
        ("WCKey", ""),
    ],
)
def test_what_a_field_shows(field: str, text: str) -> None:
    assert show(field) == text


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("GpuEnergy", "36000000"),
        ("CO2e", "792"),
        ("CO2eMarket", ""),
        ("CO2eEmbodied", "1234.5"),
        ("Coverage", "0.937"),
        ("Intensity", "60"),
        ("PUE", "1.2"),
    ],
)
def test_base_units_without_conversion(field: str, text: str) -> None:
    assert show(field, style=RAW) == text


@pytest.mark.parametrize("field", ["GpuEnergy", "ItEnergy", "FacilityEnergy", "CO2e", "Intensity", "PUE", "Coverage"])
@pytest.mark.parametrize("style", [STYLE, RAW], ids=["units", "raw"])
def test_unknown_is_empty_and_never_0(field: str, style: Style) -> None:
    assert show(field, PENDING, style) == ""


def test_a_job_that_never_started() -> None:
    assert [show(name, PENDING) for name in ("Start", "End", "Elapsed", "NodeList", "NNodes")] == [
        "Unknown", "Unknown", "00:00:00", "None assigned", "0",
    ]  # fmt: skip


def test_a_job_that_runs_has_run_until_now() -> None:
    running = replace(JOB, end=None, suspended_s=0)
    assert show("ElapsedRaw", running) == "99990"


@pytest.mark.parametrize(
    ("wanted", "text"),
    [("%s", "1790000010"), ("%d.%m.%Y %H:%M", "21.09.2026 16:13"), ("standard", "2026-09-21T16:13:30")],
)
def test_times_as_slurm_time_format_says(monkeypatch: pytest.MonkeyPatch, wanted: str, text: str) -> None:
    monkeypatch.setenv("SLURM_TIME_FORMAT", wanted)
    assert show("Start") == text


#: 16:13:30 in Paris on Monday, 21 September 2026.
@pytest.mark.parametrize(
    ("days", "text"),
    [
        (0, "16:13:30"),
        (1, "Ystday 16:13"),
        (-1, "Tomorr 16:13"),
        (2, "21 Sep 16:13"),
        (-2, "Mon 16:13"),
        (-6, "Mon 16:13"),
        (-7, "21 Sep 16:13"),
        (365, "21 Sep 2026"),
    ],
)
def test_times_relative_to_the_present(monkeypatch: pytest.MonkeyPatch, days: int, text: str) -> None:
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    assert show("Start", style=replace(STYLE, now_s=JOB.start + days * 86_400)) == text  # type: ignore[operator]


def test_a_job_that_was_cancelled_while_it_waited() -> None:
    cancelled = replace(PENDING, end=1_790_000_100, state="CANCELLED")
    assert [show(name, cancelled) for name in ("Start", "Elapsed", "End")] == [
        "None", "00:00:00", "2026-09-21T16:15:00",
    ]  # fmt: skip


def test_one_unit_for_all_of_them() -> None:
    """36 MJ are 10 kWh, 792 g are 0.792 kg."""
    kilo = replace(STYLE, unit="K")
    assert [show(name, style=kilo) for name in ("GpuEnergy", "CO2e", "CO2eMarket")] == ["10.0 kWh", "0.792 kg", ""]
    assert show("GpuEnergy", style=replace(STYLE, unit="M")) == "0.0100 MWh"


# --- the format


def test_names_in_any_case_with_widths() -> None:
    fields = parse_format("jobid%20, USER,co2e%-12,NGPUs%0")
    assert [(field.name, field.width) for field in fields] == [
        ("JobID", 20), ("User", 9), ("CO2e", -12), ("NGPUs", 6),
    ]  # fmt: skip


def test_the_default_format_and_every_field_are_known() -> None:
    assert [field.name for field in parse_format(DEFAULT_FORMAT)] == DEFAULT_FORMAT.split(",")
    assert len(parse_format(",".join(FIELDS))) == len(FIELDS)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("job", "JobID"),  # as sacct: the first in the alphabet that begins so
        ("jobn", "JobName"),
        ("n", "NCPUS"),
        ("elapsed", "Elapsed"),
        ("elapsedr", "ElapsedRaw"),
        ("s", "Start"),  # and not SCI, which sacct does not have
        ("co2", "CO2e"),
        ("gpu", "GpuEnergy"),
    ],
)
def test_a_name_may_be_cut_short(text: str, name: str) -> None:
    assert [field.name for field in parse_format(text)] == [name]


def test_all_of_them() -> None:
    assert [field.name for field in parse_format("State,all")] == [
        "State", *sorted((field.name for field in FIELDS.values()), key=str.lower),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "name", "advice"),
    [
        ("JobId,CO2eMarkt", "'CO2eMarkt'", "did you mean CO2eMarket?"),
        ("GPUEnergie", "'GPUEnergie'", "did you mean GpuEnergy?"),
        ("xyzzy", "'xyzzy'", "--helpformat"),
        ("JobID%a", "'JobID%a'", "did you mean JobID?"),
        ("JobID,MaxRSS", "the books do not keep sacct's MaxRSS", "ask sacct"),
        (",", "','", "--helpformat"),
        ("", "''", "--helpformat"),
    ],
)
def test_an_unknown_field_is_refused_and_the_near_one_named(text: str, name: str, advice: str) -> None:
    with pytest.raises(WrongUseError) as refused:
        parse_format(text)
    assert name in refused.value.what
    assert advice in refused.value.advice


# --- the table


def cell(text: str, width: int, name: str = "Account") -> str:
    field = replace(FIELDS[name.lower()], width=width)
    (line,) = table([field], [[text]], header=False)
    return line


@pytest.mark.parametrize(
    ("text", "width", "line"),
    [
        ("phys", 10, "      phys "),
        ("phys", -10, "phys       "),
        ("chemistry1", 10, "chemistry1 "),
        ("chemistry12", 10, "chemistry+ "),
        ("chemistry12", -10, "chemistry+ "),
        ("chemistry", 1, "+ "),
        ("", 3, "    "),
        ("a\nb\tc\x1b[1m", 10, "a?b?c?[1m "),
    ],
)
def test_a_cell(text: str, width: int, line: str) -> None:
    assert cell(text, width) == line.rjust(abs(width) + 1)


def test_numbers_and_durations_are_never_cut() -> None:
    assert cell("61-05:00:00", 10, "Elapsed") == "61-05:00:00 "
    assert cell("1234567", 6, "NGPUs") == "1234567 "


def test_a_time_is_cut_without_a_mark() -> None:
    assert cell("2026-09-21T16:13:30", 10, "Start") == "2026-09-21 "


def test_the_header_is_cut_without_a_mark_and_underlined() -> None:
    fields = parse_format("FacilityEnergy%8,User%-6")
    assert table(fields, [["1.00 kWh", "ada"]], header=True) == [
        "Facility User   ",
        "-------- ------ ",
        "1.00 kWh ada    ",
    ]


@given(st.lists(st.tuples(st.text(max_size=30), st.integers(1, 30), st.booleans()), min_size=1, max_size=5))
def test_every_line_is_as_wide_as_the_header(cells: list[tuple[str, int, bool]]) -> None:
    fields = [Field("Account", FIELDS["account"].show, -size if left else size, "") for _, size, left in cells]
    header, rule, row = table(fields, [[text for text, _, _ in cells]], header=True)
    assert len(header) == len(rule) == len(row) == sum(size + 1 for _, size, _ in cells)
    assert row.isprintable()


def test_the_software_carbon_intensity_is_per_gpu_hour() -> None:
    """(792 + 1234.5) g over 180,122 s of GPUs, an hour at a time."""
    assert float(show("SCI", style=RAW)) == pytest.approx((792.0 + 1234.5) / (180_122 / 3600), abs=1e-6)
    for unknown in ({"co2e_location_g": None}, {"co2e_embodied_g": None}, {"gpu_seconds": 0.0}):
        assert show("SCI", replace(JOB, **unknown)) == ""
