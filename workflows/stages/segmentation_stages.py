"""The stages of a segmentation run: which tasks, over which grid, and what each block of each of them needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ... import tasks
from ...pipeline.affinities.nearest import Channels
from ...pipeline.affinities.offsets import Offsets
from ...pipeline.errors import AffinityError
from ...pipeline.geometry import BlockGrid, Octree, Triple
from ...pipeline.volumes import VolumeSpec
from ...tasks.contract import Density, TaskConfig, at_level
from ..recipes.segmentation_recipe import Recipe
from .places import Places
from .stage import Frame, Needs, Stage, Whole


class SegmentationStages:
    """Builds the stages of a run, each after those that it needs.

    Args:
        recipe: recipe of the run.
        grid: grid of the blocks.
        places: where everything goes.
        frame: frame of the volumes that are made.
        offsets: offsets of the affinity channels; None where the supervoxels are another run's.
        affinity_bytes: bytes of one affinity, as stored.
        density: density of the supervoxels' graph, for the memory of tasks.
    """

    def __init__(
        self,
        recipe: Recipe,
        grid: BlockGrid,
        places: Places,
        frame: Frame,
        offsets: Offsets | None,
        affinity_bytes: int,
        density: Density,
    ) -> None:
        self._recipe, self._grid, self._places, self._frame = recipe, grid, places, frame
        self._offsets, self._affinity_bytes, self._density = offsets, affinity_bytes, density
        self._octree = Octree(grid)
        self._geometry = {"volume": grid.volume, "block": grid.block, "region": grid.region}

    def build(self, predict: TaskConfig | None, contingency: TaskConfig | None) -> tuple[Stage, ...]:
        """Builds all stages: from raw data if there is a config to predict with, to scores if one counts them.

        Where the recipe ends with affinities, they are made and nothing else.
        """
        stages = [] if predict is None else [self._predict(predict)]
        if self._recipe.output.until == "affinities":
            return tuple(stages)
        if self._offsets is not None:
            stages += [self._supervoxels(self._offsets, after_predict=predict is not None), self._faces()]
        stages += [self._agglomerate(level) for level in range(self._octree.height + 1)]
        stages += [self._assign(level) for level in range(self._octree.height, 0, -1)]
        stages.append(self._relabel())
        if contingency is not None:
            stages += [self._contingency(contingency), self._scores(contingency)]
        return tuple(stages)

    def _predict(self, config: TaskConfig) -> Stage:
        """On GPU workers where the recipe has any, if its model leaves that open.

        This is no part of the config: where a block was computed is not what was asked for.
        """
        frame, path = self._frame, str(self._places.affinities)
        predicted = tasks.load("predict").affinities_spec(frame.source, frame.chunk, frame.shard)
        stage = self._stage("predict", config, outputs=(path,), volumes={path: predicted})
        model = self._recipe.model
        if model is None or model.device != "auto":
            return stage
        return replace(stage, resources=stage.resources.on_gpu()) if self._recipe.cluster.has_gpus else stage

    def _supervoxels(self, offsets: Offsets, after_predict: bool) -> Stage:
        places, channels = self._places, Channels.of_offsets(offsets)
        config = self._config(
            "supervoxels",
            **self._geometry,
            **supervoxel_settings(self._recipe),
            affinities=places.affinities,
            mask=None if after_predict else self._recipe.input.mask,
            order=channels.order,
            signs=channels.signs,
            **self._long_range(offsets),
            fragments=places.fragments,
            tables=places.tables,
            bytes_per_affinity=self._affinity_bytes,
        )
        needs: Needs = (
            {"predict": lambda i: self._grid.touching(self._grid.box(i).grow((1, 1, 1)))} if after_predict else {}
        )
        outputs, made = (places.fragments, places.tables_of("supervoxels")), self._frame.labels("uint32")
        return self._stage("supervoxels", config, needs, outputs=outputs, volumes={places.fragments: made})

    def _long_range(self, offsets: Offsets) -> dict[str, object]:
        """Returns what the mutex watershed needs besides: all channels but those between neighbours."""
        if self._recipe.supervoxels.method != "mutex":
            return {}
        far = tuple(channel for channel, offset in enumerate(offsets) if sum(map(abs, offset)) > 1)
        if not far:
            raise AffinityError(
                f"Supervoxels by method 'mutex' need affinities of voxels further apart; {self._places.affinities} has"
                f" the offsets {[list(offset) for offset in offsets]}. Use method 'watershed'."
            )
        return {"long_range": far, "offsets": tuple(offsets[channel] for channel in far)}

    def _faces(self) -> Stage:
        config = self._config(
            "faces",
            **self._geometry,
            **_join(self._recipe),
            levels=self._recipe.agglomeration.histogram_levels,
            tables=self._places.tables,
        )
        needs: Needs = {"supervoxels": _itself_and_before}
        return self._stage("faces", config, needs, outputs=(self._places.tables_of("faces"),))

    def _agglomerate(self, level: int) -> Stage:
        merging = self._recipe.agglomeration
        config = self._config(
            "agglomerate",
            **self._geometry,
            level=level,
            **_join(self._recipe),
            **merging.as_config(),
            leaves=self._places.leaves,
            tables=self._places.tables,
        )
        leaves: Needs = {"faces": self._around, "supervoxels": _itself}
        below: Needs = {}
        if level:
            leaves = {"faces": lambda i: (block for _, block in self._octree.inner_faces(level, i))}
            below = {at_level("agglomerate", level - 1): lambda i: self._octree.children(level, i)}
        needs = {**below, **leaves} if self._offsets is not None else below
        return self._octree_stage("agglomerate", level, config, needs)

    def _assign(self, level: int) -> Stage:
        config = self._config("assign", **self._geometry, level=level, tables=self._places.tables)
        needs: Needs = {at_level("agglomerate", level): _itself, **self._parent(level)}
        return self._octree_stage("assign", level, config, needs)

    def _relabel(self) -> Stage:
        places = self._places
        config = self._config(
            "relabel",
            **self._geometry,
            fragments=places.fragments,
            segmentation=places.segmentation,
            leaves=places.leaves,
            tables=places.tables,
        )
        needs: Needs = {at_level("agglomerate", 0): self._and_neighbours}
        if self._octree.height:
            needs = {
                **needs,
                at_level("assign", 1): lambda i: {self._octree.parent(0, n) for n in self._and_neighbours(i)},
            }
        if self._offsets is not None:
            needs = {**needs, "supervoxels": _itself}
        made = {places.segmentation: self._frame.labels("uint64")}
        return self._stage("relabel", config, needs, outputs=(places.segmentation,), volumes=made)

    def _contingency(self, config: TaskConfig) -> Stage:
        outputs = (self._places.tables_of("contingency"),)
        return self._stage("contingency", config, {"relabel": _itself}, outputs=outputs)

    def _scores(self, contingency: TaskConfig) -> Stage:
        config = self._config("scores", contingency=contingency, scores=self._places.scores)
        needs: Needs = {"contingency": Whole(self._grid.shape)}
        return self._stage("scores", config, needs, grid=(1, 1, 1), outputs=(self._places.scores,))

    def _parent(self, level: int) -> Needs:
        """Returns the task that passes segments down to a node of a level: none at the root."""
        if level == self._octree.height:
            return {}
        return {at_level("assign", level + 1): lambda i: [self._octree.parent(level, i)]}

    def _around(self, index: Triple) -> Iterator[Triple]:
        """The blocks that hold the faces of a block: itself, and the next one along each axis."""
        yield index
        for axis in range(3):
            if index[axis] + 1 < self._grid.shape[axis]:
                yield _step(index, axis, 1)

    def _and_neighbours(self, index: Triple) -> Iterator[Triple]:
        """A block and those beyond its faces."""
        yield from self._around(index)
        yield from (_step(index, axis, -1) for axis in range(3) if index[axis])

    def _config(self, task: str, **fields: object) -> TaskConfig:
        config: TaskConfig = tasks.load(task).Config(**fields)
        return config

    def _octree_stage(self, task: str, level: int, config: TaskConfig, needs: Needs) -> Stage:
        name = at_level(task, level)
        grid, outputs = self._octree.shape(level), (self._places.tables_of(name),)
        return self._stage(task, config, needs, name=name, grid=grid, outputs=outputs)

    def _stage(
        self,
        task: str,
        config: TaskConfig,
        needs: Needs | None = None,
        *,
        name: str | None = None,
        grid: Triple | None = None,
        outputs: tuple[str, ...],
        volumes: Mapping[str, VolumeSpec] | None = None,
    ) -> Stage:
        module = tasks.load(task)
        return Stage(
            name=name or task,
            task=task,
            version=module.VERSION,
            config=config,
            grid=grid or self._grid.shape,
            needs=needs or {},
            resources=module.resources(config, self._density),
            outputs=outputs,
            volumes=volumes or {},
        )


def supervoxel_settings(recipe: Recipe) -> dict[str, object]:
    """Lists the settings of the tables of supervoxels and faces, by the names in the config of the supervoxels."""
    wanted = recipe.supervoxels
    strides = {"strides": list(wanted.strides)} if wanted.method == "mutex" else {}
    return {
        "method": wanted.method,
        "low": str(wanted.low),
        "high": str(wanted.high),
        **_join(recipe),
        "levels": recipe.agglomeration.histogram_levels,
        **strides,
    }


def _itself(index: Triple) -> Iterable[Triple]:
    return [index]


def _itself_and_before(index: Triple) -> Iterator[Triple]:
    """A block, and the block before it along each axis."""
    yield index
    yield from (_step(index, axis, -1) for axis in range(3) if index[axis])


def _step(index: Triple, axis: int, by: int) -> Triple:
    z, y, x = (i + by * (k == axis) for k, i in enumerate(index))
    return z, y, x


def _join(recipe: Recipe) -> dict[str, object]:
    return {"join_size": recipe.supervoxels.join_size, "join_affinity": str(recipe.supervoxels.join_affinity)}
