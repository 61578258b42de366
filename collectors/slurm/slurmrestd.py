"""Jobs from Slurm's accounting, asked through slurmrestd: over HTTP with a token, or over its Unix socket with munge.

Which versions of the interface there are is found out by asking, and the newest that we can read is taken. Documents
are those of `sacct --json`; an answer is read as it comes.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError

from accounting.model import Job, Reject
from accounting.sources import SourceError
from collectors.slurm.answers import BrokenOffError, JobsDocument, errors_of
from collectors.slurm.documents import read_job
from collectors.slurm.fields import overlaps
from collectors.slurm.programs import utc
from collectors.slurm.windows import in_calls

#: The interface's versions whose documents we can read: v0.0.38 is Slurm 22.05's, v0.0.45 is 26.05's.
_OLDEST, _NEWEST = 38, 45

_PIECE = 1 << 15


class SlurmrestdSource:
    """The attempts of one cluster that slurmdbd knows of, through slurmrestd."""

    name = "slurmrestd"

    def __init__(
        self,
        cluster: str,
        url: str,
        user: str | None = None,
        token: str | None = None,
        timeout_s: float = 120.0,
        days_a_call: float = 7.0,
    ) -> None:
        """Ask the slurmrestd at `url` about `cluster`.

        `url` is `http://…`, `https://…` or `unix:///run/slurmrestd.sock`; `token` is what `scontrol token` writes for
        `user`, and is not needed over the socket. `timeout_s`: how long the server may say nothing. `days_a_call`:
        longer windows are asked for in several calls.
        """
        self.cluster = cluster
        self.timeout_s = timeout_s
        self.days_a_call = days_a_call
        self._shown = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc between us and the cluster
        if url.startswith("unix:"):
            self._base = "http://slurmrestd"
            self._session.mount("http://slurmrestd", _UnixAdapter(urlsplit(url).path))
        else:
            self._base = url.rstrip("/")
        if token:
            token = token.strip().removeprefix("SLURM_JWT=")
            if not re.fullmatch(r"[\w.=+/~-]+", token, re.ASCII):
                # requests would show the token in its own message.
                raise SourceError(
                    "the token for slurmrestd has characters that no token has",
                    "token_file or token_env should hold what `scontrol token` writes, and nothing else",
                )
            self._session.headers["X-SLURM-USER-TOKEN"] = token
        if user:
            self._session.headers["X-SLURM-USER-NAME"] = user
        self._paths: dict[str, Any] | None = None

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job | Reject]:
        """Yield each attempt that was there at some time in [start_s, end_s), once.

        SourceError when the server cannot be reached, refuses us, fails, breaks off or knows no such cluster.
        """
        path, known = self._endpoint("jobs")
        jobs = in_calls(
            lambda since_s, until_s: self._call(path, known, since_s, until_s), start_s, end_s, self.days_a_call
        )
        one = next(jobs, None)
        if one is None:
            self._check_cluster()
        else:
            yield one
            yield from jobs

    def version(self) -> str:
        """The version of the interface that is asked, such as `v0.0.38`."""
        return self._endpoint("jobs")[0].split("/")[2]

    def _call(self, path: str, known: set[str], start_s: float, end_s: float) -> Iterator[Job | Reject]:
        # `uts`: Slurm's own mark for epoch seconds; anything else would be read in the zone of the server.
        wanted = {
            "start_time": f"uts{int(start_s)}",
            "end_time": f"uts{int(-(-end_s // 1))}",
            "cluster": self.cluster,
            "show_duplicates": "true",
            "skip_steps": "true",
        }
        query = {name: value for name, value in wanted.items() if name in known or name.endswith("_time")}
        with self._get(path, query) as response:
            answer = JobsDocument(self._pieces(response))
            where = f"slurmrestd {utc(start_s)} to {utc(end_s)} UTC"
            try:
                for document, text in answer.jobs():
                    job = read_job(document, text, self.name, where, self.cluster)
                    if isinstance(job, Reject) or (job is not None and overlaps(job, start_s, end_s)):
                        yield job
            except BrokenOffError:
                raise SourceError(
                    f"slurmrestd at {self._shown} broke off in the middle of its answer, or answered with no JSON",
                    "run this again; nothing of this window was booked",
                ) from None
        if said := answer.errors():
            raise SourceError(f"slurmrestd at {self._shown} answered: {said}", _advice(said))
        if not answer.has_jobs:
            raise SourceError(f"slurmrestd at {self._shown} answered without jobs", "is it Slurm's REST interface?")

    def _check_cluster(self) -> None:
        """Slurm answers with no jobs, and no error, for a cluster that it does not know."""
        path, _ = self._endpoint("clusters")
        clusters = [entry.get("name") for entry in self._json(path).get("clusters") or ()]
        if self.cluster not in clusters:
            raise SourceError(
                f"slurmdbd knows no cluster {self.cluster!r}, only: {', '.join(map(str, clusters)) or 'none'}",
                "write Slurm's ClusterName under `clusters` in the configuration",
            )

    def _endpoint(self, name: str) -> tuple[str, set[str]]:
        """Path and query parameters of the newest `/slurmdb/v0.0.NN/<name>` that we can read."""
        if self._paths is None:
            self._paths = self._json("/openapi").get("paths") or {}
        found = {}
        for path in self._paths:
            if match := re.fullmatch(rf"/slurmdb/v0\.0\.(\d+)/{name}/?", path):
                found[int(match.group(1))] = path
        readable = [version for version in found if _OLDEST <= version <= _NEWEST]
        if not readable:
            has = ", ".join(f"v0.0.{version}" for version in sorted(found)) or "none"
            raise SourceError(
                f"slurmrestd at {self._shown} has no /slurmdb interface that can be read: it has {has}, "
                f"and v0.0.{_OLDEST} to v0.0.{_NEWEST} can be read",
                "start it with the openapi plugin for slurmdb, or use jobs.source: sacct",
            )
        path = found[max(readable)]
        get = self._paths[path].get("get") or {}
        return path, {parameter.get("name") for parameter in get.get("parameters") or ()}

    def _json(self, path: str) -> dict[str, Any]:
        with self._get(path, {}) as response:
            body = b"".join(self._pieces(response))
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise SourceError(
                f"slurmrestd at {self._shown} answered {path} with no JSON", "is it slurmrestd's address?"
            )
        if said := errors_of(answer):
            raise SourceError(f"slurmrestd at {self._shown} answered: {said}", _advice(said))
        return answer

    def _get(self, path: str, query: dict[str, str]) -> requests.Response:
        try:
            response = self._session.get(self._base + path, params=query, timeout=self.timeout_s, stream=True)
        except requests.RequestException as error:
            raise SourceError(
                f"slurmrestd at {self._shown} cannot be reached: {_cause(error)}",
                "is it running, and is jobs.url its address?",
            ) from None
        if response.status_code == 200:
            return response
        with response:
            text = b"".join(self._pieces(response)).decode("utf-8", "replace")
        try:
            said = errors_of(json.loads(text))
        except (ValueError, AttributeError):
            said = ""
        said = said or " ".join(text.split())[:200] or response.reason
        raise SourceError(
            f"slurmrestd at {self._shown} answered {response.status_code}: {said}",
            _advice("authentication" if response.status_code in (401, 403) else said),
        )

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_content(_PIECE)
        except (requests.RequestException, HTTPError) as error:
            raise SourceError(
                f"slurmrestd at {self._shown} broke off in the middle of its answer: {_cause(error)}",
                "run this again; nothing of this window was booked",
            ) from None


def _advice(said: str) -> str:
    if "authentication" in said.casefold():
        return "has the token expired? `scontrol token lifespan=…` writes a new one for token_file or token_env"
    return "the log of slurmrestd says more; is slurmdbd up?"


def _cause(error: BaseException) -> str:
    """The innermost reason of a failed request, without the layers around it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: Any) -> None:
        super().__init__("slurmrestd", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)
        self.sock.connect(self._path)


class _UnixPool(HTTPConnectionPool):
    def __init__(self, path: str) -> None:
        super().__init__("slurmrestd")
        self._path = path

    def _new_conn(self) -> Any:
        return _UnixConnection(self._path, self.timeout.connect_timeout)


class _UnixAdapter(HTTPAdapter):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        self._pool = _UnixPool(path)
        super().__init__()

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """The one socket, whatever the request."""
        return self._pool
