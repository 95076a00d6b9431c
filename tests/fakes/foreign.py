"""Files of other programs, and what becomes of them: shared by the tests of everything that `petavox convert` reads."""

from __future__ import annotations

import struct

import numpy as np
import tifffile

from petavox.workflows.conversion.convert import convert
from petavox.workflows.conversion.options import SourceOptions

SIZE = (30.0, 6.0, 6.0)
SHAPE = (7, 20, 25)


def grey(shape=SHAPE, dtype="uint8"):
    """Grey values in which every axis can be told from the others, none of them 0."""
    z, y, x = np.indices(shape)
    noise = np.random.default_rng(1).integers(0, 20, shape)
    values = 30 + 15 * z + 3 * y + 2 * x + noise
    return (values / 255).astype(dtype) if np.dtype(dtype).kind == "f" else np.clip(values, 1, 255).astype(dtype)


GREY = grey()


class Result:
    """A volume that was converted, and what was said about it."""

    def __init__(self, converted, said):
        self.volume, self.said, self.line = converted.volume, " ".join(said), str(converted)
        self.spec = self.volume.spec
        self.voxels = self.volume.read(self.spec.box)


def converted(source, tmp_path, **options):
    """What `petavox convert` makes of a source; its voxel size is given unless options say otherwise."""
    rest = {name: options.pop(name) for name in ("box", "chunk", "preview", "progress") if name in options}
    said = []
    number = len(list(tmp_path.glob("out*.zarr")))
    settings = SourceOptions(**({"voxel_size": SIZE} | options))
    return Result(convert(source, tmp_path / f"out{number}.zarr", settings, tell=said.append, **rest), said)


def pages(path, planes, **options):
    """A TIFF written page by page, each with options of its own where it is a pair (plane, options)."""
    with tifffile.TiffWriter(path, **{k: options.pop(k) for k in ("bigtiff", "byteorder") if k in options}) as file:
        for plane in planes:
            array, own = plane if isinstance(plane, tuple) else (plane, {})
            file.write(array, metadata=None, contiguous=False, **{"photometric": "minisblack", **options, **own})
    return path


def imagej_without_pages(path, stack, images, description=""):
    """What ImageJ leaves of a stack above 4 GB: one page, and behind it all planes, which no other page describes."""
    text = f"ImageJ=1.53t\nimages={images}\nslices={images}\n{description}loop=false\n".encode() + b"\0"
    _, height, width = stack.shape
    bits, plane = stack.dtype.itemsize * 8, height * width * stack.dtype.itemsize
    entries = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 1), (270, 2, None)]
    entries += [(273, 4, None), (277, 3, 1), (278, 4, height), (279, 4, plane)]
    text_at = 8 + 2 + 12 * len(entries) + 4
    content = b"MM\0*" + struct.pack(">IH", 8, len(entries))
    for tag, kind, value in entries:
        count, value = (len(text), text_at) if tag == 270 else (1, text_at + len(text) if tag == 273 else value)
        content += struct.pack(">HHI", tag, kind, count)
        content += struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value)
    path.write_bytes(content + bytes(4) + text + stack.astype(stack.dtype.newbyteorder(">")).tobytes())
    return path


def ome_xml(shape, tiff_data="<TiffData/>", *, uuid="urn:uuid:own", physical="", more="", name="Image:0"):
    """OME-XML of one image of bytes, Z × Y × X."""
    depth, height, width = shape
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}"><Image ID="{name}">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="{width}" SizeY="{height}" SizeZ="{depth}" '
        f'SizeC="1" SizeT="1" {physical}><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{tiff_data}</Pixels></Image>'
        f"{more}</OME>"
    )


def ome_tiff(path, stack, text):
    """A TIFF of pages whose first one has OME-XML."""
    return pages(path, [(plane, {"description": text if z == 0 else None}) for z, plane in enumerate(stack)])


def ome_set(folder, stack, names=None):
    """A set of OME-TIFFs of one section each, every one of which lists them all."""
    folder.mkdir()
    names = names or [f"p{z}.ome.tif" for z in range(len(stack))]
    listed = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(names)
    )
    for z, name in enumerate(names):
        ome_tiff(folder / name, stack[z : z + 1], ome_xml(stack.shape, listed, uuid=f"urn:uuid:{z}"))
    return folder
