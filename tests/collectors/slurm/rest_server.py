"""A stand-in for slurmrestd: it refuses any path, parameter or token that it does not know, as the real one does.

Answers follow Slurm 22.05's slurmrestd (seen) and the published schemas of the later ones.
"""

from __future__ import annotations

import json
import re
import socketserver
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.collectors.slurm import world
from tests.collectors.slurm.world import Record

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdW4iOiJhZGEifQ.c2lnbmF0dXJl"

#: Query parameters of `/jobs`; `show_duplicates` came with the data parsers, and duplicates are always shown before.
PARAMETERS = ("start_time", "end_time", "account", "cluster", "users", "skip_steps")


class RestServer:
    """One slurmrestd, on a port of 127.0.0.1 or on a Unix socket."""

    def __init__(
        self,
        versions: tuple[int | None, ...] = (None,),
        records: tuple[Record, ...] = world.RECORDS,
        socket: Path | None = None,
        answer: Callable[[str, Mapping[str, str]], tuple[int, bytes] | None] | None = None,
    ) -> None:
        """Serve `versions` (None is 22.05's v0.0.38, which has no data parser); `answer` may take a request over."""
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.versions = {version or 38: version for version in versions}
        self.records = records
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {
                    name: values[0] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()
                }
                outer.requests.append((parts.path, query))
                authentic = socket is not None or self.headers.get("X-SLURM-USER-TOKEN") == TOKEN
                taken = answer(parts.path, query) if answer else None
                status, body = taken or (
                    outer.respond(parts.path, query) if authentic else (401, b"Authentication failure")
                )
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.removesuffix(b"<cut>"))

            def log_message(self, *_: Any) -> None:
                pass

            def address_string(self) -> str:
                return "client"

        if socket is None:
            self._server: socketserver.BaseServer = HTTPServer(("127.0.0.1", 0), Handler)
            self.url = f"http://127.0.0.1:{self._server.server_address[1]}"  # type: ignore[index]
        else:
            self._server = socketserver.UnixStreamServer(str(socket), Handler)
            self.url = f"unix://{socket}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def respond(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        if path == "/openapi":
            return 200, json.dumps({"openapi": "3.0.2", "paths": self.paths()}).encode()
        known = self.paths().get(path)
        if known is None:
            return 404, b"Unable find requested URL"
        version = self.versions[int(path.split("/")[2].rpartition(".")[2])]
        if path.rstrip("/").endswith("clusters"):
            return 200, json.dumps({"clusters": [{"name": "alpha"}, {"name": "beta"}], "errors": []}).encode()
        allowed = {parameter["name"] for parameter in known["get"]["parameters"]}
        if not set(query) <= allowed:
            error = {"error_number": 9000, "error": "Invalid query", "description": "Unknown Query field"}
            return 500, json.dumps({"errors": [error], "jobs": []}).encode()
        start_s, end_s = (int(re.fullmatch(r"uts(\d+)", query[name])[1]) for name in ("start_time", "end_time"))  # type: ignore[index]
        records = [
            record
            for record in self.records
            if record.cluster == query["cluster"] and world.matches(record, start_s, end_s)
        ]
        if version is not None and query.get("show_duplicates") != "true":
            records = list({record.id: record for record in records}.values())
        made = world.answer(records, version)
        if not records and version is None:
            made["errors"] = [
                {
                    "description": "Nothing found",
                    "error_number": 9003,
                    "error": "Nothing found with query",
                    "source": "x",
                }
            ]
        return 200, json.dumps(made, indent=2).encode()

    def paths(self) -> dict[str, Any]:
        paths: dict[str, Any] = {"/slurm/v0.0.38/jobs": {"get": {}}}
        for number, version in self.versions.items():
            names = [*PARAMETERS, *(["show_duplicates"] if version else [])]
            slash = "/" if version else ""
            get = {"parameters": [{"name": name, "in": "query"} for name in names]}
            paths[f"/slurmdb/v0.0.{number}/jobs{slash}"] = {"get": get}
            paths[f"/slurmdb/v0.0.{number}/clusters{slash}"] = {"get": {}}
        return paths

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
