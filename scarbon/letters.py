"""Letters: a page as a mail, and the two ways by which mail leaves this host.

What stands in a header comes from Slurm (names of accounts), so it is made one line of printable text before; addresses
were checked when they were read. A carrier says `NotSentError` of one letter, and `UserError` where none can be sent.
"""

from __future__ import annotations

import os
import re
import smtplib
import ssl
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid, parseaddr
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from scarbon.errors import UserError
from site_config.mail import Mail, Smtp
from site_config.secrets import read_secret

#: How long the program sendmail may take for one letter.
SENDMAIL_S = 60.0


class NotSentError(Exception):
    """One letter could not be sent; the text says why, in a few words."""


def make_letter(
    mail: Mail, recipient: str, subject: str, text: str, html: str, pdf: tuple[str, bytes] | None, language: str
) -> EmailMessage:
    """A page for one recipient: as HTML, as plain text beside it, and with the PDF (its name and content) behind it."""
    name, sender = parseaddr(mail.from_)
    user, _, domain = sender.rpartition("@")
    letter = EmailMessage(policy=SMTP)
    letter["From"] = Address(one_line(name), user, domain)
    letter["To"] = Address(addr_spec=recipient)
    if mail.reply_to is not None:
        letter["Reply-To"] = Address(addr_spec=mail.reply_to)
    letter["Subject"] = one_line(subject)
    letter["Date"] = format_datetime(datetime.now(UTC))
    letter["Message-ID"] = make_msgid(domain=domain)
    letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notice is sent back
    letter.set_content(text)
    letter.add_alternative(html, subtype="html")
    if pdf is not None:
        letter.add_attachment(pdf[1], maintype="application", subtype="pdf", filename=file_name(pdf[0]))
    letter["Content-Language"] = language
    return letter


def one_line(text: str) -> str:
    """Text without what could end a header's line or steer a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def file_name(text: str) -> str:
    """Text as the name of a file, in any folder and on any system."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".-") or "_"


class Carrier(Protocol):
    """A way by which letters leave, open while they do."""

    def __enter__(self) -> Self:
        """Be ready; UserError where no letter can be sent."""
        ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Part."""
        ...

    def send(self, letter: EmailMessage, recipient: str) -> None:
        """Hand over one letter; NotSentError where it is not taken."""
        ...


def carrier(mail: Mail) -> Carrier:
    """The way that the site declares."""
    sender = parseaddr(mail.from_)[1]
    if mail.smtp is not None:
        return BySmtp(mail.smtp, sender)
    return BySendmail(str(mail.sendmail), sender)


class BySmtp:
    """An SMTP server, over one connection as long as it lasts."""

    def __init__(self, smtp: Smtp, sender: str) -> None:
        self._smtp = smtp
        self._sender = sender
        self._where = f"{smtp.host}:{smtp.used_port}"
        self._server: smtplib.SMTP | None = None
        self._gone: str | None = None

    def __enter__(self) -> Self:
        self._password = read_secret(self._smtp.password_file, self._smtp.password_env)
        self._context = _tls(self._smtp)
        try:
            self._server = self._connect()
        except smtplib.SMTPAuthenticationError as error:
            raise UserError(
                f"the mail server {self._where} refuses {self._smtp.username}: {_said(error)}",
                "check mail.smtp.username and its password",
            ) from None
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise UserError(
                f"the mail server {self._where} cannot be used: {_said(error)}",
                f"nothing was sent; check mail.smtp (encryption: {self._smtp.encryption})",
            ) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._part()

    def send(self, letter: EmailMessage, recipient: str) -> None:
        """Hand over one letter, over a new connection where the last one is lost."""
        if self._gone is not None:
            raise NotSentError(self._gone)
        try:
            self._server = self._server or self._connect()
        except (smtplib.SMTPException, OSError) as error:
            self._gone = f"{self._where} is gone: {_said(error)}"  # the rest need not wait for it
            raise NotSentError(self._gone) from None
        try:
            self._server.send_message(letter, self._sender, [recipient])
        except (smtplib.SMTPException, OSError) as error:
            self._part()
            raise NotSentError(_said(error)) from None

    def _connect(self) -> smtplib.SMTP:
        smtp, context = self._smtp, self._context
        if smtp.encryption == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(smtp.host, smtp.used_port, timeout=smtp.timeout_s, context=context)
        else:
            server = smtplib.SMTP(smtp.host, smtp.used_port, timeout=smtp.timeout_s)
        try:
            if smtp.encryption == "starttls":
                server.starttls(context=context)
            if smtp.username is not None and self._password is not None:
                server.login(smtp.username, self._password)
        except BaseException:
            server.close()
            raise
        return server

    def _part(self) -> None:
        if self._server is not None:
            with suppress(smtplib.SMTPException, OSError):
                self._server.quit()
            self._server.close()
            self._server = None


class BySendmail:
    """The program that takes a letter on its standard input: sendmail's, postfix's, exim's, msmtp's."""

    def __init__(self, program: str, sender: str) -> None:
        self._program = program
        self._sender = sender

    def __enter__(self) -> Self:
        if not (Path(self._program).is_file() and os.access(self._program, os.X_OK)):
            raise UserError(f"{self._program} is no program that can be run here", "check mail.sendmail")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return

    def send(self, letter: EmailMessage, recipient: str) -> None:
        """Hand over one letter. `-i`: a line with a single dot does not end it."""
        try:
            done = subprocess.run(
                [self._program, "-i", "-f", self._sender, "--", recipient],
                input=letter.as_bytes(policy=SMTP.clone(linesep="\n")),
                capture_output=True,
                timeout=SENDMAIL_S,
            )
        except OSError as error:
            raise UserError(f"{self._program} cannot be run: {error.strerror}", "check mail.sendmail") from None
        except subprocess.TimeoutExpired:
            raise NotSentError(f"{self._program} did not end within {SENDMAIL_S:.0f} s") from None
        if done.returncode:
            said = one_line(" / ".join(done.stderr.decode("utf-8", "replace").split("\n")).strip(" /"))
            raise NotSentError(f"{self._program} failed with {done.returncode}" + (f": {said}" if said else ""))


def _tls(smtp: Smtp) -> ssl.SSLContext | None:
    """Whom to trust; None where nothing is encrypted."""
    if smtp.encryption == "none":
        return None
    try:
        return ssl.create_default_context(cafile=None if smtp.ca_file is None else str(smtp.ca_file))
    except OSError as error:
        raise UserError(f"{smtp.ca_file} has no certificates: {_said(error)}", "check mail.smtp.ca_file") from None


def _said(error: Exception) -> str:
    """What a mail server said, or what happened to it, in one line."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, text = next(iter(error.recipients.values()))
        return _answer(code, text)
    if isinstance(error, smtplib.SMTPResponseException):
        return _answer(error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "the connection was lost"
    if isinstance(error, UnicodeError):  # smtplib sends nothing else
        return "its name, the user's name or the password is not ASCII"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return one_line(getattr(error, "strerror", None) or str(error))


def _answer(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return one_line(f"{code} {' '.join(words.split())}")
