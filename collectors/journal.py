"""Who held which GPU, by the hooks' own journal: a folder of `<node>.jsonl`, as `slurm_plugin` writes it.

A hold is a start and the end that follows it, of the same job on the same node. A start without an end is a job that
runs or whose epilog was missed; an end without a start is one whose prolog was missed. Which attempt of the job it was,
and what the missed end must have been, is for `accounting.holders` to say.

What follows what is told by the order of lines, not by their times: a node's clock may step back. A node's journals
follow each other as they were put aside (`n1.000001.jsonl`, `n1.000002.jsonl`, `n1.jsonl`), and as a spool of sent
journals names them by no number (`n1.<16 hexadecimal digits>.jsonl`), these by the time of their first event.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from accounting.model import GpuSamples, Job, Reject, Tag
from accounting.sources import SourceError

FORMAT_VERSION = 1

#: How long a last line without its end may be one that is just being written, or sent: it is left for the next run.
WRITTEN_WITHIN_S = 600.0

#: What stands between a node's name and `.jsonl`: the number of a journal put aside, or a sent journal's id.
_PART = re.compile(r"\.(?:(?P<number>[0-9]{6,15})|(?P<sent>[0-9a-f]{16}))$")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a hook noted when it could not do all of its work."""

    node: str
    time_s: float
    job_id: int | None
    message: str


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
        tags, rejects, _ = self._read
        yield from rejects
        there = {job.job_id for job in jobs}
        for tag in tags:
            overlaps = tag.start_s < end_s and (tag.end_s is None or tag.end_s >= start_s)
            if overlaps or (not tag.exact and tag.job_id in there):
                yield tag

    def troubles(self, since_s: float) -> Sequence[Trouble]:
        """What the hooks noted of themselves from `since_s` on, in the order of time. SourceError as for `tags`."""
        return sorted((one for one in self._read[2] if one.time_s >= since_s), key=lambda one: one.time_s)

    @cached_property
    def _read(self) -> tuple[list[Tag], list[Reject], list[Trouble]]:
        if not self._folder.is_dir():
            raise SourceError(
                f"the journal's folder {self._folder} does not exist",
                "check gpu.journal in the configuration, and that the hooks are installed (scarbon hooks status)",
            )
        files = [_read_file(path) for path in sorted(self._folder.glob("*.jsonl"))]
        events = [event for file in sorted(files, key=lambda file: file.place) for event in file.events]
        ours = [event for event in events if event.get("cluster") in (self.cluster, None)]
        troubles = [_trouble(event) for event in ours if event["event"] == "error"]
        holds = [event for event in ours if event["event"] != "error"]
        return list(_pair(self.cluster, holds)), [reject for file in files for reject in file.rejects], troubles


@dataclass(frozen=True, slots=True)
class _File:
    place: tuple[str, int, float]  # the node, and where the journal stands among those of the node
    events: Sequence[dict[str, Any]]
    rejects: Sequence[Reject]


def _read_file(path: Path) -> _File:
    try:
        # As bytes: reading as text would turn a carriage return into a new line, and a row is kept as it came.
        text = path.read_bytes().decode("utf-8", errors="backslashreplace")
        age_s = time.time() - path.stat().st_mtime
    except OSError as error:
        raise SourceError(f"the journal {path} cannot be read: {error.strerror}", "check its owner and mode") from None
    events: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        event = _event(line)
        if isinstance(event, str):
            torn = number == len(lines)  # nothing stands behind a newline at the end
            if torn and 0 <= age_s < WRITTEN_WITHIN_S:
                continue
            reason = "the last line is torn: it was cut off while it was written" if torn else event
            rejects.append(Reject("journal", f"{path}:{number}", line, reason))
        else:
            events.append(event)
    part = _PART.search(path.stem)
    node = path.stem[: part.start()] if part else path.stem
    if part and part["number"]:
        place = (node, int(part["number"]), 0.0)
    else:  # the one that is written now is the last; of those that were sent, the first event tells
        place = (node, 10**15, float(events[0]["time"]) if part and events else 0.0)
    return _File(place, events, rejects)


def _trouble(event: Mapping[str, Any]) -> Trouble:
    return Trouble(event["node"], float(event["time"]), event.get("job_id"), event["message"])


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
_OPTIONAL: _Fields = {"cluster": _text, "job_id": _whole, "restart": _whole, "share": _share}
_OF_ERROR: _Fields = {"time": _time, "node": _text, "message": _text}
_OF_GPU: _Fields = {"uuid": _text, "index": _whole, "mig": lambda value: _text(value) or _whole(value), "share": _share}


def _event(line: str) -> dict[str, Any] | str:
    """A start, an end, or an error that the hook noted; else what is wrong with the line, in words."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return "not a line of JSON"
    if not isinstance(event, dict) or event.get("v") != FORMAT_VERSION:
        return f"not an event of version {FORMAT_VERSION}"
    kind = event.get("event")
    if kind not in ("start", "end", "error"):
        return f"unknown event {kind!r}"
    needed = _OF_ERROR if kind == "error" else _NEEDED
    wrong = [name for name, good in needed.items() if not good(event.get(name))]
    optional = [name for name in _OPTIONAL if name not in needed and event.get(name) is not None]
    wrong += [name for name in optional if not _OPTIONAL[name](event[name])]
    if kind != "error" and "gpus" not in wrong and not all(_good_gpu(gpu) for gpu in event["gpus"]):
        wrong.append("gpus")
    return f"{', '.join(wrong)}: missing, or not what it should be" if wrong else event


def _good_gpu(gpu: object) -> bool:
    return isinstance(gpu, dict) and all(gpu.get(name) is None or good(gpu[name]) for name, good in _OF_GPU.items())


def _pair(cluster: str, events: Sequence[dict[str, Any]]) -> Iterator[Tag]:
    """Tags from starts and ends, those of a node in the order in which they happened."""
    open_starts: dict[tuple[int, str], dict[int | None, dict[str, Any]]] = defaultdict(dict)
    for event in events:
        starts, restart = open_starts[event["job_id"], event["node"]], event.get("restart")
        if event["event"] == "start":
            earlier = starts.pop(restart, None)
            if earlier is not None:  # its epilog was missed, or the prolog ran twice
                yield from _tags(cluster, earlier, earlier["time"], None)
            starts[restart] = event
            continue
        # In the Epilog of an attempt that is requeued, Slurm may count the next one already.
        same = next((one for one in (restart, None if restart is None else restart - 1) if one in starts), None)
        start = starts.pop(same, None)
        if start is None:
            yield from _tags(cluster, event, event["time"], event["time"], exact=False, epilog_only=True)
        elif event["time"] < start["time"]:  # the clock stepped back: one of the two is right, and none knows which
            yield from _tags(cluster, start, event["time"], start["time"], exact=False)
        else:
            yield from _tags(cluster, start, start["time"], event["time"])
    for starts in open_starts.values():
        for start in starts.values():
            yield from _tags(cluster, start, start["time"], None)


def _tags(
    cluster: str,
    event: dict[str, Any],
    start_s: float,
    end_s: float | None,
    *,
    exact: bool = True,
    epilog_only: bool = False,
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
            epilog_only=epilog_only,
        )
