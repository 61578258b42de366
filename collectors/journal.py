"""Who held which GPU, by the hooks' own journal: a folder of `<node>.jsonl`, as `slurm_plugin` writes it.

A hold is a start and the end that follows it, of the same job on the same node. A start without an end is a job that
runs or whose epilog was missed; an end without a start is one whose prolog was missed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from accounting.model import GpuSamples, Job, Reject, Tag
from accounting.sources import SourceError

FORMAT_VERSION = 1


class Journal:
    """The journals of all nodes of a cluster, in one folder. Read once, the first time that it is asked."""

    name = "journal"

    def __init__(self, cluster: str, folder: Path) -> None:
        self.cluster = cluster
        self._folder = folder

    def tags(
        self, start_s: float, end_s: float, jobs: Sequence[Job], samples: Sequence[GpuSamples]
    ) -> Iterator[Tag | Reject]:
        """Yield the holds that overlap [start_s, end_s), and each line that is not one of the journal's."""
        tags, rejects = self._read
        yield from rejects
        for tag in tags:
            if tag.start_s < end_s and (tag.end_s is None or tag.end_s >= start_s):
                yield tag

    @cached_property
    def _read(self) -> tuple[list[Tag], list[Reject]]:
        if not self._folder.is_dir():
            raise SourceError(
                f"the journal's folder {self._folder} does not exist",
                "check gpu.journal in the configuration, and that the hooks are installed (scarbon hooks status)",
            )
        events: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        for path in sorted(self._folder.glob("*.jsonl")):
            try:
                text = path.read_text(encoding="utf-8", errors="backslashreplace")
            except OSError as error:
                raise SourceError(
                    f"the journal {path} cannot be read: {error.strerror}", "check its owner and mode"
                ) from None
            lines = text.splitlines(keepends=True)
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                event = _event(line)
                if isinstance(event, str):
                    torn = number == len(lines) and not line.endswith("\n")
                    reason = "the last line is torn: it was cut off while it was written" if torn else event
                    rejects.append(Reject("journal", f"{path}:{number}", line.rstrip("\n"), reason))
                elif event is not None and event["cluster"] in (self.cluster, None):
                    events.append(event)
        events.sort(key=lambda event: event["time"])
        return list(_pair(self.cluster, events)), rejects


def _event(line: str) -> dict[str, Any] | str | None:
    """A start or an end; None for what is no hold (an error that the hook noted); else what is wrong, in words."""
    try:
        event = json.loads(line)
    except ValueError:
        return "not a line of JSON"
    if not isinstance(event, dict) or event.get("v") != FORMAT_VERSION:
        return f"not an event of version {FORMAT_VERSION}"
    kind = event.get("event")
    if kind not in ("start", "end"):
        return None if kind == "error" else f"unknown event {kind!r}"
    wanted: dict[str, type | tuple[type, ...]] = {"time": (int, float), "job_id": int, "node": str, "gpus": list}
    for name, types in wanted.items():
        if not isinstance(event.get(name), types) or isinstance(event.get(name), bool):
            return f"{name} is missing or not what it should be"
    if not all(isinstance(gpu, dict) for gpu in event["gpus"]):
        return "gpus is not a list of objects"
    event.setdefault("cluster", None)
    return event


def _pair(cluster: str, events: Sequence[dict[str, Any]]) -> Iterator[Tag]:
    """Tags from events in the order of time."""
    open_starts: dict[tuple[int, str, int | None], dict[str, Any]] = {}
    for event in events:
        key = (event["job_id"], event["node"], event.get("restart"))
        if event["event"] == "start":
            earlier = open_starts.get(key)
            if earlier is not None and earlier["gpus"] == event["gpus"]:
                continue  # the prolog ran twice
            if earlier is not None:
                yield from _tags(cluster, earlier, earlier["time"], None)
            open_starts[key] = event
        else:
            start = open_starts.pop(key, None)
            if start is not None:
                yield from _tags(cluster, start, start["time"], event["time"])
            else:
                yield from _tags(cluster, event, event["time"], event["time"], exact=False)
    for start in open_starts.values():
        yield from _tags(cluster, start, start["time"], None)


def _tags(
    cluster: str, event: dict[str, Any], start_s: float, end_s: float | None, *, exact: bool = True
) -> Iterator[Tag]:
    for gpu in event["gpus"]:
        yield Tag(
            cluster=cluster,
            job_id=event["job_id"],
            node=event["node"],
            uuid=gpu.get("uuid"),
            index=gpu.get("index"),
            start_s=float(start_s),
            end_s=None if end_s is None else float(end_s),
            source="journal",
            exact=exact,
            restart=event.get("restart"),
            mig=None if gpu.get("mig") is None else str(gpu["mig"]),
            share=gpu.get("share", event.get("share")),
        )
