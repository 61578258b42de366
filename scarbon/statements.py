"""A statement in words: a paragraph for a paper in LaTeX or Markdown, with its BibTeX.

Between `accounting.statement`, which has the figures, and the verbs `statement` and `calculate`, which print it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import click

from accounting.factors import SourceShare
from accounting.statement import Statement
from scarbon import __version__, units

MLEC = "lacoste2019quantifying"
SCARBON = "scarbon"

_BIBTEX = {
    MLEC: """\
@article{lacoste2019quantifying,
  title={Quantifying the Carbon Emissions of Machine Learning},
  author={Lacoste, Alexandre and Luccioni, Alexandra and Schmidt, Victor and Dandres, Thomas},
  journal={arXiv preprint arXiv:1910.09700},
  year={2019}
}""",
    SCARBON: """\
@misc{{scarbon,
  title={{Scarbon: carbon accounting for Slurm clusters}},
  author={{{{The Scarbon contributors}}}},
  note={{Version {version}}}
}}""",
}


class Markup(Protocol):
    """How a paragraph is written."""

    space: str  # that does not break
    percent: str
    co2e: str

    def text(self, text: str) -> str:
        """Text of others, so that it stands there as it is."""
        ...

    def cite(self, key: str) -> str:
        """A citation."""
        ...


class Markdown:
    """Pandoc's Markdown."""

    space = " "
    percent = "%"
    co2e = "CO2e"

    def text(self, text: str) -> str:
        """Every character that may have a meaning stands behind a backslash."""
        return re.sub(r"([\\`*_\[\]<>#|$~^{}@])", r"\\\1", _printable(text))

    def cite(self, key: str) -> str:
        """A citation of pandoc's."""
        return f"[@{key}]"


class Latex:
    """LaTeX as pdflatex reads it, without any package."""

    space = "~"
    percent = r"\%"
    co2e = r"CO\textsubscript{2}e"

    def text(self, text: str) -> str:
        """What has a meaning is escaped; letters that the default fonts lack are written without their marks."""
        return "".join(_LATEX.get(letter, letter) for letter in map(_in_default_fonts, _printable(text)))

    def cite(self, key: str) -> str:
        """A citation."""
        return rf"\cite{{{key}}}"


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a statement is about, beside its figures: words of the site's, or of the calculation's."""

    where: str  # "the cluster alpha of Example HPC", "aws eu-west-3 (Paris, France)"
    zone: ZoneInfo
    calculated: str | None = None  # how, where nothing was measured: "rated power of 400 W × hours"
    pue: str | None = None  # where the PUE and the grid's factor come from, where the books do not say
    factor: str | None = None
    embodied: str | None = None  # what the embodied figure rests on
    offset_g: float | None = None  # of a calculation; beside the emissions, never subtracted


def paragraph(statement: Statement, occasion: Occasion, markup: Markup) -> str:
    """The paragraph, in one line."""
    return " ".join(_sentences(statement, occasion, markup))


def bibtex(statement: Statement, occasion: Occasion) -> str:
    """The entries that the paragraph cites."""
    keys = [MLEC, SCARBON] if _cites_mlec(statement, occasion) else [SCARBON]
    entries = [_BIBTEX[key] for key in keys]
    return "\n\n".join(entry.format(version=__version__) if "{version}" in entry else entry for entry in entries) + "\n"


def print_statement(statement: Statement, occasion: Occasion, form: str) -> None:
    """Print the paragraph and its BibTeX: `form` is latex or markdown."""
    if form == "latex":
        click.echo(paragraph(statement, occasion, Latex()))
        click.echo("% If you bought offsets, say so beside these figures, and subtract nothing:")
        click.echo(r"% Offsets of XX~kg\,CO\textsubscript{2}e were bought from YY.")
        click.echo(
            "\n% BibTeX\n" + "".join(f"% {line}".rstrip() + "\n" for line in bibtex(statement, occasion).splitlines())
        )
    else:
        click.echo(paragraph(statement, occasion, Markdown()))
        click.echo(f"\n```bibtex\n{bibtex(statement, occasion)}```")


def _cites_mlec(statement: Statement, occasion: Occasion) -> bool:
    by_rated_power = any(one.kind == "gpu" and one.method == "model" for one in statement.methods)
    return occasion.calculated is not None or by_rated_power


def _sentences(statement: Statement, occasion: Occasion, markup: Markup) -> Iterator[str]:
    yield _work(statement, occasion, markup)
    if statement.jobs_unknown:
        yield f"The energy of {statement.jobs_unknown} of these jobs is unknown and in none of the following figures."
    if statement.runs_unknown:
        runs = "1 run" if statement.runs_unknown == 1 else f"{statement.runs_unknown} runs"
        yield f"The energy of {runs} of jobs that ran again is unknown and in none of the following figures."
    if statement.it_energy_j is None:
        yield "Nothing is known of its energy."
        return
    yield from _energy(statement, occasion, markup)
    yield from _emissions(statement, occasion, markup)
    yield from _beside(statement, occasion, markup)
    tool = f"Scarbon {markup.text(__version__)}{markup.space}{markup.cite(SCARBON)}"
    method = f", after{markup.space}{markup.cite(MLEC)}" if _cites_mlec(statement, occasion) else ""
    yield f"Figures by {tool}{method}; nothing is subtracted for offsets."


def _work(statement: Statement, occasion: Occasion, markup: Markup) -> str:
    if statement.jobs is None:
        (device,) = statement.hardware
        hours = _quantity(f"{device.gpu_seconds / 3600:,.4g} device-hours", markup)
        return f"The computation takes {hours} on {markup.text(device.model)} ({markup.text(occasion.where)})."
    hours = _quantity(f"{statement.gpu_seconds / 3600:,.4g} GPU-hours", markup)
    devices = ", ".join(
        f"{_quantity(f'{one.gpu_seconds / 3600:,.4g} h', markup)} on "
        f"{markup.text(one.model) if one.model else 'GPUs that nothing names'}"
        for one in statement.hardware
    )
    used = f"{hours} ({devices})" if len(statement.hardware) != 1 and devices else ""
    if not used and statement.hardware:
        used = f"{hours} on {markup.text(statement.hardware[0].model or 'GPUs that nothing names')}"
    jobs = "1 job" if statement.jobs == 1 else f"{statement.jobs:,} jobs"
    return f"The computations ran as {jobs} on {markup.text(occasion.where)}{_when(statement, occasion)}" + (
        f" and used {used}." if used else ", without GPUs."
    )


def _when(statement: Statement, occasion: Occasion) -> str:
    if statement.start_s is None:
        return ""
    first = datetime.fromtimestamp(statement.start_s, occasion.zone).date()
    if statement.end_s is None:
        return f" from {first} on"
    last = datetime.fromtimestamp(statement.end_s, occasion.zone).date()
    return f" on {first}" if first == last else f" from {first} to {last}"


#: Of GPUs, and of the host part.
_METHODS = {
    ("gpu", "counter"): "energy counters",
    ("gpu", "power"): "power readings, integrated",
    ("gpu", "slurm"): "Slurm's energy accounting",
    ("gpu", "model"): "rated power times hours",
    ("host", "counter"): "the nodes' energy counters",
    ("host", "power"): "the nodes' power readings",
    ("host", "slurm"): "Slurm's energy accounting",
    ("host", "model"): "a model of the cores and the memory allocated",
}


def _energy(statement: Statement, occasion: Occasion, markup: Markup) -> Iterator[str]:
    total = _quantity(units.energy(statement.it_energy_j), markup)
    if occasion.calculated is not None:
        yield f"The IT equipment draws {total}: {markup.text(occasion.calculated)}; nothing was measured."
    else:
        parts = []
        if statement.gpu_energy_j:
            covered = _share(statement.coverage, markup)
            how = f"{_how(statement, 'gpu', markup)}; {covered} of the GPU time was measured"
            parts.append(f"{_quantity(units.energy(statement.gpu_energy_j), markup)} by GPUs ({how})")
        if statement.host_energy_j:
            energy = _quantity(units.energy(statement.host_energy_j), markup)
            parts.append(f"{energy} by CPUs, memory and the rest of the nodes ({_how(statement, 'host', markup)})")
        yield f"The IT equipment drew {total}: {' and '.join(parts)}." if parts else f"The IT equipment drew {total}."
    if statement.facility_energy_j is None:
        yield "The PUE is not known for all of it."
    elif statement.pue is not None:
        facility = _quantity(units.energy(statement.facility_energy_j), markup)
        source = _named(statement, "pue", markup, occasion.pue)
        yield f"With a PUE of {statement.pue:.3g}{source} this is {facility} at the facility."


def _how(statement: Statement, kind: str, markup: Markup) -> str:
    found = [one for one in statement.methods if one.kind == kind]
    if len(found) == 1:
        return _METHODS[kind, found[0].method]
    return ", ".join(f"{_share(one.share, markup)} {_METHODS[kind, one.method]}" for one in found)


def _emissions(statement: Statement, occasion: Occasion, markup: Markup) -> Iterator[str]:
    if statement.co2e_location_g is None:
        yield "The grid's intensity is not known for all of it, and so neither are the emissions."
        return
    intensity = _intensity(statement.intensity_g_per_kwh or 0.0, markup)
    grid = _named(statement, "location", markup, occasion.factor)
    weighted = ", weighted by the energy of each hour" if statement.jobs is not None else ""
    location = _mass(statement.co2e_location_g, markup)
    interval = ""
    if statement.co2e_low_g is not None and statement.co2e_high_g is not None:
        low, high = _mass(statement.co2e_low_g, markup), _mass(statement.co2e_high_g, markup)
        interval = f" (95{markup.percent} interval: {low} to {high})"
    yield (
        f"With a grid intensity of {intensity}{weighted}{grid}, the emissions are {location} by the location-based "
        f"method of Scope 2{interval}."
    )
    if statement.co2e_market_g is not None:
        market = _named(statement, "market", markup)
        yield f"By the market-based method{market} they are {_mass(statement.co2e_market_g, markup)}."
    elif statement.jobs is not None:
        yield "No market-based figure is stated."


def _beside(statement: Statement, occasion: Occasion, markup: Markup) -> Iterator[str]:
    if statement.co2e_embodied_g is not None:
        rests = f" ({markup.text(occasion.embodied)})" if occasion.embodied else ""
        between = ""
        if statement.co2e_embodied_low_g is not None and statement.co2e_embodied_high_g is not None:
            low, high = (_mass(one, markup) for one in (statement.co2e_embodied_low_g, statement.co2e_embodied_high_g))
            between = f", from {low} to {high} by the published figures"
        yield f"The share of making the hardware is {_mass(statement.co2e_embodied_g, markup)}{between}; apart{rests}."
    else:
        yield "The making of the hardware is not included."
    if statement.sci_g_per_gpu_hour is not None and statement.sci_g_per_job is not None:
        per_hour, per_job = _mass(statement.sci_g_per_gpu_hour, markup), _mass(statement.sci_g_per_job, markup)
        yield f"The Software Carbon Intensity (ISO/IEC 21031) is {per_hour} per GPU-hour, or {per_job} per job."
    if statement.water_l is not None:
        yield f"The site used {_quantity(f'{statement.water_l:,.3g} L', markup)} of water for it."
    if occasion.offset_g is not None:
        yield f"Offsets are stated for {_mass(occasion.offset_g, markup)} of it."


def _named(statement: Statement, kind: str, markup: Markup, otherwise: str | None = None) -> str:
    """The sources of a factor in brackets, with their shares where there are several."""
    found = [one for one in statement.sources if one.kind == kind]
    if not found:
        return f" ({markup.text(otherwise)})" if otherwise else ""
    return f" ({'; '.join(_source(one, len(found) > 1, markup) for one in found)})"


def _source(one: SourceShare, of_several: bool, markup: Markup) -> str:
    words = ["declared by the site" if one.source == "site.yaml" else markup.text(one.source)]
    if one.basis and one.basis not in one.source:
        words.append(one.basis)
    if of_several:
        words.append(_share(one.share, markup))
    if one.kind == "location" and one.estimated_share:
        words.append(
            "estimated" if one.estimated_share == 1 else f"{_share(one.estimated_share, markup)} of it estimated"
        )
    return ", ".join(words)


def _share(share: float | None, markup: Markup) -> str:
    return units.share(share, "none").replace("%", markup.percent)


def _mass(mass_g: float, markup: Markup) -> str:
    number, _, unit = units.mass(mass_g).partition(" ")
    return f"{number}{markup.space}{unit}{markup.co2e}"


def _intensity(g_per_kwh: float, markup: Markup) -> str:
    return f"{g_per_kwh:.3g}{markup.space}g{markup.co2e}/kWh"


def _quantity(text: str, markup: Markup) -> str:
    """A number and its unit, which do not part at a line's end."""
    return text.replace(" ", markup.space)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _in_default_fonts(letter: str) -> str:
    """The letter, if LaTeX's default fonts have it: ASCII, and the accented letters of Latin-1."""
    plain = unicodedata.normalize("NFKD", letter)
    ascii_only = "".join(part for part in plain if part.isascii())
    if letter.isascii() or ("\xc0" <= letter <= "\xff" and ascii_only):
        return letter
    return ascii_only or _STAND_INS.get(letter, "?")


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''",
}  # fmt: skip

_STAND_INS = {"×": "x", "–": "-", "—": "-", "’": "'", "‘": "'", "“": "''", "”": "''", "ß": "ss", "ø": "o", "Ø": "O",
              "æ": "ae", "Æ": "AE", "ł": "l", "Ł": "L", "đ": "d", "ı": "i", "·": "-"}  # fmt: skip
