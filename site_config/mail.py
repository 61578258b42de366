"""How a site sends its reports by mail: from whom, by which way, and to which addresses.

Secrets stand in a file or in the environment. An address is plain ASCII; the name before it may be anything.
"""

from __future__ import annotations

import re
from email.utils import parseaddr
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from site_config.errors import near
from site_config.section import FilePath, Positive, Section, Text, shown, wrong, wrong_at

#: What is let through of RFC 5321's Mailbox: no quoted local part, no address literal.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
ADDRESS = re.compile(rf"(?!-){_ATOM}(?:\.{_ATOM})*@{DOMAIN.pattern}")  # none that a program takes for an option

#: What a subject may name.
SUBJECT_NAMES = ("site", "account", "period")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def is_address(text: str) -> bool:
    """Whether mail can be sent to it: ada@example.org."""
    return len(text) <= 254 and ADDRESS.fullmatch(text) is not None


def _address(value: str) -> str:
    if not is_address(value):
        raise wrong(f"must be an address such as ada@example.org, but is {shown(value)}")
    return value


def _domain(value: str) -> str:
    if DOMAIN.fullmatch(value) is None:
        raise wrong(f"must be a domain such as example.org, but is {shown(value)}")
    return value


def _sender(value: str) -> str:
    _, address = parseaddr(value)
    if not is_address(address) or not value.isprintable():
        raise wrong(f"must be an address, or a name and an address <in brackets>, but is {shown(value)}")
    return value


def _subject(value: str) -> str:
    if not value.isprintable():
        raise wrong("must be one line")
    try:
        names = [name for _, name, _, _ in Formatter().parse(value) if name is not None]
    except ValueError as error:
        raise wrong(f"is not understood: {error}; write for example {{site}}: {{account}} in {{period}}") from None
    for name in names:
        if name not in SUBJECT_NAMES:
            raise wrong(f"has {{{name}}}, but may name {', '.join(SUBJECT_NAMES)}{near(name, SUBJECT_NAMES)}")
    return value


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Address = Annotated[Text, AfterValidator(_address)]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_one_or_more), Field(min_length=1)]


class Smtp(Section):
    """A server that takes the site's mail."""

    host: Text
    port: Annotated[int, Field(gt=0, lt=65536)] | None = None  # absent: 587, 465 or 25, by `encryption`
    encryption: Literal["starttls", "tls", "none"] = "starttls"  # tls: from the first byte
    username: Text | None = None
    password_file: FilePath | None = None
    password_env: Text | None = None
    ca_file: FilePath | None = None  # certificate authorities to trust in place of the system's
    timeout_s: Positive = 30.0

    @model_validator(mode="after")
    def _one_way_to_sign_in(self) -> Self:
        passwords = [name for name in ("password_file", "password_env") if getattr(self, name) is not None]
        if len(passwords) > 1:
            raise wrong("has both password_file and password_env; keep one")
        if (self.username is None) != (not passwords):
            raise wrong("username goes with password_file or password_env")
        if self.encryption == "none" and self.username is not None:
            raise wrong_at(("encryption",), "must be starttls or tls where a password is sent")
        if self.encryption == "none" and self.ca_file is not None:
            raise wrong_at(("ca_file",), "has no use without encryption")
        return self

    @property
    def used_port(self) -> int:
        """The port, or that of the encryption."""
        return self.port or _PORTS[self.encryption]


class Mail(Section):
    """How reports are sent (`scarbon report --mail`)."""

    from_: Annotated[Text, AfterValidator(_sender)] = Field(
        alias="from", description="for example HPC <hpc@example.org>"
    )
    smtp: Smtp | None = None
    sendmail: FilePath | None = None  # the program, on most systems /usr/sbin/sendmail
    domain: Annotated[Text, AfterValidator(_domain)] | None = None  # a user's address: their login name there
    users: dict[Text, Address] = Field(default_factory=dict)  # those whose address is another one
    accounts: dict[Text, Addresses] = Field(
        default_factory=dict
    )  # who gets an account's page, in place of coordinators
    reply_to: Address | None = None
    subject: Annotated[Text, AfterValidator(_subject)] | None = None  # absent: the site, the account and the period
    pdf: bool = False  # the page as a PDF, too

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.smtp is None) == (self.sendmail is None):
            raise wrong("needs either smtp: {host: …} or sendmail: /usr/sbin/sendmail, and not both")
        return self
