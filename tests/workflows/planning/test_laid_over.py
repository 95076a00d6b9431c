"""Metadata in a recipe, over data where they lie, give what a run on a converted copy gives, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import tensorstore as ts
from fakes.networks import save_network
from fakes.shuffled import Silent

from petavox.pipeline.errors import RequestError, VolumeError
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume
from petavox.workflows.planning.plan import make_plan
from petavox.workflows.recipes.segmentation_recipe import load
from petavox.workflows.runs.run import run
from petavox.workflows.runs.verify import verify
from petavox.workflows.stages.fingerprint import ingredients

SHAPE = (6, 24, 40)
SIZE, PLACE = (30.0, 6.0, 6.0), (60.0, -12.0, 6.0)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def plain(path, driver, array):
    """An array that says nothing of itself."""
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}}
    ts.open(spec, create=True, dtype=array.dtype.name, shape=array.shape).result()[...].write(array).result()


def converted(path, array, **options):
    """The same as a volume of ours."""
    channels = array.shape[0] if array.ndim == 4 else None
    spec = VolumeSpec(array.shape[-3:], array.dtype.name, SIZE, PLACE, channels, chunk=SHAPE, **options)
    create_volume(path, spec).write(spec.box, array)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Every volume twice: as a copy that says everything, and as it might come, without a word."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(3)
    affinities = random.integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    raw, other = random.integers(1, 255, (2, *SHAPE)).astype(np.uint8)
    truth, mask = random.integers(0, 3, SHAPE).astype(np.uint64), random.integers(0, 2, SHAPE).astype(np.uint8)
    mask[:, :12] = 1
    converted(folder / "affinities.zarr", affinities, offsets=NEAREST)
    plain(folder / "affinities.n5", "n5", affinities.transpose(0, 3, 2, 1))
    for name, array in (("raw", raw), ("truth", truth), ("mask", mask)):
        converted(folder / f"{name}.zarr", array)
    plain(folder / "channels", "zarr", np.stack([other, raw], axis=-1))
    plain(folder / "truth", "zarr3", truth.transpose(2, 1, 0))
    plain(folder / "mask", "zarr3", mask)
    save_network(folder / "network")
    return folder


LAID = f"voxel_size = {list(SIZE)}, offset_nm = {list(PLACE)}"
FROM_AFFINITIES = (
    """
    [input]
    affinities = "affinities.zarr"
    [evaluate]
    truth = "truth.zarr"
    """,
    f"""
    [input]
    affinities = "affinities.n5"
    voxel_size = {list(SIZE)}
    offset_voxels = [2, -2, 1]
    axes = "cxyz"
    offsets = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    [evaluate]
    truth = {{ path = "truth", axes = "xyz", {LAID} }}
    """,
)
FROM_RAW = (
    """
    model.checkpoint = "network"
    [input]
    raw = "raw.zarr"
    mask = "mask.zarr"
    [evaluate]
    truth = "truth.zarr"
    mask = "mask.zarr"
    """,
    f"""
    model.checkpoint = "network"
    [input]
    raw = "channels"
    axes = "zyxc"
    channel = 1
    voxel_size = {list(SIZE)}
    offset_nm = {list(PLACE)}
    mask = {{ path = "mask", {LAID} }}
    [evaluate]
    truth = {{ path = "truth", axes = "xyz", {LAID} }}
    mask = {{ path = "mask", {LAID} }}
    """,
)


def recipe(folder, text, *overrides):
    path = folder / f"{abs(hash(text))}.toml"
    path.write_text(f'cluster.kind = "serial"\nblocks.shape = [6, 16, 16]\n{text}')
    return load(path, overrides)


@pytest.mark.parametrize("texts", [FROM_AFFINITIES, FROM_RAW], ids=["affinities", "raw"])
def test_a_run_with_metadata_laid_over_is_that_on_a_converted_copy(folder, tmp_path, texts):
    copied, laid_over = (
        run(recipe(folder, text), tmp_path / name, Silent()) for name, text in zip("ab", texts, strict=True)
    )
    assert copied.scores is not None
    assert copied.scores == laid_over.scores
    for name in ("segmentation", "affinities") if texts is FROM_RAW else ("segmentation",):
        one, other = (open_volume(getattr(ending, name)) for ending in (copied, laid_over))
        assert one.spec == other.spec
        assert one.read(one.spec.box).std() > 0
        assert np.array_equal(one.read(one.spec.box), other.read(other.spec.box))
    assert (laid_over.directory / "report.html").read_text().count("<img") > 3
    again = Silent()
    run(load(laid_over.directory / "recipe.toml"), laid_over.directory, again)
    assert again.lines == ["Everything is done already."]
    assert verify(laid_over.directory, blocks=[(3, 24, 20)], progress=Silent).identical


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[input]\naffinities = "affinities.n5"\naxes = "cxyz"',
            r"beside the path, voxel_size = \[30, 6, 6\].*convert",
        ),
        (
            '[input]\nraw = "channels"\naxes = "zyx"\n[model]\ncheckpoint = "network"',
            "beside the path, axes = 'zyxc'.*convert",
        ),
        (
            '[input]\nraw = "channels"\naxes = "zyxc"\nvoxel_size = [30, 6, 6]\n[model]\ncheckpoint = "network"',
            "has 2 channels besides.*channel = 0",
        ),
    ],
)
def test_where_metadata_are_missing_the_refusal_names_the_keys_first(folder, tmp_path, text, said):
    with pytest.raises(VolumeError, match=said):
        run(recipe(folder, text), tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


def fingerprints(folder, tmp_path, *overrides):
    plan = make_plan(recipe(folder, FROM_AFFINITIES[1], *overrides), tmp_path / "run")
    return {name: mark for name, (mark, _) in ingredients(plan.stages, plan.directory, plan.identities).items()}


def test_what_is_laid_over_is_part_of_the_fingerprints_of_what_reads_it(folder, tmp_path):
    before = fingerprints(folder, tmp_path)
    truth = f"{{path='{folder / 'truth'}', axes='xyz', voxel_size={list(SIZE)}, offset_voxels=[2, -2, 1]}}"
    same_place = fingerprints(folder, tmp_path, f"evaluate.truth={truth}")
    assert {name for name in before if before[name] != same_place[name]} == {"contingency", "scores"}
    elsewhere = fingerprints(folder, tmp_path, "input.offset_voxels=[2, -2, 0]", "evaluate.offset=[0, 0, 0]")
    assert before["supervoxels"] != elsewhere["supervoxels"]


def test_a_run_is_not_continued_with_something_else_laid_over(folder, tmp_path):
    run(recipe(folder, FROM_AFFINITIES[1]), tmp_path / "run", Silent())
    with pytest.raises(RequestError, match=r"input\.offset_voxels is \[2\.0, -2\.0, 0\.0\], was \[2\.0, -2\.0, 1\.0\]"):
        run(
            recipe(folder, FROM_AFFINITIES[1], "input.offset_voxels=[2, -2, 0]", "evaluate.offset=[0, 0, 0]"),
            tmp_path / "run",
            Silent(),
        )
