"""`scarbon collect` keeps the tree of accounts, and goes on where nobody can say what it is."""

from __future__ import annotations

from accounting.accounts import read_tree
from accounting.ledger.reading import Books
from tests.site import Site

DUMP = """\
Cluster|Account|ParentName|User|Coord Accounts|Org|Descr
{0}|root||||root|default root account
{0}|dept|root||ada|faculty of x|a | b
{0}|phys|dept||ada||
{0}|phys||bob|ada||
"""


def path(site: Site, account: str) -> tuple[str, ...]:
    with Books(site.url) as books:
        return read_tree(books, site.cluster).path(account)


def test_from_a_dump(fresh: Site) -> None:
    (fresh.folder / "accounts.txt").write_text(DUMP.format(fresh.cluster))
    fresh.change("path: jobs.sacct", "path: jobs.sacct, accounts: accounts.txt")
    assert fresh.collect().err == ""
    assert path(fresh, "phys") == ("root", "dept", "phys")


def test_without_one_nobody_is_asked(booked: Site) -> None:
    with Books(booked.url) as books:
        assert read_tree(books, booked.cluster).accounts == {}


def test_a_dump_that_went_away_costs_a_warning(fresh: Site) -> None:
    dump = fresh.folder / "accounts.txt"
    dump.write_text(DUMP.format(fresh.cluster))
    fresh.change("path: jobs.sacct", "path: jobs.sacct, accounts: accounts.txt")
    fresh.collect()
    dump.unlink()
    done = fresh.collect()
    assert done.err.splitlines() == [
        f"{fresh.cluster}: warning: the tree of accounts stays as it was: the accounts' dump {dump} cannot be read: "
        "No such file or directory"
    ]
    assert path(fresh, "phys") == ("root", "dept", "phys")
