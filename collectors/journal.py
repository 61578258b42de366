"""Who held which GPU, by the hooks' own journal: a folder of `<node>.jsonl`, as `slurm_plugin` writes it.

A hold is a start and the end that follows it, of the same job on the same node. A start without an end is a job that
runs or whose epilog was missed; an end without a start is one whose prolog was missed. Which attempt of the job it was,
and what the missed end must have been, is for `accounting.holders` to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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
        """Yield the holds that may overlap [start_s, end_s), and each line that is not one of the journal's.

        An epilog whose prolog was missed tells that its job held devices before, so it is yielded with that job.
        """
        tags, rejects = self._read
        yield from rejects
        there = {job.job_id for job in jobs}
        for tag in tags:
            overlaps = tag.start_s < end_s and (tag.end_s is None or tag.end_s >= start_s)
            if overlaps or (not tag.exact and tag.job_id in there):
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
            lines = text.split("\n")
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                event = _event(line)
                if isinstance(event, str):
                    torn = number == len(lines)  # nothing stands behind a newline at the end
                    reason = "the last line is torn: it was cut off while it was written" if torn else event
                    rejects.append(Reject("journal", f"{path}:{number}", line, reason))
                elif event is not None and event.get("cluster") in (self.cluster, None):
                    events.append(event)
        events.sort(key=lambda event: event["time"])
        return list(_pair(self.cluster, events)), rejects


def _whole(value: object) -> bool:
    return type(value) is int  # and no bool


def _text(value: object) -> bool:
    return isinstance(value, str)


def _time(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e11  # type: ignore[operator]


def _share(value: object) -> bool:
    return type(value) in (int, float) and 0 < value <= 1  # type: ignore[operator]


_Fields = Mapping[str, Callable[[object], bool]]

#: What an event's fields must be. Those of the second kind, and a GPU's, may be absent or null.
_NEEDED: _Fields = {"time": _time, "job_id": _whole, "node": _text, "gpus": lambda value: isinstance(value, list)}
_OPTIONAL: _Fields = {"cluster": _text, "restart": _whole, "share": _share}
_OF_GPU: _Fields = {"uuid": _text, "index": _whole, "mig": lambda value: _text(value) or _whole(value), "share": _share}


def _event(line: str) -> dict[str, Any] | str | None:
    """A start or an end; None for what is no hold (an error that the hook noted); else what is wrong, in words."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return "not a line of JSON"
    if not isinstance(event, dict) or event.get("v") != FORMAT_VERSION:
        return f"not an event of version {FORMAT_VERSION}"
    kind = event.get("event")
    if kind not in ("start", "end"):
        return None if kind == "error" else f"unknown event {kind!r}"
    wrong = [name for name, good in _NEEDED.items() if not good(event.get(name))]
    wrong += [name for name, good in _OPTIONAL.items() if event.get(name) is not None and not good(event[name])]
    if "gpus" not in wrong and not all(_good_gpu(gpu) for gpu in event["gpus"]):
        wrong.append("gpus")
    return f"{', '.join(wrong)}: missing, or not what it should be" if wrong else event


def _good_gpu(gpu: object) -> bool:
    return isinstance(gpu, dict) and all(gpu.get(name) is None or good(gpu[name]) for name, good in _OF_GPU.items())


def _pair(cluster: str, events: Sequence[dict[str, Any]]) -> Iterator[Tag]:
    """Tags from events in the order of time."""
    open_starts: dict[tuple[int, str, int | None], dict[str, Any]] = {}
    for event in events:
        key = (event["job_id"], event["node"], event.get("restart"))
        if event["event"] == "start":
            earlier = open_starts.get(key)
            if earlier is not None:  # its epilog was missed, or the prolog ran twice
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
