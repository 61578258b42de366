"""A source on the network whose answers are kept: what is final is not asked for again, an estimate is.

Stands between the chain of sources and the service. A later, final value takes the place of an estimate; the next
accounting of that time then supersedes what the estimate gave.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from accounting.model import FactorSlot
from accounting.sources import IntensitySource, SourceError
from collectors.grid.spans import Span, apart, joined, take
from collectors.grid.store import SlotStore, is_final
from site_config.section import Section

#: How a source is spoken to, and not what it is asked.
_NOT_ASKED = (
    "token_file", "token_env", "username", "password_file", "ca_file", "timeout_s", "query_max_samples",
)  # fmt: skip

#: What a service is asked for: what is not kept as final, all of it, or nothing (only what is kept is told).
Ask = Literal["new", "all", "nothing"]


def asked(declared: Section, zone: str = "") -> str:
    """Return what a source is asked, as a text that differs wherever its answers may.

    It has all that is declared of the source but its keys and time limits, and the grid's zone where that counts.
    """
    values = declared.model_dump(mode="json", exclude_none=True)
    for section in (values, values.get("prometheus", {})):
        for name in _NOT_ASKED:
            section.pop(name, None)
    return json.dumps({**values, "zone of the grid": zone} if zone else values, sort_keys=True, ensure_ascii=False)


def told(declared: Section) -> str:
    """Return what a source is asked, for a person: `zone FR, factors lifecycle`."""
    values = declared.model_dump(mode="json", exclude_defaults=True, exclude={"source", "url", *_NOT_ASKED})
    server = values.pop("prometheus", None)
    at = [] if server is None else [f"at {server['url']}"]
    return ", ".join([*(f"{name} {value}" for name, value in values.items()), *at])


class KeptSource:
    """One source. `asked` tells in the store what it is asked; values outside [lowest, highest] are not kept."""

    def __init__(
        self, source: IntensitySource, store: SlotStore, asked: str, lowest: float, highest: float, ask: Ask = "new"
    ) -> None:
        self.name = source.name
        self.asked = asked
        self._source = source
        self._store = store
        self._lowest, self._highest = lowest, highest
        self._ask_for = ask

    def slots(self, start_s: float, end_s: float) -> Iterator[FactorSlot]:
        """Yield what is kept and final, then what the service answers, then the estimates that it did not renew.

        Raise `SourceError` after that where the service failed, or where its answers cannot be kept.
        """
        troubles: list[SourceError] = []
        window = [(start_s, end_s)]
        known = self._known(start_s, end_s, troubles)
        final = [slot for slot in known if is_final(slot) and self._ask_for != "all"]
        yield from final
        holes = take(final, window)[1]
        if self._ask_for != "nothing":
            answered, holes = take(self._ask(holes, troubles), holes)
            yield from answered
        yield from take(known, holes)[0]
        if troubles:
            raise troubles[0]

    def _known(self, start_s: float, end_s: float, troubles: list[SourceError]) -> list[FactorSlot]:
        try:
            return self._store.known(self.asked, start_s, end_s)
        except SourceError as error:
            troubles.append(error)
            return []

    def _ask(self, holes: Sequence[Span], troubles: list[SourceError]) -> list[FactorSlot]:
        """Ask the service for the holes, and keep what it answers before it fails."""
        fresh: list[FactorSlot] = []
        try:
            for span in joined(holes):
                fresh.extend(self._source.slots(*span))  # what it gives before it fails stays
        except SourceError as error:
            troubles.append(error)
        now_s = time.time()
        fresh = [replace(slot, retrieved_s=now_s) for slot in fresh]
        try:
            if sound := [slot for slot in fresh if self._lowest <= slot.value <= self._highest]:
                self._store.keep(self.asked, sound)
        except SourceError as error:
            troubles.append(error)
        return apart(fresh)
