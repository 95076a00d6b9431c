"""A folder of sections becomes a volume whatever else lies in it; what is no series of grey images is refused."""

import io
import os

import imagecodecs
import numpy as np
import pytest
import tifffile
from fakes.foreign import GREY, SIZE, converted

from petavox.pipeline.errors import RequestError, StorageError, VolumeError

COLOURS = np.stack([GREY, GREY, GREY], -1)
ENCODERS = {".png": imagecodecs.png_encode, ".bmp": imagecodecs.bmp_encode, ".jpg": imagecodecs.jpeg8_encode}


def tiff_bytes(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def encoded(name, image):
    if isinstance(image, bytes):
        return image
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if suffix in ENCODERS:
        return ENCODERS[suffix](np.ascontiguousarray(image))
    return tiff_bytes(image, photometric="minisblack")


def folder_of(folder, images):
    """A folder of files by name, each an image or bytes."""
    for name, image in dict(images).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(name, image))
    return folder


def numbered(ending, images=GREY):
    return {f"s{z:03d}{ending}": image for z, image in enumerate(images)}


LITTER = {
    **{"Thumbs.db": b"x", ".DS_Store": b"x", "desktop.ini": b"x", "notes.txt": b"x", "info": b"a text"},
    **{".hidden.png": b"x", "._s001.png": b"\0\5\x16\7", "._s001.tif": b"\0\5\x16\7", "__MACOSX/._s1.png": b"x"},
    "~$s1.png": b"x",
}
SAME = {
    "PNG": numbered(".png"),
    "BMP": numbered(".bmp"),
    "TIFF in capitals": numbered(".TIF"),
    "no endings": numbered(""),
    "numbers for endings": {f"em.{z:03d}": tiff_bytes(image) for z, image in enumerate(GREY)},
    "PNG that are called TIFF": {f"s{z}.tif": encoded("x.png", image) for z, image in enumerate(GREY)},
    "litter of other programs": numbered(".png") | LITTER,
    "litter beside TIFF": numbered(".tif") | LITTER,
    "equal colours": numbered(".png", COLOURS),
    "equal colours in BMP": numbered(".bmp", COLOURS),
    "equal colours in TIFF": {f"s{z}.tif": tiff_bytes(c, photometric="rgb") for z, c in enumerate(COLOURS)},
    "opaque": numbered(".png", np.concatenate([COLOURS, np.full((*GREY.shape, 1), 255, np.uint8)], -1)),
    "parts of many pages": {f"part{n}.tif": GREY[3 * n : 3 * n + 3] for n in range(3)},
    "depths for names": {f"z={z * 0.025:g}um.png": image for z, image in enumerate(GREY)},
}


@pytest.mark.parametrize("kind", SAME)
def test_sections_become_a_volume_whatever_lies_beside_them(kind, tmp_path):
    found = converted(folder_of(tmp_path / "em [1]", SAME[kind]), tmp_path)
    np.testing.assert_array_equal(found.voxels, GREY)
    assert found.line.startswith(f"{found.volume.path}: 7 sections, ")


def test_sixteen_bits_are_kept(tmp_path):
    for ending in (".png", ".tif"):
        stack = GREY.astype(np.uint16) * 257
        found = converted(folder_of(tmp_path / ending, numbered(ending, stack)), tmp_path)
        assert found.spec.dtype == "uint16"
        np.testing.assert_array_equal(found.voxels, stack)


def test_links_are_followed(tmp_path):
    folder = folder_of(tmp_path / "em", numbered(".tif"))
    (folder / "s003.tif").rename(tmp_path / "elsewhere")
    (folder / "s003.tif").symlink_to("../elsewhere")
    np.testing.assert_array_equal(converted(folder, tmp_path).voxels, GREY)


def odd_one(ending, odd, images=GREY):
    return numbered(ending, images) | {f"s003{ending}": odd}


COLOURED = COLOURS.copy()
COLOURED[3, 2, 5, 1] ^= 1
PALETTE = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000080000000808030000 00f3d165bf".replace(" ", ""))
REFUSED = {
    "a gap": ({n: i for n, i in numbered(".png").items() if "5" not in n}, "missing.*s004 and s006 .5"),
    "one number twice": (numbered(".png") | {"s3.png": GREY[3]}, "s003 and s3 have the same|s3 and s003 have the same"),
    "one number with two endings": (numbered(".tif") | {"s003.tiff": GREY[3]}, "have the same"),
    "two series": (numbered(".png") | {f"mask{z}.png": i for z, i in enumerate(GREY)}, r"mask\* \(7\), s\* \(7\)"),
    "two formats": (numbered(".png") | {"s007.tif": GREY[0]}, "both PNG and TIFF"),
    "JPEG": (numbered(".jpg"), "JPEG.*lossy.*PNG or TIFF.*--lossy"),
    "another size": (odd_one(".png", GREY[0, :9]), r"s003\.png has \(9, 25\)"),
    "another type": (odd_one(".tif", GREY[0].astype(np.uint16)), r"uint16.*s003\.tif"),
    "one pixel of colour": (numbered(".png", COLOURED), r"s003\.png is coloured.*--channel 0"),
    "a table of colours": (odd_one(".png", PALETTE), "a table of colours"),
    "something transparent": (numbered(".png", np.stack([GREY, GREY], -1)), "transparent"),
    "an empty file": (odd_one(".tif", b""), r"s003\.tif .*0 bytes.*Copy it again"),
    "a text": (odd_one(".png", b"hello world"), r"s003\.png .*damaged"),
    "half a file": (odd_one(".png", encoded("x.png", GREY[3])[:150]), r"s003\.png.*damaged"),
    "half a TIFF": (odd_one(".tif", tiff_bytes(GREY[3])[:300]), r"s003\.tif"),
    "a stack among sections": (odd_one(".tif", GREY), r"s003\.tif has 7 pages.*Split"),
    "hyperstacks": (
        {f"p{n}.tif": tiff_bytes(np.stack([GREY, GREY], 1), imagej=True, metadata={"axes": "ZCYX"}) for n in range(2)},
        "axes z, c, y, x",
    ),
    "sections in folders": ({f"part{n}/s{z}.png": GREY[z] for n in range(2) for z in range(4)}, r"part0 .*\*/\*"),
    "other images": ({f"s{z}.gif": b"GIF89a" for z in range(3)}, r"\.gif files; sections are TIFF, PNG or BMP"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_series_of_sections_is_refused_with_a_way_on(kind, tmp_path):
    images, words = REFUSED[kind]
    folder = folder_of(tmp_path / "em", images)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((VolumeError, StorageError), match=words):
        converted(folder, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_to_nothing_is_named(tmp_path):
    folder = folder_of(tmp_path / "em", numbered(".tif"))
    (folder / "s005.tif").unlink()
    (folder / "s005.tif").symlink_to(".git/annex/objects/none")
    with pytest.raises(VolumeError, match=r"s005\.tif is a link to \.git/annex/objects/none.*git annex get"):
        converted(folder, tmp_path)


def test_a_pipe_is_no_section(tmp_path):
    folder = folder_of(tmp_path / "em", numbered(".tif"))
    os.mkfifo(folder / "s007.tif")
    with pytest.raises(VolumeError, match=r"s007\.tif is no file"):
        converted(folder, tmp_path)


def test_the_user_may_insist_on_the_order_of_names(tmp_path):
    gap = {name: image for name, image in numbered(".png").items() if "5" not in name}
    found = converted(folder_of(tmp_path / "gap", gap), tmp_path, in_order=True)
    np.testing.assert_array_equal(found.voxels, np.delete(GREY, 5, 0))
    parts = folder_of(tmp_path / "parts", {f"part{z // 4}/s{z % 4}.png": image for z, image in enumerate(GREY)})
    with pytest.raises(VolumeError, match="--in-order"):
        converted(parts / "*" / "*", tmp_path)
    np.testing.assert_array_equal(converted(parts / "*" / "*", tmp_path, in_order=True).voxels, GREY)


def test_jpeg_is_read_where_the_user_says_so(tmp_path):
    found = converted(folder_of(tmp_path / "em", numbered(".jpg")), tmp_path, lossy=True)
    expected = np.stack([imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(image)) for image in GREY])
    np.testing.assert_array_equal(found.voxels, expected)
    assert "lossy" in found.said


def test_one_channel_can_be_taken(tmp_path):
    folder = folder_of(tmp_path / "em", numbered(".png", COLOURED))
    np.testing.assert_array_equal(converted(folder, tmp_path, channel=1).voxels, COLOURED[..., 1])
    with pytest.raises(VolumeError, match="3 channels, counted from 0"):
        converted(folder, tmp_path, channel=3)


def test_other_images_beside_the_sections_are_mentioned(tmp_path):
    folder = folder_of(tmp_path / "em", numbered(".png") | {"masks/m1.png": GREY[0], "overview.dm3": b"x"})
    found = converted(folder, tmp_path)
    np.testing.assert_array_equal(found.voxels, GREY)
    assert "folders masks hold images" in found.said
    assert ".dm3 files" in found.said


def test_parts_may_state_the_voxel_size_if_they_agree(tmp_path):
    def part(path, planes, spacing):
        metadata = {"axes": "ZYX", "unit": "nm", "spacing": spacing}
        tifffile.imwrite(path, planes, imagej=True, metadata=metadata, resolution=(1 / 6, 1 / 6))

    (tmp_path / "em").mkdir()
    part(tmp_path / "em" / "p0.tif", GREY[:4], 30.0)
    part(tmp_path / "em" / "p1.tif", GREY[4:], 30.0)
    assert converted(tmp_path / "em", tmp_path, voxel_size=None).spec.voxel_size == pytest.approx(SIZE)
    part(tmp_path / "em" / "p1.tif", GREY[4:], 40.0)
    with pytest.raises(VolumeError, match="its files state several"):
        converted(tmp_path / "em", tmp_path, voxel_size=None)


# --- patterns and addresses -------------------------------------------------------------------------------------------


def test_a_pattern_names_one_of_several_series(tmp_path, monkeypatch):
    images = {f"raw_{z}.png": i for z, i in enumerate(GREY)} | {f"mask_{z}.png": 255 - i for z, i in enumerate(GREY)}
    folder = folder_of(tmp_path / "home" / "em", images | LITTER)
    np.testing.assert_array_equal(converted(f"{folder}/raw_*.png", tmp_path).voxels, GREY)
    np.testing.assert_array_equal(converted(f"{folder}/mask_?.*", tmp_path).voxels, 255 - GREY)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    np.testing.assert_array_equal(converted("~/em/raw_*.png", tmp_path).voxels, GREY)
    with pytest.raises(VolumeError, match="No file fits"):
        converted(f"{folder}/zebra*", tmp_path)
    with pytest.raises(VolumeError, match=r"fits \d files and folders"):
        converted(f"{tmp_path}/*", tmp_path)


def test_a_pattern_over_folders_joins_a_series_that_goes_on(tmp_path):
    parts = folder_of(tmp_path / "em", {f"part{z // 4}/s{z:02d}.png": i for z, i in enumerate(GREY)} | LITTER)
    np.testing.assert_array_equal(converted(f"{parts}/part*/*", tmp_path).voxels, GREY)


def test_a_path_may_be_a_url_or_begin_at_home(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "my sections", numbered(".png"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (f"file://{folder}", f"file://{folder}".replace(" ", "%20"), "~/my sections", f"{folder}/"):
        np.testing.assert_array_equal(converted(source, tmp_path).voxels, GREY)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/em.tif", "s3://bucket/em.h5"])
def test_files_are_not_read_from_servers(address, tmp_path):
    with pytest.raises(RequestError, match="Download it first"):
        converted(address, tmp_path)


def test_what_is_packed_or_linked_to_nothing_says_so(tmp_path):
    (tmp_path / "em.zip").write_bytes(b"PK\3\4rest")
    (tmp_path / "em.tif.gz").write_bytes(b"\x1f\x8b\x08rest")
    (tmp_path / "em.tif").symlink_to("nowhere")
    for name, words in (("em.zip", "unpack it"), ("em.tif.gz", "unpack it"), ("em.tif", "a link to nowhere")):
        with pytest.raises(VolumeError, match=words):
            converted(tmp_path / name, tmp_path)
