"""One grey value a pixel: what images that have colours, transparency or a table of colours are taken for."""

from __future__ import annotations

import numpy as np

from ...pipeline.errors import VolumeError


def grey_of(image: np.ndarray, where: str, channel: int | None = None, *, alpha: bool = True) -> np.ndarray:
    """Returns a grey image (Y, X) of one that may have samples (Y, X, S).

    Three equal colours are one grey value, and transparency that is nowhere transparent is none.

    Args:
        image: the pixels.
        where: names them in an error.
        channel: the sample that is taken, whatever the others are.
        alpha: whether the last of two or four samples is transparency.

    Raises:
        VolumeError: the colours differ, something is transparent, or there is no such channel.
    """
    if image.ndim == 2:
        return image
    samples = image.shape[2]
    if channel is not None:
        if not 0 <= channel < samples:
            raise VolumeError(f"Cannot take channel {channel} of {where}: it has {samples} channels, counted from 0.")
        return image[..., channel]
    colours = samples - (alpha and samples in (2, 4))
    if colours < samples and (image[..., -1] != opaque(image.dtype)).any():
        raise VolumeError(
            f"{where} is transparent in places, so that its grey values depend on what lies behind. "
            "Save it without transparency, or take its first channel: --channel 0"
        )
    if colours not in (1, 3) or any((image[..., 0] != image[..., c]).any() for c in range(1, colours)):
        raise VolumeError(
            f"{where} is coloured: it has {samples} channels that differ. Sections must be grey: save them as grey "
            "images, or take one of the channels: --channel 0"
        )
    return image[..., 0]


def opaque(dtype: np.dtype) -> float:
    """Returns the value of transparency that lets nothing through."""
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0


def grey_table(table: np.ndarray) -> np.ndarray | None:
    """Returns the 8-bit grey value of each number of a colour table, or None where it has colours.

    Args:
        table: (3, N) uint16, red, green and blue of each number, as TIFF keeps it.
    """
    if (table[0] != table[1]).any() or (table[0] != table[2]).any():
        return None
    return np.asarray(table[0] >> 8, np.uint8)
