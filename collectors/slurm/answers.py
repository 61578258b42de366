"""An answer of Slurm's in JSON, read piece by piece.

`sacct --json` and slurmrestd write all the jobs of a window as one document, which may be large.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: Slurm 22.05's error for an answer with no jobs in it, which is none to us (ESLURM_REST_EMPTY_RESULT).
_EMPTY_RESULT = 9003


class BrokenOffError(Exception):
    """A JSON text that does not end where its first bracket closes, or is none."""


class JobsDocument:
    """One answer in JSON, read piece by piece: its jobs one after the other, then what else was in it."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._decode_bytes = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        self._decode = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self.rest: dict[str, Any] = {}  # the members besides `jobs`, once they were read
        self.has_jobs = False

    def errors(self) -> str:
        """Slurm's own words on what went wrong, on one line; empty where nothing did."""
        return errors_of(self.rest)

    def jobs(self) -> Iterator[tuple[Mapping[str, Any], str]]:
        """Each job, with its text. BrokenOffError where the text is cut short or is no JSON."""
        self._expect("{")
        while self._next() != "}":
            name = self._value()[0]
            self._expect(":")
            if name == "jobs":
                self.has_jobs = True
                self._expect("[")
                while self._next() != "]":
                    yield self._value()
                    if self._next() == ",":
                        self._at += 1
                self._expect("]")
            else:
                self.rest[name] = self._value()[0]
            if self._next() == ",":
                self._at += 1

    def _more(self) -> bool:
        """Take in at least as much text again as is waiting."""
        waiting = [self._text[self._at :]]
        wanted = len(waiting[0]) or 1
        got = 0
        for piece in self._pieces:
            waiting.append(self._decode_bytes(piece))
            got += len(waiting[-1])
            if got >= wanted:
                break
        self._text, self._at = "".join(waiting), 0
        return got > 0

    def _next(self) -> str:
        """The next character that is no white space."""
        while True:
            while self._at < len(self._text):
                if not (character := self._text[self._at]).isspace():
                    return character
                self._at += 1
            if not self._more():
                raise BrokenOffError

    def _expect(self, character: str) -> None:
        if self._next() != character:
            raise BrokenOffError
        self._at += 1

    def _value(self) -> tuple[Any, str]:
        self._next()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError:
                end = len(self._text)
            # What ends with the text may go on in the next piece.
            if end == len(self._text):
                if self._more():
                    continue
                raise BrokenOffError
            text = self._text[self._at : end]
            self._at = end
            return value, text


def errors_of(answer: Mapping[str, Any]) -> str:
    """The errors in an answer of Slurm's, on one line."""
    said = []
    for error in answer.get("errors") or ():
        if isinstance(error, dict):
            if error.get("error_number") == _EMPTY_RESULT:
                continue
            words = [str(error[key]) for key in ("error", "description", "source") if error.get(key)]
            said.append(": ".join(dict.fromkeys(words)))
        else:
            said.append(str(error))
    return " / ".join(said)
