"""Verifying a run finds nothing where blocks do not matter, and the very voxel where something was changed."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from fakes.shuffled import Silent
from hypothesis import given
from hypothesis import strategies as st

from petavox.pipeline.errors import RequestError, TaskError
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows import cli
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.run_directory import affinities as stored
from petavox.workflows.run_directory.ledger import Ledger
from petavox.workflows.runs import verify
from petavox.workflows.runs.cut import plan_cut
from petavox.workflows.runs.run import run
from petavox.workflows.runs.verify import Difference, other_blocks

SHAPE = (10, 24, 20)
BOX = Box((1, 4, 3), (9, 20, 17))
SAME = Difference(0, None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that is done, on float affinities in another order of channels."""
    folder = tmp_path_factory.mktemp("finished")
    affinities = np.random.default_rng(7).random((4, *SHAPE)).astype(np.float32)
    spec = VolumeSpec(SHAPE, "float32", (30, 6, 6), channels=4, chunk=SHAPE)
    create_volume(folder / "affinities.zarr", spec).write(Box.of_shape(SHAPE), affinities)
    (folder / "recipe.toml").write_text(
        """
        input.affinities = "affinities.zarr"
        input.offsets = [[0, 0, 1], [0, 3, 0], [0, -1, 0], [1, 0, 0]]
        blocks.shape = [5, 24, 20]
        supervoxels.high = 0.8
        agglomeration.threshold = 0.55
        agglomeration.dust_size = 3
        cluster.kind = "serial"
        """
    )
    assert run(load(folder / "recipe.toml"), folder / "run", Silent()).exit_status == 0
    return folder / "run"


@pytest.fixture
def directory(finished, tmp_path):
    """A copy of it that a test may spoil."""
    return shutil.copytree(finished, tmp_path / "run")


def found(directory, **options):
    verdict = verify.verify(directory, progress=Silent, **options)
    assert [path.name for path in directory.parent.iterdir()] == ["run"], "nothing is left behind"
    return verdict


def tamper(directory, volume, voxel):
    opened = open_volume(directory / volume, writable=True)
    voxels = opened.read(opened.spec.box)
    voxels[voxel] = 1 if voxels[voxel] != 1 else 2
    opened.write(opened.spec.box, voxels)


def test_a_run_is_the_same_in_two_other_block_shapes(directory):
    verdict = found(directory)
    assert verdict.identical
    assert [recut.block for recut in verdict.recuts] == [(2, 18, 20), (5, 12, 15)]
    assert all(recut.tasks > 20 and recut.segments == recut.supervoxels == SAME for recut in verdict.recuts)
    assert not (directory / "cuts").exists()


def test_one_changed_voxel_of_the_segmentation_is_found_and_named(directory):
    tamper(directory, "segmentation.zarr", (6, 23, 4))
    (recut,) = found(directory, blocks=[(5, 24, 11)]).recuts
    assert recut.block == (5, 24, 11)
    assert recut.segments == Difference(1, (6, 23, 4))
    assert recut.supervoxels == SAME


def test_one_changed_voxel_of_the_supervoxels_is_found(directory):
    tamper(directory, "supervoxels.zarr", (0, 13, 19))
    with pytest.raises(TaskError, match="missing or damaged"):
        found(directory, blocks=[(10, 24, 20)])


def test_a_cut_is_verified_from_the_affinities_of_its_run(finished):
    cut = run(*plan_cut(finished, "0.7", ["agglomeration.dust_size=0"]), Silent())
    verdict = verify.verify(cut.directory, blocks=[(10, 11, 20)], progress=Silent)
    assert verdict.recuts[0].identical


@pytest.mark.parametrize(("bytes_a_voxel", "compared"), [(150, 2), (1 << 50, 1)])
def test_a_box_is_the_same_in_memory_and_in_blocks(directory, monkeypatch, bytes_a_voxel, compared):
    monkeypatch.setattr(stored, "_BYTES_IN_MEMORY", bytes_a_voxel)
    verdict = found(directory, box=BOX)
    assert verdict.identical
    assert verdict.reference == ("in memory" if compared == 2 else "blocks of [2, 12, 14]")
    assert len(verdict.recuts) == compared


def test_blocks_that_matter_in_a_box_are_found_and_named(directory, monkeypatch):
    from petavox.tasks import relabel

    real = relabel.relabel

    def spoilt(labels, table):
        segments = real(labels, table)
        segments[0, 0, 0] += 1
        return segments

    monkeypatch.setattr(relabel, "relabel", spoilt)
    (recut,) = found(directory, box=BOX, blocks=[(4, 8, 14)]).recuts
    assert recut.segments == recut.supervoxels == Difference(18, BOX.start)


def test_tasks_that_fail_are_no_verdict(directory, monkeypatch):
    from petavox.tasks import faces

    def broken(config, index):
        raise ValueError("broken")

    monkeypatch.setattr(faces, "run", broken)
    monkeypatch.setattr("petavox.workflows.execution.retries.MAX_FAILURES", 1)
    with pytest.raises(TaskError, match="ValueError: broken"):
        found(directory, blocks=[(4, 24, 20)])


def test_what_cannot_be_verified_is_refused(directory, monkeypatch):
    with pytest.raises(RequestError, match=r"is \[0:10, 0:24, 0:20\], the box is \[0:11, 0:24, 0:20\]"):
        found(directory, box=Box((0, 0, 0), (11, 24, 20)))
    monkeypatch.setattr(stored, "_BYTES_IN_MEMORY", 1 << 50)
    with pytest.raises(RequestError, match="does not fit in memory: give two block shapes"):
        found(directory, box=BOX, blocks=[(4, 8, 14)])
    with Ledger(directory / "ledger.sqlite") as ledger, ledger._db:
        relabel = "(SELECT id FROM stages WHERE name = 'relabel')"
        ledger._db.execute(f"DELETE FROM rows WHERE stage = {relabel} AND number = 0")
    with pytest.raises(RequestError, match=r"relabel of .* must be done first; 1 of 2 tasks are"):
        found(directory)


@given(st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(1, 70)] * 3))
def test_other_blocks_cut_elsewhere_and_need_no_more_memory_unless_a_block_is_tiny(block, volume):
    own = tuple(min(b, v) for b, v in zip(block, volume, strict=True))
    for other in other_blocks(block, volume):
        assert other != own
        assert np.prod(other) <= max(np.prod(own), 16)


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["petavox", "verify", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    return exited.value.code, capsys.readouterr().out


def test_the_command_ends_well_where_nothing_differs(finished, monkeypatch, capsys):
    status, out = command(monkeypatch, capsys, finished, "--block", "5,24,11", "--json")
    assert status == 0
    assert json.loads(out)["identical"]
    assert json.loads(out)["recuts"][0]["segments"] == {"voxels": 0, "first": None}


def test_the_command_ends_otherwise_where_something_does(directory, monkeypatch, capsys):
    tamper(directory, "segmentation.zarr", (2, 3, 4))
    status, out = command(monkeypatch, capsys, directory, "--block", "5,24,11")
    assert status == 1
    assert "1 voxels differ, the first at 2, 3, 4" in " ".join(out.split())


@pytest.mark.parametrize("override", ["agglomeration.linkage=multicut", "supervoxels.method=mutex"])
def test_what_depends_on_blocks_is_not_compared(directory, override):
    with pytest.raises(RequestError, match=r"depend on the blocks; .* There is nothing to verify"):
        found(directory, overrides=[override])
