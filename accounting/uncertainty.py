"""How uncertain a figure is: a 95 % interval and its parts.

The last step of the arithmetic, on the way from the books to a person. What the books keep of a job's energy is what
cannot be found out later (`EnergyDoubt`); what a site may come to know better, the accuracy of its sensors and factors
(`Accuracy`), is applied when the figure is shown.

**The parts**, each a standard deviation relative to the figure:

* *sensor*: a GPU's sensor is off by the same factor all the time, another GPU's by another one. Over the devices of a
  job their squares add up; over its time they do not, because it is the same sensor.
* *edges*: energy that was divided at the beginning or end of a hold inside a sample window, in a gap, or that was lost
  in a restart (`edges`). One edge has nothing to do with the next.
* *sharing*: the division of a shared device among its holders; off the same way as long as they share it.
* *model*: energy that was modelled, off by the same factor wherever the model was used.
* *pue* and *intensity*: off by the same factor for every job of a site.

**In a sum** over jobs the edges average out. The model, PUE and intensity do not, and neither are the sensors taken to
(`report`): those of one model of GPU may well be off the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

#: Standard deviations on each side of a normal distribution's mean that hold 95 % of it.
NORMAL_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What 95 % of the figures are within, relative to the truth. The reasons are in docs/accuracy.md."""

    sensor: float = 0.05  # of a GPU's or a node's own meter; NVML's specification
    model: float = 0.5  # of what is modelled
    pue: float = 0.05
    intensity: float = 0.1


@dataclass(frozen=True, slots=True)
class EnergyDoubt:
    """What the books keep of how uncertain an energy is; units as in `accounting.ledger.schema`."""

    sensor_j: float  # the root of the squares of each meter's energy
    edges_j2: float  # variance
    sharing_j: float  # standard deviation
    modelled_j: float  # how much of it is modelled


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a figure's uncertainty: standard deviations relative to the figure."""

    sensor: float
    edges: float
    sharing: float
    model: float
    pue: float = 0.0
    intensity: float = 0.0

    @property
    def whole(self) -> float:
        """All of them together."""
        return hypot(self.sensor, self.edges, self.sharing, self.model, self.pue, self.intensity)

    def interval(self, figure: float) -> tuple[float, float]:
        """The 95 % interval around a figure; nothing that is accounted is negative."""
        half = NORMAL_95 * self.whole * figure
        return max(figure - half, 0.0), figure + half


def energy_parts(energy_j: float, doubt: EnergyDoubt, accuracy: Accuracy) -> Parts:
    """The uncertainty of an IT energy; none of nothing."""
    if energy_j <= 0:
        return Parts(0.0, 0.0, 0.0, 0.0)
    return Parts(
        sensor=accuracy.sensor / NORMAL_95 * doubt.sensor_j / energy_j,
        edges=doubt.edges_j2**0.5 / energy_j,
        sharing=doubt.sharing_j / energy_j,
        model=accuracy.model / NORMAL_95 * doubt.modelled_j / energy_j,
    )


def emission_parts(energy_j: float, doubt: EnergyDoubt, accuracy: Accuracy) -> Parts:
    """The uncertainty of the emissions of an IT energy: its own, and that of PUE and intensity."""
    own = energy_parts(energy_j, doubt, accuracy)
    pue, intensity = accuracy.pue / NORMAL_95, accuracy.intensity / NORMAL_95
    return Parts(own.sensor, own.edges, own.sharing, own.model, pue, intensity)
