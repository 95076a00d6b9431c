"""Holds the cost of each unit of work: the shipped table of measured constants, in `unit_costs.json`.

`python -m benchmarks.runs.fit_unit_costs` measures the table anew and writes it. Tasks state their own memory; that
of a contact in an upper octree node is in the table too, for what is extrapolated from a calibration.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from pydantic import NonNegativeFloat

from ...tasks.contract import Density
from ...tasks.work import Growth, Work
from ..recipes.strict_toml import Section
from ..stages.stage import Stage

UNMEASURED = "supervoxels"
"""The kind of stage whose costs count for a task that nobody has measured: the dearest for a voxel on a CPU."""


class Cost(Section):
    """States the cost of a unit of work or of a stage: a worker's seconds, bytes read and written, bytes of memory."""

    seconds: NonNegativeFloat = 0.0
    read: NonNegativeFloat = 0.0
    written: NonNegativeFloat = 0.0
    memory: NonNegativeFloat = 0.0


class Rates(Section):
    """Holds the measured cost of a unit of each kind of work.

    Args:
    measured: when, on what and on which data.
    costs: for each kind of stage the cost of a unit of each amount of `Work`.
    across, passed_up: contacts of `Growth`, for each contact that crosses a plane.
    """

    measured: str
    costs: Mapping[str, Mapping[str, Cost]]
    across: NonNegativeFloat
    passed_up: NonNegativeFloat

    def kind_of(self, stage: Stage) -> str:
        """Names the kind of a stage: its own name where the table has costs of it, else the name of its task."""
        return stage.name if stage.name in self.costs else stage.task

    def knows(self, stage: Stage) -> bool:
        """Tells whether the table has costs of a stage."""
        return self.kind_of(stage) in self.costs

    def cost(self, kind: str, work: Work) -> Cost:
        """Computes the cost of some work of a kind of stage, by the costs of `UNMEASURED` where the table has none.

        The memory is that of a task which does all of the work.
        """
        units = self.costs.get(kind, self.costs[UNMEASURED])
        parts = [(getattr(work, amount), cost) for amount, cost in units.items()]
        return Cost(**{name: sum(n * getattr(cost, name) for n, cost in parts) for name in Cost.model_fields})

    def growth(self, density: Density) -> Growth:
        """Computes how the contact graph grows over supervoxels of a density."""
        crossing = density.crossing
        return Growth(density.contacts, density.joined, self.across * crossing, self.passed_up * crossing)


def shipped() -> Rates:
    """Reads the table that comes with petavox."""
    text = files(__package__).joinpath("unit_costs.json").read_text(encoding="utf-8")
    return Rates.model_validate_json(text)
