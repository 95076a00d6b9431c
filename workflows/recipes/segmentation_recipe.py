"""The recipe of a segmentation run: strict, frozen, every default in its field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    model_validator,
)

from ...cluster.quantities import Duration
from ...pipeline.errors import RequestError
from ...pipeline.geometry import Box, Triple
from ...pipeline.thresholds import Threshold
from ...pipeline.volumes import LAID_OVER, VolumeSource, absolute_path
from . import strict_toml
from .cluster_section import Cluster
from .strict_toml import Section


def _against_recipe(path: str, info: ValidationInfo) -> str:
    """A relative path is relative to the recipe's folder; a URL stays as it is."""
    return absolute_path(path, info.context["folder"]) if info.context else path


def _checkpoint(name: str, info: ValidationInfo) -> str:
    """A folder beside the recipe where there is one with a checkpoint in it; else a model's name or a path."""
    beside = _against_recipe(name, info)
    return beside if Path(beside, "config.json").is_file() else name


def _decimal(value: Any) -> Decimal:
    """A TOML number as the decimal that was written, checked against the rule of thresholds."""
    try:
        if isinstance(value, str | bool):
            raise RequestError("Not a number.")
        Threshold.parse(value)
    except RequestError as error:
        raise ValueError("must be a decimal in [0, 1] with at most six places") from error
    return Decimal(str(value))


def _triple(value: Any) -> Any:
    """Three integers, refused in one message rather than in one for each place."""
    if not isinstance(value, tuple) or len(value) != 3 or not all(type(v) is int for v in value):
        raise ValueError("must be three integers in z, y, x order")
    return value


InputPath = Annotated[str, AfterValidator(_against_recipe)]
CheckpointName = Annotated[str, AfterValidator(_checkpoint)]
Fraction = Annotated[Decimal, BeforeValidator(_decimal)]
Voxels = Annotated[Triple, BeforeValidator(_triple)]
Overlap = Annotated[tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt], BeforeValidator(_triple)]
Shape = Annotated[tuple[PositiveInt, PositiveInt, PositiveInt], BeforeValidator(_triple)]


class Input(Section):
    """What a run starts from: raw data, affinities that exist already, or the supervoxels of a run.

    What `VolumeSource` lays over a volume may also stand beside the path of raw data or affinities.
    """

    raw: VolumeSource | None = None
    affinities: VolumeSource | None = None
    mask: VolumeSource | None = None  # of any resolution: where it is 0 there are no affinities
    run: InputPath | None = None  # directory of a run whose supervoxels are done
    offsets: tuple[Voxels, ...] | None = None  # of each affinity channel in voxels, where its metadata has none
    # First voxel and end of all that is computed; names and positions stay those of the volume.
    box: tuple[Voxels, Voxels] | None = Field(default=None, exclude_if=lambda box: box is None)

    @model_validator(mode="before")
    @classmethod
    def _laid_over_beside(cls, content: Any) -> Any:
        """Keys beside `raw` or `affinities` become those of its own table."""
        beside = {key: content[key] for key in LAID_OVER if key in content} if isinstance(content, Mapping) else {}
        if not beside:
            return content
        named = [name for name in ("raw", "affinities") if content.get(name) is not None]
        if len(named) != 1:
            raise ValueError(f"'{next(iter(beside))}' describes 'raw' or 'affinities': name one of them")
        source = content[named[0]]
        table = dict(source) if isinstance(source, Mapping) else {"path": source}
        if twice := sorted(beside.keys() & table.keys()):
            raise ValueError(f"'{twice[0]}' is given twice: beside '{named[0]}' and in its table")
        rest = {key: value for key, value in content.items() if key not in beside}
        return {**rest, named[0]: {**table, **beside}}

    @model_validator(mode="after")
    def _one_source(self) -> Input:
        if [self.raw, self.affinities, self.run].count(None) != 2:
            raise ValueError("name exactly one of 'raw', 'affinities' and 'run'")
        if self.affinities is not None and self.affinities.channel is not None:
            raise ValueError("'channel' takes one channel of raw data, truth or mask; affinities need all of theirs")
        if self.offsets is not None and self.affinities is None:
            raise ValueError("'offsets' describes 'affinities'; with 'raw' the checkpoint has them")
        if self.mask is not None and self.run is not None:
            raise ValueError("'mask' goes with 'raw' or 'affinities'; 'run' has the mask that it was made with")
        if self.box is not None and self.run is not None:
            raise ValueError("'box' goes with 'raw' or 'affinities'; 'run' has the box that it was made with")
        return self

    @property
    def source(self) -> VolumeSource | None:
        """The raw data or the affinities; None where it starts from a run."""
        return self.raw or self.affinities

    @property
    def region(self) -> Box | None:
        """The box; None where all of the volume is computed."""
        return None if self.box is None else Box(*self.box)


class Model(Section):
    """The network that turns raw data into affinities."""

    checkpoint: CheckpointName  # a model's name, or a folder
    mean: float | None = None  # of the raw grey levels; sampled over the volume and recorded unless given
    deviation: float | None = Field(default=None, gt=0)  # standard deviation of the same
    patch: Shape | None = None  # voxels; the checkpoint's unless given
    batch: PositiveInt = 2  # patches computed together
    threads: PositiveInt = 1  # of one task on a CPU
    device: Literal["auto", "cpu", "cuda"] = "auto"  # "auto": GPU workers if there are any, and a GPU if torch can
    precision: Literal["float32", "bfloat16"] = "float32"
    # Each patch is looked at in so many ways: 4 flip y and x, 8 exchange them too, 16 flip z too. Runs that were begun
    # before there was a choice have no record of one.
    variants: Literal[1, 4, 8, 16] = Field(default=1, exclude_if=lambda count: count == 1)
    combine: Literal["mean", "min"] = Field(default="mean", exclude_if=lambda how: how == "mean")  # of the variants
    compile: bool = Field(default=False, exclude_if=lambda asked: not asked)  # takes up to minutes in every worker
    # Voxels that neighbouring patches share, and those of their rims that count nothing (a third of the overlap); the
    # checkpoint's unless given, and half a patch where it has none.
    overlap: Overlap | None = Field(default=None, exclude_if=lambda overlap: overlap is None)
    rim: Overlap | None = Field(default=None, exclude_if=lambda rim: rim is None)
    # Voxels of the raw data may be 1.5 times as large or small as those that the network was trained on, or more.
    accept_voxel_size: bool = Field(default=False, exclude_if=lambda asked: not asked)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Model:
        if (self.mean is None) != (self.deviation is None):
            raise ValueError("'mean' and 'deviation' are given together or not at all")
        return self


class Blocks(Section):
    """How the volume is cut; the result does not depend on it, except with multicut and the mutex watershed."""

    shape: Shape = (64, 512, 512)


class Supervoxels(Section):
    """Affinities below `low` join nothing; from `high` on they always join, with "mutex" only across block faces."""

    method: Literal["watershed", "mutex"] = "watershed"  # mutex watershed: needs long-range affinities, sees blocks
    strides: Shape = (1, 4, 4)  # with "mutex": long-range edges are used at every so many voxels
    low: Fraction = Decimal("0.02")
    high: Fraction = Decimal("0.9999")
    join_size: int = Field(default=100, ge=0)  # a smaller one joins the neighbour behind its strongest edge; 0: none
    join_affinity: Fraction = Decimal("0.3")  # if that edge has at least this affinity

    @model_validator(mode="after")
    def _in_order(self) -> Supervoxels:
        if self.low > self.high:
            raise ValueError(f"'low' must not exceed 'high'; found {self.low} and {self.high}")
        return self


class Agglomeration(Section):
    """Which supervoxels are merged. Sizes are in voxels; thresholds are on the score of a contact."""

    linkage: Literal["mean", "quantile", "multicut"] = "mean"  # score: mean or quantile of a contact's affinities
    quantile: Annotated[Fraction, Field(gt=0)] = Decimal("0.85")  # with linkage = "quantile"
    levels: int = Field(default=64, ge=2, le=256)  # to which affinities are rounded for it
    threshold: Fraction = Decimal("0.5")
    small_size: int = Field(default=0, ge=0)  # a segment below it merges from small_threshold on; 0: no such rule
    small_threshold: Fraction = Decimal("0.3")
    veto_size: int = Field(default=0, ge=0)  # two segments above it merge only from veto_threshold on; 0: no such rule
    veto_threshold: Fraction = Decimal("0.8")
    bias: Annotated[Fraction, Field(gt=0, lt=1)] = Decimal("0.5")  # with "multicut": lower means larger segments
    by_size: bool = True  # with "multicut": a contact's cost grows with its voxel edges
    solver: Literal["greedy-additive", "kernighan-lin", "fusion-moves"] = "greedy-additive"  # with "multicut"
    dust_size: int = Field(default=0, ge=0)  # segments below it become background; 0: none

    @model_validator(mode="after")
    def _small_is_easier(self) -> Agglomeration:
        if self.small_size and self.small_threshold > self.threshold:
            raise ValueError(
                f"'small_threshold' must not exceed 'threshold'; found {self.small_threshold} and {self.threshold}"
            )
        return self

    @property
    def histogram_levels(self) -> int:
        """How many levels the histograms of contacts have: 0, none, where the linkage needs none."""
        return self.levels if self.linkage == "quantile" else 0


class Output(Section):
    """Where volumes go: relative to the run directory, or anywhere."""

    segmentation: str = "segmentation.zarr"
    affinities: str = "affinities.zarr"
    until: Literal["affinities", "segmentation"] = "segmentation"  # the last that is made
    chunk: Shape | None = None  # of written volumes; chosen to fit the blocks unless given


class Evaluate(Section):
    """The truth to score against, and the part of it that counts; 0 in the truth is not scored."""

    truth: VolumeSource
    mask: VolumeSource | None = None  # where it is 0 nothing is scored
    offset: Voxels | None = None  # of the truth's first voxel in the segmentation; from metadata unless given
    box: tuple[Voxels, Voxels] | None = None  # first voxel and end (exclusive) in the segmentation; all unless given
    tolerance: float | None = Field(default=None, ge=0)  # nm; truth so close to a boundary is not scored


class Limits(Section):
    """When a task is taken to hang, and when a run gives up."""

    task: Duration = "2h"  # a task that takes longer is ended and counts as failed
    crash_budget: Fraction = Decimal("0.05")  # share of a stage's blocks; more set aside, and ten or more, stop the run


class Recipe(Section):
    """Everything that a segmentation run is asked to do."""

    input: Input
    model: Model | None = None
    blocks: Blocks = Blocks()
    supervoxels: Supervoxels = Supervoxels()
    agglomeration: Agglomeration = Agglomeration()
    output: Output = Output()
    evaluate: Evaluate | None = None
    cluster: Cluster = Cluster()
    limits: Limits = Limits()

    @property
    def sees_blocks(self) -> bool:
        """Whether the segmentation depends on how the volume is cut."""
        return self.supervoxels.method == "mutex" or self.agglomeration.linkage == "multicut"

    @model_validator(mode="after")
    def _model_where_raw(self) -> Recipe:
        if self.input.raw is not None and self.model is None:
            raise ValueError("raw data needs a network: add [model] with checkpoint = a model's name or a folder")
        if self.input.raw is None and self.model is not None:
            raise ValueError("[model] has nothing to do unless [input] names raw data: take it out, or name 'raw'")
        if self.output.until == "affinities" and (self.input.raw is None or self.evaluate is not None):
            raise ValueError("a run until 'affinities' starts from raw data and scores nothing: name 'raw' alone")
        segmented = self.output.until == "segmentation"
        if self.input.raw is not None and segmented and self.supervoxels.method == "mutex":
            raise ValueError(
                "method 'mutex' needs long-range affinities, and prediction writes the nearest three: name 'affinities'"
            )
        return self


def load(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file, its input paths absolute.

    Raises:
        RequestError: see `strict_toml.read`.
    """
    return strict_toml.read(path, Recipe, overrides)
