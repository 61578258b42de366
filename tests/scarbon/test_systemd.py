"""The systemd units in deploy/: systemd understands them, and the commands in them exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from scarbon.cli import cli
from tests.site import environment

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted(path.name for kind in ("service", "timer") for path in DEPLOY.glob(f"*.{kind}"))
PROGRAM = "/opt/scarbon/bin/scarbon"


def test_the_units_are_there() -> None:
    assert {"scarbon-collect.timer", "scarbon-report.timer"} <= set(UNITS)
    for timer in (name for name in UNITS if name.endswith(".timer")):
        assert timer.replace(".timer", ".service") in UNITS


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_it(unit: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    program = tmp_path / "scarbon"  # it must be there to be found
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in UNITS:
        (tmp_path / name).write_text((DEPLOY / name).read_text().replace(PROGRAM, str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)],
        env=environment(SYSTEMD_UNIT_PATH=f"{tmp_path}:"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", [name for name in UNITS if name.endswith(".service")])
def test_its_command_is_one_of_ours(unit: str) -> None:
    (line,) = re.findall(r"^ExecStart=(.*)$", (DEPLOY / unit).read_text(), re.MULTILINE)
    program, option, config, verb, *rest = shlex.split(line)
    assert (program, option, config) == (PROGRAM, "--config", "/etc/scarbon/site.yaml")
    with click.Context(cli) as ctx:
        command = cli.get_command(ctx, verb)
        assert command is not None
        with command.make_context(verb, rest, parent=ctx):  # every option is known, every value can be meant
            pass
