"""What stands in an HTML page, as people and browsers take it: its text, its tables, its elements."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "rect", "line"}


@dataclass
class Read(HTMLParser):
    """`elements` are the tags with the names of their attributes; `tables` have rows of cells."""

    elements: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)  # by their captions
    style: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[str] = []
        self._caption = ""
        self._rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self._open.pop() == tag, f"{tag} ends what it did not begin"
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            self.style += data
            return
        text = " ".join(data.split(" ")).replace("\n", " ").strip(" ")
        if not text:
            return
        self.texts.append(text)
        if "caption" in self._open:
            self._caption += text
        elif self._rows and ("td" in self._open or "th" in self._open):
            self._rows[-1][-1] = f"{self._rows[-1][-1]} {text}".strip()

    @property
    def text(self) -> str:
        """All text, a line for each piece."""
        return "\n".join(self.texts)


def read(html: str) -> Read:
    """Take a page apart; every element ends that has begun."""
    found = Read()
    found.feed(html)
    found.close()
    assert found._open == []
    return found
