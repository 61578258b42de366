"""The tree of accounts in a report: branches have the sums of all below them, and the outermost make the whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from accounting.branches import branches, together
from accounting.report import Sums


def sums(key: str | None, energy_j: float | None, co2e_g: float | None = None, held_s: float = 0.0) -> Sums:
    grams = energy_j if co2e_g is None else co2e_g
    return Sums(
        key, 1, 0, held_s, energy_j, None, energy_j, energy_j, grams, None, None, 0.5 if held_s else None
    )  # fmt: skip


PARENTS = {"science": None, "phys": "science", "chem": "science", "optics": "phys", "idle-ones": "science"}


def shape(
    groups: list[Sums], parents: dict[str, str | None] | None = None
) -> list[tuple[str | None, int, float | None]]:
    made = branches(groups, PARENTS if parents is None else parents)
    return [(branch.account, branch.depth, branch.sums.it_energy_j) for branch in made]


def test_a_tree_by_hand() -> None:
    """Accounts of which no job ran are left out; the largest branch comes first, parents before their children."""
    groups = [sums("optics", 4.0), sums("phys", 1.0), sums("chem", 7.0), sums(None, 2.0), sums("nowhere", 1.0)]
    assert shape(groups) == [
        ("science", 0, 12.0), ("chem", 1, 7.0), ("phys", 1, 5.0), ("optics", 2, 4.0),
        (None, 0, 2.0), ("nowhere", 0, 1.0),
    ]  # fmt: skip
    own = {branch.account: branch.own for branch in branches(groups, PARENTS)}
    assert own["science"] is None
    assert own["phys"] is groups[1]


def test_a_circle_loses_nothing() -> None:
    """Two clusters may disagree on who is below whom."""
    found = shape([sums("a", 1.0), sums("b", 2.0)], {"a": "b", "b": "a"})
    assert sum(energy_j or 0.0 for _, depth, energy_j in found if depth == 0) == 3.0


def test_what_is_unknown_of_one_is_unknown_of_the_branch() -> None:
    lacking = Sums("phys", 1, 1, 3600.0, 5.0, None, 5.0, 6.0, None, None, 1.0, 1.0)
    none = Sums("chem", 1, 1, 1800.0, None, None, None, None, None, None, None, 0.0)
    found = together([lacking, sums("x", 2.0, 3.0), none])
    assert (found.it_energy_j, found.facility_energy_j, found.co2e_location_g) == (7.0, 8.0, None)
    assert (found.co2e_embodied_g, found.jobs, found.jobs_unknown) == (1.0, 3, 2)
    assert found.coverage == 3600 / 5400


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.one_of(st.none(), st.sampled_from("abcdefgh"))),
    st.lists(st.sampled_from("abcdefghij"), unique=True),
)
def test_the_outermost_branches_are_all_groups_whatever_the_tree(
    parents: dict[str, str | None], keys: list[str]
) -> None:
    groups = [sums(key, 2.0**place) for place, key in enumerate(keys)]
    made = branches(groups, parents)
    assert sum(one.sums.it_energy_j or 0.0 for one in made if one.depth == 0) == sum(
        2.0**place for place in range(len(keys))
    )
    assert {one.account for one in made if one.own is not None} == set(keys)
    assert len({one.account for one in made}) == len(made)
