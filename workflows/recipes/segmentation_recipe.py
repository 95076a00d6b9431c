"""The recipe of a segmentation run: strict, frozen, every default in its field."""

from __future__ import annotations

import os
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
from ...pipeline.agglomeration.rules import AgglomerationRule
from ...pipeline.geometry import Box, Triple
from ...pipeline.thresholds import Fraction
from ...pipeline.volumes import LAID_OVER, VolumeSource, absolute_path
from . import strict_toml
from .cluster_section import Cluster
from .model_settings import with_settings
from .strict_toml import Section


def _against_recipe(path: str, info: ValidationInfo) -> str:
    """A relative path is relative to the recipe's folder; a URL stays as it is."""
    return absolute_path(path, info.context["folder"]) if info.context else path


def _checkpoint(name: str, info: ValidationInfo) -> str:
    """A folder beside the recipe where there is one with a checkpoint in it; else a model's name or a path."""
    beside = _against_recipe(name, info)
    return beside if Path(beside, "config.json").is_file() else name


def _triple(value: Any) -> Any:
    """Three integers, refused in one message rather than in one for each place."""
    if not isinstance(value, tuple) or len(value) != 3 or not all(type(v) is int for v in value):
        raise ValueError("must be three integers in z, y, x order")
    return value


NAME = "recipe.toml"
"""The file in a run directory that keeps the run's recipe."""

InputPath = Annotated[str, AfterValidator(_against_recipe)]
CheckpointName = Annotated[str, AfterValidator(_checkpoint)]
Voxels = Annotated[Triple, BeforeValidator(_triple)]
Overlap = Annotated[tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt], BeforeValidator(_triple)]
Shape = Annotated[tuple[PositiveInt, PositiveInt, PositiveInt], BeforeValidator(_triple)]


class Input(Section):
    """Names the data that a run starts from: `raw`, `affinities` or `run`, and one of them only.

    The keys of a volume, such as `voxel_size`, may also stand beside `raw` or `affinities`.

    Args:
        raw: The image volume, from which affinities are predicted.
        affinities: Affinities that exist already: uint8, or floats from 0 to 1.
        mask: A volume of any resolution that covers all that is computed. Where it is 0 there are no affinities.
        run: Directory of a run whose supervoxels are done. They are merged again, and nothing else is computed.
        offsets: Offset of each affinity channel, in voxels z, y, x: the value at voxel p belongs to the edge between p
            and p − offset. Needed only where the volume's metadata has no offsets.
        box: The part that is computed: its first voxel and its end (exclusive). Names and positions of segments stay
            those of the whole volume. Default: all of the volume.
    """

    raw: VolumeSource | None = None
    affinities: VolumeSource | None = None
    mask: VolumeSource | None = None
    run: InputPath | None = None
    offsets: tuple[Voxels, ...] | None = None
    box: tuple[Voxels, Voxels] | None = Field(default=None, exclude_if=lambda box: box is None)

    @model_validator(mode="before")
    @classmethod
    def _laid_over_beside(cls, content: Any) -> Any:
        """Makes keys beside `raw` or `affinities` those of its own table."""
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
        """Returns the raw data or the affinities; None where it starts from a run."""
        return self.raw or self.affinities

    @property
    def region(self) -> Box | None:
        """Returns the box; None where all of the volume is computed."""
        return None if self.box is None else Box(*self.box)


class Model(Section):
    """Names the network that predicts affinities from the image, and says how it is run.

    Args:
        checkpoint: A model's name, as `petavox models` lists them, or the folder of a checkpoint.
        mean: Mean of the image's grey values. Default: sampled over the volume, and written into the run's recipe.
        deviation: Standard deviation of the image's grey values; given together with `mean`. Default: sampled.
        patch: Shape of the patches that the network computes, in voxels. Default: the checkpoint's.
        batch: Number of patches that are computed together.
        threads: Threads of one task on a CPU.
        device: "cpu", "cuda" or "auto". With "auto" the network runs on GPU workers where the recipe has any, and a
            worker uses a GPU where torch can use it.
        precision: Number format of the network's convolutions.
        variants: Number of orientations in which each patch is predicted: 4 flips y and x, 8 exchanges y and x as well,
            16 flips z as well. Time grows with the number.
        combine: The value that an affinity gets from its variants: their mean, or the smallest of them.
        compile: Compiles the network before it is run, which takes up to minutes in each worker; on a CPU it needs a
            C++ compiler.
        overlap: Voxels that neighbouring patches share, along z, y, x. Default: the checkpoint's, or half a patch where
            it has none.
        rim: Voxels at the border of a patch that count nothing, along z, y, x. Default: the checkpoint's, or a third of
            the overlap.
        accept_voxel_size: Runs the network although the voxels of the raw data are 1.5 times as large or small as those
            that it was trained on, or more.
    """

    checkpoint: CheckpointName
    mean: float | None = None
    deviation: float | None = Field(default=None, gt=0)
    patch: Shape | None = None
    batch: PositiveInt = 2
    threads: PositiveInt = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    # Runs that were begun before there was a choice have no record of one.
    variants: Literal[1, 4, 8, 16] = Field(default=1, exclude_if=lambda count: count == 1)
    combine: Literal["mean", "min"] = Field(default="mean", exclude_if=lambda how: how == "mean")
    compile: bool = Field(default=False, exclude_if=lambda asked: not asked)
    overlap: Overlap | None = Field(default=None, exclude_if=lambda overlap: overlap is None)
    rim: Overlap | None = Field(default=None, exclude_if=lambda rim: rim is None)
    accept_voxel_size: bool = Field(default=False, exclude_if=lambda asked: not asked)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Model:
        if (self.mean is None) != (self.deviation is None):
            raise ValueError("'mean' and 'deviation' are given together or not at all")
        return self


class Blocks(Section):
    """Says how the volume is cut. The result does not depend on it, except with multicut and the mutex watershed.

    Args:
        shape: Shape of a block, in voxels. A worker holds one block at a time, so larger blocks need more memory.
    """

    shape: Shape = (64, 512, 512)


class Supervoxels(Section):
    """Says how voxels are joined into supervoxels, before any are merged into segments.

    Args:
        method: "watershed", or "mutex" for the mutex watershed, which needs affinities with long-range channels and
            whose result depends on the blocks.
        strides: For "mutex": long-range affinities are used at one voxel in so many, along z, y, x.
        low: Two voxels with an affinity below this are never joined. A voxel without a better one is background.
        high: Two voxels with at least this affinity are always joined; with "mutex" only across faces of blocks. Higher
            values make smaller supervoxels, which take more memory.
        join_size: A supervoxel with fewer voxels joins the neighbour with which it shares its strongest affinity. 0: no
            supervoxel is joined this way.
        join_affinity: Least affinity for such a joining. A small supervoxel without one stays alone.
    """

    method: Literal["watershed", "mutex"] = "watershed"
    strides: Shape = (1, 4, 4)
    low: Fraction = Decimal("0.02")
    high: Fraction = Decimal("0.9999")
    join_size: int = Field(default=100, ge=0)
    join_affinity: Fraction = Decimal("0.3")

    @model_validator(mode="after")
    def _in_order(self) -> Supervoxels:
        if self.low > self.high:
            raise ValueError(f"'low' must not exceed 'high'; found {self.low} and {self.high}")
        return self


class Agglomeration(Section, AgglomerationRule):
    """Says which supervoxels are merged into segments. Every contact between two of them has a score from 0 to 1."""

    @model_validator(mode="after")
    def _small_is_easier(self) -> Agglomeration:
        if self.small_size and self.small_threshold > self.threshold:
            raise ValueError(
                f"'small_threshold' must not exceed 'threshold'; found {self.small_threshold} and {self.threshold}"
            )
        return self


class Output(Section):
    """Says where volumes are written: relative to the run directory, or anywhere.

    Args:
        segmentation: Path of the segmentation.
        affinities: Path of the predicted affinities.
        intermediate: Folder or URL for supervoxels and tables, which the run's stages pass to one another. Default: the
            run directory.
        until: The last volume that is made. With "affinities" a run stops after the prediction.
        chunk: Shape of the chunks of written volumes, in voxels; each chunk is then a file of its own. Default: chosen
            to fit the blocks, with many chunks in a file.
    """

    segmentation: str = "segmentation.zarr"
    affinities: str = "affinities.zarr"
    intermediate: str | None = None
    until: Literal["affinities", "segmentation"] = "segmentation"
    chunk: Shape | None = None


class Evaluate(Section):
    """Names the true labels that score the segmentation, and the part of them that counts.

    Args:
        truth: Volume of true labels. Voxels with label 0 are not scored.
        mask: A volume on the grid of the truth. Voxels where it is 0 are not scored.
        offset: Position of the truth's first voxel in the segmentation, in voxels. Default: by the metadata.
        box: The part to score: its first voxel and its end (exclusive), in voxels of the segmentation. Default: all.
        tolerance: Voxels of the truth this close to a boundary are not scored, in nm. Default: all are.
    """

    truth: VolumeSource
    mask: VolumeSource | None = None
    offset: Voxels | None = None
    box: tuple[Voxels, Voxels] | None = None
    tolerance: float | None = Field(default=None, ge=0)


class Limits(Section):
    """Says when a task is taken to hang, and when a run gives up.

    Args:
        task: Longest time of one task. A task that takes longer is ended, and counts as failed.
        crash_budget: Share of a stage's blocks that may fail for good. A run stops beyond it, if ten or more failed.
    """

    task: Duration = "2h"
    crash_budget: Fraction = Decimal("0.05")


class Recipe(Section):
    """Holds everything that a segmentation run is asked to do.

    Args:
        input: The data that the run starts from.
        model: The network; with `input.raw` only, and always then.
        blocks: The blocks that the volume is cut into.
        supervoxels: The rule by which voxels become supervoxels.
        agglomeration: The rule by which supervoxels become segments.
        output: The volumes that are written.
        evaluate: The true labels that score the result. Without this table nothing is scored.
        cluster: The workers.
        limits: The limits on time and failures.
    """

    input: Input
    model: Model | None = None
    blocks: Blocks = Blocks()
    supervoxels: Supervoxels = Supervoxels()
    agglomeration: Agglomeration = Agglomeration()
    output: Output = Output()
    evaluate: Evaluate | None = None
    cluster: Cluster = Cluster()
    limits: Limits = Limits()

    @model_validator(mode="before")
    @classmethod
    def _of_the_model(cls, content: Any, info: ValidationInfo) -> Any:
        """Lays what was tuned for the model below what the recipe states."""
        if not isinstance(content, Mapping):
            return content
        return with_settings(content, info.context["folder"] if info.context else None)

    @property
    def sees_blocks(self) -> bool:
        """Tells whether the segmentation depends on how the volume is cut."""
        return self.supervoxels.method == "mutex" or not self.agglomeration.is_exact

    def written_in(self, folder: Path, moving: str | Path) -> Recipe:
        """Returns the recipe as it is written into a folder, its source named relative to that if both move together.

        Args:
            folder: absolute path of the folder.
            moving: absolute path of the folder that moves as a whole.
        """
        source = self.input
        if not folder.is_relative_to(moving):
            return self
        if source.run is not None and Path(source.run).is_relative_to(moving):
            beside = source.model_copy(update={"run": os.path.relpath(source.run, folder)})
        elif source.affinities is not None and Path(source.affinities.path).is_relative_to(moving):
            path = os.path.relpath(source.affinities.path, folder)
            beside = source.model_copy(update={"affinities": source.affinities.model_copy(update={"path": path})})
        else:
            return self
        return self.model_copy(update={"input": beside})

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
    """Loads the recipe in a TOML file, its input paths absolute.

    Raises:
        RequestError: see `strict_toml.read`.
    """
    return strict_toml.read(path, Recipe, overrides)
