"""What every grid service is asked through: time limits, a few retries, and one clear line when it fails.

An answer is retried when asking again can help (no connection, a time-out, 429, a server's error), never for longer
than `MAX_WAIT_S` at a time: the chain of sources has a next one. Keys never stand in an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import sleep
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from accounting.model import FactorSlot
from accounting.sources import SourceError
from site_config.errors import ConfigError
from site_config.secrets import read_secret

ATTEMPTS = 3
MAX_WAIT_S = 60.0

T = TypeVar("T")


class Api:
    """One service. `name` is how errors call it; `key_advice` says where its key is configured."""

    def __init__(
        self,
        name: str,
        url: str,
        timeout_s: float,
        *,
        headers: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
        ca_file: Path | None = None,
        key_advice: str = "check the key",
    ) -> None:
        self.name = name
        self.url = url
        self.timeout_s = timeout_s
        self.key_advice = key_advice
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": "scarbon", **(headers or {})})
        self._session.auth = basic or (lambda request: request)  # not what ~/.netrc may have for the host
        if ca_file is not None:
            self._session.verify = str(ca_file)

    def json(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Ask for a JSON document."""
        response = self._get(path, params)
        try:
            return response.json()
        except ValueError:
            raise SourceError(f"answered with no JSON but {_first_line(response)!r}", "check url") from None

    def body(self, path: str, params: Mapping[str, str] | None = None) -> bytes:
        """Ask for a document of another kind."""
        return self._get(path, params).content

    def read(self, parse: Callable[[Any], T], document: Any) -> T:
        """Take an answer apart with `parse`; where it has not the shape that `parse` knows, say so."""
        try:
            return parse(document)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            missing = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise SourceError(f"answered in a shape that is not known here: {missing}", "check url") from None

    def _get(self, path: str, params: Mapping[str, str] | None) -> requests.Response:
        attempt = 0
        while True:
            attempt += 1
            wait_s = 2.0 ** (attempt - 1)
            try:
                response = self._session.get(
                    self.url + path, params=params, timeout=self.timeout_s, allow_redirects=False
                )
            except requests.Timeout:
                problem = SourceError(f"did not answer within {self.timeout_s:g} s", "raise timeout_s, or try later")
            except requests.RequestException as error:
                host = urlsplit(self.url).netloc
                problem = SourceError(f"cannot be reached at {host}: {_reason(error)}", "check url")
            else:
                if response.ok and not response.is_redirect:
                    return response
                problem, wait_s = self._refusal(response, wait_s)
            if attempt == ATTEMPTS or not 0 <= wait_s <= MAX_WAIT_S:
                raise problem from None
            sleep(wait_s)

    def _refusal(self, response: requests.Response, wait_s: float) -> tuple[SourceError, float]:
        """Say what an answer that is no success means, and how long to wait before asking again (below 0: never)."""
        status, said = response.status_code, _first_line(response)
        if status in (401, 403):
            return SourceError(f"refuses the key ({status}: {said})", self.key_advice), -1
        if response.is_redirect:
            return SourceError("redirects to another address", "set url to it"), -1
        asked_s = _retry_after_s(response)
        if status == 429:
            when = f"; it asks to wait {asked_s:.0f} s" if asked_s is not None else ""
            return SourceError(f"says that it was asked too often{when}", "try again later"), asked_s or wait_s
        if status >= 500:
            return SourceError(f"failed ({status}: {said})", "try again later"), asked_s or wait_s
        return SourceError(f"refuses the request ({status}: {said})", "check the source's keys under grid.location"), -1


def key(file: Path | None, env: str | None) -> str:
    """Return a service's key. Raise `SourceError` where it cannot be read."""
    try:
        return read_secret(file, env) or ""
    except ConfigError as error:
        raise SourceError(f"the key is missing: {error}", "check token_file or token_env") from None


def slots_of(
    points: Iterable[tuple[float, float, object, bool]], source: str, basis: str | None = None
) -> list[FactorSlot]:
    """Make slots from (start, end, value, estimated): in order, once each, and none for a value that is null."""
    slots: dict[float, FactorSlot] = {}
    for start_s, end_s, value, estimated in points:
        number = _number(value)
        if number is not None:
            slots[start_s] = FactorSlot(start_s, end_s, number, source, estimated, basis)
    return [slots[start_s] for start_s in sorted(slots)]


def utc(time_s: float, form: str) -> str:
    """Write an instant as a service wants it, in UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime(form)


def epoch(text: str) -> float:
    """Read a time in ISO 8601; one without a zone is UTC. Raise `ValueError` where it is none."""
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def windows(start_s: float, end_s: float, longest_s: float, step_s: float) -> Iterable[tuple[float, float]]:
    """Cut [start, end) into requests of at most `longest_s`, on full steps so that every slot is whole."""
    at_s = math.floor(start_s / step_s) * step_s
    last_s = math.ceil(end_s / step_s) * step_s
    while at_s < last_s:
        until_s = min(at_s + longest_s, last_s)
        yield at_s, until_s
        at_s = until_s


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return float(value) if math.isfinite(value) else None


def _first_line(response: requests.Response) -> str:
    text = response.text.strip().splitlines()
    return text[0][:120] if text else "no words"


def _reason(error: requests.RequestException) -> str:
    """Say what went wrong below HTTP, without the URL, which may hold a key."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return "the answer broke off"


def _retry_after_s(response: requests.Response) -> float | None:
    """Read Retry-After: seconds, or a date."""
    text = response.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
