"""A server that speaks Prometheus's HTTP API, as any section of the configuration names it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from site_config.section import FilePath, HttpUrl, Positive, Section, Text, wrong, wrong_at

Labels = dict[Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")], str]


class PrometheusServer(Section):
    """Prometheus, Thanos, Mimir or VictoriaMetrics, and how to sign in there."""

    url: HttpUrl
    timeout_s: Positive = 30.0
    token_file: FilePath | None = None
    token_env: Text | None = None
    username: Text | None = None
    password_file: FilePath | None = None
    ca_file: FilePath | None = None  # certificate authorities to trust in place of the system's
    query_max_samples: Annotated[int, Field(gt=0)] = 50_000_000  # the server's --query.max-samples

    @model_validator(mode="after")
    def _one_way_to_sign_in(self) -> Self:
        if (self.username is None) != (self.password_file is None):
            raise wrong("username and password_file go together")
        if sum(way is not None for way in (self.token_file, self.token_env, self.username)) > 1:
            raise wrong("sign in one way: token_file, token_env, or username and password_file")
        if self.ca_file is not None and not self.url.startswith("https://"):
            raise wrong_at(("ca_file",), "has no use with a URL that is not https://")
        return self
