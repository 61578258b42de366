"""The tree of accounts: what is asked of it, and how the books keep it, on every database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accounting.accounts import Account, AccountTree, read_tree
from accounting.ledger import store
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from tests.ledger.servers import Place

ROOT = Account("root", None, "root", "default root account", ("root",), ())
DEPT = Account("dept", "root", "faculty of x", "Émile's | dept", (), ("ada", "bob"))
TEAM = Account("team", "dept", None, None, ("ada", "eve"), ("ada", "bob", "eve"))
LAB = Account("lab", "team", None, None, (), ("ada", "bob"))
PHYS = Account("phys", "root", None, None, (), ())


def tree(*accounts: Account, cluster: str = "alpha") -> AccountTree:
    return AccountTree(cluster, {account.name: account for account in accounts})


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    ledger = Ledger(place.url, "UTC", place.password)
    yield ledger
    ledger.close()


def read(place: Place, cluster: str = "alpha") -> AccountTree:
    with Books(place.url, place.password) as books:
        return read_tree(books, cluster)


def test_up_and_down() -> None:
    one = tree(ROOT, DEPT, TEAM, LAB, PHYS)
    assert one.children("root") == ("dept", "phys")
    assert one.children("lab") == ()
    assert one.branch("dept") == ("dept", "team", "lab")
    assert one.branch("root") == ("root", "dept", "phys", "team", "lab")
    assert one.path("lab") == ("root", "dept", "team", "lab")
    assert one.path("root") == ("root",)
    assert one.coordinated_by("eve") == {"team"}
    assert one.coordinated_by("bob") == {"dept", "team", "lab"}
    assert one.coordinated_by("zoe") == frozenset()
    for asked in (one.children, one.branch, one.path):
        with pytest.raises(KeyError):
            asked("nowhere")


def test_a_tree_with_holes_and_circles_is_gone_through() -> None:
    """No Slurm says so; a dump that was edited by hand may."""
    one = tree(Account("a", "b"), Account("b", "a"), Account("c", "nowhere"))
    assert one.branch("a") == ("a", "b")
    assert one.path("a") == ("b", "a")
    assert one.path("c") == ("c",)


def test_the_books_keep_it(ledger: Ledger, place: Place) -> None:
    ledger.keep_accounts(tree(ROOT, DEPT, TEAM, PHYS))
    ledger.keep_accounts(tree(Account("root", None, coordinators=("zoe",)), cluster="beta"))
    assert read(place) == tree(ROOT, DEPT, TEAM, PHYS)
    assert read(place, "beta").coordinated_by("zoe") == {"root"}
    assert read(place, "gamma") == tree(cluster="gamma")


def test_what_slurm_no_longer_has_stays_and_is_gone(
    ledger: Ledger, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Account("team", "phys", None, None, ("ada",), ("ada",))
    for now_s, said in ((1e9, tree(ROOT, DEPT, TEAM, PHYS)), (2e9, tree(ROOT, PHYS, moved)), (3e9, tree(ROOT, PHYS))):
        monkeypatch.setattr(store.time, "time", lambda now_s=now_s: now_s)
        ledger.keep_accounts(said)
    found = read(place)
    assert {name: account.gone_s for name, account in found.accounts.items()} == {
        "root": None, "dept": 2e9, "team": 3e9, "phys": None,
    }  # fmt: skip
    assert found.branch("phys") == ("phys", "team")  # where it last stood
    assert found.accounts["team"].members == found.accounts["team"].coordinators == ()
    ledger.keep_accounts(tree(ROOT, DEPT, PHYS))
    assert read(place).accounts["dept"] == DEPT  # it is back


def test_coordinators_of_whom_nothing_is_said_stay(ledger: Ledger, place: Place) -> None:
    ledger.keep_accounts(tree(ROOT, DEPT))
    ledger.keep_accounts(tree(Account("root", None), Account("dept", "root")))
    assert read(place).accounts["dept"].coordinators == ("ada", "bob")
