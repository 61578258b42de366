"""`scarbon statement` and `scarbon calculate --statement`: what stands in the paper, and what other programs read."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.site import Done, Site, change, query, scarbon

#: The columns of CodeCarbon 3's emissions.csv in its order.
CODECARBON = [
    "timestamp", "project_name", "run_id", "experiment_id", "duration", "emissions", "emissions_rate", "cpu_power",
    "gpu_power", "ram_power", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "water_consumed",
    "country_name", "country_iso_code", "region", "cloud_provider", "cloud_region", "os", "python_version",
    "codecarbon_version", "cpu_count", "cpu_model", "gpu_count", "gpu_model", "longitude", "latitude", "ram_total_size",
    "tracking_mode", "cpu_utilization_percent", "gpu_utilization_percent", "ram_utilization_percent", "ram_used_gb",
    "on_cloud", "pue", "wue",
]  # fmt: skip

#: All that TeX and Markdown give a meaning to, and letters of other scripts.
NASTY = r"R&D_50% #1 {x} ~^\ $y$ <HPC> |a| [b] `c` *d* é ł – 日本"


def statement(site: Site, *words: str) -> Done:
    return site.scarbon("statement", "-a", *site.window, *words)


def said(site: Site, *words: str) -> str:
    done = statement(site, *words)
    assert done.code == 0, done
    return done.out


def unescaped(markdown: str) -> str:
    return re.sub(r"\\(.)", r"\1", markdown)


def test_the_figures_are_those_of_the_jobs(booked: Site) -> None:
    jobs = booked.good("jobs", "-a", "-D", *booked.window, "--json").json["jobs"]
    started = [job for job in jobs if job["start"] is not None]
    known = [job for job in started if job["it_energy_j"] is not None]
    found = statement(booked, "--json").json["statement"]
    numbers, of_known = ({job["job_id_raw"] for job in some} for some in (started, known))
    assert (found["jobs"], found["jobs_unknown"]) == (len(numbers), len(numbers - of_known))
    for name in ("gpu_seconds", "it_energy_j", "facility_energy_j", "co2e_location_g", "co2e_market_g"):
        assert found[name] == pytest.approx(sum(job[name] for job in known), rel=1e-9)
    held_s = sum(one["gpu_seconds"] for one in found["hardware"])
    assert held_s == pytest.approx(found["gpu_seconds"], rel=1e-9)
    assert sum(one["share"] for one in found["sources"] if one["kind"] == "location") == pytest.approx(1)
    assert found["water_l"] is None


def requeued(site: Site) -> list[tuple[int, float]]:
    """Jobs with the IT energy of each of their runs, which are all known; most of them ran once."""
    sql = (
        "SELECT a.job_id, SUM(u.energy_j) FROM attempts a JOIN usage_days u ON u.attempt_id = a.attempt_id "
        "WHERE a.start_s IS NOT NULL GROUP BY a.attempt_id HAVING COUNT(u.energy_j) = COUNT(*)"
    )
    return query(site.ledger, sql)


def test_all_runs_of_a_requeued_job_are_in_it_and_it_is_one_job(booked: Site) -> None:
    runs: dict[int, list[float]] = {}
    for job_id, energy_j in requeued(booked):
        runs.setdefault(job_id, []).append(energy_j)
    job_id, energies = next((job_id, of) for job_id, of in runs.items() if len(of) > 1 and min(of) > 0)
    for words in (["--json"], ["--json", "-D"]):
        found = booked.good("statement", "-j", str(job_id), *words).json["statement"]
        assert (found["jobs"], found["jobs_unknown"], found["runs_unknown"]) == (1, 0, 0)
        assert found["it_energy_j"] == pytest.approx(sum(energies), rel=1e-9)


def test_a_run_of_unknown_energy_is_said(mine: Site) -> None:
    runs = query(
        mine.ledger,
        "SELECT job_id, MIN(attempt_id) FROM attempts WHERE start_s IS NOT NULL AND gpus > 0 "
        "GROUP BY job_id HAVING COUNT(*) > 1",
    )
    known = {job_id for job_id, _ in requeued(mine)}
    job_id, attempt_id = next(one for one in runs if one[0] in known)
    sql = "UPDATE usage_days SET energy_j = NULL, facility_j = NULL, location_g = NULL WHERE attempt_id = ?"
    change(mine.ledger, sql, attempt_id)
    found = mine.good("statement", "-j", str(job_id), "--json").json["statement"]
    assert (found["jobs"], found["jobs_unknown"], found["runs_unknown"]) == (1, 0, 1)
    assert "The energy of 1 run of jobs that ran again is unknown" in mine.good("statement", "-j", str(job_id)).out


def test_equivalents_come_with_their_sources(booked: Site) -> None:
    document = statement(booked, "--json").json
    kilograms = document["statement"]["co2e_location_g"] / 1000
    eu_car = next(one for one in document["equivalents"] if "car (EU)" in one["name"])
    assert eu_car["amount"] == pytest.approx(kilograms / 0.175)  # kg/km, Green Algorithms
    assert all(one["source"] for one in document["equivalents"])


def test_a_paragraph_in_markdown(booked: Site) -> None:
    text, _, entries = said(booked).partition("\n\n```bibtex\n")
    found = statement(booked, "--json").json["statement"]
    text = unescaped(text)
    assert "\n" not in text
    assert text.startswith(f"The computations ran as {found['jobs']} jobs on the cluster {booked.cluster} of Test site")
    for hardware in found["hardware"]:
        assert hardware["model"] in text
    assert f"{found['gpu_seconds'] / 3600:.4g} GPU-hours" in text
    assert "With a PUE of 1.2 (declared by the site)" in text
    assert "(file intensity.csv)" in text
    assert "by the location-based method of Scope 2" in text
    assert "By the market-based method (declared by the site) they are" in text
    assert "of the GPU time was measured" in text
    assert "(a model of the cores and the memory allocated)" in text
    assert text.endswith("Figures by Scarbon 0.1.0 [@scarbon]; nothing is subtracted for offsets.")
    assert entries.startswith("@misc{scarbon,")
    assert "lacoste" not in text + entries  # the GPUs were measured


def test_jobs_of_unknown_energy_are_said(mine: Site) -> None:
    sql = "UPDATE usage_days SET energy_j = NULL, facility_j = NULL, location_g = NULL WHERE attempt_id = ?"
    jobs = query(
        mine.ledger,
        "SELECT DISTINCT attempt_id FROM usage_days WHERE kind = 'gpu' AND energy_j > 0 AND attempt_id IN "
        "(SELECT MIN(attempt_id) FROM attempts GROUP BY job_id HAVING COUNT(*) = 1) LIMIT 2",
    )
    for number, words in enumerate(("The energy of 1 of these jobs is unknown", "The energy of 2 of these jobs is")):
        change(mine.ledger, sql, *jobs[number])
        assert words in said(mine, "-D")
        assert statement(mine, "-D", "--json").json["statement"]["jobs_unknown"] == number + 1


def test_water_where_the_site_declares_it(mine: Site) -> None:
    mine.change("pue: 1.2", "pue: 1.2\nwue_l_per_kwh: 1.5")
    found = statement(mine, "--json").json["statement"]
    assert found["water_l"] == pytest.approx(found["it_energy_j"] / 3.6e6 * 1.5)
    assert "of water for it." in said(mine)


def test_who_published_the_embodied_figures_is_said(mine: Site) -> None:
    mine.change("lifetime_years: 5}", "lifetime_years: 5, reference: Boavizta and others}")
    assert "by the published figures; apart (Boavizta and others)." in said(mine)


def test_the_spread_of_the_embodied_figures(booked: Site) -> None:
    """The site declares 128, 273 and 318 kg for a GPU; its nodes are not declared."""
    found = statement(booked, "--json").json["statement"]
    assert found["co2e_embodied_low_g"] == pytest.approx(found["co2e_embodied_g"] * 128 / 273)
    assert found["co2e_embodied_high_g"] == pytest.approx(found["co2e_embodied_g"] * 318 / 273)


def test_nothing_to_state(booked: Site) -> None:
    assert "none of the chosen jobs has started" in booked.scarbon("statement", "-u", "nobody").refused()


@pytest.mark.parametrize("words", [["--format", "pdf"], ["-s", "SLEEPING"], ["-j", "x"]])
def test_wrong_use(booked: Site, words: list[str]) -> None:
    statement(booked, *words).refused(2)


# --- for other programs


def test_codecarbons_columns(booked: Site) -> None:
    lines = list(csv.DictReader(io.StringIO(said(booked, "--format", "codecarbon"))))
    runs = [
        job
        for job in booked.good("jobs", "-a", "-D", *booked.window, "--json").json["jobs"]
        if job["start"] is not None
    ]
    assert list(lines[0]) == CODECARBON
    assert len(CODECARBON) == 38
    assert [line["experiment_id"] for line in lines] == [f"beta:{job['job_id']}" for job in runs]
    assert len({line["run_id"] for line in lines}) == len(lines)
    for line, job in zip(lines, runs, strict=True):
        assert (line["country_name"], line["country_iso_code"], line["region"]) == ("France", "FRA", "")
        assert line["project_name"] == job["account"]
        if job["end"] is not None:
            assert float(line["duration"]) == job["end"] - job["start"]
        if job["it_energy_j"] is None:
            assert (line["emissions"], line["energy_consumed"]) == ("", "")
        else:
            # As CodeCarbon has it: kWh with the PUE, kg, and kg/s.
            assert float(line["emissions"]) == pytest.approx(job["co2e_location_g"] / 1000)
            assert float(line["energy_consumed"]) == pytest.approx(job["facility_energy_j"] / 3.6e6)
            parts = float(line["cpu_energy"]) + float(line["gpu_energy"])
            assert parts == pytest.approx(float(line["energy_consumed"]))


def test_boamps(booked: Site) -> None:
    report = json.loads(said(booked, "-s", "CD", "--format", "boamps"))
    found = statement(booked, "-s", "CD", "--json").json["statement"]
    assert report["header"]["reportStatus"] == "draft"  # only a person knows the task
    by_part = {("gpu" if "gpuTrackingMode" in one else "cpu"): one for one in report["measures"]}
    assert by_part["gpu"]["powerConsumption"] == pytest.approx(found["gpu_energy_j"] / 3.6e6)
    assert by_part["cpu"]["powerConsumption"] == pytest.approx(found["host_energy_j"] / 3.6e6)
    assert by_part["gpu"]["measurementDuration"] == found["end_s"] - found["start_s"]
    assert report["environment"]["country"] == "France"
    assert report["environment"]["powerSourceCarbonIntensity"] == found["intensity_g_per_kwh"]
    gpus = [one for one in report["infrastructure"]["components"] if one["componentType"] == "gpu"]
    assert [one.get("componentName") for one in gpus] == [one["model"] or None for one in found["hardware"]]
    # What its JSON Schema requires of each part, but for the task.
    assert {"infraType", "components"} <= set(report["infrastructure"])
    assert all({"componentType", "nbComponent"} <= set(one) for one in report["infrastructure"]["components"])


# --- LaTeX


def compiled(folder: Path, latex: str) -> str:
    """Compile a paper with the statement in it, its bibliography included; the text of its page."""
    if shutil.which("pdflatex") is None or shutil.which("bibtex") is None:
        pytest.skip("THE LATEX OF STATEMENTS WAS NOT TESTED: pdflatex is not installed (Debian: texlive-latex-base)")
    entries = latex.partition("% BibTeX\n")[2]
    (folder / "refs.bib").write_text("\n".join(line.removeprefix("%").strip() for line in entries.splitlines()))
    (folder / "paper.tex").write_text(
        "\\documentclass{article}\n\\begin{document}\n" + latex + "\\bibliographystyle{plain}\\bibliography{refs}\n"
        "\\end{document}\n"
    )
    for words in (["pdflatex"], ["bibtex"], ["pdflatex"], ["pdflatex"]):
        strict = ["-halt-on-error", "-interaction=nonstopmode"] if words == ["pdflatex"] else []
        done = subprocess.run(
            [*words, *strict, "paper"], cwd=folder, capture_output=True, text=True, timeout=120, errors="replace"
        )
        assert done.returncode == 0, done.stdout[-3000:]
    log = (folder / "paper.log").read_text(errors="replace")
    assert "undefined" not in log
    assert "Missing character" not in log
    assert (folder / "paper.pdf").stat().st_size > 1000
    return log


def test_the_statement_of_jobs_compiles(booked: Site, tmp_path: Path) -> None:
    latex = said(booked, "--format", "latex")
    assert latex.count("\\cite{scarbon}") == 1
    compiled(tmp_path, latex)


def test_what_a_site_may_be_called(mine: Site, tmp_path: Path) -> None:
    """Names with all that TeX gives a meaning to, in the site's name, the hardware's, and the sources' names."""
    mine.change("name: Test site", f"name: {json.dumps(NASTY)}")
    change(mine.ledger, "UPDATE usage_days SET model = ? WHERE kind = 'gpu' AND model <> ''", NASTY)
    change(mine.ledger, "UPDATE factors SET source = ? WHERE kind = 'location'", NASTY)
    latex = said(mine, "--format", "latex")
    assert latex.count(r"R\&D\_50\% \#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} \$y\$") == 3
    assert "é l - ??" in latex  # the default fonts have the first of these letters only
    compiled(tmp_path, latex)


def test_what_a_site_may_be_called_in_markdown(mine: Site) -> None:
    mine.change("name: Test site", f"name: {json.dumps(NASTY)}")
    text = said(mine)
    assert NASTY in unescaped(text)
    assert r"\<HPC\> \|a\| \[b\] \`c\` \*d\*" in text


def test_a_line_end_in_a_name_ends_no_line(mine: Site) -> None:
    change(mine.ledger, "UPDATE factors SET source = ? WHERE kind = 'pue'", "a\n\n% b\x07")
    latex = said(mine, "--format", "latex")
    assert "(a  \\% b )" in latex.splitlines()[0]


# --- of a calculation

CALCULATION = ["calculate", "--hardware", "a100 sxm4 80gb", "--devices", "8", "--hours", "100", "--pue", "1.1"]


def test_a_calculation_cites_the_calculators_paper() -> None:
    """8 × 400 W × 100 h = 320 kWh; × 1.1 = 352 kWh; at 50 g/kWh 17.6 kg."""
    done = scarbon(*CALCULATION, "--intensity", "50", "--statement", "markdown")
    assert done.code == 0
    text, _, entries = done.out.partition("\n\n```bibtex\n")
    text = unescaped(text)
    assert text.startswith("The computation takes 800 device-hours on NVIDIA A100 SXM4 80GB (private infrastructure).")
    for words in (
        "The IT equipment draws 320 kWh: 8 devices at a rated power of 400 W for 100 h; nothing was measured.",
        "With a PUE of 1.1 (given) this is 352 kWh at the facility.",
        "With a grid intensity of 50 gCO2e/kWh (given on the command line), the emissions are 17.6 kgCO2e by",
        "The making of the hardware is not included.",
        "after [@lacoste2019quantifying]",
    ):
        assert words in text
    assert "@article{lacoste2019quantifying," in entries
    assert "journal={arXiv preprint arXiv:1910.09700}" in entries


def test_a_calculations_offset_stands_beside() -> None:
    done = scarbon(*CALCULATION, "--region", "aws/eu-west-3", "--offset", "50", "--statement", "markdown")
    assert "the emissions are 19.7 kgCO2e" in done.out  # 352 kWh at 56 g/kWh
    assert "Offsets are stated for 9.86 kgCO2e of it." in done.out


@pytest.mark.parametrize("place", [["--region", "aws/eu-west-3"], ["--zone", "CAN-QC"], ["--intensity", "16"]])
def test_the_statement_of_a_calculation_compiles(place: list[str], tmp_path: Path) -> None:
    done = scarbon(*CALCULATION, *place, "--statement", "latex")
    assert "\\cite{lacoste2019quantifying}" in done.out
    compiled(tmp_path, done.out)


def test_jobs_by_rated_power_cite_the_calculators_paper(mine: Site) -> None:
    change(mine.ledger, "UPDATE usage_days SET method = 'model' WHERE kind = 'gpu' AND energy_j IS NOT NULL")
    text = unescaped(said(mine))
    assert "(rated power times hours; " in text
    assert "[@lacoste2019quantifying]" in text
