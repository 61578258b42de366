"""A stand-in for Prometheus on 127.0.0.1: answers range selectors from a recording, and fails in every way on demand.

It speaks HTTP through `http.server`, and cuts its answer off by really closing the socket.
"""

from __future__ import annotations

import json
import re
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

SELECTOR = re.compile(r"(?P<metric>\w+)\{(?P<matchers>.*)\}\[(?P<ms>\d+)ms\]")
MATCHER = re.compile(r'(\w+)(=~|=)"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class StoredSeries:
    """One series as it was scraped: times in UTC epoch s, values as text."""

    labels: dict[str, str]
    times: list[float]
    values: list[str]


@dataclass
class Answer:
    """What goes over the wire in place of the right answer."""

    body: str
    status: int = 200
    content_type: str = "application/json"
    cut: bool = False  # half of the body, then the end of the connection
    hang: bool = False  # nothing, until the server stops


def trouble(kind: str) -> Answer:
    """An answer that is no whole answer of Prometheus."""
    some = {"resultType": "matrix", "result": [{"metric": {"UUID": "GPU-1"}, "values": [[1, "2"]]}]}
    return {
        "503": Answer('{"status":"error","errorType":"unavailable","error":"the store starts up"}', 503),
        "proxy 503": Answer("<html><h1>503 Service Unavailable</h1></html>", 503, "text/html"),
        "HTML": Answer("<html><head><title>Please sign in</title></head></html>", 200, "text/html"),
        "status error": Answer('{"status":"error","errorType":"execution","error":"query timed out in expression"}'),
        "warnings": Answer(json.dumps({"status": "success", "warnings": ["store gateway n7 is away"], "data": some})),
        "cut off": Answer(json.dumps({"status": "success", "data": some}) + " " * 2000, cut=True),
        "hangs": Answer("", hang=True),
        "not series": Answer('{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}'),
        "empty": Answer(""),
        "a list": Answer("[]"),
    }[kind]


@dataclass
class PrometheusStub:
    """The server. `answer` decides on each request: None for the right answer. `asked` keeps the queries."""

    series: list[StoredSeries] = field(default_factory=list)
    answer: Callable[[str], Answer | None] = lambda query: None
    delay_s: float = 0.0
    asked: list[tuple[str, float]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stopping = threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub._handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()  # waits for the requests that are being answered

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        words = {name: values[0] for name, values in parse_qs(parts.query).items()}
        query = words.get("query", parts.path)
        self.asked.append((query, float(words.get("time", "0"))))
        self.headers.append(dict(request.headers))
        answer = self.answer(query)
        if answer is None:
            answer = Answer(json.dumps({"status": "success", "data": self._data(parts.path, words)}))
        if answer.hang or self.delay_s:
            self._stopping.wait(None if answer.hang else self.delay_s)
        if answer.hang:
            return
        body = answer.body.encode()
        try:
            request.send_response(answer.status)
            request.send_header("Content-Type", answer.content_type)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body[: len(body) // 2] if answer.cut else body)
        except OSError:  # the client is gone
            return

    def _data(self, path: str, words: dict[str, str]) -> dict[str, Any]:
        if path == "/api/v1/status/buildinfo":
            return {"version": "2.42.0"}
        found = SELECTOR.fullmatch(words["query"])
        assert found, words["query"]
        end_s = float(words["time"])
        matchers = [
            (name, kind, value.replace('\\"', '"').replace("\\\\", "\\"))
            for name, kind, value in MATCHER.findall(found["matchers"])
        ]
        result = []
        for one in self.series:
            labels = {"__name__": found["metric"], **one.labels}
            if one.labels["__name__"] != found["metric"] or not all(_fits(labels, *matcher) for matcher in matchers):
                continue
            first = bisect_left(one.times, end_s - int(found["ms"]) / 1000)
            last = bisect_right(one.times, end_s)
            if last > first:
                values = [[one.times[i], one.values[i]] for i in range(first, last)]
                result.append({"metric": labels, "values": values})
        return {"resultType": "matrix", "result": result}


def _fits(labels: dict[str, str], name: str, kind: str, value: str) -> bool:
    given = labels.get(name, "")
    return given == value if kind == "=" else re.fullmatch(value, given) is not None


def stored(recording: Path) -> list[StoredSeries]:
    """The series of an OpenMetrics file, as a Prometheus that scraped them would hold them."""
    found: dict[str, StoredSeries] = {}
    for line in recording.read_text().splitlines():
        if line.startswith("#"):
            continue
        name, value, at = line.rsplit(" ", 2)
        if name not in found:
            metric, _, labels = name.partition("{")
            pairs = re.findall(r'(\w+)="([^"]*)"', labels)
            found[name] = StoredSeries({"__name__": metric, **dict(pairs)}, [], [])
        found[name].times.append(float(at))
        found[name].values.append(value)
    return list(found.values())


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait until something has happened; AssertionError where it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s in vain until {what}"
        time.sleep(0.005)
