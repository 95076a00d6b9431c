"""A mask outlines the tissue of a phantom in resin with borders, whatever is read together, and lies over it."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from fakes.shuffled import Silent

from petavox.pipeline.errors import RequestError, VolumeError
from petavox.pipeline.geometry import Box
from petavox.pipeline.phantom import Phantom, PhantomConfig
from petavox.pipeline.volumes import VolumeSource, VolumeSpec, check_covers, create_volume, open_volume
from petavox.workflows import cli
from petavox.workflows.volumes import tissue_mask
from petavox.workflows.volumes.tissue_mask import make_tissue_mask

SHAPE = (20, 236, 280)
SIZE = (60.0, 24.0, 24.0)
CELL = (5, 12, 12)  # voxels, of 288 nm
CENTRE, RADIUS = np.array((120, 140)), 90


def distance(centre):
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    return np.hypot(y - centre[0], x - centre[1])


@functools.cache
def scene():
    """Tissue in a cylinder with a hole of resin inside; resin around it, brighter to one side; a speck; borders."""
    image, _ = Phantom(PhantomConfig(seed=4, voxel_size=SIZE, missing_rate=0, fold_rate=0)).read(Box.of_shape(SHAPE))
    random = np.random.default_rng(1)
    resin = 170 + np.linspace(0, 25, SHAPE[2]) + random.normal(0, 7, SHAPE)
    tissue = np.broadcast_to(distance(CENTRE) < RADIUS, SHAPE).copy()
    tissue[6:14, 110:140, 130:160] = False
    tissue[6:9, 218:228, 250:260] = True
    grey = np.where(tissue, np.clip(image, 1, 254), np.clip(resin, 1, 254)).astype(np.uint8)
    grey[:, :, :20] = 0  # never written
    grey[:, :14] = 255
    return grey


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    path = tmp_path_factory.mktemp("raw") / "em.zarr"
    spec = VolumeSpec(SHAPE, "uint8", SIZE, (0.0, 240.0, 24.0), chunk=(16, 64, 64))
    create_volume(path, spec).write(spec.box, scene())
    return path


def made(raw, out, **options):
    return make_tissue_mask(VolumeSource.of(raw), out, progress=Silent(), **{"cell": 288.0, **options})


@pytest.fixture(scope="module")
def mask(raw):
    return made(raw, raw.parent / "mask.zarr")


def inside(mask):
    volume = open_volume(mask.path)
    return volume.read(volume.spec.box) != 0


def test_cells_of_tissue_are_inside_and_cells_of_resin_and_border_are_not(mask):
    assert mask.cell == CELL
    assert mask.spec.shape == (4, 20, 23)
    found = inside(mask)
    beyond = [(0, 20 * 12 - SHAPE[1]), (0, 0)]
    by_cell = np.pad(distance(CENTRE)[:, : 23 * 12], beyond, mode="edge").reshape(20, 12, 23, 12)
    assert found[:, by_cell.max((1, 3)) < RADIUS].all(), "tissue, and the hole that it encloses"
    assert not found[:, by_cell.min((1, 3)) > RADIUS].any(), "resin, borders, and the speck"
    assert mask.share == pytest.approx(found.mean())


def test_the_mask_lies_over_what_it_was_made_from(raw, mask):
    volume = open_volume(raw)
    assert mask.spec.voxel_size == (300.0, 288.0, 288.0)
    assert mask.spec.translation == (120.0, 240.0 + 132.0, 24.0 + 132.0)
    check_covers(open_volume(mask.path), volume, volume.spec.box)


@pytest.mark.parametrize("voxels", [1, 30_000, 1 << 30])
def test_whatever_is_read_together_the_mask_is_the_same(raw, mask, tmp_path, monkeypatch, voxels):
    monkeypatch.setattr(tissue_mask, "_BLOCK", voxels)
    again = made(raw, tmp_path / "mask.zarr")
    assert (again.threshold, again.share, again.spec) == (mask.threshold, mask.share, mask.spec)
    assert np.array_equal(inside(again), inside(mask))


def test_a_threshold_and_the_smallest_piece_may_be_given(raw, tmp_path):
    everything = made(raw, tmp_path / "a.zarr", threshold=0.0)
    assert everything.threshold == 0.0
    assert everything.share > 0.85, "all but the borders"
    assert made(raw, tmp_path / "b.zarr", smallest=0.0).share > made(raw, tmp_path / "c.zarr").share


def pyramid(path, grey):
    """An OME-NGFF image with a second level of half the resolution in the plane."""
    half = grey.reshape(SHAPE[0], SHAPE[1] // 2, 2, SHAPE[2] // 2, 2).mean((2, 4)).round().astype(np.uint8)
    levels = []
    for name, voxels, size in (("0", grey, SIZE), ("1", half, (60.0, 48.0, 48.0))):
        create_volume(path / f"{name}.tmp", VolumeSpec(voxels.shape, "uint8", size)).write(
            Box.of_shape(voxels.shape), voxels
        )
        (path / f"{name}.tmp" / "0").rename(path / name)
        levels.append({"path": name, "coordinateTransformations": [{"type": "scale", "scale": list(size)}]})
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}
    (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}))
    return path


def test_of_a_pyramid_the_coarsest_level_that_will_do_is_read(tmp_path):
    path = pyramid(tmp_path / "em.zarr", scene())
    assert made(path, tmp_path / "a.zarr", cell=400.0).level == 1
    assert made(path, tmp_path / "b.zarr", cell=200.0).level == 0
    source = VolumeSource(path=str(path), level=0)
    coarse = made(path, tmp_path / "c.zarr", cell=576.0)
    fine = make_tissue_mask(source, tmp_path / "d.zarr", cell=576.0, progress=Silent())
    assert (coarse.level, fine.level) == (1, 0)
    assert (coarse.cell, fine.cell) == ((10, 12, 12), (10, 24, 24))
    assert np.mean(inside(coarse) != inside(fine)) < 0.05


def test_an_existing_volume_is_never_written_over_and_nothing_is_left_of_a_failure(raw, mask, tmp_path, monkeypatch):
    with pytest.raises(RequestError, match="exists, and a mask is a new volume"):
        made(raw, mask.path)

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("petavox.pipeline.volumes.Volume.write", broken)
    with pytest.raises(KeyboardInterrupt):
        made(raw, tmp_path / "mask.zarr")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert made(raw, tmp_path / "mask.zarr").share == mask.share


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cell": 0.0}, "more than 0 nm"),
        ({"threshold": -1.0}, "at least 0 grey levels"),
        ({"smallest": 2.0}, "from 0 to 1"),
    ],
)
def test_values_without_sense_are_refused(raw, tmp_path, options, said):
    with pytest.raises(RequestError, match=said):
        made(raw, tmp_path / "mask.zarr", **options)


def test_too_many_cells_are_refused(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(tissue_mask, "MOST_CELLS", 100)
    with pytest.raises(RequestError, match="Make --cell larger"):
        made(raw, tmp_path / "mask.zarr")


def test_several_channels_need_a_choice(tmp_path):
    path = create_volume(tmp_path / "two.zarr", VolumeSpec((2, 16, 16), "uint8", SIZE, channels=2)).path
    with pytest.raises(VolumeError, match=r"has 2 channels besides.*--channel 0"):
        made(path, tmp_path / "mask.zarr")


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["petavox", "mask", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    out, said = capsys.readouterr()
    return exited.value.code, out, said


def test_the_command_tells_the_share_of_tissue_and_what_decided(raw, mask, tmp_path, monkeypatch, capsys):
    status, out, _ = command(monkeypatch, capsys, raw, tmp_path / "a.zarr", "--cell", "288")
    assert status == 0
    assert f"{mask.share:.1%} tissue: cells with at least {mask.threshold:.3g} grey levels" in " ".join(out.split())
    status, out, _ = command(
        monkeypatch, capsys, raw, tmp_path / "b.zarr", "--cell", "288", "--threshold", "3", "--json"
    )
    assert status == 0
    told = json.loads(out)
    assert (told["threshold"], told["cell"], told["voxel_size"]) == (3, [5, 12, 12], [300, 288, 288])
    status, _, said = command(monkeypatch, capsys, raw, tmp_path / "c.zarr", "--voxel-size", "60,0,24")
    assert status == 2
    assert "--voxel-size: " in said
