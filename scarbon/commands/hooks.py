"""`scarbon hooks`: put the Prolog and Epilog on a node or into a node's image, look after them, take them away.

It writes files and nothing else: it starts no service and changes no line of slurm.conf, but says which.
"""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import click

from scarbon.units import counted
from slurm_plugin import files, hook, render, slurm_conf

SLURM_CONF = "/etc/slurm/slurm.conf"

root_option = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default="/",
    show_default=True,
    help="The node's root folder: / for this host, or where an image is mounted.",
)
slurm_conf_option = click.option(
    "--slurm-conf",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"The cluster's slurm.conf. [default: {SLURM_CONF} under the root]",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def hooks() -> None:
    """Record which job holds which GPU, with a Prolog and an Epilog of Slurm's.

    \b
    Try it out:  scarbon hooks install --root "$(mktemp -d)" --dry-run
    """


@hooks.command()
@root_option
@slurm_conf_option
@click.option("--group", help="The accounting user's group, which may read the journal: a name or a number.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A setting of hook.conf; repeatable.")
@click.option("--exporter-unit", help=f"dcgm-exporter's systemd unit. [default: {render.EXPORTER_UNIT}]")
@click.option("--python", help=f"The node's Python, 3.6 or later, that runs the hooks. [default: {render.PYTHON}]")
@dry_run_option
@yes_option
def install(
    root: Path,
    slurm_conf: Path | None,
    group: str | None,
    assignments: tuple[str, ...],
    exporter_unit: str | None,
    python: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Write the hooks' files, after showing what changes.

    Values in an existing hook.conf are kept. A file that this command did not write is never replaced.

    \b
    Example:  scarbon hooks install --group scarbon --set journal_dir=/var/spool/scarbon
    """
    conf = load_slurm_conf(root, slurm_conf)
    settings = node_settings(root, conf, group, assignments)
    choices = Choices.of(root, exporter_unit, python)
    changes = compare(root, render.render(settings, *choices))
    wanted = [change for change in changes if change.state != "same"]
    for change in wanted:
        click.echo(files.diff(change))
    if not wanted:
        click.echo("Every file is as it should be.", err=True)
    elif dry_run:
        click.echo(f"{counted(len(wanted), 'file')} would be written; nothing was changed.", err=True)
    else:
        if not yes:
            click.confirm(f"Write {counted(len(wanted), 'file')}?", abort=True, err=True)
        write(root, wanted, choices.python)
        next_steps(root, settings, choices)
    show_findings(conf, settings)


@hooks.command()
@root_option
@slurm_conf_option
def status(root: Path, slurm_conf: Path | None) -> None:
    """Say what is installed, what Slurm lacks, and what the hooks last wrote. Exit code 1 where something is wrong.

    \b
    Example:  scarbon hooks status
    """
    settings, problems = read_hook_conf(root)
    for problem in problems:
        click.echo(f"problem  {problem}")
    bad = bool(problems)
    for change in compare(root, render.render(settings, *Choices.of(root)), refuse=False):
        words = {"same": "ok", "new": "missing", "changed": "differs", "foreign": "not ours"}
        click.echo(f"{words[change.state]:8} {change.file.path}")
        bad = bad or change.state != "same"
    every = {**hook.DEFAULTS, **settings}
    show_journal(root, every["journal_dir"])
    show_mapping(root, every["mapping_dir"])
    conf = load_slurm_conf(root, slurm_conf)
    if show_findings(conf, settings) or bad:
        raise SystemExit(1)


@hooks.command()
@root_option
@slurm_conf_option
@dry_run_option
@yes_option
def uninstall(root: Path, slurm_conf: Path | None, dry_run: bool, yes: bool) -> None:
    """Take the hooks' files away; each is kept under /var/backups/scarbon. The journal stays.

    \b
    Example:  scarbon hooks uninstall --dry-run
    """
    settings, _ = read_hook_conf(root)
    targets = installed(root, settings)
    if not targets:
        click.echo("There is nothing of ours.", err=True)
        return
    refuse_to_strand_slurm(root, load_slurm_conf(root, slurm_conf))
    for target in targets:
        click.echo(f"remove {target}")
    if dry_run:
        click.echo(f"{counted(len(targets), 'file')} would be removed; nothing was changed.", err=True)
        return
    if not yes:
        click.confirm(f"Remove {counted(len(targets), 'file')}?", abort=True, err=True)
    stamp = run_stamp()
    for target in targets:
        files.remove(root, target, stamp)
    click.echo(f"They are kept in {root / files.BACKUPS.lstrip('/') / stamp}.", err=True)
    mapping = {**hook.DEFAULTS, **settings}["mapping_dir"]
    if mapping:
        empty_mapping(root / mapping.lstrip("/"))
    click.echo("To do: systemctl daemon-reload, and restart dcgm-exporter.", err=True)


class Choices(NamedTuple):
    """What an installation chose beside hook.conf; a later one finds it in the files."""

    exporter_unit: str
    python: str

    @classmethod
    def of(cls, root: Path, exporter_unit: str | None = None, python: str | None = None) -> Choices:
        """What is asked for, else what is installed, else the defaults."""
        drop_ins = [path for path in (root / "etc/systemd/system").glob("*.d/scarbon.conf") if files.is_ours(path)]
        prolog = files.target_of(root, render.PROLOG)
        installed_unit = drop_ins[0].parent.name[: -len(".d")] if drop_ins else render.EXPORTER_UNIT
        installed_python = render.PYTHON
        if files.is_ours(prolog):
            installed_python = prolog.read_text(encoding="utf-8").partition(" ")[0].lstrip("#!")
        made = cls(exporter_unit or installed_unit, python or installed_python)
        if (root / "usr/bin").is_dir() and not os.path.lexists(root / made.python.lstrip("/")):
            raise click.ClickException(
                f"the node has no {made.python}, and Slurm drains a node whose Prolog cannot be run; "
                f"--python names another (RHEL 8 has /usr/libexec/platform-python)"
            )
        return made


def load_slurm_conf(root: Path, path: Path | None) -> slurm_conf.SlurmConf | None:
    """The cluster's slurm.conf, or None with a word about it."""
    path = path or root / SLURM_CONF.lstrip("/")
    try:
        return slurm_conf.SlurmConf(path)
    except OSError as error:
        click.echo(f"{path} cannot be read: {error.strerror}; --slurm-conf names another.", err=True)
        return None


def read_hook_conf(root: Path) -> tuple[dict[str, str], list[str]]:
    """The settings that an installed hook.conf gives, and what is wrong with it."""
    path = files.target_of(root, render.CONFIG)
    if not path.is_file():
        return {}, []
    settings, problems = hook.read_config(str(path), True)
    written = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key in settings:
            written[key] = value
    return written, problems


def node_settings(
    root: Path, conf: slurm_conf.SlurmConf | None, group: str | None, assignments: tuple[str, ...]
) -> dict[str, str]:
    """hook.conf's values: what is installed, else what Slurm's configuration says, and over both what is asked for."""
    settings: dict[str, str] = {"mapping_dir": render.MAPPING_DIR}
    if conf:
        found, reasons = slurm_conf.gpu_settings(conf)
        settings.update(found)
        for reason in reasons:
            click.echo(f"From {conf.path.parent}: {reason}", err=True)
    settings.update(read_hook_conf(root)[0])
    if group:
        settings["journal_gid"] = group_number(root, group)
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or key not in hook.DEFAULTS:
            near = difflib.get_close_matches(key, hook.DEFAULTS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise click.BadParameter(f"{key} is not a setting of hook.conf{hint}", param_hint="--set")
        check_value(key, value)
        settings[key] = value
    return settings


def check_value(key: str, value: str) -> None:
    """Refuse a value that the hook would stumble over."""
    if "\n" in value:
        raise click.BadParameter(f"{key}: a value is one line", param_hint="--set")
    if key in hook.NUMBERS and value:
        try:
            float(value)
        except ValueError:
            raise click.BadParameter(f"{key}: {value!r} is not a number", param_hint="--set") from None
    if key.endswith(("_dir", "_file", "_table")) and value and not value.startswith("/"):
        raise click.BadParameter(f"{key}: {value!r} is not an absolute path", param_hint="--set")
    choices = {"shared_gpus": ("yes", "no"), "gres_order": ("minor", "pci")}.get(key)
    if choices and value not in choices:
        raise click.BadParameter(f"{key}: {value!r} is neither {' nor '.join(choices)}", param_hint="--set")


def group_number(root: Path, group: str) -> str:
    """A group's number, from the node's own /etc/group: hooks must not ask a directory service."""
    if group.isascii() and group.isdigit():
        return group
    path = root / "etc/group"
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        fields = line.split(":")
        if len(fields) > 2 and fields[0] == group:
            return fields[2]
    raise click.BadParameter(
        f"{path} has no group {group}; make it (groupadd --system {group}) or give its number", param_hint="--group"
    )


def compare(root: Path, rendered: list[render.RenderedFile], refuse: bool = True) -> list[files.Change]:
    """What installing would change; an error where somebody else's file is in the way."""
    try:
        changes = files.compare(root, rendered)
    except files.NotOursError as error:
        raise click.ClickException(str(error)) from None
    foreign = [str(change.target) for change in changes if change.state == "foreign"]
    if foreign and refuse:
        raise click.ClickException(
            f"{', '.join(foreign)}: not written by scarbon hooks, so left alone; move it away and run this again"
        )
    return changes


def run_stamp() -> str:
    """The name of this run's backup folder."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def write(root: Path, changes: list[files.Change], python: str) -> None:
    """Write the files, and compile the hook where it is this host's."""
    stamp = run_stamp()
    try:
        for change in changes:
            kept = files.write(root, change, stamp)
            click.echo(f"wrote {change.target}" + (f" (before: {kept})" if kept else ""), err=True)
    except OSError as error:
        raise click.ClickException(f"{error.filename or error}: {error.strerror}; are you root?") from None
    library = f"{render.LIBRARY}/scarbon_hook.py"
    if root.resolve() == Path("/"):
        done = subprocess.run([python, "-I", "-S", "-m", "py_compile", library], capture_output=True, text=True)
        if done.returncode:
            click.echo(f"{python} could not compile {library}: {done.stderr.strip()}", err=True)


def next_steps(root: Path, settings: dict[str, str], choices: Choices) -> None:
    """What is left to do on the node."""
    steps = ["systemd-tmpfiles --create scarbon.conf"]
    if root.resolve() != Path("/"):
        steps.insert(0, f"{choices.python} -m py_compile {render.LIBRARY}/scarbon_hook.py")
    if settings.get("mapping_dir") or settings.get("ship_url"):
        steps.append("systemctl daemon-reload")
    if settings.get("mapping_dir"):
        steps.append(f"systemctl restart {choices.exporter_unit}")
    if settings.get("ship_url"):
        steps.append("systemctl enable --now scarbon-ship.timer")
    click.echo("To do on the node, as root:", err=True)
    for step in steps:
        click.echo(f"  {step}", err=True)


def show_findings(conf: slurm_conf.SlurmConf | None, settings: dict[str, str]) -> bool:
    """Say what Slurm's configuration lacks. Returns whether something is wrong."""
    if conf is None:
        click.echo("Slurm's configuration was not looked at. These lines must be in its slurm.conf:")
        for line in slurm_conf.NEEDED_LINES:
            click.echo(f"         {line}")
        return False
    budget_s = float(settings.get("budget_s") or hook.DEFAULTS["budget_s"])
    click.echo(f"Looked at {conf.path}.", err=True)
    found = slurm_conf.check(conf, budget_s)
    for finding in found:
        click.echo(f"{finding.level:8} slurm.conf: {finding.message}")
        if finding.line:
            click.echo(f"         put this line in: {finding.line}")
    if any(finding.level == "problem" for finding in found):
        click.echo("Once the files are on every node: change slurm.conf, then `scontrol reconfigure`.", err=True)
        return True
    return False


def show_journal(root: Path, folder: str) -> None:
    """When each journal here was last written, and what the hooks complained of in its last lines."""
    for path in sorted((root / folder.lstrip("/")).glob("*.jsonl")) if folder else []:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - hook.TAIL_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()
        errors = [line for line in lines if line.startswith('{"v":1,"event":"error"')]
        age = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(path.stat().st_mtime))
        click.echo(f"journal  {path}: last written {age}, {len(errors)} errors in its last {len(lines)} lines")
        if errors:
            click.echo(f"         the last: {last_message(errors[-1])}")


def last_message(line: str) -> str:
    """What an error line of the journal says."""
    try:
        return f"job {(entry := json.loads(line))['job_id']}: {entry['message']}"
    except (ValueError, KeyError):
        return line


def show_mapping(root: Path, folder: str) -> None:
    """Who is in dcgm-exporter's folder."""
    path = root / folder.lstrip("/")
    for file in sorted(path.iterdir()) if folder and path.is_dir() else []:
        if hook.is_mapping_name(file.name):
            click.echo(f"mapping  {file}: {' '.join(file.read_text(errors='replace').split()) or 'no job'}")


def installed(root: Path, settings: dict[str, str]) -> list[Path]:
    """Every file of ours that is there, whatever it was installed with."""
    every = {**settings, "mapping_dir": render.MAPPING_DIR, "ship_url": "https://any", "journal_dir": "/any"}
    targets = [files.target_of(root, file.path) for file in render.render(every)]
    targets += (root / "etc/systemd/system").glob("*.service.d/scarbon.conf")
    return sorted({target for target in targets if files.is_ours(target)})


def refuse_to_strand_slurm(root: Path, conf: slurm_conf.SlurmConf | None) -> None:
    """A Prolog= that matches no file at all fails every job, and Slurm drains the node."""
    for key, ours in (("Prolog", render.PROLOG), ("Epilog", render.EPILOG)):
        for value in conf.settings.get(key.lower(), []) if conf else []:
            pattern = value if value.startswith("/") else f"{SLURM_CONF.rpartition('/')[0]}/{value}"
            matched = {f"/{path.relative_to(root)}" for path in root.glob(pattern.lstrip("/"))}
            if matched == {ours}:
                raise click.ClickException(
                    f"{conf.path if conf else ''} has {key}={value}, which would match no file any more: Slurm would "
                    f"drain the node. Take that line out, run `scontrol reconfigure`, and then this again"
                )


def empty_mapping(folder: Path) -> None:
    """No job holds a GPU as far as we know; the files stay, as dcgm-exporter fails when one goes."""
    for name in hook.list_or_nothing(str(folder)):
        if hook.is_mapping_name(name):
            hook.put(str(folder), name, b"")
