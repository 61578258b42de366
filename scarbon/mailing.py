"""Sending each account's page of a report to those who coordinate it, once.

Pages are made first, by reading the books; then the books are held for writing, so that nobody else sends the same
page, and each letter that left is noted at once: whatever happens, the next run sends the missing ones.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING

from accounting.accounts import AccountTree, read_tree
from accounting.document import Period, make_document
from accounting.ledger.reading import Books
from accounting.report import Chosen
from scarbon.errors import UserError
from scarbon.letters import NotSentError, carrier, file_name, make_letter
from scarbon.reports import render
from scarbon.site import open_ledger
from site_config.errors import near
from site_config.kept import KnownSite
from site_config.mail import Mail, is_address
from site_config.schema import SiteConfig

if TYPE_CHECKING:
    from scarbon.pages.look import Look

SUBJECT = "{site}: {account}, {period}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be sent: the pages of a period, each of an account, grouped `by`."""

    period: Period
    by: str
    accounts: Sequence[str] | None  # None: all that have something to tell
    top: int
    again: bool  # also to those who have it


@dataclass(frozen=True, slots=True)
class Letter:
    """A page that is ready to go."""

    account: str
    recipient: str
    message: EmailMessage
    digest: str


@dataclass(slots=True)
class Outcome:
    """What came of it: lines for a person, and whether something has to be looked at."""

    said: list[str] = field(default_factory=list)
    nobody: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def mail_pages(
    config: SiteConfig, known: KnownSite, books: Books, look: Look, asked: Asked, folder: Path | None
) -> Outcome:
    """Send the pages, or write them into a folder as they would be sent; UserError where none can be."""
    mail = config.mail
    if mail is None:
        raise UserError("the configuration does not say how to send mail", "declare mail: (see docs/mail.md)")
    _refuse_unfinished(known, books, asked.period)
    outcome = Outcome()
    letters = list(_letters(mail, known, books, look, asked, outcome))
    if folder is not None:
        _write(letters, folder, outcome)
    elif letters:
        _send(config, mail, letters, asked, outcome)
    return outcome


def _refuse_unfinished(config: KnownSite, books: Books, period: Period) -> None:
    """A page that is sent once is sent of a period that is over, and in the books to its end."""
    _, end_s = period.bounds(config.site.zone)
    if time.time() < end_s:
        raise UserError(f"{period.name} is not over", "pages are sent once, when their period is; name an earlier one")
    for cluster in config.clusters:
        booked = books.booked(cluster)
        if booked and booked[-1][1] < end_s:
            until = datetime.fromtimestamp(booked[-1][1], config.site.zone)
            raise UserError(
                f"{cluster} is accounted up to {until:%Y-%m-%d %H:%M}, which is not all of {period.name}",
                "run scarbon collect first: a page is sent once",
            )


def _letters(
    mail: Mail, config: KnownSite, books: Books, look: Look, asked: Asked, outcome: Outcome
) -> Iterator[Letter]:
    trees = [read_tree(books, cluster) for cluster in config.clusters]
    sent = _sent(books, asked.period)
    used = _used(books, asked.period)
    known = used | {name for tree in trees for name in tree.accounts}
    for account in sorted(mail.accounts.keys() - known):
        outcome.nobody.append(f"mail.accounts names {account!r}, which the books do not know{near(account, known)}")
    for account, branch in _pages(trees, mail, used, sorted(known if asked.accounts is None else asked.accounts)):
        recipients, problems = _recipients(mail, trees, account)
        outcome.nobody += problems
        missing = [one for one in recipients if asked.again or (account, one) not in sent]
        for one in recipients:
            if one not in missing:
                at = datetime.fromtimestamp(sent[account, one], config.site.zone)
                outcome.said.append(f"{account}: {one} has it since {at:%Y-%m-%d %H:%M}")
        if missing:
            yield from _letters_of(mail, config, books, look, asked, account, branch, missing)


def _letters_of(
    mail: Mail,
    config: KnownSite,
    books: Books,
    look: Look,
    asked: Asked,
    account: str,
    branch: Sequence[str],
    recipients: Sequence[str],
) -> Iterator[Letter]:
    """One account's page, to each of its recipients by itself."""
    chosen = Chosen(accounts=branch)
    document = make_document(books, config, asked.period, asked.by, chosen, now_s=time.time(), top=asked.top)
    text, html = (f"{str(render(document, form, look)).rstrip()}\n" for form in ("md", "html"))
    pdf = None
    if mail.pdf:
        made = render(document, "pdf", look)
        assert isinstance(made, bytes)
        pdf = (f"{account}-{asked.period.name}.pdf", made)
    subject = (mail.subject or SUBJECT).format(
        site=config.site.name, account=account, period=look.language.period(asked.period)
    )
    digest = hashlib.sha256(html.encode()).hexdigest()
    for recipient in recipients:
        message = make_letter(mail, recipient, subject, text, html, pdf, look.language.tag)
        yield Letter(account, recipient, message, digest)


def _pages(
    trees: Sequence[AccountTree], mail: Mail, used: set[str], accounts: Sequence[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The accounts that have a page, each with those that are in it: itself and what is below it.

    One in which nobody ran a job has a page where it has people of its own to read it, and jobs below it.
    """
    for account in accounts:
        below = (one for tree in trees if account in tree.accounts for one in tree.branch(account))
        branch = tuple(dict.fromkeys((account, *below)))
        own = account in mail.accounts or bool(_coordinators(trees, account, own=True))
        if account in used or (own and not used.isdisjoint(branch)):
            yield account, branch


def _used(books: Books, period: Period) -> set[str]:
    """The accounts in which jobs were in the period."""
    rows = books.rows(
        "SELECT DISTINCT p.account FROM payer_days d JOIN payers p ON p.payer_id = d.payer_id "
        "WHERE d.day >= :first AND d.day <= :last AND d.month >= :first_month AND d.month <= :last_month",
        {
            "first": period.first_day.isoformat(),
            "last": period.last_day.isoformat(),
            "first_month": f"{period.first_day:%Y-%m}",
            "last_month": f"{period.last_day:%Y-%m}",
        },
    )
    return {row["account"] for row in rows if row["account"]}


def _recipients(mail: Mail, trees: Sequence[AccountTree], account: str) -> tuple[list[str], list[str]]:
    """Whom an account's page goes to, and a line for each reason why it does not."""
    if account in mail.accounts:
        return list(dict.fromkeys(mail.accounts[account])), []
    people = _coordinators(trees, account, own=True) or _coordinators(trees, account, own=False)
    if not people:
        return [], [f"{account}: nobody coordinates it, and mail.accounts names nobody: its page goes to nobody"]
    addresses, problems = [], []
    for user in people:
        address = mail.users.get(user) or (None if mail.domain is None else f"{user}@{mail.domain}")
        if address is not None and is_address(address):
            addresses.append(address)
        else:
            problems.append(f"{account}: {user!r} coordinates it and has no address: name one in mail.users")
    return list(dict.fromkeys(addresses)), problems


def _coordinators(trees: Sequence[AccountTree], account: str, own: bool) -> list[str]:
    """Those of an account; its `own` are not also those of the account above it."""
    found: dict[str, None] = {}
    for tree in trees:
        if account in tree.accounts:
            here = tree.accounts[account]
            above = tree.accounts.get(here.parent or "")
            inherited = set((above.coordinators if above else None) or ())
            found |= dict.fromkeys(user for user in here.coordinators or () if not own or user not in inherited)
    return list(found)


def _sent(books: Books, period: Period) -> Mapping[tuple[str, str], float]:
    """When each page of the period was last sent, by account and recipient."""
    rows = books.rows(
        "SELECT account, recipient, MAX(sent_s) AS sent_s FROM mailings WHERE period = :period "
        "GROUP BY account, recipient",
        {"period": period.name},
    )
    return {(row["account"], row["recipient"]): row["sent_s"] for row in rows}


def _write(letters: Sequence[Letter], folder: Path, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, letter in enumerate(letters, 1):
        file = folder / f"{number:03}-{file_name(letter.account)}.eml"
        file.write_bytes(letter.message.as_bytes())
        outcome.said.append(f"{letter.account}: to {letter.recipient}: {file}")


def _send(config: SiteConfig, mail: Mail, letters: Sequence[Letter], asked: Asked, outcome: Outcome) -> None:
    from accounting.ledger.mailings import Mailing, keep_mailing, mailings_of

    with closing(open_ledger(config)) as ledger, ledger.lock(), carrier(mail) as post:
        with ledger.transaction() as connection:  # what another run sent since these were made
            since = {(one.account, one.recipient) for one in mailings_of(connection, asked.period.name)}
        for letter in letters:
            if (letter.account, letter.recipient) in since and not asked.again:
                continue
            try:
                post.send(letter.message, letter.recipient)
            except NotSentError as error:
                outcome.failed.append(f"{letter.account}: not sent to {letter.recipient}: {error}")
                continue
            sent = Mailing(letter.account, asked.period.name, letter.recipient, time.time(), letter.digest)
            with ledger.transaction() as connection:
                keep_mailing(connection, sent)
            outcome.said.append(f"{letter.account}: sent to {letter.recipient}")
