import json
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from scarbon.cli import cli
from scarbon.commands.calculate import figure
from scarbon.errors import WrongUseError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["calculate", *arguments])


def test_the_arithmetic_step_by_step() -> None:
    """8 × 100 h × 400 W = 320 kWh; × 1.25 = 400 kWh; Ireland's grid emitted 290.8 g/kWh in 2023: 116.32 kg."""
    result = run(
        "--hardware", "a100 sxm4 80gb", "--devices", "8", "--hours", "100", "--region", "aws/eu-west-1", "--pue", "1.25"
    )
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:10] == [
        "8 × NVIDIA A100 SXM4 80GB for 100 h in aws eu-west-1 (Dublin, Ireland)",
        "",
        "Device time      8 × 100 h                        =  800 h",
        "IT energy        800 h × 400 W (its TDP) × 100 %  =  320 kWh",
        "Facility energy  320 kWh × PUE 1.25               =  400 kWh",
        "Emitted          400 kWh × 290.8 gCO2e/kWh        =  116.3 kgCO2e",
        "",
        "PUE: given.",
        "Grid: Ember and Our World in Data (2023, life cycle).",
        "",
    ]


def test_the_offset_stands_beside_and_is_not_subtracted() -> None:
    result = run("--watts", "1000", "--hours", "10", "--region", "aws/eu-west-1")
    assert "Emitted       Offset by the provider\n2.908 kgCO2e  2.908 kgCO2e (100 %; not subtracted)\n" in result.stdout
    own = run("--watts", "1000", "--hours", "10", "--intensity", "500", "--offset", "40")
    assert "Emitted   Offset\n5 kgCO2e  2 kgCO2e (40 %; not subtracted)\n" in own.stdout
    unknown = run("--watts", "1000", "--hours", "10", "--intensity", "500")
    assert "Emitted: 5 kgCO2e. Nothing is known of offsets." in unknown.stdout


def test_elsewhere() -> None:
    result = run("--hardware", "V100 PCIe", "--hours", "100", "--region", "azure/westeurope")
    assert "In the greenest region of azure, azure canadaeast (Quebec, Quebec, Canada): 0.284 kgCO2e" in result.stdout
    assert "The same work here on other hardware" in result.stdout
    already = run("--watts", "1", "--hours", "1", "--region", "azure/canadaeast")
    assert "This is the greenest region of azure already." in already.stdout


def test_utilisation_and_watts() -> None:
    half = run("--hardware", "T4", "--hours", "10", "--utilisation", "50", "--zone", "FRA")
    assert "10 h × 70 W (its TDP) × 50 %  =  0.35 kWh" in half.stdout
    watts = run("--hardware", "T4", "--hours", "10", "--watts", "35", "--zone", "FRA")
    assert "10 h × 35 W              =  0.35 kWh" in watts.stdout


def test_the_old_figure_on_request() -> None:
    result = run("--watts", "1000", "--hours", "1", "--region", "aws/eu-west-1", "--published")
    assert "1 kWh × 617 gCO2e/kWh  =  0.617 kgCO2e" in result.stdout


def test_json_has_the_names_of_the_books_and_rounds_nothing() -> None:
    result = run("--hardware", "t4", "--hours", "1", "--zone", "FRA", "--offset", "0", "--pue", "1.1", "--json")
    document = json.loads(result.stdout)
    assert set(document) == {"meta", "calculation", "greenest", "same_work_on", "equivalents"}
    calculation = document["calculation"]
    assert calculation["it_energy_j"] == 70 * 3600
    assert calculation["facility_energy_j"] == pytest.approx(70 * 3600 * 1.1, rel=1e-15)
    assert calculation["co2e_location_g"] == pytest.approx(0.07 * 1.1 * 56, rel=1e-14)
    assert (calculation["co2e_market_g"], calculation["offset_g"], calculation["method"]) == (None, 0.0, "model")
    assert (calculation["gpus"], calculation["gpu_seconds"], calculation["host_energy_j"]) == (1, 3600.0, None)
    assert calculation["intensity"]["year"] == 2023


def test_a_cpu_is_the_hosts() -> None:
    calculation = json.loads(run("--hardware", "EPYC 7763", "--hours", "1", "--zone", "FRA", "--json").stdout)[
        "calculation"
    ]
    assert (calculation["gpus"], calculation["gpu_energy_j"], calculation["host_energy_j"]) == (0, None, 280 * 3600.0)


@pytest.mark.parametrize(
    ("listing", "line"),
    [
        ([], "NVIDIA Tesla T4"),
        (["hardware"], "NVIDIA Tesla T4"),
        (["regions"], "gcp/us-west1"),
        (["zones"], "USA-CAMX"),
    ],
)
def test_lists(listing: list[str], line: str) -> None:
    result = run("--list", *listing)
    assert any(row.startswith(line) for row in result.stdout.splitlines())
    assert json.loads(run("--json", "--list", *listing).stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hours", "1", "--zone", "FRA"], "what it runs on is missing"),
        (["--watts", "1", "--zone", "FRA"], "how long it runs is missing"),
        (["--watts", "1", "--hours", "1"], "where it runs is not clear"),
        (["--watts", "1", "--hours", "1", "--zone", "FRA", "--intensity", "5"], "where it runs is not clear"),
        (
            ["--watts", "1", "--hours", "1", "--zone", "FRA", "--published"],
            "--provider and --published speak of a region",
        ),
        (
            ["--hardware", "t4", "--watts", "1", "--utilisation", "50", "--hours", "1", "--zone", "FRA"],
            "--watts and --utilisation",
        ),
        (["--hardware", "H100", "--hours", "1", "--zone", "FRA"], "hardware 'H100' may mean"),
        (["--watts", "1", "--hours", "1", "--zone", "Frnace"], "unknown zone 'Frnace'"),
        (["--watts", "1", "--hours", "-1", "--zone", "FRA"], "the hours must be 0 or more"),
        (["--watts", "nan", "--hours", "1", "--zone", "FRA"], "the power must be 0 or more"),
        (["--watts", "1", "--hours", "1", "--zone", "FRA", "--pue", "0.5"], "the PUE must be 1 or more"),
        (["--watts", "1", "--hours", "1", "--intensity", "-5"], "the intensity must be 0 or more"),
    ],
)
def test_wrong_use(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, WrongUseError)
    assert result.exception.what.startswith(said)


def test_wrong_use_is_one_line_and_exit_code_2() -> None:
    command = [
        sys.executable,
        "-m",
        "scarbon",
        "calculate",
        "--hardware",
        "A100 SMX4 80GB",
        "--hours",
        "1",
        "--zone",
        "FRA",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("scarbon: unknown hardware 'A100 SMX4 80GB'; did you mean NVIDIA A100 SXM4 80GB")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (320.0, "320"),
        (116.32, "116.3"),
        (0.0040281, "0.004028"),
        (1234.5678, "1,235"),
        (12_345_678, "12,345,678"),
        (99.996, "100"),
        (9.9996, "10"),
        (-1.5, "-1.5"),
    ],
)
def test_four_digits_that_count(value: float, text: str) -> None:
    assert figure(value) == text
