"""A factor from Prometheus: any PromQL that gives one series of grid intensity, or of PUE.

A value that the query gives at an instant holds over the step that begins there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accounting.model import FactorSlot
from accounting.sources import SourceError
from collectors.grid.http import Api, key, slots_of, windows
from site_config.server import PrometheusServer

_MOST_POINTS = 11_000  # Prometheus refuses more in one answer


class PrometheusFactor:
    """One query on one server."""

    name = "prometheus"

    def __init__(self, server: PrometheusServer, query: str, step_s: float) -> None:
        self._server = server
        self._query = query
        self._step_s = step_s

    def slots(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield the steps that overlap [start_s, end_s). Raise `SourceError` where the server or the query fails."""
        api = self._api()
        for from_s, to_s in windows(start_s, end_s, _MOST_POINTS * self._step_s, self._step_s):
            params = {
                "query": self._query,
                "start": f"{from_s:.3f}",
                "end": f"{to_s - self._step_s:.3f}",
                "step": f"{self._step_s:g}",
            }
            yield from api.read(self._slots, api.json("/api/v1/query_range", params))

    def _api(self) -> Api:
        server = self._server
        headers: dict[str, str] = {}
        basic: tuple[str, str] | None = None
        if server.token_file is not None or server.token_env is not None:
            headers["Authorization"] = f"Bearer {key(server.token_file, server.token_env)}"
        elif server.username is not None:
            basic = server.username, key(server.password_file, None)
        return Api(self.name, server.url, server.timeout_s, headers=headers, basic=basic, ca_file=server.ca_file)

    def _slots(self, document: Any) -> list[FactorSlot]:
        series = document["data"]["result"]
        if len(series) > 1:
            raise SourceError(f"{self._query!r} gives {len(series)} series", "make it one, for instance with avg()")
        points = [
            (float(at_s), float(at_s) + self._step_s, float(value), False)
            for found in series
            for at_s, value in found["values"]
        ]
        return slots_of(points, f"Prometheus {self._query}")
