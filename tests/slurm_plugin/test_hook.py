"""The hook on a sound node: what it writes, for which GPU, on every Python that is here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HOOK = Path(__file__).parents[2] / "slurm_plugin" / "hook.py"
# Minor 0 sits on the second bus: DCGM's index and the device minor differ, as they did where the wrong GPU was billed.
A, B = "GPU-aaaaaaaa-0000-0000-0000-000000000000", "GPU-bbbbbbbb-0000-0000-0000-000000000000"


@pytest.fixture
def crossed(node):
    node.add_gpu("0000:c1:00.0", 0, A)
    node.add_gpu("0000:41:00.0", 1, B)
    return node


def test_a_line_is_the_journal_format(node):
    node.prolog(42, "0,1")
    text = (node.journal_dir / "n1.jsonl").read_text()
    line = json.loads(text)
    assert abs(line.pop("time") - (node.journal_dir / "n1.jsonl").stat().st_mtime) < 60
    assert line == {
        "v": 1,
        "event": "start",
        "cluster": "alpha",
        "job_id": 42,
        "restart": 0,
        "sluid": None,
        "uid": 1000,
        "user": "ada",
        "account": "phys",
        "node": "n1",
        "gpus": [
            {"index": 0, "minor": 0, "uuid": None, "mig": None},
            {"index": 1, "minor": 1, "uuid": None, "mig": None},
        ],
        "share": None,
    }
    keys = "v,event,time,cluster,job_id,restart,sluid,uid,user,account,node,gpus,share"
    assert ",".join(json.loads(text)) == keys
    assert text.endswith("}\n")


def test_a_job_comes_and_goes(node, python):
    node.run("prolog", 42, python=python, SLURM_JOB_GPUS="0-1", SLURM_JOB_SLUID="s4ZQ")
    assert node.mapping() == {"0": ["42"], "1": ["42"]}
    node.run("epilog", 42, python=python, SLURM_JOB_GPUS="0,1")
    assert node.mapping() == {"0": [], "1": []}
    assert node.holds() == [("start", 42), ("end", 42)]
    assert [line["sluid"] for line in node.journal()] == ["s4ZQ", None]
    assert node.said() == []


def test_the_exporter_may_read_the_mapping_and_only_root_and_its_group_the_journal(node):
    old = os.umask(0o077)
    try:
        node.configure(journal_gid=4242)
        node.prolog()
    finally:
        os.umask(old)
    assert (node.mapping_dir / "0").stat().st_mode & 0o777 == 0o644
    journal = (node.journal_dir / "n1.jsonl").stat()
    assert (journal.st_mode & 0o777, journal.st_gid) == (0o640, 4242)
    assert (node.journal_dir.stat().st_mode & 0o777, node.journal_dir.stat().st_gid) == (0o750, 4242)


@pytest.mark.parametrize(
    ("env", "uuids", "files"),
    [
        ({"SLURM_JOB_GPUS": "0"}, [A], ["1"]),
        ({"SLURM_JOB_GPUS": "1"}, [B], ["0"]),
        ({"SLURM_JOB_GPUS": "0,1"}, [A, B], ["0", "1"]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [B], ["0"]),
        ({"CUDA_VISIBLE_DEVICES": A}, [A], ["1"]),
        ({"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": B}, [B], ["0"]),
    ],
)
def test_the_right_gpu_where_minor_and_dcgm_index_differ(crossed, env, uuids, files):
    crossed.run("prolog", **env)
    assert [gpu["uuid"] for gpu in crossed.journal()[0]["gpus"]] == uuids
    assert sorted(crossed.mapping()) == files


def test_with_autodetect_nvml_an_index_is_a_place_on_the_bus(crossed):
    crossed.configure(gres_order="pci")
    crossed.prolog(42, "0")
    assert crossed.journal()[0]["gpus"] == [{"index": 0, "minor": 1, "uuid": B, "mig": None}]
    assert crossed.mapping() == {"0": ["42"]}


def test_the_sites_own_table_comes_before_the_index(crossed):
    table = crossed.home / "gres.map"
    table.write_text(f"# index uuid\n0 {B}\n1 {A}\n")
    crossed.configure(gres_table=table)
    crossed.prolog(42, "0")
    assert crossed.journal()[0]["gpus"][0]["uuid"] == B


def test_a_gpu_that_the_driver_does_not_show_is_recorded_and_told(crossed):
    crossed.prolog(42, "7")
    assert crossed.journal()[0]["gpus"] == [{"index": None, "minor": 7, "uuid": None, "mig": None}]
    assert crossed.mapping() == {}
    assert "which GPU is 7?" in crossed.errors()[0]
    assert "which GPU is 7?" in crossed.said()[0]


def test_a_job_without_gpus_leaves_no_trace(node):
    node.run("prolog")
    node.run("epilog")
    assert node.journal() == []
    assert node.mapping() == {}
    assert node.said() == []


# --- MIG


def mig_node(node):
    node.add_gpu("0000:41:00.0", 0, A)
    node.add_gpu("0000:c1:00.0", 1, B)
    node.add_mig(1, 7)
    node.add_mig(1, 8)
    return node


def test_an_older_mig_name_says_the_gpu_and_the_instance(node):
    mig_node(node).prolog(42, "1", CUDA_VISIBLE_DEVICES=f"MIG-{B}/8/0")
    assert node.journal()[0]["gpus"] == [{"index": 1, "minor": 1, "uuid": B, "mig": "8"}]
    assert node.mapping() == {"1.8": ["42"]}


def test_a_mig_uuid_is_found_in_the_sites_table(node):
    table = mig_node(node).home / "gres.map"
    table.write_text(f"MIG-11111111-0000-0000-0000-000000000000 {B} 7\n")
    node.configure(gres_table=table)
    node.prolog(42, "1", CUDA_VISIBLE_DEVICES="MIG-11111111-0000-0000-0000-000000000000")
    assert node.journal()[0]["gpus"] == [{"index": 1, "minor": 1, "uuid": B, "mig": "7"}]
    assert node.mapping() == {"1.7": ["42"]}


def test_a_mig_uuid_of_the_only_gpu_with_instances_tells_the_gpu(node):
    mig_node(node).prolog(42, "1", CUDA_VISIBLE_DEVICES="MIG-11111111-0000-0000-0000-000000000000")
    mig = "MIG-11111111-0000-0000-0000-000000000000"
    assert node.journal()[0]["gpus"] == [{"index": 1, "minor": 1, "uuid": B, "mig": mig}]
    assert node.mapping() == {}  # which instance it is, and so which file, is not known


def test_the_only_mig_instance_needs_no_table(node):
    node.add_gpu("0000:41:00.0", 0, A)
    node.add_mig(0, 9)
    node.prolog(42, "0", CUDA_VISIBLE_DEVICES="MIG-11111111-0000-0000-0000-000000000000")
    assert node.mapping() == {"0.9": ["42"]}


def test_a_mig_uuid_that_could_be_on_either_gpu_is_not_guessed(node):
    mig_node(node).add_mig(0, 7)
    node.prolog(42, "1", CUDA_VISIBLE_DEVICES="MIG-11111111-0000-0000-0000-000000000000")
    gpu = node.journal()[0]["gpus"][0]
    assert (gpu["index"], gpu["uuid"], gpu["mig"]) == (None, None, "MIG-11111111-0000-0000-0000-000000000000")
    assert len(node.errors()) == 1


def test_an_index_is_not_taken_for_a_gpu_where_slurm_counts_mig_instances(node):
    mig_node(node).prolog(42, "1")
    assert node.journal()[0]["gpus"] == [{"index": None, "minor": None, "uuid": None, "mig": None}]
    assert node.mapping() == {}
    assert len(node.errors()) == 1


# --- AMD


def test_amd_gpus_are_known_by_their_unique_id(node):
    for card, bus, unique_id in (("card0", "0000:c1:00.0", "aaaa000000000001"), ("card1", "0000:41:00.0", "")):
        device = node.home / "pci" / bus
        device.mkdir(parents=True)
        device.joinpath("vendor").write_text("0x1002\n")
        if unique_id:
            device.joinpath("unique_id").write_text(unique_id + "\n")
        (node.home / "drm" / card).mkdir(parents=True)
        (node.home / "drm" / card / "device").symlink_to(f"../../pci/{bus}")
    (node.home / "drm" / "card1-DP-1").mkdir()
    node.run("prolog", SLURM_JOB_GPUS="0,1", ROCR_VISIBLE_DEVICES="0,1")
    assert [(gpu["index"], gpu["uuid"]) for gpu in node.journal()[0]["gpus"]] == [(0, None), (1, "aaaa000000000001")]


# --- shared GPUs


def test_several_jobs_on_a_shared_gpu(node):
    for job in (41, 42, 43):
        node.prolog(job, "0")
    assert node.mapping() == {"0": ["41", "42", "43"]}
    node.epilog(42, "0")
    assert node.mapping() == {"0": ["41", "43"]}
    node.epilog(41, "0")
    node.epilog(43, "0")
    assert (node.mapping_dir / "0").read_bytes() == b""


@pytest.mark.parametrize(
    ("env", "share"),
    [
        ({"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25"}, 0.25),
        ({"SLURM_SHARDS_ON_NODE": "2"}, 0.5),
        ({}, None),
    ],
)
def test_the_share_where_slurm_says_it(node, env, share):
    node.configure(shards_per_gpu=4)
    node.prolog(42, "0", **env)
    assert node.journal()[0]["share"] == share


# --- attempts and repairs


def test_a_requeue_on_the_same_node(node):
    node.prolog(42, "0")
    node.epilog(42, "0")
    node.prolog(42, "1", SLURM_JOB_RESTART_COUNT="1")
    assert node.mapping() == {"0": [], "1": ["42"]}
    assert [line["restart"] for line in node.journal()] == [0, 0, 1]


def test_a_prolog_that_runs_twice_does_not_repeat_the_series(node):
    node.prolog(42, "0")
    node.prolog(42, "0")
    assert node.mapping() == {"0": ["42"]}


def test_an_epilog_without_a_prolog(node):
    node.epilog(42, "0")
    assert node.holds() == [("end", 42)]
    assert node.mapping() == {}
    assert node.said() == []


def test_an_epilog_that_is_not_told_its_gpus_takes_them_from_the_journal(node):
    node.prolog(42, "1,3")
    node.run("epilog", 42)
    start, end = node.journal()
    assert end["gpus"] == start["gpus"]
    assert node.mapping() == {"1": [], "3": []}


def test_a_whole_gpu_has_one_holder_so_the_one_before_is_gone(node):
    node.configure(shared_gpus="no")
    node.prolog(41, "0,1")  # and its Epilog never came
    node.prolog(42, "0")
    assert node.mapping() == {"0": ["42"], "1": ["41"]}


def test_a_job_that_the_journal_has_ended_is_taken_out_by_the_next_hook(node):
    node.prolog(41, "0")
    before = (node.mapping_dir / "0").read_bytes()
    node.epilog(41, "0")
    (node.mapping_dir / "0").write_bytes(before)  # as if that Epilog had been cut off after its journal line
    node.prolog(42, "0,1")
    assert node.mapping() == {"0": ["42"], "1": ["42"]}


def test_what_a_hook_said_of_a_job_since_does_not_hide_its_end(node):
    node.prolog(41, "0")
    node.epilog(41, "0")
    (node.mapping_dir / "0").write_bytes(b"41\n")
    with (node.journal_dir / "n1.jsonl").open("a") as file:
        file.write('{"v":1,"event":"error","time":1.0,"cluster":"alpha","job_id":41,"node":"n1","message":"x"}\n')
    node.prolog(42, "0")
    assert node.mapping() == {"0": ["42"]}


def test_a_requeued_neighbour_is_not_taken_for_gone(node):
    node.prolog(41, "0")
    node.epilog(41, "0")
    node.prolog(41, "0", SLURM_JOB_RESTART_COUNT="1")
    node.run("prolog", 42, SLURM_JOB_GPUS="0", SLURM_JOB_USER='x","job_id":41,"event":"end')
    assert node.mapping() == {"0": ["41", "42"]}


def test_a_reboot_ends_every_hold_in_the_mapping(node):
    node.prolog(41, "0,1")
    (node.mapping_dir / ".scarbon.boot").write_text("another boot")
    node.prolog(42, "0")
    assert node.mapping() == {"0": ["42"], "1": []}
    node.prolog(43, "1")
    assert node.mapping() == {"0": ["42"], "1": ["43"]}


def test_what_is_no_job_id_is_cleaned_out_of_the_exporters_files(node):
    node.mapping_dir.mkdir()
    (node.mapping_dir / "0").write_bytes(b'\n41 \n"\n40\n\xff\n')
    (node.mapping_dir / "README").write_text("kept")
    node.prolog(42, "1")
    assert node.mapping() == {"0": ["40"], "1": ["42"], "README": ["kept"]}


# --- rotation


def test_a_full_journal_is_put_aside_and_none_is_lost(node):
    node.configure(rotate_mb=0.0005)  # 500 bytes: one line is about 270
    for job in range(40, 48):
        node.prolog(job, "0")
    names = sorted(path.name for path in node.journal_dir.glob("*.jsonl"))
    assert names[:2] == ["n1.000001.jsonl", "n1.000002.jsonl"]
    assert names[-1] == "n1.jsonl"
    assert [line["job_id"] for name in names for line in node.journal(name)] == list(range(40, 48))


# --- how it runs


def test_it_is_its_own_prolog_and_epilog(node):
    """Prolog= and Epilog= may name the file itself, with hook.conf beside it."""
    copy = node.config.parent / "hook.py"
    copy.write_bytes(HOOK.read_bytes())
    copy.chmod(0o755)
    for context in ("prolog", "epilog"):
        subprocess.run([str(copy)], env=node.env(context, SLURM_JOB_GPUS="0"), check=True)
    assert node.holds() == [("start", 42), ("end", 42)]


def test_the_syntax_is_python_3_6s():
    vermin = Path(sys.executable).with_name("vermin")
    if not vermin.exists():
        pytest.skip("vermin is not installed")
    done = subprocess.run([vermin, "-q", "-t=3.6-", "--violations", HOOK], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


FORBIDDEN = """
import sys
def watch(event, args):
    if event.startswith(("subprocess.", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "socket.connect",
                         "socket.getaddrinfo", "pty.")):
        hook.sys.stderr.write(event)
        posix._exit(9)
sys.addaudithook(watch)
"""


def test_nothing_is_started_and_nothing_connected(node):
    """The child's exit status would be 9, and the journal would have a line that says so."""
    for context in ("prolog", "epilog"):
        node.run(context, fault=FORBIDDEN, SLURM_JOB_GPUS="0")
    assert node.holds() == [("start", 42), ("end", 42)]
    assert node.errors() == []


def test_the_watch_would_see_a_program_start(node):
    node.run("prolog", fault=FORBIDDEN + "hook.held_gpus = lambda *_: posix.execv('/bin/true', ['true'])")
    assert "ended with wait status" in node.errors()[0]


def test_strace_sees_no_program_and_no_network(node, tmp_path):
    trace = tmp_path / "trace"
    try:
        done = subprocess.run(
            ["strace", "-f", "-o", str(trace), "-e", "trace=execve,execveat,%network", *node.command()],
            env={**node.env("prolog", SLURM_JOB_GPUS="0"), "PATH": os.environ["PATH"]},
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    if b"ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    calls = [line.split(None, 1)[1] for line in trace.read_text().splitlines()]
    calls = [call for call in calls if not call.startswith(("+++", "---"))]
    assert len(calls) == 1, calls
    assert calls[0].startswith("execve(")  # the interpreter's own
    assert node.holds() == [("start", 42)]
