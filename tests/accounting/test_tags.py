"""Labels in a job's comment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.booking import Rules, Sources, account
from accounting.jobs import JobFilter, list_jobs
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from accounting.model import Job, Node
from accounting.sources import Factors
from accounting.tags import canonical_tags, format_tags, parse_tag, parse_tags, split_tags, with_tags


@pytest.mark.parametrize(
    ("comment", "tags"),
    [
        (None, {}),
        ("", {}),
        ("nothing of ours: project=x", {}),
        ("scarbon:project=x", {"project": "x"}),
        ("scarbon:project=x,phase=train", {"project": "x", "phase": "train"}),
        ("first words scarbon:project=x last=words", {"project": "x"}),
        ("a;scarbon:project=x;b", {"project": "x"}),
        ("scarbon:project=x and scarbon:project=y,n=2", {"project": "y", "n": "2"}),
        ("scarbon:", {}),
        ("scarbon:project", {}),
        ("scarbon:project=", {}),
        ("xscarbon:project=x", {}),
        ("scarbon:paper=doi:10.1/2", {"paper": "doi:10.1/2"}),
        ("scarbon:größe=x", {}),
    ],
)
def test_what_a_comment_says(comment: str | None, tags: dict[str, str]) -> None:
    assert parse_tags(comment) == tags


@pytest.mark.parametrize(
    ("comment", "after"),
    [
        (None, "scarbon:project=y"),
        ("what I did", "what I did scarbon:project=y"),
        ("scarbon:project=x,phase=train", "scarbon:project=y,phase=train"),
        ("before scarbon:phase=train after", "before  after scarbon:phase=train,project=y"),
    ],
)
def test_a_tag_is_added_and_the_rest_stays(comment: str | None, after: str) -> None:
    assert with_tags(comment, {"project": "y"}) == after


@pytest.mark.parametrize("text", ["project", "=x", "project=", "a b=c", "a=b c", "a=b,c=d", "a='b'", "a=b=c", "a=b|c"])
def test_what_is_no_tag(text: str) -> None:
    with pytest.raises(ValueError, match="is no tag"):
        parse_tag(text)


KEYS = st.text("abcXYZ012_.-", min_size=1, max_size=6)
VALUES = st.text("abcXYZ012_.-:/@+", min_size=1, max_size=6)


@given(
    st.dictionaries(KEYS, VALUES, max_size=4),
    st.dictionaries(KEYS, VALUES, min_size=1, max_size=4),
    st.text(max_size=20),
)
def test_what_was_added_is_read_again(before: dict[str, str], added: dict[str, str], words: str) -> None:
    comment = with_tags(words, before) if before else words
    assert parse_tags(with_tags(comment, added)) == {**parse_tags(comment), **added}
    assert dict(map(parse_tag, format_tags(added).split(","))) == added
    assert split_tags(canonical_tags(with_tags(words, added))) == parse_tags(with_tags(words, added))


def test_the_books_have_the_same_words_for_the_same_tags() -> None:
    for comment in ("scarbon:project=x,phase=train", "a scarbon:phase=train,b=1 c scarbon:project=x,phase=train;b"):
        assert (canonical_tags(comment) or "").endswith("phase=train project=x")
    assert canonical_tags("scarbon:b=1 scarbon:a=2") == "a=2 b=1"
    assert split_tags("a=2 b=1") == {"a": "2", "b": "1"}
    assert canonical_tags(None) is canonical_tags("project=x") is None
    assert split_tags(None) == {}


class Commented:
    """A cluster without GPUs, and a job for each comment."""

    name = "test"
    comments = (None, "scarbon:project=x", "words scarbon:project=x,phase=b", "scarbon:project=xx", "project=x")

    def jobs(self, start_s: float, end_s: float) -> Iterator[Job]:
        for number, comment in enumerate(self.comments, 1):
            yield Job("alpha", number, 100, str(number), "COMPLETED", 200, 300, nodes=("n1",), comment=comment)

    def nodes(self) -> Mapping[str, Node]:
        return {}


def test_jobs_are_chosen_by_all_the_tags_that_are_asked_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger, site = Ledger(url, "UTC"), Commented()
    sources = Sources(site, None, [], None, site, lambda start_s, end_s: Factors([], [], []))
    rules = Rules(ZoneInfo("UTC"), 600.0, None, None, {}, 5.0)
    account("alpha", sources, rules, ledger, 0, 3600, version="t", config_digest="t")
    ledger.close()

    def chosen(*tags: tuple[str, str]) -> list[tuple[str, Mapping[str, str]]]:
        return [(job.job_id, job.tags) for job in list_jobs(Books(url), JobFilter(tags=tags))]

    two, three = ("2", {"project": "x"}), ("3", {"project": "x", "phase": "b"})
    assert chosen() == [("1", {}), two, three, ("4", {"project": "xx"}), ("5", {})]
    assert chosen(("project", "x")) == [two, three]
    assert chosen(("project", "x"), ("phase", "b")) == [three]
    assert chosen(("project", "y")) == []
