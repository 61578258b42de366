"""Raw samples from any store that speaks Prometheus's HTTP API: Prometheus, Thanos, Mimir, VictoriaMetrics.

prometheus-api-client does the talking, on a session of ours: it has timeouts, a pool and bounded retries, keeps the
server's own words when it refuses, and does not take a partial answer (`warnings`) for a whole one.

Samples are asked for with a range selector in an instant query (`METRIC{…}[1h]` at a time), which gives the raw
samples at their own time stamps: no step, no look-back. Long spans are asked for piece by piece, each as
long as the answers so far allow.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import orjson
import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from accounting.arrays import Floats
from accounting.sources import SourceError

#: How many samples an answer should have: about 30 bytes each as JSON, some 500 bytes each while Python parses them.
SAMPLES_PER_ANSWER = 500_000
FIRST_SPAN_S = 3600.0
SHORTEST_SPAN_S = 60.0

#: A server that is busy or starts up is asked again within two seconds; one that does not answer in time is not.
RETRY = Retry(
    total=3,
    read=False,
    backoff_factor=0.3,
    status_forcelist=(429, 502, 503, 504),
    raise_on_status=False,  # the last answer is kept, with the server's own words
)


@dataclass(frozen=True, slots=True)
class Series:
    """One series' samples of a span: n times in UTC epoch s, and n values."""

    labels: Mapping[str, str]
    time_s: Floats
    value: Floats


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the server is and how to sign in."""

    url: str
    match: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)
    auth: tuple[str, str] | None = None
    ca_file: str | None = None


class Prometheus:
    """A client that either gives a whole answer or raises SourceError with the server's own words."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._span_s: dict[str, float] = {}  # how long a span of each query makes an answer of the right size
        self._connection = PrometheusConnect(
            url=endpoint.url,
            headers=dict(endpoint.headers) or None,
            auth=endpoint.auth,
            retry=RETRY,  # it puts an adapter of its own on our session
            session=_session(endpoint),
            timeout=endpoint.timeout_s,
        )

    def query(self, query: str, time_s: float) -> list[dict[str, Any]]:
        """The answer to an instant query."""
        result = self._ask(lambda: self._connection.custom_query(query, params={"time": f"{time_s:.3f}"}))
        if not isinstance(result, list) or not all(isinstance(one, dict) for one in result):
            raise self._error(f"answered {query} with a single value where series were expected")
        return result

    def selector(self, metric: str, matcher: str = "") -> str:
        """`metric` with the site's label matchers, and one more."""
        matchers = [f"{name}={json.dumps(value)}" for name, value in sorted(self.endpoint.match.items())]
        return f"{metric}{{{','.join([*matchers, matcher] if matcher else matchers)}}}"

    def raw(self, metric: str, start_s: float, end_s: float, matcher: str = "") -> Iterator[Series]:
        """Every raw sample of a metric in [start_s, end_s], piece by piece; those on a piece's edge may come twice."""
        return self.over(self.selector(metric, matcher), start_s, end_s)

    def over(self, query: str, start_s: float, end_s: float, step_s: float | None = None) -> Iterator[Series]:
        """What `query` gives in [start_s, end_s], as `raw` does.

        Without `step_s` it is a plain selector of series. With it, any PromQL: it is evaluated at each multiple of
        `step_s` since the epoch, whatever the span is.
        """
        query, resolution = (query, "") if step_s is None else (f"({query})", f":{round(step_s * 1000)}ms")
        at_s = start_s
        while at_s < end_s:
            span_s = self._span_s.get(query, FIRST_SPAN_S)
            until_s = min(at_s + span_s, end_s)
            try:
                answer = self.query(f"{query}[{max(round((until_s - at_s) * 1000), 1)}ms{resolution}]", until_s)
            except TooManySamplesError:
                if span_s <= SHORTEST_SPAN_S:
                    raise
                self._span_s[query] = max(span_s / 4, SHORTEST_SPAN_S)
                continue
            samples = 0
            for one in answer:
                values = one.get("values", [])
                samples += len(values)
                yield _series(one.get("metric", {}), values)
            if until_s - at_s == span_s:  # a shorter one, at the end, says little
                self._span_s[query] = span_s * min(max(SAMPLES_PER_ANSWER / max(samples, 1), 0.25), 4.0)
            at_s = until_s

    def _ask(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except requests.exceptions.Timeout:
            raise self._error(f"did not answer within {self.endpoint.timeout_s:g} s", "raise timeout_s") from None
        except requests.exceptions.SSLError as error:
            raise self._error(f"cannot be trusted: {error}", "set ca_file") from None
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            raise self._error("cut its answer off half way", "run again; nothing of this window was booked") from None
        except requests.exceptions.ConnectionError as error:
            raise self._error(f"cannot be reached: {_root_cause(error)}", "is it running, is the url right?") from None
        except (requests.exceptions.RequestException, PrometheusApiClientException, KeyError) as error:
            raise self._error(f"gave no usable answer: {error}") from None

    def _error(self, what: str, advice: str = "check prometheus.url in the configuration") -> SourceError:
        return SourceError(f"Prometheus at {self.endpoint.url} {what}", advice)


def _series(labels: Mapping[str, str], values: list[list[Any]]) -> Series:
    """A series from its samples as the server writes them: [time, "value"]."""
    numbers = np.fromiter(map(float, chain.from_iterable(values)), float, 2 * len(values))
    return Series(labels, numbers[0::2], numbers[1::2])


class TooManySamplesError(SourceError):
    """The query loads more samples than the server allows."""


def _session(endpoint: Endpoint) -> requests.Session:
    session = requests.Session()
    if endpoint.ca_file is not None:
        session.verify = endpoint.ca_file
    session.hooks["response"].append(lambda response, **_: _checked(response, endpoint.url))
    return session


def _checked(response: requests.Response, url: str) -> requests.Response:
    """Refuse whatever is not a whole, successful answer of Prometheus's API."""
    where = f"Prometheus at {url}"
    answer = _parsed(response.content)
    if not isinstance(answer, dict) or "status" not in answer:
        begins = " ".join(response.text[:200].split())[:80]
        raise SourceError(
            f"{where} answered {response.status_code} with something that is not Prometheus's JSON: {begins!r}",
            "is prometheus.url right, and is no proxy or sign-in page in between?",
        )
    if answer["status"] != "success":
        message = str(answer.get("error", "it does not say why"))
        kind = TooManySamplesError if "too many samples" in message else SourceError
        raise kind(f"{where} refused ({response.status_code}): {message}")
    if answer.get("warnings"):
        raise SourceError(
            f"{where} gave only a part of the answer: {'; '.join(map(str, answer['warnings']))}",
            "run again when all of its stores answer; nothing of this window was booked",
        )
    response.json = lambda **_: answer  # type: ignore[method-assign]  # parsed once
    return response


def _parsed(content: bytes) -> Any:
    """What the JSON says, None where it is none.

    An answer is a million small lists, none of them garbage: without the collector, which would look at all of them
    again and again while they come, parsing takes a third of the time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    finally:
        if collects:
            gc.enable()


def _root_cause(error: BaseException) -> str:
    """The innermost reason, without the library's wrapping."""
    reason: Any = error
    while getattr(reason, "reason", None) is not None or (reason.args and isinstance(reason.args[0], BaseException)):
        reason = getattr(reason, "reason", None) or reason.args[0]
    return re.sub(r"\[Errno -?\d+\] ", "", str(reason).rpartition(": ")[2])
