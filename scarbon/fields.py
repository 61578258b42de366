"""The fields of `scarbon jobs`: sacct's names for what sacct has, and what only this program knows.

Widths and sides are sacct's. A field gives text for people, or, with `--noconvert`, the figure in base units.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from accounting.jobs import JobUsage
from accounting.tags import format_tags
from scarbon import units
from scarbon.errors import WrongUseError, near

DEFAULT_FORMAT = "JobID,JobName,User,Account,State,Elapsed,NGPUs,ItEnergy,CO2e,Coverage,Method"


@dataclass(frozen=True, slots=True)
class Style:
    """How figures are written: the zone of times, the present (for jobs that run), and in which units.

    `unit` is the prefix that all of them have (`k`, `M`, …); None: the one that fits each.
    """

    zone: ZoneInfo
    now_s: float
    noconvert: bool = False
    unit: str | None = None


Show = Callable[[JobUsage, Style], str]


@dataclass(frozen=True, slots=True)
class Field:
    """A column: its name, its text, its width (negative: to the left, as in sacct) and what it is."""

    name: str
    show: Show
    width: int
    about: str
    cut: str = "+"  # the mark of a text that was cut; as in sacct, times have none
    whole: bool = False  # a number or a duration: never cut, as in sacct


def _text(attribute: str) -> Show:
    def show(job: JobUsage, style: Style) -> str:
        value = getattr(job, attribute)
        return "" if value is None else str(value)

    return show


def _time(attribute: str) -> Show:
    def show(job: JobUsage, style: Style) -> str:
        value = getattr(job, attribute)
        if value is not None:
            return format_time(value, style.zone, style.now_s)
        # Of a job that was cancelled while it waited, Slurm knows that it never began.
        return "None" if attribute == "start" and job.end is not None else "Unknown"

    return show


def _energy(attribute: str) -> Show:
    def show(job: JobUsage, style: Style) -> str:
        value = getattr(job, attribute)
        return _raw(value) if style.noconvert else units.energy(value, prefix=style.unit)

    return show


def _mass(attribute: str) -> Show:
    def show(job: JobUsage, style: Style) -> str:
        value = getattr(job, attribute)
        return _raw(value) if style.noconvert else units.mass(value, prefix=style.unit)

    return show


def _number(attribute: str, digits: str) -> Show:
    def show(job: JobUsage, style: Style) -> str:
        value = getattr(job, attribute)
        return "" if value is None else _raw(value) if style.noconvert else f"{value:{digits}}"

    return show


def _raw(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}".rstrip("0").rstrip(".")


def _elapsed(job: JobUsage, style: Style) -> str:
    return units.duration(job.elapsed_s(style.now_s))


def _cpu_time_s(job: JobUsage, style: Style) -> int:
    return job.elapsed_s(style.now_s) * job.cpus


def _nodes(job: JobUsage, style: Style) -> str:
    if not job.nodes:
        return "None assigned"
    if "," not in job.nodes:
        return job.nodes
    from ClusterShell.NodeSet import NodeSet

    return str(NodeSet(job.nodes))


def format_time(time_s: float, zone: ZoneInfo, now_s: float | None = None) -> str:
    """A time as sacct writes it, in the site's zone, and as SLURM_TIME_FORMAT wants it.

    That is `standard`, `relative` (to `now_s`, or the present), or a pattern of strftime. What is neither is taken for
    `standard`, as by Slurm.
    """
    wanted = os.environ.get("SLURM_TIME_FORMAT", "standard")
    if wanted == "%s":
        return str(int(time_s))
    when = datetime.fromtimestamp(time_s, zone)
    if wanted == "relative":
        return when.strftime(_relative(when, datetime.fromtimestamp(time.time() if now_s is None else now_s, zone)))
    return when.strftime(wanted if "%" in wanted else "%Y-%m-%dT%H:%M:%S")


def _relative(when: datetime, now: datetime) -> str:
    """The pattern for a time that is so many days away: the man page of sacct, and Slurm's parse_time.c."""
    days = (when.date() - now.date()).days
    near = {0: "%H:%M:%S", -1: "Ystday %H:%M", 1: "Tomorr %H:%M"}
    if when.year != now.year:
        return "%-d %b %Y"
    if days in near:
        return near[days]
    return "%a %H:%M" if 0 < days < 7 else "%-d %b %H:%M"


def _coverage(job: JobUsage, style: Style) -> str:
    return _raw(job.coverage) if style.noconvert else units.share(job.coverage)


def _sci(job: JobUsage, style: Style) -> str:
    """(E × I + M) per R of ISO/IEC 21031, with a GPU-hour held as R."""
    if job.co2e_location_g is None or job.co2e_embodied_g is None or not job.gpu_seconds:
        return ""
    value = (job.co2e_location_g + job.co2e_embodied_g) / job.gpu_seconds * 3600
    return _raw(value) if style.noconvert else units.mass(value, prefix=style.unit)


FIELDS = {
    field.name.lower(): field
    for field in (
        Field("Account", _text("account"), 10, "account"),
        Field("AllocCPUS", _text("cpus"), 10, "CPUs allocated", whole=True),
        Field("AllocNodes", _text("nnodes"), 10, "nodes allocated", whole=True),
        Field("Cluster", _text("cluster"), 10, "cluster"),
        Field("Comment", _text("comment"), 14, "the job's comment"),
        Field(
            "CPUTime", lambda job, style: units.duration(_cpu_time_s(job, style)), 10, "run time times CPUs", whole=True
        ),
        Field(
            "CPUTimeRAW", lambda job, style: str(_cpu_time_s(job, style)), 10, "run time times CPUs in s", whole=True
        ),
        Field("CO2e", _mass("co2e_location_g"), 10, "operational emissions by the grid's intensity (location-based)"),
        Field("CO2eHigh", _mass("co2e_high_g"), 10, "upper end of the 95 % interval of CO2e"),
        Field("CO2eLow", _mass("co2e_low_g"), 10, "lower end of the 95 % interval of CO2e"),
        Field("CO2eMarket", _mass("co2e_market_g"), 10, "the same by the site's contracts (market-based)"),
        Field("CO2eEmbodied", _mass("co2e_embodied_g"), 12, "share of the making of the GPUs, best estimate"),
        Field("Coverage", _coverage, 8, "share of the GPU time that was measured"),
        Field("Elapsed", _elapsed, 10, "run time, [D-]HH:MM:SS", whole=True),
        Field("ElapsedRaw", lambda job, style: str(job.elapsed_s(style.now_s)), 10, "run time in seconds", whole=True),
        Field("End", _time("end"), 19, "when it ended", cut=""),
        Field("ExitCode", _text("exit_code"), 8, "exit code and signal"),
        Field("FacilityEnergy", _energy("facility_energy_j"), 14, "IT energy times PUE (J with --noconvert)"),
        Field("GpuEnergy", _energy("gpu_energy_j"), 10, "energy of its GPUs"),
        Field("HostEnergy", _energy("host_energy_j"), 10, "energy of its share of CPUs, memory and the rest"),
        Field("Intensity", _number("intensity_g_per_kwh", ".0f"), 9, "gCO2e/kWh, mean over its energy"),
        Field("ItEnergy", _energy("it_energy_j"), 10, "energy of the equipment: GPUs and host"),
        Field("JobID", _text("job_id"), -12, "job, array task (42_3) or part of a heterogeneous job (42+1)"),
        Field("JobIDRaw", _text("job_id_raw"), -12, "Slurm's own number of it"),
        Field("JobName", _text("name"), 10, "name"),
        Field("Method", _text("method"), 8, "how its energy was found: counter, power, slurm, model, none"),
        Field("NCPUS", _text("cpus"), 10, "CPUs allocated", whole=True),
        Field("NGPUs", _text("gpus"), 6, "GPUs allocated", whole=True),
        Field("NNodes", _text("nnodes"), 8, "nodes allocated", whole=True),
        Field("NodeList", _nodes, 15, "nodes"),
        Field("Partition", _text("partition"), 10, "partition"),
        Field("PUE", _number("pue", ".2f"), 6, "facility energy over IT energy"),
        Field("QOS", _text("qos"), 10, "quality of service"),
        Field("SCI", _sci, 10, "software carbon intensity: emissions and the making of the GPUs, per GPU-hour"),
        Field("Start", _time("start"), 19, "when it started", cut=""),
        Field("State", _text("state"), 10, "state"),
        Field("Submit", _time("submit"), 19, "when it was submitted", cut=""),
        Field("Suspended", lambda job, style: units.duration(job.suspended_s), 10, "time suspended", whole=True),
        Field(
            "Tags", lambda job, style: format_tags(job.tags), -20, "labels of scarbon tag, or of --comment=scarbon:…"
        ),
        Field("UID", _text("uid"), 6, "the user's number", whole=True),
        Field("User", _text("user"), 9, "user"),
        Field("WCKey", _text("wckey"), 10, "workload characterisation key"),
    )
}


#: What sacct 22.05 to 25.11 shows and the books do not keep.
ONLY_IN_SACCT = frozenset(
    """
    AdminComment AllocTRES AssocID AveCPU AveCPUFreq AveDiskRead AveDiskWrite AvePages AveRSS AveVMSize BlockID
    Constraints ConsumedEnergy ConsumedEnergyRaw Container DBIndex DerivedExitCode Eligible Extra FailedNode Flags GID
    Group Layout Licenses MaxDiskRead MaxDiskReadNode MaxDiskReadTask MaxDiskWrite MaxDiskWriteNode MaxDiskWriteTask
    MaxPages MaxPagesNode MaxPagesTask MaxRSS MaxRSSNode MaxRSSTask MaxVMSize MaxVMSizeNode MaxVMSizeTask McsLabel
    MinCPU MinCPUNode MinCPUTask NTasks Planned PlannedCPU PlannedCPURAW Priority QOSRAW QOSREQ Reason ReqCPUFreq
    ReqCPUFreqGov ReqCPUFreqMax ReqCPUFreqMin ReqCPUS ReqMem ReqNodes ReqTRES Reservation ReservationId Reserved
    ResvCPU ResvCPURAW Restarts SLUID StdErr StdIn StdOut SubmitLine SystemComment SystemCPU Timelimit TimelimitRaw
    TotalCPU TRESUsageInAve TRESUsageInMax TRESUsageInMaxNode TRESUsageInMaxTask TRESUsageInMin TRESUsageInMinNode
    TRESUsageInMinTask TRESUsageInTot TRESUsageOutAve TRESUsageOutMax TRESUsageOutMaxNode TRESUsageOutMaxTask
    TRESUsageOutMin TRESUsageOutMinNode TRESUsageOutMinTask TRESUsageOutTot UserCPU WCKeyID WorkDir
    """.lower().split()
)

#: The fields that sacct has, too. An abbreviation means one of these before one of ours.
_SHARED = frozenset(
    """
    Account AllocCPUS AllocNodes Cluster Comment CPUTime CPUTimeRAW Elapsed ElapsedRaw End ExitCode JobID JobIDRaw
    JobName NCPUS NNodes NodeList Partition QOS Start State Submit Suspended UID User WCKey
    """.lower().split()
)


def parse_format(text: str) -> list[Field]:
    """`JobID%20,User,CO2e%-12` as fields; a width with `%-` is to the left, `ALL` is all of them.

    As in sacct a name may be cut short. WrongUseError names the near field.
    """
    chosen = []
    for part in filter(str.strip, text.split(",")):
        match = re.fullmatch(r"\s*([A-Za-z0-9]+)(?:%(-?\d+)?)?\s*", part)
        name = match[1].lower() if match else part.strip()
        if match and name == "all":
            chosen += sorted(FIELDS.values(), key=lambda field: field.name.lower())
            continue
        field = _named(name) if match else None
        if match is None or field is None:
            raise _no_such(part.strip() if match is None else match[1])
        chosen.append(replace(field, width=int(match[2] or 0) or field.width))
    if not chosen:
        raise WrongUseError(f"{text!r} names no field", "see scarbon jobs --helpformat")
    return chosen


def _named(name: str) -> Field | None:
    """The field of that name, or the first in the alphabet that begins with it."""
    if name in FIELDS or name in ONLY_IN_SACCT:
        return FIELDS.get(name)
    begun = [known for known in FIELDS if known.startswith(name)]
    return FIELDS[min(begun, key=lambda known: (known not in _SHARED, known))] if begun else None


def _no_such(name: str) -> WrongUseError:
    if name.lower() in ONLY_IN_SACCT:
        return WrongUseError(
            f"the books do not keep sacct's {name}", "ask sacct for it, or see scarbon jobs --helpformat"
        )
    close = near(name.lower(), FIELDS)
    advice = f"did you mean {FIELDS[close].name}?" if close else "see scarbon jobs --helpformat"
    return WrongUseError(f"no such field: {name!r}", advice)


def table(fields: Sequence[Field], rows: Sequence[Sequence[str]], header: bool) -> list[str]:
    """Lines of fixed width as sacct's: a text that is too long ends in `+`, a name in the header is cut."""
    lines = []
    if header:
        lines.append(" ".join(_aligned(field.name[: abs(field.width)], field.width) for field in fields))
        lines.append(" ".join("-" * abs(field.width) for field in fields))
    lines += [" ".join(_cell(cell, field) for cell, field in zip(row, fields, strict=True)) for row in rows]
    return [f"{line} " for line in lines]


def _cell(text: str, field: Field) -> str:
    size = abs(field.width)
    text = "".join(char if char.isprintable() else "?" for char in text)
    if len(text) > size and not field.whole:
        text = text[: size - len(field.cut)] + field.cut
    return _aligned(text, field.width)


def _aligned(text: str, width: int) -> str:
    return text.ljust(-width) if width < 0 else text.rjust(width)
