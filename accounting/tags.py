"""Labels that people give their jobs beyond Slurm's account, as they stand in a job's comment.

`scarbon:project=x,phase=train`, anywhere in the comment, by itself or among other words: `sbatch --comment=…` writes
it, and `scarbon tag` inside a job. It reaches the books with the comment, where Slurm's accounting keeps comments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_KEY, _VALUE = r"[A-Za-z0-9_.-]+", r"[^\s,;=\"'|]+"
_TAG = re.compile(rf"({_KEY})=({_VALUE})")
_TAGS = re.compile(rf"(?:^|(?<=[\s;,]))scarbon:({_KEY}={_VALUE}(?:,{_KEY}={_VALUE})*)")


def parse_tags(comment: str | None) -> dict[str, str]:
    """The tags in a comment; of one that is there twice the last."""
    if comment is None or "scarbon:" not in comment:
        return {}
    return {key: value for tags in _TAGS.findall(comment) for key, value in _TAG.findall(tags)}


def canonical_tags(comment: str | None) -> str | None:
    """The tags in a comment as the books have them, the same for the same tags: `phase=train project=x`; None: none."""
    return " ".join(f"{key}={value}" for key, value in sorted(parse_tags(comment).items())) or None


def split_tags(text: str | None) -> dict[str, str]:
    """What `canonical_tags` wrote, as tags."""
    return {} if text is None else dict(_TAG.findall(text))


def parse_tag(text: str) -> tuple[str, str]:
    """`project=x` as key and value. ValueError where it is no tag."""
    match = _TAG.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no tag")
    return match[1], match[2]


def format_tags(tags: Mapping[str, str]) -> str:
    """Tags as they are typed: `phase=train,project=x`."""
    return ",".join(f"{key}={value}" for key, value in tags.items())


def with_tags(comment: str | None, tags: Mapping[str, str]) -> str:
    """The comment with these tags added to those that it has; its other words stay as they are."""
    words = _TAGS.sub("", comment or "").strip()
    return f"{words} scarbon:{format_tags({**parse_tags(comment), **tags})}".strip()
