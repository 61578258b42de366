"""`scarbon collect --poll` and `--watch`: ask the controllers which GPUs their running jobs hold, and keep the answers.

No accounting is done here: `collectors.gres_index` reads what was kept when the window is accounted.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click

from scarbon.errors import UserError, explain
from site_config.schema import SiteConfig


def poll(config: SiteConfig, names: Sequence[str], quiet: bool) -> None:
    """Ask each controller once. UserError where one does not answer, after the others were asked."""
    from accounting.sources import SourceError

    problems: list[SourceError] = []
    for name in polled(config, names):
        try:
            seen, added = _poll(config, name)
        except SourceError as error:
            problems.append(SourceError(f"{name}: {error.what}", error.advice))
        else:
            if not quiet:
                click.echo(f"{name}: {seen} holds by the controller, {added} of them new", err=True)
    if problems:
        raise UserError("; ".join(problem.what for problem in problems), problems[0].advice)


def watch(config: SiteConfig, names: Sequence[str], every_s: float, quiet: bool) -> None:
    """Ask every `every_s` seconds until SIGINT or SIGTERM; a controller that does not answer is told, and asked again.

    UserError where there is none to ask.
    """
    polled(config, names)
    with _until_stopped() as stopped:
        while not stopped.is_set():
            began_s = time.monotonic()
            try:
                poll(config, names, quiet)
            except UserError as error:
                click.echo(told[0] if (told := explain(error)) else str(error), err=True)
            stopped.wait(max(began_s + every_s - time.monotonic(), 0.0))


def polled(config: SiteConfig, names: Sequence[str]) -> list[str]:
    """Those of the clusters whose controller is to be asked; UserError where there is none."""
    from scarbon.wiring import scontrol

    chosen = [name for name in names if (gpu := config.clusters[name].gpu) and "gres_index" in gpu.holders]
    if not chosen:
        raise UserError("no cluster has gres_index in gpu.holders", "add it there, or do not poll")
    for name in chosen:
        if scontrol(config.clusters[name]) is None:
            source = config.clusters[name].jobs.source
            raise UserError(f"{name}: there is no controller to ask with jobs.source: {source}", "use auto or sacct")
    return chosen


def _poll(config: SiteConfig, name: str) -> tuple[int, int]:
    """How many holds the controller named, and how many were new."""
    from collectors.gres_index import Sightings, ask
    from scarbon.wiring import scontrol

    program = scontrol(config.clusters[name])
    assert program is not None
    seen = ask(name, program, time.time())
    return len(seen), Sightings(config.gres_index_dir(name)).keep(seen)


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """An event that is set by SIGINT or SIGTERM, in whatever the program is just doing."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
