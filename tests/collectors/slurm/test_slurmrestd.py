"""What is asked of slurmrestd, and what happens when it does not answer as it should."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from accounting.model import Job, Reject
from accounting.sources import SourceError
from collectors.slurm.slurmrestd import SlurmrestdSource
from tests.collectors.slurm import world
from tests.collectors.slurm.rest_server import TOKEN, RestServer
from tests.collectors.slurm.world import END_S, START_S, Record

Start = Callable[..., RestServer]


def source(server: RestServer, cluster: str = "alpha", token: str | None = TOKEN, days: float = 7) -> SlurmrestdSource:
    return SlurmrestdSource(cluster, server.url, "ada", token, timeout_s=5, days_a_call=days)


def failure(asked: SlurmrestdSource) -> SourceError:
    with pytest.raises(SourceError) as caught:
        list(asked.jobs(START_S, END_S))
    assert caught.value.advice
    assert "\n" not in caught.value.what
    assert TOKEN[:12] not in caught.value.what + caught.value.advice  # a secret is not shown
    return caught.value


# --- what is asked


@pytest.mark.parametrize(
    ("versions", "taken"),
    [((None,), 38), ((None, 39), 39), ((39, 40), 40), ((42, 43, 44, 45), 45), ((44, 45, 46), 45), ((36, 37, None), 38)],
)
def test_the_newest_version_that_can_be_read_is_taken(
    rest_server: Start, versions: tuple[int | None, ...], taken: int
) -> None:
    server = rest_server(versions)
    asked = source(server)
    assert asked.version() == f"v0.0.{taken}"
    assert len(list(asked.jobs(START_S, END_S))) == len(world.EXPECTED)
    assert {path for path, query in server.requests if query} == {
        f"/slurmdb/v0.0.{taken}/jobs{'/' if taken > 38 else ''}"
    }
    assert [path for path, _ in server.requests].count("/openapi") == 1


@pytest.mark.parametrize("versions", [(36, 37), (46, 47), ()])
def test_no_version_that_can_be_read(rest_server: Start, versions: tuple[int, ...]) -> None:
    error = failure(source(rest_server(versions)))
    has = ", ".join(f"v0.0.{version}" for version in versions) or "none"
    assert f"it has {has}, and v0.0.38 to v0.0.45 can be read" in error.what


def test_duplicates_are_asked_for_and_steps_are_not(rest_server: Start) -> None:
    server = rest_server((44,))
    list(source(server).jobs(START_S, END_S))
    (query,) = [query for _, query in server.requests if query]
    assert query == {
        "start_time": f"uts{START_S}",
        "end_time": f"uts{END_S}",
        "cluster": "alpha",
        "show_duplicates": "true",
        "skip_steps": "true",
    }


def test_pages_by_time(rest_server: Start) -> None:
    server = rest_server((41,))
    jobs = list(source(server, days=0.25).jobs(START_S + 0.5, END_S - 0.5))
    assert len(jobs) == len(world.EXPECTED)
    windows = [(query["start_time"], query["end_time"]) for _, query in server.requests if query]
    assert len(windows) == 4
    assert (windows[0][0], windows[-1][1]) == (f"uts{START_S}", f"uts{END_S}")


def test_a_token_as_scontrol_writes_it(rest_server: Start) -> None:
    asked = source(rest_server(), token=f"SLURM_JWT={TOKEN}\n")
    assert len(list(asked.jobs(START_S, END_S))) == len(world.EXPECTED)


def test_a_job_that_cannot_be_understood_does_not_stop_the_others(rest_server: Start) -> None:
    server = rest_server((41,), records=(Record(1, 0, 10, 20), Record(2, 0, 30, 20), Record(3, 0, 10, 20)))
    first, reject, third = source(server).jobs(START_S, END_S)
    assert isinstance(first, Job)
    assert isinstance(third, Job)
    assert isinstance(reject, Reject)
    assert reject.where == "slurmrestd 2026-10-01T00:00:00 to 2026-10-02T00:00:00 UTC"
    assert json.loads(reject.raw) == world.document(server.records[1], 41)


# --- what goes wrong


def answering(body: bytes, status: int = 200) -> Callable[[str, Mapping[str, str]], tuple[int, bytes] | None]:
    """Take over the request for jobs."""
    return lambda path, query: (status, body) if query else None


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = failure(SlurmrestdSource("alpha", f"http://127.0.0.1:{port}"))
    assert error.what == f"slurmrestd at http://127.0.0.1:{port} cannot be reached: Connection refused"


def test_no_such_socket(tmp_path: Path) -> None:
    error = failure(SlurmrestdSource("alpha", f"unix://{tmp_path}/sock"))
    assert "cannot be reached: No such file or directory" in error.what


def test_it_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = SlurmrestdSource("alpha", f"http://127.0.0.1:{server.getsockname()[1]}", timeout_s=0.3)
        assert "timed out" in failure(asked).what


@pytest.mark.parametrize("token", [None, "eyJhbGciOiJIUzI1NiJ9.eyJzdW4iOiJib2IifQ.bm9uZQ"])
def test_no_token_or_a_wrong_one(rest_server: Start, token: str | None) -> None:
    error = failure(source(rest_server(), token=token))
    assert "answered 401: Authentication failure" in error.what
    assert "scontrol token" in error.advice


def test_an_expired_token(rest_server: Start) -> None:
    """Slurm 22.05 answers 200, with the error inside (seen)."""
    error = {"error_number": 1007, "error": "Protocol authentication error", "source": "slurmdb_jobs_get"}
    server = rest_server(answer=answering(json.dumps({"meta": {}, "errors": [error], "jobs": []}).encode()))
    failed = failure(source(server))
    assert "answered: Protocol authentication error: slurmdb_jobs_get" in failed.what
    assert "has the token expired?" in failed.advice


@pytest.mark.parametrize("token", ["", "two words", "a\nb", "tökën"])
def test_a_token_that_is_none(token: str) -> None:
    if not token:
        return
    with pytest.raises(SourceError, match="has characters that no token has") as caught:
        SlurmrestdSource("alpha", "http://127.0.0.1:9", "ada", token)
    assert token not in caught.value.what


def test_slurmdbd_is_away(rest_server: Start) -> None:
    body = {"errors": [{"error_number": 7000, "error": "Unable to connect to database"}], "jobs": []}
    server = rest_server(answer=answering(json.dumps(body).encode(), 500))
    assert "answered 500: Unable to connect to database" in failure(source(server)).what


def test_an_error_that_is_no_json(rest_server: Start) -> None:
    server = rest_server(answer=answering(b"<html>\n<h1>Bad Gateway</h1>", 502))
    assert "answered 502: <html> <h1>Bad Gateway</h1>" in failure(source(server)).what


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"jobs": [{"job_id": 1'])
def test_an_answer_that_is_no_json(rest_server: Start, body: bytes) -> None:
    assert "or answered with no JSON" in failure(source(rest_server(answer=answering(body)))).what


def test_an_answer_that_breaks_off(rest_server: Start) -> None:
    """Its length was announced, and less came."""
    whole = json.dumps(world.answer(list(world.RECORDS), 41)).encode()
    server = rest_server((41,), answer=answering(whole[:2000] + b"<cut>"))
    assert "broke off in the middle of its answer" in failure(source(server)).what


def test_an_answer_without_jobs(rest_server: Start) -> None:
    assert "answered without jobs" in failure(source(rest_server(answer=answering(b'{"errors": []}')))).what


@pytest.mark.parametrize("body", [b"hello", b"[]"])
def test_another_server_altogether(rest_server: Start, body: bytes) -> None:
    server = rest_server(answer=lambda path, query: (200, body))
    assert "answered /openapi with no JSON" in failure(source(server)).what


def test_a_cluster_that_slurmdbd_does_not_know(rest_server: Start) -> None:
    """Slurm itself answers with no jobs."""
    assert failure(source(rest_server(), "gamma")).what == "slurmdbd knows no cluster 'gamma', only: alpha, beta"


def test_the_next_run_is_complete(rest_server: Start) -> None:
    broken = [True]
    server = rest_server(
        (41,), answer=lambda path, query: (200, b'{"jobs": [') if query and broken and broken.pop() else None
    )
    asked = source(server)
    failure(asked)
    assert len(list(asked.jobs(START_S, END_S))) == len(world.EXPECTED)
