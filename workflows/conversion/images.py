"""One image as one section: what PNG, BMP and JPEG files are, and their pixels."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...pipeline.errors import StorageError, VolumeError
from .bmp import bmp_pixels

PNG, BMP, JPEG, TIFF = "PNG", "BMP", "JPEG", "TIFF"
SUFFIXES = {".tif": TIFF, ".tiff": TIFF, ".png": PNG, ".bmp": BMP, ".dib": BMP, ".jpg": JPEG, ".jpeg": JPEG}
"""Endings of files that are sections."""
OTHER_SUFFIXES = frozenset(
    {".gif", ".webp", ".jp2", ".j2k", ".jxl", ".pgm", ".pnm", ".ppm", ".mrc", ".dm3", ".dm4", ".ser", ".emi", ".raw"}
)
"""Endings of images that are not read."""
_SIGNATURES = {
    b"II*\0": TIFF,
    b"MM\0*": TIFF,
    b"II+\0": TIFF,
    b"MM\0+": TIFF,
    b"\x89PNG": PNG,
    b"BM": BMP,
    b"\xff\xd8\xff": JPEG,
}
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6  # of PNG
_SAMPLES = {_GREY: 1, _RGB: 3, _GREY_ALPHA: 2, _RGBA: 4}


@dataclass(frozen=True)
class ImageKind:
    """Describes an image by its header.

    Args:
        shape: y, x pixels.
        dtype: a numpy type's name.
        samples: of a pixel.
    """

    shape: tuple[int, int]
    dtype: str
    samples: int

    def __str__(self) -> str:
        return f"{self.shape} (y, x) {self.dtype}" + (f" with {self.samples} channels" if self.samples > 1 else "")


def format_of(path: Path) -> str | None:
    """Returns the format of an image by its first bytes; None of anything else.

    Raises:
        StorageError: it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error.strerror or error}. Check its permissions.") from error
    return next((kind for signature, kind in _SIGNATURES.items() if start.startswith(signature)), None)


def kind_of(path: Path, image_format: str) -> ImageKind:
    """Describes an image: a PNG by its header alone.

    Raises:
        VolumeError: it has no 8 or 16 bits a pixel, or was cut short.
        StorageError: it is damaged.
    """
    if image_format == PNG:
        return _png_kind(path)
    pixels = read_image(path, image_format)
    return ImageKind(pixels.shape[:2], pixels.dtype.name, 1 if pixels.ndim == 2 else pixels.shape[2])


def read_image(path: Path, image_format: str) -> np.ndarray:
    """Returns pixels (Y, X) or (Y, X, S).

    Raises:
        StorageError: the file is damaged or cannot be read.
    """
    import imagecodecs

    decoders: dict[str, Callable[[bytes], np.ndarray]] = {
        PNG: imagecodecs.png_decode,
        BMP: bmp_pixels,
        JPEG: imagecodecs.jpeg8_decode,
    }
    try:
        return np.asarray(decoders[image_format](path.read_bytes()))
    except Exception as error:  # every codec has exceptions of its own
        raise StorageError(
            f"Could not read {path}: {error or type(error).__name__}. It is damaged, or of a kind that is not read: "
            "copy it again, or save it as PNG or TIFF."
        ) from error


def _png_kind(path: Path) -> ImageKind:
    with path.open("rb") as file:
        start = file.read(26)
    if len(start) < 26 or not start.startswith(b"\x89PNG\r\n\x1a\n") or start[12:16] != b"IHDR":
        raise VolumeError(f"{path} is not a PNG that can be read: it was cut short. Copy or export it again.")
    width, height, depth, colour = struct.unpack(">IIBB", start[16:26])
    if colour not in _SAMPLES or depth not in (8, 16) or not width or not height:
        what = "a table of colours" if colour == _PALETTE else f"colour type {colour}"
        raise VolumeError(f"{path} is not grey with 8 or 16 bits ({what}, {depth} bits). Save it as a grey image.")
    return ImageKind((height, width), f"uint{depth}", _SAMPLES[colour])
