"""The Prometheus client: whole answers only, in the server's own words, against a server on 127.0.0.1 that fails."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from accounting.sources import SourceError
from collectors import prometheus
from collectors.prometheus import Endpoint, Prometheus
from tests.collectors.prometheus_stub import Answer, PrometheusStub, StoredSeries, trouble

METRIC = "DCGM_FI_DEV_POWER_USAGE"


def series(times: list[float], **labels: str) -> StoredSeries:
    return StoredSeries({"__name__": METRIC, **labels}, times, [f"{time:g}" for time in times])


@pytest.fixture
def stub() -> Iterator[PrometheusStub]:
    with PrometheusStub() as running:
        yield running


def client(stub: PrometheusStub, timeout_s: float = 5.0, **settings: object) -> Prometheus:
    return Prometheus(replace(Endpoint(stub.url, timeout_s=timeout_s), **settings))  # type: ignore[arg-type]


def refusal(stub: PrometheusStub, kind: str, **settings: object) -> SourceError:
    """The error for an answer that is no whole one."""
    stub.answer = lambda query: trouble(kind)
    with pytest.raises(SourceError) as refused:
        list(client(stub, **settings).raw(METRIC, 0, 100))  # type: ignore[arg-type]
    assert refused.value.what.startswith(f"Prometheus at {stub.url} ")
    assert "\n" not in refused.value.what + refused.value.advice
    assert "urllib3" not in refused.value.what
    assert "HTTPConnectionPool" not in refused.value.what
    return refused.value


# --- whole answers


def test_raw_samples_at_their_own_times(stub: PrometheusStub) -> None:
    stub.series = [series([10.5, 20.25, 99.999], UUID="GPU-1"), series([15.0], UUID="GPU-2")]
    found = {
        one.labels["UUID"]: list(zip(one.time_s, one.value, strict=True)) for one in client(stub).raw(METRIC, 0, 100)
    }
    assert found == {"GPU-1": [(10.5, 10.5), (20.25, 20.25), (99.999, 99.999)], "GPU-2": [(15.0, 15.0)]}


def test_a_long_span_is_asked_piece_by_piece_and_nothing_is_lost(stub: PrometheusStub) -> None:
    times = [float(time) for time in range(30, 86_400, 60)]
    stub.series = [series(times, UUID="GPU-1")]
    found = [time for one in client(stub).raw(METRIC, 0, 86_400) for time in one.time_s]
    assert sorted(set(found)) == times
    assert len(stub.asked) > 1
    ends = [end for _, end in stub.asked]
    assert ends == sorted(ends)
    assert ends[-1] == 86_400


def test_too_many_samples_are_asked_for_in_smaller_pieces(stub: PrometheusStub) -> None:
    times = [float(time) for time in range(30, 7200, 60)]
    stub.series = [series(times, UUID="GPU-1")]
    message = "query processing would load too many samples into memory in query execution"

    def answer(query: str) -> Answer | None:
        milliseconds = int(query.rpartition("[")[2].removesuffix("ms]"))
        if milliseconds > 1_000_000:
            return Answer(f'{{"status":"error","errorType":"execution","error":"{message}"}}', 422)
        return None

    stub.answer = answer
    found = [time for one in client(stub).raw(METRIC, 0, 7200) for time in one.time_s]
    assert sorted(set(found)) == times


def test_a_server_that_never_allows_the_samples_is_quoted(stub: PrometheusStub) -> None:
    stub.answer = lambda query: Answer('{"status":"error","error":"too many samples"}', 422)
    with pytest.raises(SourceError, match=r"refused \(422\): too many samples"):
        list(client(stub).raw(METRIC, 0, 7200))


def test_the_sites_matchers_are_in_every_query(stub: PrometheusStub) -> None:
    """Values go through JSON's quoting, which is PromQL's: a quote or backslash in a label cannot end the matcher."""
    stub.series = [series([1.0], UUID="GPU-1", job='a"b\\c'), series([1.0], UUID="GPU-2", job="other")]
    found = list(client(stub, match={"job": 'a"b\\c'}).raw(METRIC, 0, 100, 'UUID=~"GPU-1|GPU-2"'))
    assert [one.labels["UUID"] for one in found] == ["GPU-1"]
    assert stub.asked[0][0] == METRIC + r'{job="a\"b\\c",UUID=~"GPU-1|GPU-2"}[100000ms]'


def test_headers_and_credentials_go_with_every_query(stub: PrometheusStub) -> None:
    list(client(stub, headers={"Authorization": "Bearer abc", "X-Scope-OrgID": "hpc"}).raw(METRIC, 0, 100))
    assert stub.headers[0]["Authorization"] == "Bearer abc"
    assert stub.headers[0]["X-Scope-OrgID"] == "hpc"
    list(client(stub, auth=("ada", "secret")).raw(METRIC, 0, 100))
    assert stub.headers[1]["Authorization"] == "Basic YWRhOnNlY3JldA=="  # RFC 7617: base64 of ada:secret


# --- no whole answer


def test_nobody_is_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]  # bound and not listening: nobody else can take it, and it refuses
        with pytest.raises(SourceError) as refused:
            list(Prometheus(Endpoint(f"http://127.0.0.1:{port}")).raw(METRIC, 0, 100))
    assert refused.value.what == f"Prometheus at http://127.0.0.1:{port} cannot be reached: Connection refused"
    assert refused.value.advice == "is it running, is the url right?"


def test_no_such_host() -> None:
    with pytest.raises(SourceError, match="cannot be reached"):
        list(Prometheus(Endpoint("http://no-such-host.invalid:9090")).raw(METRIC, 0, 100))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("503", "refused (503): the store starts up"),
        ("proxy 503", "answered 503 with something that is not Prometheus's JSON"),
        ("HTML", "answered 200 with something that is not Prometheus's JSON: '<html><head><title>Please sign in"),
        ("status error", "refused (200): query timed out in expression"),
        ("warnings", "gave only a part of the answer: store gateway n7 is away"),
        ("cut off", "cut its answer off half way"),
        ("not series", "with a single value where series were expected"),
        ("empty", "answered 200 with something that is not Prometheus's JSON: ''"),
        ("a list", "answered 200 with something that is not Prometheus's JSON: '[]'"),
    ],
)
def test_what_is_no_whole_answer_is_refused_in_its_own_words(stub: PrometheusStub, kind: str, words: str) -> None:
    assert words in refusal(stub, kind).what


def test_a_server_that_hangs_is_left_after_the_timeout_and_not_asked_again(stub: PrometheusStub) -> None:
    assert refusal(stub, "hangs", timeout_s=0.2).what.endswith("did not answer within 0.2 s")
    assert len(stub.asked) == 1


def test_a_server_that_is_busy_for_a_moment_is_asked_again(stub: PrometheusStub) -> None:
    stub.series = [series([1.0], UUID="GPU-1")]
    answers = [trouble("503"), trouble("503"), None]
    stub.answer = lambda query: answers.pop(0)
    assert len(list(client(stub).raw(METRIC, 0, 100))) == 1
    assert len(stub.asked) == 3


def test_a_busy_server_is_not_asked_for_ever(stub: PrometheusStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "RETRY", prometheus.RETRY.new(backoff_factor=0))
    refusal(stub, "503")
    assert len(stub.asked) == 4


def test_samples_before_the_failure_are_not_mistaken_for_all(stub: PrometheusStub) -> None:
    stub.series = [series([float(time) for time in range(0, 20_000, 60)], UUID="GPU-1")]
    stub.answer = lambda query: None if len(stub.asked) < 2 else trouble("cut off")
    with pytest.raises(SourceError, match="cut its answer off"):
        list(client(stub).raw(METRIC, 0, 20_000))
