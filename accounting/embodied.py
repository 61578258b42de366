"""What making the hardware emitted, for a held second of what the books hold, by the figures of now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select, text

from accounting.arrays import Floats
from accounting.booking import Rules
from accounting.host import nodes_held
from accounting.ledger import schema
from accounting.ledger.bulk import id_lists
from accounting.ledger.postings import Meter, MeterKey
from accounting.model import Job
from accounting.sources import NodeSource, SourceError


class Embodied:
    """Of GPUs and nodes by their meter, of a modelled host by the job's part of its nodes."""

    def __init__(self, connection: Connection, cluster: str, rules: Rules, nodes: NodeSource) -> None:
        self._connection = connection
        self.warnings: list[str] = []
        chosen = select(schema.meters).where(schema.meters.c.cluster == cluster)
        self.rate: dict[int, float | None] = {}
        self._modelled: set[int] = set()
        for row in connection.execute(chosen).mappings():
            meter = Meter(MeterKey(row["kind"], row["uuid"]), row["node"], row["model"])
            self.rate[row["meter_id"]] = rules.embodied_g_per_s(meter)
            if meter.key == MeterKey("host", "") and rules.embodied_node_g is not None:
                self._modelled.add(row["meter_id"])
        self._nodes = None
        if self._modelled:
            try:
                self._nodes = nodes.nodes()
            except SourceError as error:
                self.warnings.append(f"{error.what}: the embodied share of modelled hosts stays as it was applied")
        self._pieces: dict[int, float | None] = {}

    def per_s(self, meter: NDArray[np.int64], attempt: Floats | None) -> Floats:
        """Grams for a held second of each row; NaN where it is not known now."""
        rates = {one: self.rate.get(one) for one in np.unique(meter).tolist()}
        found = np.array([rates[one] for one in meter.tolist()], dtype=float)
        if attempt is not None and self._modelled:
            rows = np.flatnonzero(np.isin(meter, list(self._modelled)))
            found[rows] *= self._of_attempts(attempt[rows].astype(np.int64).tolist())
        return found

    def _of_attempts(self, attempts: Sequence[int]) -> Floats:
        for ids in id_lists(set(attempts) - self._pieces.keys()):
            chosen = text(f"SELECT attempt_id, cpus, memory_mb, nodes FROM attempts WHERE attempt_id IN ({ids})")
            for number, cpus, memory_mb, nodes in self._connection.execute(chosen):
                names = tuple(nodes.split(",")) if nodes else ()
                job = Job("", number, 0, "", "", nodes=names, cpus=cpus, memory_mb=memory_mb)
                self._pieces[number] = None if self._nodes is None else nodes_held(job, self._nodes)
        return np.array([self._pieces[one] for one in attempts], dtype=float)
