"""What a recipe lays over a volume counts instead of what the volume says, whatever its format, and copies nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
from pydantic import BaseModel, ValidationError

from petavox.pipeline.errors import VolumeError
from petavox.pipeline.volumes import VolumeSource, VolumeSpec, create_volume, level_names

VOXELS = np.random.default_rng(0).integers(0, 255, (4, 5, 6), dtype=np.uint8)


def plain(path, driver, voxels=VOXELS):
    """An array as TensorStore alone writes it: no voxel size, no axes."""
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}}
    ts.open(spec, create=True, dtype=voxels.dtype.name, shape=voxels.shape).result()[...].write(voxels).result()
    return path


def precomputed(path, scales=(("8_8_40", (6, 5, 4), VOXELS),)):
    """A precomputed volume of some scales: key, shape in x, y, z, voxels in z, y, x."""
    base = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": str(path)}}
    for number, (key, shape, voxels) in enumerate(scales):
        resolution = [int(length) for length in key.split("_")]
        spec = {
            **base,
            "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
            "scale_metadata": {
                **{"key": key, "size": list(shape), "resolution": resolution},
                **{"encoding": "raw", "chunk_size": [4, 4, 4]},
            },
        }
        store = ts.open(spec, create=True, open=number > 0).result()
        store[..., 0].write(voxels.transpose()).result()
    return path


@pytest.mark.parametrize("driver", ["zarr", "zarr3", "n5"])
def test_size_axes_and_position_are_laid_over_arrays_that_say_nothing(tmp_path, driver):
    path = plain(tmp_path / "em", driver, VOXELS.transpose(1, 0, 2))
    with pytest.raises(VolumeError, match="voxel size") as refused:
        VolumeSource.of(path).open()
    said = str(refused.value)
    assert said.index("voxel_size = [30, 6, 6]") < said.index("petavox convert")
    source = VolumeSource(path=str(path), voxel_size=(30, 6, 5), axes="yzx", offset_voxels=(1, 0, -2))
    volume = source.open()
    assert (volume.spec.voxel_size, volume.spec.translation) == ((30, 6, 5), (30, 0, -10))
    assert np.array_equal(volume.read(volume.spec.box), VOXELS)
    assert VolumeSource(path=str(path), voxel_size=(30, 6, 5), offset_nm=(7, 8, 9)).open().spec.translation == (7, 8, 9)


def test_a_position_in_voxels_goes_by_the_size_that_the_volume_states(tmp_path):
    path = precomputed(tmp_path / "em")
    assert VolumeSource(path=str(path), offset_voxels=(1, 2, 3)).open().spec.translation == (40, 16, 24)


def test_one_channel_is_taken_of_several(tmp_path):
    voxels = np.stack([VOXELS, VOXELS + 1])
    path = create_volume(tmp_path / "two.zarr", VolumeSpec((4, 5, 6), "uint8", (30, 6, 6), channels=2)).path
    VolumeSource.of(path).open()
    create_volume(path, VolumeSpec((4, 5, 6), "uint8", (30, 6, 6), channels=2)).write(
        VolumeSource.of(path).open().spec.box, voxels
    )
    second = VolumeSource(path=path, channel=1).open()
    assert second.spec.channels is None
    assert np.array_equal(second.read(second.spec.box), VOXELS + 1)
    with pytest.raises(VolumeError, match=r"number 2 of the channels of .* has 2 channels, counted from 0"):
        VolumeSource(path=path, channel=2).open()
    only = create_volume(tmp_path / "none.zarr", VolumeSpec((4, 5, 6), "uint8", (30, 6, 6))).path
    with pytest.raises(VolumeError, match=r"number 0 of the channels of .* has no channels"):
        VolumeSource(path=only, channel=0).open()


def ome_pyramid(path):
    for name, voxels in (("full", VOXELS), ("half", VOXELS[::2, ::2, ::2])):
        plain(path / name, "zarr3", voxels)
    datasets = [
        {"path": name, "coordinateTransformations": [{"type": "scale", "scale": [30 * f, 6 * f, 6 * f]}]}
        for name, f in (("full", 1), ("half", 2))
    ]
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    document = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    (path / "zarr.json").write_text(json.dumps(document))
    return path


def n5_pyramid(path):
    for level, voxels in enumerate((VOXELS, VOXELS[::2, ::2, ::2])):
        plain(path / f"s{level}", "n5", voxels.transpose())
        attributes = path / f"s{level}" / "attributes.json"
        content = json.loads(attributes.read_text())
        attributes.write_text(json.dumps(content | {"resolution": [6 << level, 6 << level, 30 << level]}))
    return path


def precomputed_pyramid(path):
    return precomputed(path, (("6_6_30", (6, 5, 4), VOXELS), ("12_12_60", (3, 3, 2), VOXELS[::2, ::2, ::2])))


@pytest.mark.parametrize("pyramid", [ome_pyramid, n5_pyramid, precomputed_pyramid])
def test_a_level_of_a_pyramid_has_its_own_voxels_and_size(tmp_path, pyramid):
    path = pyramid(tmp_path / "em")
    assert len(level_names(path)) == 2
    for level in (0, 1):
        volume = VolumeSource(path=str(path), level=level).open()
        step = 1 << level
        assert np.array_equal(volume.read(volume.spec.box), VOXELS[::step, ::step, ::step])
        assert volume.spec.voxel_size == (30 * step, 6 * step, 6 * step)
    with pytest.raises(VolumeError, match=r"counted from 0; .* has 2: .*\. There is no level 2"):
        VolumeSource(path=str(path), level=2).open()


def test_an_array_has_no_levels(tmp_path):
    with pytest.raises(VolumeError, match="is none: it names one array"):
        VolumeSource(path=str(plain(tmp_path / "em", "zarr3")), level=0).open()


class Config(BaseModel):
    raw: VolumeSource


def test_a_path_alone_stays_a_path_and_what_is_laid_over_goes_with_it():
    alone = Config.model_validate({"raw": "/data/em.zarr"})
    assert alone.model_dump_json() == '{"raw":"/data/em.zarr"}'
    over = Config.model_validate({"raw": {"path": "/data/em.zarr", "voxel_size": (30, 6, 6), "channel": 0}})
    assert json.loads(over.model_dump_json())["raw"] == {
        "path": "/data/em.zarr",
        "voxel_size": [30, 6, 6],
        "channel": 0,
    }
    for config in (alone, over):
        assert Config.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("path", ["../em.zarr", "~/em.zarr", "s3://bucket/em.zarr", "/em.zarr"])
def test_a_path_is_relative_to_the_folder_of_its_recipe(path):
    config = Config.model_validate({"raw": path}, context={"folder": Path("/recipes/here")})
    expected = {"../em.zarr": "/recipes/em.zarr", "~/em.zarr": str(Path("~/em.zarr").expanduser())}
    assert str(config.raw) == expected.get(path, path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"offset_nm": (0, 0, 0), "offset_voxels": (0, 0, 0)}, "is given once"),
        ({"voxel_size": (30, 6)}, "voxel_size"),
        ({"voxel_size": (30, 6, 0)}, "greater than 0"),
        ({"level": -1}, "level"),
        ({"offset": (0, 0, 0)}, "offset"),
    ],
)
def test_what_cannot_be_laid_over_is_refused(wrong, said):
    with pytest.raises(ValidationError, match=said):
        VolumeSource.model_validate({"path": "em.zarr", **wrong})
