"""An OME-TIFF gives each place of an image exactly one page, of one file or a set; whatever is amiss is refused."""

import numpy as np
import pytest
import tifffile
from fakes.foreign import GREY, SHAPE, SIZE, converted, ome_set, ome_tiff, ome_xml

from petavox.pipeline.errors import VolumeError

DEPTH = len(GREY)
HALVES = np.stack([GREY, 255 - GREY])


def in_unit(unit, nm):
    lengths = {f"PhysicalSize{axis}": length / nm for axis, length in zip("XYZ", SIZE[::-1], strict=True)}
    return lengths | {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"}


def by_tifffile(path, *images):
    """An OME-TIFF of images, each a pair (array, metadata)."""
    with tifffile.TiffWriter(path, ome=True) as file:
        for array, metadata in images:
            file.write(array, photometric="minisblack", metadata={"axes": "ZYX", **metadata})
    return path


def planes(*pairs):
    return "".join(f'<TiffData FirstZ="{z}" IFD="{page}" PlaneCount="1"/>' for z, page in pairs)


def changed(path, *pairs):
    """An OME-TIFF of the stack with its metadata changed afterwards."""
    content = by_tifffile(path, (GREY, {})).read_bytes()
    for old, new in pairs:
        assert old in content
        content = content.replace(old, new)
    path.write_bytes(content)
    return path


# --- the right planes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", ["", "<TiffData/>", planes(*((z, z) for z in range(DEPTH)))], ids=["none", "bare", "all"]
)
def test_pages_are_found_however_briefly_they_are_listed(data, tmp_path):
    path = ome_tiff(tmp_path / "em.ome.tif", GREY, ome_xml(SHAPE, data))
    np.testing.assert_array_equal(converted(path, tmp_path).voxels, GREY)


def test_sections_lie_where_the_metadata_says_not_where_their_pages_do(tmp_path):
    order = np.random.default_rng(0).permutation(DEPTH)
    listed = planes(*zip(order, range(DEPTH), strict=True))
    path = ome_tiff(tmp_path / "em.ome.tif", GREY[order], ome_xml(SHAPE, listed))
    np.testing.assert_array_equal(converted(path, tmp_path).voxels, GREY)


def test_channels_and_time_follow_their_own_order(tmp_path):
    path = by_tifffile(tmp_path / "em.ome.tif", (HALVES, {"axes": "CZYX"}))
    np.testing.assert_array_equal(converted(path, tmp_path).voxels, HALVES)
    np.testing.assert_array_equal(converted(path, tmp_path, channel=1).voxels, HALVES[1])
    twice = np.stack([HALVES, HALVES[::-1]]).swapaxes(1, 2)
    other = by_tifffile(tmp_path / "other.ome.tif", (twice, {"axes": "TZCYX"}))
    np.testing.assert_array_equal(converted(other, tmp_path, channel=0, time=1).voxels, HALVES[1])
    with pytest.raises(VolumeError, match="--time 0"):
        converted(other, tmp_path)


def test_smaller_pictures_are_left_out(tmp_path):
    with tifffile.TiffWriter(tmp_path / "em.ome.tif") as file:
        file.write(GREY, subifds=1, metadata={"axes": "ZYX"})
        file.write(GREY[:, ::2, ::2], subfiletype=1, metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(converted(tmp_path / "em.ome.tif", tmp_path).voxels, GREY)


def test_of_several_images_one_is_chosen_with_its_own_voxel_size(tmp_path):
    images = (GREY, {"Name": "em"} | in_unit("nm", 1)), (255 - GREY, {"Name": "mask"} | in_unit("nm", 0.5))
    path = by_tifffile(tmp_path / "two.ome.tif", *images)
    with pytest.raises(VolumeError, match=r"--dataset NUMBER.*0 \(em\): 7 × 20 × 25 voxels; 1 \(mask\)"):
        converted(path, tmp_path)
    for chosen, stack, factor in (("0", GREY, 1), ("em", GREY, 1), ("mask", 255 - GREY, 2), ("1", 255 - GREY, 2)):
        found = converted(path, tmp_path, dataset=chosen, voxel_size=None)
        np.testing.assert_array_equal(found.voxels, stack)
        assert found.spec.voxel_size == pytest.approx([factor * length for length in SIZE])
        assert "1 more images" in found.said
    np.testing.assert_array_equal(converted(path, tmp_path, axes="zyx").voxels, np.concatenate([GREY, 255 - GREY]))


# --- sets of files ----------------------------------------------------------------------------------------------------


def test_any_file_of_a_set_and_its_folder_stand_for_the_set(tmp_path):
    names = [f"q{number}.ome.tif" for number in np.random.default_rng(0).permutation(DEPTH)]
    folder = ome_set(tmp_path / "set", GREY, names)  # whose names say another order
    for source in (folder, folder / names[0], folder / names[4]):
        np.testing.assert_array_equal(converted(source, tmp_path).voxels, GREY)


def test_a_file_of_a_set_may_be_renamed_if_it_is_the_one_that_is_given(tmp_path):
    folder = ome_set(tmp_path / "set", GREY)
    (folder / "p2.ome.tif").rename(folder / "another.ome.tif")
    np.testing.assert_array_equal(converted(folder / "another.ome.tif", tmp_path).voxels, GREY)
    with pytest.raises(VolumeError, match=r"p2\.ome\.tif is not there"):
        converted(folder / "p1.ome.tif", tmp_path)


def test_a_missing_file_of_a_set_is_named(tmp_path):
    folder = ome_set(tmp_path / "set", GREY)
    (folder / "p5.ome.tif").unlink()
    with pytest.raises(VolumeError, match=r"p5\.ome\.tif is not there.*--axes zyx"):
        converted(folder / "p0.ome.tif", tmp_path)
    with pytest.raises(VolumeError, match=r"are missing.*\(5\).*--in-order"):
        converted(folder, tmp_path)
    np.testing.assert_array_equal(converted(folder, tmp_path, in_order=True).voxels, np.delete(GREY, 5, 0))


def test_a_set_may_keep_its_metadata_in_a_companion(tmp_path):
    folder = ome_set(tmp_path / "set", GREY)
    with tifffile.TiffFile(folder / "p0.ome.tif") as file:
        (folder / "set.companion.ome").write_text(file.pages[0].description)
    for z in range(DEPTH):
        text = f'<OME xmlns="http://x/OME" UUID="urn:uuid:{z}"><BinaryOnly MetadataFile="set.companion.ome"/></OME>'
        ome_tiff(folder / f"p{z}.ome.tif", GREY[z : z + 1], text)
    for source in (folder, folder / "p3.ome.tif"):
        np.testing.assert_array_equal(converted(source, tmp_path).voxels, GREY)
    (folder / "set.companion.ome").unlink()
    with pytest.raises(VolumeError, match=r"set\.companion\.ome, which is not there"):
        converted(folder / "p3.ome.tif", tmp_path)


def test_of_a_set_of_images_that_in_the_file_is_read(tmp_path):
    def image(number):
        data = f'<TiffData><UUID FileName="pos{number}.ome.tif">urn:uuid:{number}</UUID></TiffData>'
        return ome_xml(SHAPE, data, name=f"Image:{number}").partition("<Image")[2].partition("</OME>")[0]

    for number in range(3):
        listed = "<Image".join(["", *(image(n) for n in range(3))])
        text = f'<?xml version="1.0"?><OME xmlns="http://x" UUID="urn:uuid:{number}">{listed}</OME>'
        ome_tiff(tmp_path / f"pos{number}.ome.tif", GREY // (number + 1), text)
    found = converted(tmp_path / "pos1.ome.tif", tmp_path)
    np.testing.assert_array_equal(found.voxels, GREY // 2)
    assert "2 more images; image 1" in found.said


# --- refused ----------------------------------------------------------------------------------------------------------


ELSEWHERE = '<TiffData><UUID FileName="../../etc/passwd">urn:uuid:x</UUID></TiffData>'
AMISS = {
    "more planes than pages": (
        lambda p: changed(p, (b'SizeZ="7"', b'SizeZ="9"'), (b'PlaneCount="7"', b'PlaneCount="9"')),
        "promises 9 planes, of which 2 are not there: z=7, z=8",
    ),
    "more sections than planes": (lambda p: changed(p, (b'SizeZ="7"', b'SizeZ="8"')), "1 are not there: z=7"),
    "fewer planes than pages": (lambda p: changed(p, (b'SizeZ="7"', b'SizeZ="6"')), r"leaves out 1 \(page 6"),
    "planes from the second page on": (lambda p: changed(p, (b'IFD="0"', b'IFD="1"')), "not there: z=6"),
    "another width": (lambda p: changed(p, (b'SizeX="25"', b'SizeX="24"')), r"promises \(20, 24\) pixels"),
    "broken XML": (lambda p: changed(p, (b"</Pixels>", b"</Pixel> ")), "cannot be understood"),
    "two planes for one place": (
        lambda p: ome_tiff(p, GREY, ome_xml(SHAPE, planes(*((min(z, 5), z) for z in range(DEPTH))))),
        "two planes for z=5",
    ),
    "a place without a plane": (
        lambda p: ome_tiff(p, GREY, ome_xml(SHAPE, planes(*((z, z) for z in range(DEPTH) if z != 3)))),
        "not there: z=3",
    ),
    "places below 0": (lambda p: ome_tiff(p, GREY, ome_xml(SHAPE, planes((-1, 0)))), "below 0"),
    "endless axes": (lambda p: ome_tiff(p, GREY, ome_xml((10**9, 20, 25))), "sizes"),
    "no image": (lambda p: ome_tiff(p, GREY, '<OME xmlns="http://x"></OME>'), "describes no image"),
    "a file outside of the folder": (lambda p: ome_tiff(p, GREY, ome_xml(SHAPE, ELSEWHERE)), "lie in one folder"),
}


@pytest.mark.parametrize("kind", AMISS)
def test_metadata_that_contradicts_the_pages_is_refused_and_the_pages_can_be_had(kind, tmp_path):
    make, words = AMISS[kind]
    path = make(tmp_path / "em.ome.tif")
    with pytest.raises(VolumeError, match=f"{words}.*--axes zyx"):
        converted(path, tmp_path)
    np.testing.assert_array_equal(converted(path, tmp_path, axes="zyx").voxels, GREY)


# --- voxel sizes ------------------------------------------------------------------------------------------------------


UNITS = {"µm": 1e3, "μm": 1e3, "Å": 0.1, "mm": 1e6, "cm": 1e7, "m": 1e9, "pm": 1e-3, "in": 25.4e6, "thou": 25.4e3}


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_of_length_is_known(unit, tmp_path):
    path = by_tifffile(tmp_path / "em.ome.tif", (GREY, in_unit(unit, UNITS[unit])))
    assert converted(path, tmp_path, voxel_size=None).spec.voxel_size == pytest.approx(SIZE, rel=1e-5)


def test_without_a_unit_sizes_are_micrometres(tmp_path):
    physical = 'PhysicalSizeX="0.006" PhysicalSizeY="0.006" PhysicalSizeZ="0.03"'
    path = ome_tiff(tmp_path / "em.ome.tif", GREY, ome_xml(SHAPE, physical=physical))
    assert converted(path, tmp_path, voxel_size=None).spec.voxel_size == pytest.approx(SIZE)


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        (in_unit("pixel", 1), "'pixel' is no length"),
        (in_unit("reference frame", 1), "'reference frame' is no length"),
        (in_unit("nm", 1) | {"PhysicalSizeX": 0}, "0 nm along x"),
        ({"PhysicalSizeX": 0.006, "PhysicalSizeY": 0.006}, "not state it along z"),
        ({}, "not its unit"),
    ],
    ids=str,
)
def test_a_size_that_is_none_is_asked_for(metadata, why, tmp_path):
    path = by_tifffile(tmp_path / "em.ome.tif", (GREY, metadata))
    with pytest.raises(VolumeError, match=f"{why}.*--voxel-size 30,6,6"):
        converted(path, tmp_path, voxel_size=None)
    assert converted(path, tmp_path).spec.voxel_size == SIZE
