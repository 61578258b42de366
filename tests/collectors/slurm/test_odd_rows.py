"""Rows that Slurm really writes, and rows that it should not have written: what each is, and what must come of it.

Each row is the ordinary one below with a few columns changed, as `sacct -P` writes them. What must come out is a few
fields of the job, or a part of the reason for which the row is rejected, or nothing (not an attempt of this cluster).
"""

from __future__ import annotations

from typing import Any

import pytest

from accounting.model import Job, Reject
from collectors.slurm.rows import HEAD, SHARED, TAIL, RowReader

ORDINARY = {
    "JobIDRaw": "42",
    "JobID": "42",
    "Submit": "1790812800",
    "Start": "1790812810",
    "End": "1790813410",
    "NodeList": "n1",
    "AllocTRES": "billing=4,cpu=4,gres/gpu=2,mem=8000M,node=1",
    "State": "COMPLETED",
    "ExitCode": "0:0",
    "Suspended": "00:00:00",
    "Restarts": "0",
    "Cluster": "alpha",
    "User": "ada",
    "UID": "1000",
    "Account": "phys",
    "Partition": "gpu",
    "QOS": "normal",
    "WCKey": "",
    "SLUID": "",
    "ConsumedEnergyRaw": "",
    "JobName": "train",
    "Comment": "",
}

Row = tuple[str, dict[str, str], dict[str, Any] | str | None]


def tres(text: str) -> dict[str, str]:
    return {"AllocTRES": text}


ROWS: list[Row] = [
    # --- which attempt
    ("an array's task 0", {"JobID": "40_0"}, {"job_id": 42, "label": "40_0"}),
    ("an array's last task, which has the array's own id", {"JobID": "42_9"}, {"job_id": 42, "label": "42_9"}),
    (
        "tasks of an array that still wait",
        {"JobID": "42_[5-9%2]", "State": "PENDING", "Start": "Unknown", "End": "Unknown", "AllocTRES": ""},
        {"label": "42_[5-9%2]", "start_s": None, "end_s": None, "gpus": 0, "cpus": 0, "memory_mb": None},
    ),
    ("a part of a heterogeneous job", {"JobIDRaw": "43", "JobID": "42+1"}, {"job_id": 43, "label": "42+1"}),
    ("a label that is missing", {"JobID": ""}, {"label": "42"}),
    ("the largest job id", {"JobIDRaw": "67043327", "JobID": "67043327"}, {"job_id": 67043327}),
    ("a batch step", {"JobIDRaw": "42.batch", "JobID": "42.batch"}, None),
    ("the extern step", {"JobIDRaw": "42.extern", "JobID": "42.extern"}, None),
    ("step 0 of an array's task", {"JobIDRaw": "42.0", "JobID": "40_0.0"}, None),
    ("a job of another cluster with the same id", {"Cluster": "beta"}, None),
    ("a row that does not say its cluster", {"Cluster": ""}, {"cluster": "alpha"}),
    ("a raw id that is none", {"JobIDRaw": "40_2"}, "JobIDRaw '40_2' is not a number"),
    ("no raw id", {"JobIDRaw": ""}, "JobIDRaw '' is not a number"),
    ("no time of submission", {"Submit": "Unknown"}, "Submit is 'Unknown'"),
    ("a time of submission that is none", {"Submit": "yesterday"}, "Submit 'yesterday' is not a time"),
    ("a second run after a requeue", {"Restarts": "1"}, {"restarts": 1}),
    ("restarts that are no number", {"Restarts": "many"}, "Restarts 'many' is not a number"),
    ("Slurm 25.11's own id of the run", {"SLUID": "s1Q2W3E4R5T6Y7"}, {"sluid": "s1Q2W3E4R5T6Y7"}),
    # --- when
    ("running", {"State": "RUNNING", "End": "Unknown"}, {"state": "RUNNING", "end_s": None, "start_s": 1790812810}),
    ("suspended, and not ended", {"State": "SUSPENDED", "End": "Unknown"}, {"state": "SUSPENDED", "end_s": None}),
    (
        "cancelled before it started",
        {"State": "CANCELLED by 1000", "Start": "None", "NodeList": "None assigned", "AllocTRES": ""},
        {"state": "CANCELLED", "start_s": None, "end_s": 1790813410, "nodes": (), "gpus": 0},
    ),
    ("the same, as older Slurms write it", {"Start": "Unknown"}, {"start_s": None}),
    ("cancelled before it started, with both times its end", {"Start": "1790813410"}, {"start_s": 1790813410}),
    ("an instant that is Slurm's INFINITE", {"End": "4294967295"}, {"end_s": None}),
    ("an instant that is Slurm's NO_VAL", {"Start": "4294967294"}, {"start_s": None}),
    ("a start at 0", {"Start": "0"}, {"start_s": None}),
    ("no time at all", {"End": "1790812810"}, {"start_s": 1790812810, "end_s": 1790812810}),
    ("an end before the start", {"End": "1790812809"}, "ends (1790812809) before it starts (1790812810)"),
    ("a start that is no time", {"Start": "01:02"}, "Start '01:02' is not a time"),
    ("an end that is no time", {"End": "soon"}, "End 'soon' is not a time"),
    ("submitted in 1970", {"Submit": "5"}, {"submit_s": 5}),
    ("suspended for a minute and a half", {"Suspended": "00:01:30"}, {"suspended_s": 90}),
    ("suspended for more than a day", {"Suspended": "1-01:01:01"}, {"suspended_s": 90061}),
    ("suspended, in seconds", {"Suspended": "90"}, {"suspended_s": 90}),
    ("suspended, with milliseconds", {"Suspended": "01:30.250"}, {"suspended_s": 90}),
    ("suspended: not said", {"Suspended": ""}, {"suspended_s": 0}),
    ("suspended: Slurm's word for a negative time", {"Suspended": "INVALID"}, "Suspended 'INVALID' is not a duration"),
    # --- states
    ("cancelled by a user", {"State": "CANCELLED by 1001"}, {"state": "CANCELLED"}),
    ("cancelled by nobody", {"State": "CANCELLED"}, {"state": "CANCELLED"}),
    ("a state that was cut off", {"State": "CANCELLED+"}, {"state": "CANCELLED"}),
    ("preempted", {"State": "PREEMPTED"}, {"state": "PREEMPTED"}),
    ("requeued", {"State": "REQUEUED"}, {"state": "REQUEUED"}),
    ("a node failed", {"State": "NODE_FAIL"}, {"state": "NODE_FAIL"}),
    (
        "out of memory",
        {"State": "OUT_OF_MEMORY", "ExitCode": "0:125"},
        {"state": "OUT_OF_MEMORY", "exit_code": "0:125"},
    ),
    ("nodes did not boot", {"State": "BOOT_FAIL"}, {"state": "BOOT_FAIL"}),
    ("past its deadline", {"State": "DEADLINE"}, {"state": "DEADLINE"}),
    ("another cluster of the federation ran it", {"State": "REVOKED"}, {"state": "REVOKED"}),
    ("its size was changed", {"State": "RESIZING"}, {"state": "RESIZING"}),
    ("a state of a Slurm to come", {"State": "TELEPORTED"}, {"state": "TELEPORTED"}),
    ("no state", {"State": ""}, "State '' is none that Slurm has"),
    ("Slurm's mark for a state that it does not know", {"State": "?"}, "State '?' is none that Slurm has"),
    # --- what was allocated
    ("an untyped GPU count", tres("cpu=4,gres/gpu=2,mem=100M"), {"gpus": 2, "gpu_types": {}}),
    ("a typed GPU only", tres("cpu=4,gres/gpu:a100=2,mem=100M"), {"gpus": 2, "gpu_types": {"a100": 2}}),
    ("both at once", tres("cpu=4,gres/gpu:a100=2,gres/gpu=2"), {"gpus": 2, "gpu_types": {"a100": 2}}),
    ("two types", tres("gres/gpu:a100=2,gres/gpu:h100=1"), {"gpus": 3, "gpu_types": {"a100": 2, "h100": 1}}),
    ("two types and their total", tres("gres/gpu:a=2,gres/gpu:b=1,gres/gpu=3"), {"gpus": 3}),
    ("a total with one type of two tracked", tres("gres/gpu:a100=1,gres/gpu=3"), {"gpus": 3, "gpu_types": {"a100": 1}}),
    (
        "a MIG instance, typed by its profile",
        tres("cpu=1,gres/gpu:a100_1g.5gb=1"),
        {"gpus": 1, "gpu_types": {"a100_1g.5gb": 1}},
    ),
    ("two MIG profiles", tres("gres/gpu:1g.10gb=1,gres/gpu:3g.40gb=1,gres/gpu=2"), {"gpus": 2}),
    ("shards", tres("cpu=1,gres/shard=3"), {"gpus": 0, "shards": 3}),
    ("shards by type and in all", tres("gres/shard:a100=3,gres/shard=3"), {"gpus": 0, "shards": 3}),
    ("a share by MPS", tres("cpu=1,gres/mps=50"), {"gpus": 0, "mps_percent": 50}),
    ("a whole GPU and shards", tres("gres/gpu=1,gres/shard=2"), {"gpus": 1, "shards": 2}),
    ("no GPU", tres("billing=4,cpu=4,mem=8000M,node=1"), {"gpus": 0, "gpu_types": {}, "cpus": 4}),
    ("zero GPUs", tres("cpu=4,gres/gpu=0"), {"gpus": 0}),
    ("other GRES", tres("cpu=4,gres/craynetwork=1,gres/nvme:fast=2,gres/gpumem=1000"), {"gpus": 0}),
    ("licences, burst buffers and the rest", tres("bb/datawarp=1T,cpu=2,license/matlab=1,fs/disk=5"), {"cpus": 2}),
    ("no TRES", tres(""), {"gpus": 0, "cpus": 0, "memory_mb": None}),
    ("memory in gigabytes", tres("cpu=1,mem=4.50G"), {"memory_mb": 4608.0}),
    ("memory in terabytes", tres("cpu=1,mem=1.5T"), {"memory_mb": 1572864.0}),
    ("memory in megabytes", tres("cpu=1,mem=100M"), {"memory_mb": 100.0}),
    ("memory in kilobytes", tres("cpu=1,mem=512K"), {"memory_mb": 0.5}),
    ("memory without a unit", tres("cpu=1,mem=2000"), {"memory_mb": 2000.0}),
    ("all of a node's memory", tres("cpu=1,mem=0"), {"memory_mb": 0.0}),
    ("memory that is none", tres("cpu=1,mem=lots"), "TRES mem=lots"),
    ("a GPU count that is none", tres("cpu=1,gres/gpu=two"), "TRES gres/gpu=two: the count is not a whole number"),
    ("half a GPU", tres("cpu=1,gres/gpu=0.5"), "TRES gres/gpu=0.5: the count is not a whole number"),
    ("a TRES without a count", tres("cpu=1,gres/gpu"), "TRES 'gres/gpu' is not NAME=COUNT"),
    ("energy, by Slurm's own plugin", {"ConsumedEnergyRaw": "1234567"}, {"consumed_energy_j": 1234567.0}),
    ("energy of 0: nothing measures it", {"ConsumedEnergyRaw": "0"}, {"consumed_energy_j": None}),
    ("energy: not said", {"ConsumedEnergyRaw": ""}, {"consumed_energy_j": None}),
    ("energy: Slurm's NO_VAL64", {"ConsumedEnergyRaw": "18446744073709551614"}, {"consumed_energy_j": None}),
    ("energy among the TRES only", tres("cpu=1,energy=176,mem=1M"), {"consumed_energy_j": 176.0}),
    ("NO_VAL64 among the TRES", tres("cpu=1,energy=18446744073709551614"), {"consumed_energy_j": None}),
    ("energy that is none", {"ConsumedEnergyRaw": "much"}, "ConsumedEnergyRaw 'much' is not a number"),
    # --- where
    ("a range of nodes", {"NodeList": "n[1-3]"}, {"nodes": ("n1", "n2", "n3")}),
    ("leading zeros", {"NodeList": "n[008-011]"}, {"nodes": ("n008", "n009", "n010", "n011")}),
    ("ranges, single nodes and two prefixes", {"NodeList": "a[1-2,7],b3"}, {"nodes": ("a1", "a2", "a7", "b3")}),
    ("racks and slots", {"NodeList": "r[1-2]c[0-1]"}, {"nodes": ("r1c0", "r1c1", "r2c0", "r2c1")}),
    ("a name with a dash and a dot", {"NodeList": "gpu-01.hpc"}, {"nodes": ("gpu-01.hpc",)}),
    ("no nodes", {"NodeList": "None assigned"}, {"nodes": ()}),
    ("an empty node list", {"NodeList": ""}, {"nodes": ()}),
    ("a broken node list", {"NodeList": "n[1-"}, "NodeList 'n[1-'"),
    # --- whose
    ("a user that this host does not know", {"User": "", "UID": "4242"}, {"user": None, "uid": 4242}),
    ("root", {"User": "root", "UID": "0"}, {"user": "root", "uid": 0}),
    ("no uid", {"UID": ""}, {"uid": None, "user": "ada"}),
    ("a uid that stands for nobody", {"UID": "4294967294"}, {"uid": None}),
    ("a uid that is none", {"UID": "ada"}, "UID 'ada' is not a number"),
    ("a deleted account", {"Account": ""}, {"account": None}),
    ("an account with odd characters", {"Account": "phys-ÄÖ.1"}, {"account": "phys-ÄÖ.1"}),
    ("several partitions asked for", {"Partition": "gpu,gpu-long"}, {"partition": "gpu,gpu-long"}),
    ("a deleted QOS", {"QOS": "Unknown"}, {"qos": "Unknown"}),
    ("a WCKey", {"WCKey": "grant7"}, {"wckey": "grant7"}),
    ("the user's default WCKey", {"WCKey": "*grant7"}, {"wckey": "grant7"}),
    ("no default WCKey", {"WCKey": "*"}, {"wckey": None}),
    # --- names and comments
    ("no name", {"JobName": ""}, {"name": None}),
    ("a name with the separator", {"JobName": "a|b||"}, {"name": "a|b||"}),
    ("a name with newlines", {"JobName": "a\n\nb\n"}, {"name": "a\n\nb\n"}),
    ("quotes", {"JobName": "\"a' `b`"}, {"name": "\"a' `b`"}),
    ("UTF-8", {"JobName": "日本 é 🚀"}, {"name": "日本 é 🚀"}),
    ("control characters", {"JobName": "a\x1fb\x07\t"}, {"name": "a\x1fb\x07\t"}),
    ("a name that looks like a row", {"JobName": "42|42|1790812800"}, {"name": "42|42|1790812800"}),
    ("blanks around a name", {"JobName": " a "}, {"name": " a "}),
    ("a comment", {"Comment": "JS1:H4sIAAAAAAAA\nx|y"}, {"comment": "JS1:H4sIAAAAAAAA\nx|y"}),
    ("an exit code with a signal", {"ExitCode": "1:15"}, {"exit_code": "1:15"}),
    ("no exit code", {"ExitCode": ""}, {"exit_code": None}),
]


def test_the_table_is_long_enough_and_says_each_thing_once() -> None:
    assert len(ROWS) >= 60
    assert len({what for what, _, _ in ROWS}) == len(ROWS)


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
@pytest.mark.parametrize(("what", "changed", "wanted"), ROWS, ids=[what for what, _, _ in ROWS])
def test_an_odd_row(what: str, changed: dict[str, str], wanted: dict[str, Any] | str | None, again: bool) -> None:
    """Met for the first time, and met again after all that is ordinary in it: the quick way is open to it then."""
    columns = [*HEAD, *SHARED, *TAIL]
    reader = RowReader("sacct", "here", "alpha", columns, "\x1fzz\x1f")
    ordinary, record = ("\x1fzz\x1f".join(row[column] for column in columns) for row in (ORDINARY, ORDINARY | changed))
    rows = list(reader.jobs([[ordinary, record, record] if again else [record]], 0, 2**33))
    if again:
        assert isinstance(rows.pop(0), Job)
    assert len(rows) == (0 if wanted is None else 1 + again)
    for row in rows:
        if isinstance(wanted, str):
            assert isinstance(row, Reject)
            assert wanted in row.reason
            assert (row.source, row.where) == ("sacct", "here")
            assert all(value in row.raw for value in changed.values())  # kept as it came
        else:
            assert isinstance(row, Job), row
            assert wanted is not None
            assert {name: getattr(row, name) for name in wanted} == wanted
            untouched = {"account", "user", "partition", "name", "label"} - set(wanted)
            usual = {"account": "phys", "user": "ada", "partition": "gpu", "name": "train", "label": str(row.job_id)}
            assert {name: getattr(row, name) for name in untouched} == {name: usual[name] for name in untouched}
