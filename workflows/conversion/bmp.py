"""BMP, which needs no library: a header, perhaps a table of colours, and rows of pixels from the bottom up."""

from __future__ import annotations

import struct

import numpy as np

from .grey import grey_table

_HEADER = struct.Struct("<I4xIIiiHHIIiiI")
_UNCOMPRESSED = 0
_SAMPLES = {8: 1, 24: 3, 32: 4}


def bmp_pixels(content: bytes) -> np.ndarray:
    """Returns the pixels of a BMP of 8 bits with grey values, or of 24 or 32: uint8 (Y, X) or (Y, X, 3).

    Raises:
        ValueError: it is another one, or was cut short.
    """
    if len(content) < 2 + _HEADER.size:
        raise ValueError("it was cut short")
    _, start, size, width, height, _, bits, compression, _, _, _, used = _HEADER.unpack_from(content, 2)
    rows = abs(height)
    if size < 40 or bits not in _SAMPLES or compression != _UNCOMPRESSED or width < 1 or rows < 1:
        raise ValueError(f"{bits} bits a pixel in the coding {compression}, {width} × {rows} pixels")
    stride = -(-width * bits // 32) * 4
    if start < 14 + size or len(content) < start + rows * stride:
        raise ValueError("it was cut short")
    lines = np.frombuffer(content, np.uint8, rows * stride, start).reshape(rows, stride)
    lines = lines[::-1] if height > 0 else lines
    samples = _SAMPLES[bits]
    pixels = lines[:, : width * samples].reshape(rows, width, samples)
    if samples > 1:
        return pixels[..., 2::-1]  # stored blue first; the fourth byte means nothing
    entries = used or 256
    if entries > 256 or 14 + size + 4 * entries > start:
        raise ValueError("its table of colours was cut short")
    table = np.frombuffer(content, np.uint8, 4 * entries, 14 + size).reshape(entries, 4)
    grey = grey_table(table[:, 2::-1].T.astype(np.uint16) * 257)
    if grey is None or pixels.max() >= entries:
        raise ValueError("a table of colours instead of grey values")
    return grey[pixels[..., 0]]
