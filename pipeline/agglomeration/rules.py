"""States the rule by which supervoxels become segments, once for recipes, tasks, tuning and `petavox.segment`.

`AgglomerationRule` holds the settings of every linkage under the names that recipes, task configs and fingerprints use.
`MergeRule` and `MulticutRule` are made from it; the linkages compute with them. A new linkage needs a function that
merges (`linkages.py` calls it), its word and its entry here, and a line of documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from ..errors import RequestError
from ..thresholds import MAXIMUM, Fraction, Threshold

Thresholded = Literal["mean", "quantile"]
"""Linkages that merge contacts from a threshold on: what `petavox tune` chooses from."""
LinkageName = Literal[Thresholded, "multicut"]
Solver = Literal["greedy-additive", "kernighan-lin", "fusion-moves"]


@dataclass(frozen=True)
class Linkage:
    """States the properties of a linkage.

    Args:
        histograms: whether contacts carry histograms of their affinities.
        exact: whether the result is that of the whole volume, whatever the blocks.
    """

    histograms: bool = False
    exact: bool = True


LINKAGES: Mapping[LinkageName, Linkage] = {
    "mean": Linkage(),
    "quantile": Linkage(histograms=True),
    "multicut": Linkage(exact=False),
}


@dataclass(frozen=True)
class MergeRule:
    """Says when two segments become one. All thresholds are on a contact's score.

    Args:
        threshold: a contact that passes this may be merged.
        small_size: a segment with fewer voxels is small; 0 means that none is.
        small_threshold: a contact of a small segment may be merged already when it passes this.
        veto_size: two segments that both have more voxels merge only over a contact that passes `veto_threshold`; 0
            means that there is no veto.
        veto_threshold: see `veto_size`.
        quantile: None: the score is the mean affinity. Else the smallest level such that at least this share of the
            contact's voxel edges lies at it or below, divided by levels − 1.
    """

    threshold: Threshold
    small_size: int = 0
    small_threshold: Threshold = MAXIMUM
    veto_size: int = 0
    veto_threshold: Threshold = MAXIMUM
    quantile: Threshold | None = None

    def limits(self) -> npt.NDArray[np.int64]:
        """Returns the numbers that the kernels compare with, in the order of `contact_order.NORMAL` and those after it.

        Thresholds are in millionths of a grey level.
        """
        normal, small, veto = (t.per_edge for t in (self.threshold, self.small_threshold, self.veto_threshold))
        any_sizes = max(normal, veto) if self.veto_size else normal
        return np.array([normal, small, self.small_size, veto, self.veto_size, any_sizes], dtype=np.int64)


@dataclass(frozen=True)
class MulticutRule:
    """Says how much it costs to cut a contact, and which solver is used.

    Args:
        bias: in (0, 1); above it a mean affinity attracts, below it repels.
        by_size: multiply the cost of a contact by its count, so that broad contacts weigh more. Without it, contacts
            that a join below made one weigh as one up the octree, which moves the result further from the whole solve.
        solver: greedy additive contraction; the same improved by Kernighan–Lin; or by fusion moves (Beier et al. 2015).

    Raises:
        RequestError: the bias is not between 0 and 1.
    """

    bias: float = 0.5
    by_size: bool = True
    solver: Solver = "greedy-additive"

    def __post_init__(self) -> None:
        if not 0 < self.bias < 1:
            raise RequestError(f"The bias of multicut must lie between 0 and 1, both excluded; found {self.bias}.")


class AgglomerationRule(BaseModel):
    """Says which supervoxels are merged into segments. Every contact between two of them has a score from 0 to 1.

    Args:
        linkage: The score of a contact: the "mean" or a "quantile" of its affinities. With "multicut" all contacts are
            weighed against each other, no threshold applies, and the result depends on the blocks.
        quantile: For "quantile": the share of a contact's affinities that lie at its score or below.
        levels: For "quantile": affinities are rounded to this many levels.
        threshold: Two segments merge if the score of their contact is at least this. Higher values make smaller
            segments: fewer mergers, more splits.
        small_size: Segments with fewer voxels merge already from `small_threshold` on. 0: this rule is off.
        small_threshold: Least score for merging a small segment; at most `threshold`.
        veto_size: Two segments that both have more voxels merge only from `veto_threshold` on. 0: this rule is off.
        veto_threshold: Least score for merging two such large segments.
        bias: For "multicut": lower values make larger segments.
        by_size: For "multicut": large contacts count more than small ones.
        solver: For "multicut": the algorithm that solves it.
        dust_size: Segments with fewer voxels become background. 0: all are kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    linkage: LinkageName = "mean"
    quantile: Annotated[Fraction, Field(gt=0)] = Decimal("0.85")
    levels: int = Field(default=64, ge=2, le=256)
    threshold: Fraction = Decimal("0.5")
    small_size: int = Field(default=0, ge=0)
    small_threshold: Fraction = Decimal("0.3")
    veto_size: int = Field(default=0, ge=0)
    veto_threshold: Fraction = Decimal("0.8")
    # A number in the JSON of task configs ever since; thresholds are strings there.
    bias: Annotated[Fraction, Field(gt=0, lt=1), PlainSerializer(float, when_used="json")] = Decimal("0.5")
    by_size: bool = True
    solver: Solver = "greedy-additive"
    dust_size: int = Field(default=0, ge=0)

    @classmethod
    def of(cls, **settings: Any) -> AgglomerationRule:
        """Makes a rule from settings by name.

        Raises:
            RequestError: a setting is unknown, or has no such value.
        """
        try:
            return cls(**settings)
        except ValidationError as error:
            wrong = (
                f"{'.'.join(map(str, problem['loc']))} {problem['msg'].removeprefix('Value error, ')};"
                f" found {problem['input']!r}."
                for problem in error.errors(include_url=False)
            )
            raise RequestError(" ".join(wrong)) from error

    @property
    def histogram_levels(self) -> int:
        """Counts the levels that the histograms of contacts have: 0, none, where the linkage needs none."""
        return self.levels if LINKAGES[self.linkage].histograms else 0

    @property
    def is_exact(self) -> bool:
        """Tells whether the result is that of the whole volume, whatever the blocks."""
        return LINKAGES[self.linkage].exact

    def as_config(self) -> dict[str, Any]:
        """Returns all settings as a task config has them: levels that no linkage reads make no result stale."""
        return self.model_dump(include=set(AgglomerationRule.model_fields)) | {"levels": self.histogram_levels}

    def merge_rule(self) -> MergeRule:
        """Makes the rule of a linkage with thresholds.

        Raises:
            RequestError: the linkage has none.
        """
        if self.linkage not in get_args(Thresholded):
            raise RequestError(f"Linkage {self.linkage!r} has no thresholds; {get_args(Thresholded)} have.")
        return MergeRule(
            threshold=Threshold.parse(self.threshold),
            small_size=self.small_size,
            small_threshold=Threshold.parse(self.small_threshold),
            veto_size=self.veto_size,
            veto_threshold=Threshold.parse(self.veto_threshold),
            quantile=Threshold.parse(self.quantile) if self.linkage == "quantile" else None,
        )

    def multicut_rule(self) -> MulticutRule:
        """Makes the rule of linkage "multicut"."""
        return MulticutRule(float(self.bias), self.by_size, self.solver)
