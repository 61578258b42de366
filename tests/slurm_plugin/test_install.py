"""`scarbon hooks` on a node's image: what it writes, what it refuses, and that what it writes runs."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from scarbon.commands.hooks import hooks
from slurm_plugin import files, hook, render

SLURM_CONF = """\
ClusterName=alpha
GresTypes=gpu
PrologFlags=Contain
Prolog=/etc/slurm/prolog.d/*
Epilog=/etc/slurm/epilog.d/*
PrologEpilogTimeout=60
"""
EVERY_FILE = {
    "etc/scarbon/hook.conf",
    "etc/slurm/prolog.d/50-scarbon",
    "etc/slurm/epilog.d/50-scarbon",
    "etc/systemd/system/nvidia-dcgm-exporter.service.d/scarbon.conf",
    "etc/tmpfiles.d/scarbon.conf",
    "etc/logrotate.d/scarbon",
    "usr/local/lib/scarbon/scarbon_hook.py",
}
GIVEN = {"etc/slurm/slurm.conf", "etc/group", "usr/bin/python3"}


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "image"
    (path / "etc/slurm").mkdir(parents=True)
    (path / "etc/slurm/slurm.conf").write_text(SLURM_CONF)
    (path / "etc/group").write_text("root:x:0:\nscarbon:x:977:ada\n")
    (path / "usr/bin").mkdir(parents=True)
    (path / "usr/bin/python3").write_text("")
    return path


@pytest.fixture
def run(root):
    def run(verb, *arguments, exit_code=0, answer=None):
        result = CliRunner().invoke(hooks, [verb, "--root", str(root), *arguments], input=answer)
        assert result.exit_code == exit_code, result.output
        return result

    return run


def tree(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} - GIVEN


def snapshot(root):
    return {path: (path.read_bytes(), path.stat().st_mode) for path in root.rglob("*") if path.is_file()}


def settings(root):
    return hook.read_config(str(root / "etc/scarbon/hook.conf"), True)[0]


def test_install_writes_every_file_and_says_what_is_left_to_do(run, root):
    result = run("install", "--yes")
    assert tree(root) == EVERY_FILE
    for name in ("etc/slurm/prolog.d/50-scarbon", "etc/slurm/epilog.d/50-scarbon"):
        assert stat.S_IMODE((root / name).stat().st_mode) == 0o755
    assert "+++ /etc/slurm/prolog.d/50-scarbon" in result.stdout
    for step in ("systemd-tmpfiles --create", "systemctl daemon-reload", "restart nvidia-dcgm-exporter.service"):
        assert step in result.stderr
    assert (root / "usr/local/lib/scarbon/scarbon_hook.py").read_text() == Path(hook.__file__).read_text()


def test_a_dry_run_shows_everything_and_changes_nothing(run, root):
    before = snapshot(root)
    result = run("install", "--dry-run")
    assert snapshot(root) == before
    assert "nothing was changed" in result.stderr
    assert result.stdout.count("+++ /") == len(EVERY_FILE)


def test_it_asks_before_it_writes(run, root):
    before = snapshot(root)
    run("install", answer="n\n", exit_code=1)
    assert snapshot(root) == before
    run("install", answer="y\n")
    assert tree(root) == EVERY_FILE


def test_a_second_install_has_nothing_to_do(run, root):
    run("install", "--yes")
    before = snapshot(root)
    assert "as it should be" in run("install").stderr
    assert snapshot(root) == before


def test_an_edited_setting_is_kept_and_what_was_there_is_backed_up(run, root):
    run("install", "--yes", "--set", "budget_s=3")
    conf = root / "etc/scarbon/hook.conf"
    conf.write_text(conf.read_text().replace("budget_s = 3", "budget_s = 2"))
    wrapper = root / "etc/slurm/prolog.d/50-scarbon"
    wrapper.write_text(wrapper.read_text() + "# edited\n")
    before = conf.read_bytes(), wrapper.read_bytes()
    run("install", "--yes", "--set", "rotate_mb=8")
    assert (settings(root)["budget_s"], settings(root)["rotate_mb"]) == (2.0, 8.0)
    kept = list((root / "var/backups/scarbon").glob("*"))
    assert len(kept) == 1
    assert (kept[0] / "etc/scarbon/hook.conf").read_bytes() == before[0]
    assert (kept[0] / "etc/slurm/prolog.d/50-scarbon").read_bytes() == before[1]
    assert not os.access(kept[0] / "etc/slurm/prolog.d/50-scarbon", os.X_OK) or os.geteuid() == 0
    assert stat.S_IMODE((kept[0] / "etc/slurm/prolog.d/50-scarbon").stat().st_mode) == 0o600
    assert sorted(path.name for path in (root / "etc/slurm/prolog.d").iterdir()) == ["50-scarbon"]


def test_lost_permissions_are_put_right(run, root):
    run("install", "--yes")
    wrapper = root / "etc/slurm/prolog.d/50-scarbon"
    wrapper.chmod(0o644)
    assert "differs  /etc/slurm/prolog.d/50-scarbon" in run("status", exit_code=1).stdout
    run("install", "--yes")
    assert stat.S_IMODE(wrapper.stat().st_mode) == 0o755


@pytest.mark.parametrize("name", sorted(EVERY_FILE))
def test_somebody_elses_file_is_not_replaced(run, root, name):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("#!/bin/sh\nexit 0\n")
    before = snapshot(root)
    result = run("install", "--yes", exit_code=1)
    assert f"{root / name}: not written by scarbon hooks" in result.stderr
    assert snapshot(root) == before


def test_a_link_in_the_place_of_a_file_is_not_followed(run, root, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text(f"# {render.MARKER}")
    (root / "etc/slurm/prolog.d").mkdir()
    (root / "etc/slurm/prolog.d/50-scarbon").symlink_to(victim)
    run("install", "--yes", exit_code=1)
    assert victim.read_text() == f"# {render.MARKER}"


def test_a_link_in_an_image_does_not_lead_out_of_it(run, root, tmp_path):
    (tmp_path / "host").mkdir()
    (root / "etc/tmpfiles.d").symlink_to(tmp_path / "host")
    assert "leads out of" in run("install", "--yes", exit_code=1).stderr
    assert list((tmp_path / "host").iterdir()) == []


def test_what_slurm_says_of_the_gpus_goes_into_the_configuration(run, root):
    (root / "etc/slurm/gres.conf").write_text("AutoDetect=nvml\n")
    result = run("install", "--yes")
    assert settings(root)["shared_gpus"] == "no"
    assert settings(root)["gres_order"] == "pci"
    assert "gres_order = pci: gres.conf has AutoDetect=nvml" in result.stderr


def test_what_is_asked_for_comes_before_what_slurm_says(run, root):
    run("install", "--yes", "--set", "shared_gpus=yes")
    assert settings(root)["shared_gpus"] == "yes"
    run("install", "--yes")
    assert settings(root)["shared_gpus"] == "yes"


def test_the_group_is_looked_up_on_the_node(run, root):
    run("install", "--yes", "--group", "scarbon")
    assert settings(root)["journal_gid"] == 977
    assert "d /var/spool/scarbon 0750 root 977 -" in (root / "etc/tmpfiles.d/scarbon.conf").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--group", "nobodys"], "has no group nobodys; make it (groupadd --system nobodys) or give its number"),
        (["--set", "jornal_dir=/x"], "jornal_dir is not a setting of hook.conf; did you mean journal_dir?"),
        (["--set", "budget_s"], "budget_s is not a setting of hook.conf"),
        (["--set", "budget_s=long"], "budget_s: 'long' is not a number"),
        (["--set", "journal_dir=spool"], "journal_dir: 'spool' is not an absolute path"),
        (["--set", "shared_gpus=maybe"], "shared_gpus: 'maybe' is neither yes nor no"),
        (["--set", "cluster=a\nb = c"], "a value is one line"),
    ],
)
def test_wrong_use_is_told_and_writes_nothing(run, root, arguments, message):
    before = snapshot(root)
    assert message in " ".join(run("install", "--yes", *arguments, exit_code=2).stderr.split("\n│ ")).replace("\n", " ")
    assert snapshot(root) == before


def test_shipping_brings_its_timer(run, root):
    result = run("install", "--yes", "--set", "ship_url=https://books.example.org", "--set", "mapping_dir=")
    assert tree(root) == {
        *EVERY_FILE,
        "etc/systemd/system/scarbon-ship.service",
        "etc/systemd/system/scarbon-ship.timer",
    } - {"etc/systemd/system/nvidia-dcgm-exporter.service.d/scarbon.conf"}
    assert "systemctl enable --now scarbon-ship.timer" in result.stderr


def test_a_node_without_that_python_would_be_drained_so_it_is_refused(run, root):
    (root / "usr/bin/python3").unlink()
    assert "the node has no /usr/bin/python3" in run("install", "--yes", exit_code=1).stderr
    assert tree(root) == set()


def test_another_python_and_another_exporter_are_remembered(run, root):
    (root / "usr/libexec").mkdir()
    (root / "usr/libexec/platform-python").write_text("")
    run("install", "--yes", "--python", "/usr/libexec/platform-python", "--exporter-unit", "dcgm.service")
    prolog = (root / "etc/slurm/prolog.d/50-scarbon").read_text()
    assert prolog.startswith("#!/usr/libexec/platform-python -IS\n")
    drop_in = (root / "etc/systemd/system/dcgm.service.d/scarbon.conf").read_text()
    assert "Environment=DCGM_HPC_JOB_MAPPING_DIR=/run/scarbon/gpu-jobs\n" in drop_in
    assert "as it should be" in run("install", "--yes").stderr
    run("status")


# --- status


def test_status_of_a_node_that_is_well(run, root):
    run("install", "--yes")
    result = run("status")
    assert {line.split()[1].lstrip("/") for line in result.stdout.splitlines() if "ok       /" in line} == EVERY_FILE


def test_status_says_what_is_missing(run, root):
    run("install", "--yes")
    (root / "etc/slurm/epilog.d/50-scarbon").unlink()
    (root / "etc/slurm/slurm.conf").write_text("GresTypes=gpu\n")
    result = run("status", exit_code=1)
    assert "missing  /etc/slurm/epilog.d/50-scarbon" in result.stdout
    for line in ("PrologFlags=Alloc", "Prolog=/etc/slurm/prolog.d/*", "Epilog=/etc/slurm/epilog.d/*"):
        assert f"put this line in: {line}\n" in result.stdout


@pytest.mark.parametrize("verb", ["install", "status"])
def test_without_slurms_configuration_the_lines_that_it_needs_are_told(run, root, verb):
    run("install", "--yes")
    (root / "etc/slurm/slurm.conf").unlink()
    result = run(verb)
    for line in (*SLURM_CONF.splitlines()[3:], "PrologFlags=Alloc", "AccountingStoreFlags=job_comment"):
        assert f"         {line}\n" in result.stdout
    assert "slurm.conf cannot be read: No such file or directory; --slurm-conf names another." in result.stderr


def test_status_says_whether_labels_of_jobs_are_kept(run, root):
    run("install", "--yes")
    assert "put this line in: AccountingStoreFlags=job_comment" in run("status").stdout
    (root / "etc/slurm/slurm.conf").write_text(SLURM_CONF + "AccountingStoreFlags=job_comment\n")
    assert "labels of jobs (scarbon tag) are kept" in run("status").stdout


def test_status_shows_what_the_hooks_complained_of(run, root):
    run("install", "--yes")
    spool, mapping = root / "var/spool/scarbon", root / "run/scarbon/gpu-jobs"
    spool.mkdir(parents=True)
    mapping.mkdir(parents=True)
    (mapping / "0").write_text("42\n43\n")
    (mapping / "1").write_text("")
    (spool / "n1.jsonl").write_text('{"v":1,"event":"error","time":1.0,"job_id":7,"message":"the disk is full"}\n')
    result = run("status")
    assert "1 errors in its last 1 lines" in result.stdout
    assert "the last: job 7: the disk is full" in result.stdout
    assert f"{mapping}/0: 42 43\n" in result.stdout
    assert f"{mapping}/1: no job\n" in result.stdout


# --- uninstall


def no_prolog(root):
    (root / "etc/slurm/slurm.conf").write_text("ClusterName=alpha\n")


def test_uninstall_takes_everything_away_and_keeps_a_copy_and_the_journal(run, root):
    run("install", "--yes", "--set", "ship_url=https://books.example.org")
    names = tree(root)
    spool, mapping = root / "var/spool/scarbon", root / "run/scarbon/gpu-jobs"
    spool.mkdir(parents=True)
    mapping.mkdir(parents=True)
    (spool / "n1.jsonl").write_text("{}\n")
    (mapping / "0").write_text("42\n")
    no_prolog(root)
    run("uninstall", "--yes")
    kept = {name.split("/", 4)[4] for name in tree(root) if name.startswith("var/backups/scarbon/")}
    assert kept == names
    left = {name for name in tree(root) if not name.startswith("var/backups/")}
    assert left == {"var/spool/scarbon/n1.jsonl", "run/scarbon/gpu-jobs/0"}
    assert (mapping / "0").read_bytes() == b""
    assert "nothing of ours" in run("uninstall", "--yes").stderr


def test_uninstall_does_not_touch_what_is_not_ours(run, root):
    run("install", "--yes")
    no_prolog(root)
    foreign = root / "etc/logrotate.d/scarbon"
    foreign.write_text("# the site's own\n")
    run("uninstall", "--yes")
    assert foreign.read_text() == "# the site's own\n"


def test_uninstall_dry_run_changes_nothing(run, root):
    run("install", "--yes")
    no_prolog(root)
    before = snapshot(root)
    assert "nothing was changed" in run("uninstall", "--dry-run").stderr
    assert snapshot(root) == before


def test_uninstall_does_not_leave_slurm_with_a_prolog_that_matches_nothing(run, root):
    run("install", "--yes")
    before = snapshot(root)
    result = run("uninstall", "--yes", exit_code=1)
    assert "Prolog=/etc/slurm/prolog.d/*, which would match no file any more" in result.stderr
    assert snapshot(root) == before
    for folder in ("prolog.d", "epilog.d"):
        (root / "etc/slurm" / folder / "10-other").write_text("#!/bin/sh\n")
    run("uninstall", "--yes")
    assert not (root / "etc/slurm/prolog.d/50-scarbon").exists()


# --- what is written runs


@pytest.fixture
def installed(node, monkeypatch):
    """The files at places of the test's own, as they would stand under /."""
    library = node.home / "lib"
    monkeypatch.setattr(render, "LIBRARY", str(library))
    monkeypatch.setattr(render, "CONFIG", str(node.config))
    monkeypatch.setattr(render, "PROLOG", str(node.home / "prolog.d/50-scarbon"))
    monkeypatch.setattr(render, "EPILOG", str(node.home / "epilog.d/50-scarbon"))
    wanted = [
        file for file in render.render({}) if file.path.startswith(str(node.home)) and "hook.conf" not in file.path
    ]
    for change in files.compare(Path("/"), wanted):
        files.write(Path("/"), change, "stamp")
    return node


@pytest.mark.parametrize("compiled", [False, True])
def test_the_installed_prolog_and_epilog_run(installed, compiled):
    if compiled:
        library = Path(render.LIBRARY) / "scarbon_hook.py"
        subprocess.run(["/usr/bin/python3", "-I", "-S", "-m", "py_compile", str(library)], check=True)
    for context, path in (("prolog", render.PROLOG), ("epilog", render.EPILOG)):
        done = subprocess.run([path], env=installed.env(context, SLURM_JOB_GPUS="0,1"), capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert installed.holds() == [("start", 42), ("end", 42)]
    assert installed.mapping() == {"0": [], "1": []}
    assert (Path(render.LIBRARY) / "__pycache__").exists() == compiled


@pytest.mark.parametrize("harm", ["missing", "syntax", "empty"])
def test_a_hook_that_is_broken_does_not_fail_the_job(installed, harm):
    library = Path(render.LIBRARY) / "scarbon_hook.py"
    if harm == "missing":
        library.unlink()
    else:
        library.write_text("def (" if harm == "syntax" else "")
    done = subprocess.run([render.PROLOG], env=installed.env("prolog"), capture_output=True)
    assert done.returncode == 0
    assert done.stderr.startswith(b"scarbon: ")


def test_logrotate_takes_the_rendered_file(tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    for name in ("n1.jsonl", "n1.000001.jsonl", "n1.000002.jsonl", "other"):
        (spool / name).write_text("{}\n")
    for name in ("n1.jsonl", "n1.000001.jsonl"):
        os.utime(spool / name, (0, 0))
    rendered = next(f for f in render.render({"journal_dir": str(spool)}) if "logrotate" in f.path)
    conf = tmp_path / "scarbon"
    conf.write_text(rendered.text)
    conf.chmod(0o644)
    state = tmp_path / "state"
    seen = [f'"{spool}/n1.00000{number}.jsonl" 2020-1-1-0:0:0\n' for number in (1, 2)]
    state.write_text("logrotate state -- version 2\n" + "".join(seen))
    program = next((p for p in ("/usr/sbin/logrotate", "/usr/bin/logrotate") if Path(p).exists()), None)
    if program is None:
        pytest.skip("logrotate is not installed")
    done = subprocess.run([program, "-s", state, conf], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in spool.iterdir()) == ["n1.000002.jsonl", "n1.jsonl", "other"]


DEPLOY = Path(__file__).parents[2] / "deploy" / "hooks"


def test_the_files_for_plain_copies_are_what_install_writes():
    """`deploy/hooks/` is what `scarbon hooks install` writes, but for the hook itself: that is slurm_plugin/hook.py."""
    rendered = render.render({"mapping_dir": render.MAPPING_DIR, "ship_url": "https://books.example.org"})
    for file in rendered:
        if file.path.endswith("scarbon_hook.py"):
            continue  # slurm_plugin/hook.py itself is copied
        path = DEPLOY / file.path.lstrip("/")
        assert path.read_text() == file.text, path
        assert stat.S_IMODE(path.stat().st_mode) & 0o111 == file.mode & 0o111
    expected = {file.path.lstrip("/") for file in rendered if not file.path.endswith("scarbon_hook.py")}
    assert {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.is_file()} == expected


# --- what the page says


PAGE = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text()


def test_the_first_command_of_the_page_works_anywhere(tmp_path):
    command = next(line for line in PAGE.splitlines() if line.startswith("scarbon hooks install")).partition("#")[0]
    arguments = command.replace('"$(mktemp -d)"', str(tmp_path)).split()[2:]
    result = CliRunner().invoke(hooks, arguments)
    assert result.exit_code == 0, result.output
    assert list(tmp_path.iterdir()) == []


def test_the_page_has_every_setting():
    table = PAGE.partition("## Settings")[2].partition("\n## ")[0]
    for key in hook.DEFAULTS:
        assert f"`{key}`" in table, key
    assert set(render.ABOUT) == set(hook.DEFAULTS)


def test_the_pages_journal_line_has_the_hooks_keys(node):
    node.prolog()
    shown = json.loads(next(line for line in PAGE.splitlines() if line.startswith('{"v":1')))
    assert list(shown) == list(node.journal()[0])
    assert list(shown["gpus"][0]) == list(node.journal()[0]["gpus"][0])


def test_the_page_has_every_file_that_install_writes():
    for file in render.render({"mapping_dir": "/m", "ship_url": "https://books.example.org"}):
        assert file.path.replace("scarbon-ship.timer", "scarbon-ship.service") in PAGE
