"""Every page of a TIFF is looked at, and becomes a section; or the file is refused, and the way on is named."""

import re
import struct

import numpy as np
import pytest
import tifffile
from fakes.foreign import GREY, SIZE, converted, grey, imagej_without_pages, pages

from petavox.pipeline.errors import RequestError, VolumeError

COLOURS = np.stack([GREY, GREY, GREY], -1)
HALVES = np.stack([GREY, 255 - GREY], 1)  # two channels of each section
RANDOM_TABLE = np.random.default_rng(0).integers(0, 65535, (3, 256)).astype(np.uint16)
FALLING_TABLE = np.stack([np.arange(256, dtype=np.uint16)[::-1] * 257] * 3)


def imagej(path, stack, axes="ZYX", resolution=(1 / 6, 1 / 6), **metadata):
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": axes, **metadata}, resolution=resolution)
    return path


def appended(path, parts, **options):
    for number, part in enumerate(parts):
        tifffile.imwrite(path, part, append=number > 0, photometric="minisblack", **options)
    return path


def with_smaller_pictures(path):
    """Every page has two smaller pictures of it inside (SubIFDs)."""
    with tifffile.TiffWriter(path) as file:
        for plane in GREY:
            file.write(plane, subifds=2, metadata=None)
            file.write(plane[::2, ::2], subfiletype=1, metadata=None)
            file.write(plane[::4, ::4], subfiletype=1, metadata=None)
    return path


def one_kind_each(path):
    kinds = [{"compression": "zlib"}, {"tile": (16, 16)}, {"compression": "lzw", "rowsperstrip": 3}, {}]
    return pages(path, [(plane, kinds[z % 4]) for z, plane in enumerate(GREY)])


def other_first_page(path, odd, **rest):
    return pages(path, [(plane, rest if z else odd) for z, plane in enumerate(GREY)])


def pages_and_smaller_pictures(path):
    return pages(path, [page for plane in GREY for page in (plane, (plane[::2, ::2], {"subfiletype": 1}))])


def samples(path):
    return pages(path, np.moveaxis(HALVES, 1, -1), planarconfig="contig")


def miscounted(path):
    """ImageJ's metadata counts two sections more than there are pages."""
    content = imagej(path, GREY).read_bytes()
    path.write_bytes(content.replace(b"images=7\nslices=7", b"images=9\nslices=9"))
    return path


SAME = {
    "the first page not compressed": lambda p: other_first_page(p, {}, compression="zlib"),
    "pages of every compression": one_kind_each,
    "pieces that were appended": lambda p: appended(p, (GREY[:3], GREY[3:6], GREY[6:])),
    "sections that were appended": lambda p: appended(p, GREY),
    "BigTIFF, big-endian": lambda p: pages(p, GREY, bigtiff=True, byteorder=">"),
    "smaller pictures inside of pages": with_smaller_pictures,
    "smaller pictures between pages": pages_and_smaller_pictures,
    "all pages marked as smaller pictures": lambda p: pages(p, GREY, subfiletype=1),
    "equal colours": lambda p: pages(p, COLOURS, photometric="rgb"),
    "equal colours, apart": lambda p: pages(p, np.moveaxis(COLOURS, -1, 1), photometric="rgb", planarconfig="separate"),
    "grey and opaque": lambda p: pages(p, np.stack([GREY, np.full_like(GREY, 255)], -1), extrasamples=["unassalpha"]),
    "a table of grey values": lambda p: pages(p, 255 - GREY, photometric="palette", colormap=FALLING_TABLE),
    "a volume in one page": lambda p: tifffile.imwrite(p, GREY, volumetric=True, tile=(4, 16, 16)) or p,
    "ImageJ": lambda p: imagej(p, GREY),
    "ImageJ above 4 GB": lambda p: imagej_without_pages(p, GREY, len(GREY)),
    "ImageJ, colours": lambda p: imagej(p, COLOURS, "ZYXS"),
    "an axis of length 1": lambda p: tifffile.imwrite(p, GREY[:, None], photometric="minisblack") or p,
}  # fmt: skip


@pytest.mark.parametrize("kind", SAME)
def test_all_pages_become_sections_however_they_are_stored(kind, tmp_path):
    np.testing.assert_array_equal(converted(SAME[kind](tmp_path / "em.tif"), tmp_path).voxels, GREY)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "float32", "float16"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_the_type_is_kept(dtype, compression, tmp_path):
    stack = grey(dtype=dtype)
    found = converted(pages(tmp_path / "em.tif", stack, compression=compression, byteorder=">"), tmp_path)
    assert found.spec.dtype == dtype
    np.testing.assert_array_equal(found.voxels, stack)


def test_planes_behind_the_only_page_may_have_16_bits(tmp_path):
    stack = grey(dtype="uint16") * 200
    found = converted(imagej_without_pages(tmp_path / "em.tif", stack, len(stack)), tmp_path)
    np.testing.assert_array_equal(found.voxels, stack)


def test_a_single_section_is_a_thin_volume_and_its_neighbours_are_mentioned(tmp_path):
    for name in ("s1.tif", "s2.tif", "s3.tif"):
        tifffile.imwrite(tmp_path / name, GREY[0])
    found = converted(tmp_path / "s2.tif", tmp_path)
    np.testing.assert_array_equal(found.voxels, GREY[:1])
    assert "2 more files lie beside it: give their folder" in found.said


SAID = {
    "min is white": (lambda p: pages(p, GREY, photometric="miniswhite"), "0 is white.*viewers invert"),
    "a table of colours": (lambda p: pages(p, GREY, photometric="palette", colormap=RANDOM_TABLE), "table of colours"),
    "another orientation": (lambda p: pages(p, GREY, extratags=[(274, 3, 1, 4, True)]), "orientation"),
    "smaller pictures": (pages_and_smaller_pictures, "7 of its pages are smaller pictures"),
    "more bytes than planes": (lambda p: imagej_without_pages(p, np.concatenate([GREY, GREY]), 7), "bytes for 7 more"),
}


@pytest.mark.parametrize("kind", SAID)
def test_values_are_kept_and_what_is_odd_about_them_is_said(kind, tmp_path):
    make, words = SAID[kind]
    found = converted(make(tmp_path / "em.tif"), tmp_path)
    np.testing.assert_array_equal(found.voxels, GREY)
    assert re.search(words, found.said)


def cut(make, share):
    def made(path):
        content = make(path).read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return made


def of_odd_page(**change):
    """A stack whose fourth page differs."""
    odd = {"height": GREY[3, :10], "width": GREY[3, :, :20].copy(), "type": GREY[3].astype(np.uint16)}
    return lambda p: pages(p, [odd[change["by"]] if z == 3 else g for z, g in enumerate(GREY)])


def thumbnail_with_all_inside(path):
    with tifffile.TiffWriter(path) as file:
        file.write(GREY[0, ::4, ::4], subifds=1, metadata=None)
        file.write(GREY[0], metadata=None)
    return path


def in_a_circle(path):
    content = bytearray(pages(path, GREY).read_bytes())
    with tifffile.TiffFile(path) as file:
        second, fifth = file.pages[1].offset, file.pages[4].offset
    (tags,) = struct.unpack_from("<H", content, fifth)
    struct.pack_into("<I", content, fifth + 2 + 12 * tags, second)
    path.write_bytes(content)
    return path


def with_holes(path):
    with tifffile.TiffWriter(path) as file:
        tiles = (None if n == 3 else np.ones((16, 16), np.uint8) for n in range(4))
        file.write(tiles, shape=(20, 25), dtype=np.uint8, tile=(16, 16), metadata=None, photometric="minisblack")
    return path


def coloured_in_one_pixel(path):
    colours = COLOURS.copy()
    colours[4, 2, 3, 1] ^= 1
    return pages(path, colours, photometric="rgb")


REFUSED = {
    "a page of half the height": (of_odd_page(by="height"), r"one size and type.*\(10, 25\).*: 3\."),
    "a page of less width": (of_odd_page(by="width"), r"\(20, 20\).*: 3\."),
    "a page of 16 bits": (of_odd_page(by="type"), r"uint8.*uint16.*: 3\."),
    "a page that is inverted": (
        lambda p: other_first_page(p, {"photometric": "miniswhite"}),
        "min is black.*min is white: 0",
    ),
    "appended pieces of two types": (lambda p: appended(p, (GREY, GREY.astype(np.uint16))), "uint8.*uint16"),
    "cut short between pages": (cut(lambda p: pages(p, GREY), 0.5), "cut short: page 4"),
    "cut short in the last page": (cut(lambda p: pages(p, GREY), 0.99), "Page 6 .*cut short"),
    "cut short, compressed": (cut(lambda p: pages(p, GREY, compression="zlib"), 0.7), "cut short"),
    "cut short, ImageJ": (cut(lambda p: imagej(p, GREY), 0.6), "cut short"),
    "cut short, ImageJ above 4 GB": (lambda p: imagej_without_pages(p, GREY[:5], 7), "promises 7 planes.*cut short"),
    "ImageJ counts other pages": (
        miscounted,
        "7 pages.*promises 9 planes.*--axes zyx",
    ),
    "without a page": (lambda p: p.write_bytes(b"II*\0\0\0\0\0") and p, "without a page"),
    "nothing but a header": (lambda p: p.write_bytes(b"II*\0") and p, "cut short"),
    "pages in a circle": (in_a_circle, "circle"),
    "a page inside of a smaller one": (thumbnail_with_all_inside, "inside it is an image"),
    "tiles that hold nothing": (with_holes, "no data in places"),
    "one pixel of colour": (coloured_in_one_pixel, "page 4 .*coloured.*--channel 0"),
    "two channels a pixel": (samples, "2 channels that differ.*--channel 0"),
    "complex numbers": (lambda p: pages(p, GREY.astype(np.complex64)), "Save it as 8 or 16 bit grey"),
    "frames instead of sections": (lambda p: imagej(p, GREY, "TYX"), "axes t, y, x .*--axes zyx"),
    "points of time": (lambda p: imagej(p, HALVES[None].repeat(2, 0), "TZCYX"), "--time 0"),
    "two axes without a name": (lambda p: tifffile.imwrite(p, HALVES, photometric="minisblack") or p, "--axes czyx"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_less_or_other_than_a_stack_is_refused_with_a_way_on(kind, tmp_path):
    make, words = REFUSED[kind]
    with pytest.raises(VolumeError, match=words):
        converted(make(tmp_path / "em.tif"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["em.tif"]


def test_channels_and_points_of_time_can_be_chosen(tmp_path):
    hyper = imagej(tmp_path / "hyper.tif", np.stack([HALVES, HALVES[::-1]]), "TZCYX")
    np.testing.assert_array_equal(converted(hyper, tmp_path, time=1, channel=0).voxels, GREY[::-1])
    two = samples(tmp_path / "samples.tif")
    np.testing.assert_array_equal(converted(two, tmp_path, channel=1).voxels, 255 - GREY)
    colours = coloured_in_one_pixel(tmp_path / "colours.tif")
    np.testing.assert_array_equal(converted(colours, tmp_path, channel=2).voxels, GREY)
    both = imagej(tmp_path / "both.tif", HALVES, "ZCYX")
    np.testing.assert_array_equal(converted(both, tmp_path).voxels, np.moveaxis(HALVES, 1, 0))
    for options, words in (({"channel": 2}, "2 channels, counted from 0"), ({"time": 0}, "no axis of time")):
        with pytest.raises(RequestError, match=words):
            converted(both, tmp_path, **options)
    with pytest.raises(RequestError, match="no channels"):
        converted(pages(tmp_path / "grey.tif", GREY), tmp_path, channel=1)


def test_naming_the_axes_takes_pages_as_they_come(tmp_path):
    frames = converted(imagej(tmp_path / "frames.tif", GREY, "TYX"), tmp_path, axes="zyx")
    np.testing.assert_array_equal(frames.voxels, GREY)
    assert "taken as they come" in frames.said
    wrong = miscounted(tmp_path / "wrong.tif")
    np.testing.assert_array_equal(converted(wrong, tmp_path, axes="zyx").voxels, GREY)


# --- voxel sizes ------------------------------------------------------------------------------------------------------


UNITS = {
    "nm": 1,
    "um": 1e3,
    "micron": 1e3,
    "microns": 1e3,
    "\\u00B5m": 1e3,
    "A": 0.1,
    "mm": 1e6,
    "inch": 25.4e6,
}


@pytest.mark.parametrize("unit", UNITS)
def test_imagej_states_the_voxel_size_in_many_units(unit, tmp_path):
    nm = UNITS[unit]
    path = imagej(tmp_path / "em.tif", GREY, unit=unit, spacing=30 / nm, resolution=(nm / 6, nm / 6))
    assert converted(path, tmp_path, voxel_size=None).spec.voxel_size == pytest.approx(SIZE)


@pytest.mark.parametrize(("text", "encoding"), [("µm", "latin-1"), ("µm", "utf-8"), ("Å", "latin-1"), ("μm", "utf-8")])
def test_units_beyond_ascii_are_read_in_any_encoding(text, encoding, tmp_path):
    nm = 0.1 if text == "Å" else 1e3
    said = f"ImageJ=1.53t\nimages=7\nslices=7\nunit={text}\nspacing={30 / nm}\nloop=false\n".encode(encoding)
    path = tmp_path / "em.tif"
    resolution = (nm / 6, nm / 6)
    tifffile.imwrite(path, GREY, description=said, metadata=None, photometric="minisblack", resolution=resolution)
    assert converted(path, tmp_path, voxel_size=None).spec.voxel_size == pytest.approx(SIZE, rel=1e-5)


def test_each_axis_may_have_a_unit_of_its_own(tmp_path):
    path = imagej(tmp_path / "em.tif", GREY, unit="nm", zunit="um", spacing=0.03)
    assert converted(path, tmp_path, voxel_size=None).spec.voxel_size == pytest.approx(SIZE)


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"unit": "pixel", "spacing": 30.0}, "'pixel' is no length"),
        ({"unit": "furlong", "spacing": 30.0}, "'furlong' is no length"),
        ({"unit": "", "spacing": 30.0}, "no unit"),
        ({"unit": "nm"}, "not its spacing along z"),
        ({"unit": "nm", "spacing": -30.0}, "-30 nm along z"),
        ({"unit": "nm", "spacing": 0.0}, "0 nm along z"),
        ({}, "not its unit"),
    ],
    ids=str,
)
def test_a_size_that_is_none_is_asked_for_and_the_user_always_wins(metadata, why, tmp_path):
    path = imagej(tmp_path / "em.tif", GREY, **metadata)
    with pytest.raises(VolumeError, match=f"{why}.*--voxel-size 30,6,6"):
        converted(path, tmp_path, voxel_size=None)
    assert converted(path, tmp_path).spec.voxel_size == SIZE


def test_a_resolution_of_0_is_none(tmp_path):
    path = imagej(tmp_path / "em.tif", GREY, unit="nm", spacing=30.0)
    with tifffile.TiffFile(path) as file:
        places = [page.tags["XResolution"].valueoffset for page in file.pages]
    content = bytearray(path.read_bytes())
    for place in places:
        struct.pack_into("<II", content, place, 0, 1)
    path.write_bytes(content)
    with pytest.raises(VolumeError, match="not a resolution in the plane"):
        converted(path, tmp_path, voxel_size=None)
    np.testing.assert_array_equal(converted(path, tmp_path).voxels, GREY)


@pytest.mark.parametrize(
    ("size", "words"),
    [((0.03, 0.006, 0.006), "smaller than"), ((3000, 600, 600), "too large"), ((6, 6, 30), "finer along z")],
)
def test_an_unlikely_size_is_said_aloud(size, words, tmp_path):
    assert words in converted(pages(tmp_path / "em.tif", GREY), tmp_path, voxel_size=size).said
