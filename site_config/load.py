"""From a file to a `SiteConfig`, with every mistake named by its line.

The YAML is read as nodes first, so that each value keeps its place in the file; the values then go through the schema,
and what the schema finds wrong is put back on its line.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from pydantic import ValidationError

from site_config.errors import ConfigError, Problem
from site_config.schema import SiteConfig, find_zone

Key = tuple[str | int, ...]
Place = tuple[int, int]  # line and column, from 1


def load(path: Path) -> SiteConfig:
    """Read the configuration at `path`. Raise `ConfigError` with all its mistakes, in the order of the file."""
    document = _Document(str(path), _text(path))
    problems = document.problems
    try:
        config = SiteConfig.model_validate(document.value, context={"base": path.absolute().parent})
        if not problems:
            return config
    except ValidationError as error:
        found_wrong = [document.problem(found["loc"], found["msg"]) for found in error.errors(include_url=False)]
        told = {problem.key for problem in problems}
        problems += [problem for problem in found_wrong if problem.key not in told]
    raise ConfigError(tuple(sorted(problems, key=lambda found: (found.line or 0, found.column or 0))))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        advice = "no such file; write one with `scarbon init`, or name yours with --config or $SCARBON_CONFIG"
        raise ConfigError((Problem(str(path), advice),)) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError((Problem(str(path), f"cannot be read: {reason}"),)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError((Problem(str(path), "is not UTF-8 text; save it as UTF-8", line),)) from None


class _Document:
    """A YAML document as plain values, with the place of each key."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._places: dict[Key, Place] = {(): (1, 1)}
        self._open: list[yaml.Node] = []
        self._scalars = yaml.constructor.SafeConstructor()
        root = self._compose(text)
        if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
            raise ConfigError((Problem(file, "is empty; `scarbon init` writes a configuration to start from"),))
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError((Problem(file, "must be a mapping that begins with `site:`; see `scarbon init`", 1),))
        self._zone = self._site_zone(root)
        self.value = self._read(root, ())

    def problem(self, loc: Key, message: str) -> Problem:
        """Put what the schema found at `loc` on its line, or on that of the nearest key above it."""
        key = tuple(part for part in loc if part != "[key]")
        known = key
        while known not in self._places:
            known = known[:-1]
        return Problem(self.file, message, self._places[known][0], key=_dotted(key))

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
            said = ", ".join(part for part in (error.context, error.problem) if part)
            raise ConfigError((Problem(self.file, f"is not YAML: {said}", line, column),)) from None
        except yaml.YAMLError as error:  # a character that YAML does not allow
            said = str(error).splitlines()[0]
            raise ConfigError((Problem(self.file, f"is not YAML: {said}"),)) from None

    def _site_zone(self, root: yaml.MappingNode) -> ZoneInfo:
        """Find the zone that dates without one are in; a missing or unknown zone is the schema's to report."""
        for name, node in _pairs(root):
            if name.value == "site" and isinstance(node, yaml.MappingNode):
                for key, value in _pairs(node):
                    if key.value == "timezone" and isinstance(value, yaml.ScalarNode):
                        return find_zone(value.value) or ZoneInfo("UTC")
        return ZoneInfo("UTC")

    def _read(self, node: yaml.Node, key: Key) -> Any:
        self._places.setdefault(key, _place(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, key)
        if node in self._open:  # an alias of what it stands in
            self._wrong(node, key, "contains itself")
            return None
        self._open.append(node)
        if isinstance(node, yaml.MappingNode):
            value: Any = self._mapping(node, key)
        else:
            value = tuple(self._read(entry, (*key, position)) for position, entry in enumerate(node.value))
        self._open.pop()
        return value

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in _pairs(node):
            if not isinstance(name, yaml.ScalarNode):
                self._wrong(name, key, "a key must be a word")
            elif name.value in values:
                first = self._places[(*key, name.value)][0]
                self._wrong(name, (*key, name.value), f"given twice; first on line {first}")
            else:
                self._places[(*key, name.value)] = _place(name)
                values[name.value] = self._read(value, (*key, name.value))
        return values

    def _scalar(self, node: yaml.Node, key: Key) -> Any:
        try:
            value = self._scalars.construct_object(node)
        except yaml.YAMLError as error:
            self._wrong(node, key, f"is not understood: {getattr(error, 'problem', error)}")
            return None
        except ValueError as error:  # a date such as 2026-02-30
            self._wrong(node, key, f"{node.value!r}: {error}")
            return None
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=self._zone)
        if isinstance(value, date):
            return datetime.combine(value, time(), self._zone)
        return value

    def _wrong(self, node: yaml.Node, key: Key, message: str) -> None:
        line, column = _place(node)
        self.problems.append(Problem(self.file, message, line, column, _dotted(key)))


def _pairs(node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    yield from node.value


def _place(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _dotted(key: Key) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return text.removeprefix(".")
