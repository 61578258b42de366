"""Which pages of reports were sent to whom: written as each is sent, asked before the next are."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, insert, select

from accounting.ledger import schema


@dataclass(frozen=True, slots=True)
class Mailing:
    """A page that was sent."""

    account: str
    period: str  # 2026-10
    recipient: str  # an address
    sent_s: float  # UTC epoch s
    digest: str  # SHA-256 of the page


def keep_mailing(connection: Connection, mailing: Mailing) -> None:
    """Note that a page was sent."""
    connection.execute(insert(schema.mailings).values(**asdict(mailing)))


def mailings_of(connection: Connection, period: str) -> list[Mailing]:
    """What was sent of a period's pages, the first first."""
    table = schema.mailings
    chosen = select(table).where(table.c.period == period).order_by(table.c.sent_s)
    return [Mailing(**row) for row in connection.execute(chosen).mappings()]
