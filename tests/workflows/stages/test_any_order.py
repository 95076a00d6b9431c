"""Whatever ready task comes next, whatever runs twice or dies while it writes: the segments are those of the whole."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import petavox
from petavox import tasks
from petavox.pipeline import tables
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import Volume, VolumeSpec, create_volume, open_volume
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.recipes.segmentation_recipe import load

SHAPE = (6, 12, 14)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
LINKAGES = ({"linkage": "mean"}, {"linkage": "quantile", "quantile": 0.8, "levels": 16})


class CrashError(Exception):
    """A worker dies here."""


class AnyOrder(RuleBasedStateMachine):
    """A run whose next task is drawn from those whose needs are met."""

    @initialize(
        block=st.tuples(st.sampled_from([3, 6]), st.sampled_from([4, 5, 12]), st.sampled_from([5, 7])),
        linkage=st.sampled_from(LINKAGES),
        join_size=st.sampled_from([0, 6]),
        grey_levels=st.sampled_from([3, 8, 256]),
        seed=st.integers(0, 2**32 - 1),
    )
    def plan(self, block, linkage, join_size, grey_levels, seed):
        self.folder = Path(tempfile.mkdtemp())
        grey = np.linspace(0, 255, grey_levels).round().astype(np.uint8)
        affinities = np.random.default_rng(seed).choice(grey, (3, *SHAPE))
        spec = VolumeSpec(SHAPE, "uint8", (30, 6, 6), channels=3, offsets=NEAREST, chunk=SHAPE)
        create_volume(self.folder / "affinities.zarr", spec).write(Box.of_shape(SHAPE), affinities)
        rules = {"threshold": 0.55, "small_size": 20, "small_threshold": 0.4, **linkage}
        lines = [f"agglomeration.{name} = {value!r}" for name, value in rules.items()]
        lines += [f"supervoxels.join_size = {join_size}", f"blocks.shape = {list(block)}"]
        recipe = ['input.affinities = "affinities.zarr"', *lines]
        (self.folder / "recipe.toml").write_text("\n".join(recipe))
        self.made = make_plan(load(self.folder / "recipe.toml"), self.folder / "run")
        for path, volume in self.made.volumes.items():
            create_volume(path, volume)
        self.left = {(stage.name, stage.index(i)) for stage in self.made.stages for i in range(len(stage))}
        self.done = set()
        self.stages = {stage.name: stage for stage in self.made.stages}
        self.expected = petavox.segment(affinities, join_size=join_size, **rules)

    def ready(self):
        return sorted(
            task for task in self.left if all(need in self.done for need in self.stages[task[0]].depends(task[1]))
        )

    def perform(self, task):
        name, index = task
        tasks.load(self.stages[name].task).run(self.stages[name].config, index)

    @precondition(lambda self: self.left)
    @rule(data=st.data())
    def run_a_ready_task(self, data):
        task = data.draw(st.sampled_from(self.ready()))
        self.perform(task)
        self.left.remove(task)
        self.done.add(task)

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def run_a_task_again(self, data):
        self.perform(data.draw(st.sampled_from(sorted(self.done))))

    @precondition(lambda self: self.left)
    @rule(data=st.data(), before=st.booleans())
    def die_while_writing(self, data, before):
        """Before the first write, or between a volume and a table, as far as the task has both."""

        def die(*_):
            raise CrashError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tables, "write", die)
            if before:
                patch.setattr(Volume, "write", die)
            task = data.draw(st.sampled_from(self.ready()))
            try:
                self.perform(task)
            except CrashError:
                return
            self.left.remove(task)  # it had no table to write
            self.done.add(task)

    def teardown(self):
        if not hasattr(self, "made"):
            return
        while self.left:
            for task in reversed(self.ready()):
                self.perform(task)
                self.left.remove(task)
                self.done.add(task)
        found = open_volume(self.made.places.segmentation)
        assert np.array_equal(found.read(found.spec.box), self.expected)
        shutil.rmtree(self.folder)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=12, stateful_step_count=30, deadline=None)
