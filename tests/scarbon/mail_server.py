"""A mail server on 127.0.0.1 that keeps what it is sent, refuses whom it is told to, and may hang up in the middle."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.cluster.processes import free_port

USER, PASSWORD = "scarbon", "open sesame"


@dataclass
class Box:
    """What came, as (envelope sender, recipients, message); whom the server refuses, and at whom it hangs up."""

    port: int = 0
    letters: list[tuple[str, list[str], EmailMessage]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    connections: int = 0
    encrypted: list[bool] = field(default_factory=list)

    @property
    def recipients(self) -> list[str]:
        """To whom something came, in order."""
        return [one for _, recipients, _ in self.letters for one in recipients]

    async def handle_EHLO(  # noqa: N802 (aiosmtpd's name)
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.connections += session.ssl is not None or not server.require_starttls
        return responses

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.dropped.intersection(envelope.rcpt_tos):
            server.transport.abort()
            return "451 gone"
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.letters.append((envelope.mail_from, list(envelope.rcpt_tos), message))
        self.raw.append(envelope.content)
        self.encrypted.append(server.transport.get_extra_info("ssl_object") is not None)
        return "250 kept"


@contextmanager
def mail_server(certificate: Path | None = None, *, starttls: bool = True, auth: bool = False) -> Iterator[Box]:
    """A running server; with a certificate (its key in the same file) it speaks TLS, at once or by STARTTLS."""
    box = Box(port=free_port())
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    options: dict[str, Any] = {}
    if context is not None and starttls:
        options = {"tls_context": context, "require_starttls": True}
    elif context is not None:
        options = {"ssl_context": context}
    if auth:
        options |= {"authenticator": _authenticate, "auth_required": True, "auth_require_tls": starttls}
    controller = Controller(box, hostname="127.0.0.1", port=box.port, **options)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


def _authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=(data.login, data.password) == (USER.encode(), PASSWORD.encode()), handled=False)


def make_certificate(path: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, with its key."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", path, "-out", f"{path}.crt", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path
