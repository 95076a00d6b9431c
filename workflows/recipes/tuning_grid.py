"""Defines the grid of `petavox tune`: the values that are tried, and the recipes that they make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt

from ...pipeline.agglomeration.rules import LINKAGES, Thresholded
from ...pipeline.thresholds import Fraction
from . import strict_toml
from .segmentation_recipe import Agglomeration, Supervoxels
from .strict_toml import Section

Values = Annotated[tuple[Fraction, ...], Field(min_length=1)]
Rules = Annotated[tuple[tuple[NonNegativeInt, Fraction], ...], Field(min_length=1)]


def _decimals(*values: str) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, values))


class TuningGrid(Section):
    """Lists the values that are tried: every value of one key with every value of the others.

    Args:
        low: Values of `supervoxels.low`. Each pair of low and high makes supervoxels of its own, which takes most time.
        high: Values of `supervoxels.high`.
        join: Pairs of `supervoxels.join_size` and `supervoxels.join_affinity`.
        linkage: Values of `agglomeration.linkage`.
        quantile: Values of `agglomeration.quantile`, for linkage "quantile".
        threshold: Values of `agglomeration.threshold`.
        small: Pairs of `agglomeration.small_size` and `agglomeration.small_threshold`. Size 0: the rule is off.
        veto: Pairs of `agglomeration.veto_size` and `agglomeration.veto_threshold`. Size 0: the rule is off. Default:
            the recipe's.
    """

    low: Values = _decimals("0.02", "0.05")
    high: Values = _decimals("0.95", "0.99", "0.999")
    join: Rules = ((100, Decimal("0.3")), (300, Decimal("0.1")))
    linkage: Annotated[tuple[Thresholded, ...], Field(min_length=1)] = ("mean", "quantile")
    quantile: Annotated[tuple[Annotated[Fraction, Field(gt=0)], ...], Field(min_length=1)] = _decimals("0.5", "0.85")
    threshold: Values = tuple(Decimal(k) / 20 for k in range(2, 19))
    small: Rules = ((0, Decimal("0.3")), (600, Decimal("0.1")), (600, Decimal("0.3")))
    veto: Rules | None = None

    def cuts(self) -> list[tuple[Decimal, Decimal]]:
        """Lists every (low, high) that goes together; each of them makes supervoxels of its own."""
        return [(low, high) for low, high in product(self.low, self.high) if low <= high]

    def supervoxels(self, like: Supervoxels, low: Decimal, high: Decimal) -> Iterator[Supervoxels]:
        """Yields every [supervoxels] with one low and one high; other keys are as in `like`."""
        for size, affinity in self.join:
            join = {"join_size": size, "join_affinity": affinity}
            yield like.model_copy(update={"low": low, "high": high, **join})

    def linkages(self, like: Agglomeration) -> Iterator[list[Agglomeration]]:
        """Yields every [agglomeration], those of one linkage and veto together; other keys are as in `like`."""
        for (linkage, quantile), (veto_size, veto) in product(self._scores(), self._vetoes(like)):
            score = {"linkage": linkage} | ({} if quantile is None else {"quantile": quantile})
            refused = {"veto_size": veto_size} | ({"veto_threshold": veto} if veto_size else {})
            found = []
            for threshold, (size, small) in product(self.threshold, self.small):
                if size == 0 or small <= threshold:
                    rule = {"threshold": threshold, "small_size": size} | ({"small_threshold": small} if size else {})
                    found.append(like.model_copy(update=score | refused | rule))
            yield found

    def levels(self, like: Agglomeration) -> int:
        """Counts the levels that the histograms of contacts need: 0, none, where no quantile is tried."""
        return like.levels if any(LINKAGES[linkage].histograms for linkage in self.linkage) else 0

    def ends(self, supervoxels: Supervoxels, agglomeration: Agglomeration) -> list[str]:
        """Names the thresholds whose chosen value is the first or the last of three or more that were tried."""
        chosen = {"low": supervoxels.low, "high": supervoxels.high, "threshold": agglomeration.threshold}
        tried = {name: sorted(set(getattr(self, name))) for name in chosen}
        return [
            name
            for name, value in chosen.items()
            if len(tried[name]) > 2 and value in tried[name][:: len(tried[name]) - 1]
        ]

    def _vetoes(self, like: Agglomeration) -> Sequence[tuple[int, Decimal]]:
        return ((like.veto_size, like.veto_threshold),) if self.veto is None else self.veto

    def _scores(self) -> Iterator[tuple[str, Decimal | None]]:
        for linkage in dict.fromkeys(self.linkage):
            if linkage == "quantile":
                yield from ((linkage, quantile) for quantile in self.quantile)
            else:
                yield linkage, None


def read_grid(path: Path | None, overrides: Sequence[str]) -> TuningGrid:
    """Returns the grid in a TOML file, or the default one, with "threshold=[0.2, 0.3]" laid over it.

    Raises:
        RequestError: see `strict_toml.read`.
    """
    if path is not None:
        return strict_toml.read(path, TuningGrid, overrides)
    return strict_toml.parse(strict_toml.laid_over({}, overrides), TuningGrid, where="--try", folder=Path.cwd())
