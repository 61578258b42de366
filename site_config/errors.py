"""What is wrong with a site's configuration, told so that a person can mend it without reading code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the file, the line and column (from 1; None where there is none), the key, and what to do."""

    file: str
    message: str
    line: int | None = None
    column: int | None = None
    key: str = ""  # `clusters.alpha.gpu.match`, `grid.location[0].path`; empty for the file as a whole

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has every mistake in the order of the file; `str()` a line each."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def near(word: str, names: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the name nearest to `word`, whatever its case, or nothing."""
    import difflib  # 5 ms at start-up, and only a mistake needs it

    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[found[0]]}'?" if found else ""
