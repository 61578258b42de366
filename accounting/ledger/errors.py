"""What can be wrong with a ledger, in words for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accounting.ledger.address import Address

#: The schema of this version: the newest revision in `accounting/ledger/migrations`.
REVISION = "0001"

#: Revisions that came before, oldest first: ledgers that can be upgraded.
OLDER: tuple[str, ...] = ()


class LedgerError(Exception):
    """The ledger cannot be used: `what` is wrong with it, and `advice` says what to do."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice


class NoLedgerError(LedgerError):
    """No ledger has been made at this address yet."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"there is no ledger at {address.shown} yet", "run scarbon collect first")
        self.address = address


class NotALedgerError(LedgerError):
    """What is at this address is something else."""


def not_a_ledger(shown: str, why: str) -> NotALedgerError:
    """The error for a file or database that is something else."""
    return NotALedgerError(
        f"{shown} is not a ledger of scarbon: {why}",
        "name another one in `ledger:`; this one is left as it is",
    )


def wrong_revision(shown: str, found: str) -> LedgerError:
    """The error for a ledger of another version."""
    if found in OLDER:
        return LedgerError(
            f"the ledger {shown} was made by an older version (schema {found}, this one's is {REVISION})",
            "keep a copy of it and run scarbon ledger upgrade",
        )
    return LedgerError(
        f"the ledger {shown} has schema {found}, which this version does not know (its own is {REVISION})",
        "use the version of scarbon that made it, or a later one",
    )


def wrong_zone(shown: str, kept_by: str, zone: str) -> LedgerError:
    """The error for a ledger whose days and months are those of another time zone."""
    return LedgerError(
        f"the ledger {shown} is kept by the calendar of {kept_by}, the configuration says {zone}",
        "set site.timezone back, or begin another ledger",
    )
