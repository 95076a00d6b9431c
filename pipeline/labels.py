"""Labels of any type as ids of objects: what other programs mark as unknown becomes 0, and is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import VolumeError

Ids = npt.NDArray[np.unsignedinteger[Any]]
LARGEST_MEANT = {4: 2**32 - 2, 8: 2**64 - 4}
"""Largest id of an object, by bytes of an unsigned label: above it lie −1 stored without its sign, and Paintera's
invalid, outside and transparent."""
_EXACT = {"float16": 2**11, "float32": 2**24, "float64": 2**53}
"""Up to which a float holds every whole number."""


def object_ids(labels: npt.NDArray[Any], name: str) -> Ids:
    """Returns labels as unsigned ids; what is marked as unknown becomes 0.

    Unknown are labels below 0, the largest ids of unsigned types, and in floats what is no number.

    Args:
        labels: any shape; booleans, integers, or floats that hold whole numbers.
        name: of the labels, for messages.

    Raises:
        VolumeError: the labels are of another type, or floats that hold fractions or numbers too large to be exact.
    """
    unknown = unknown_labels(labels)
    if labels.dtype.kind == "f" and unknown is not None:
        _check_whole(labels, unknown, name)
        return np.where(unknown, 0, labels).astype(np.uint64)
    if labels.dtype.kind not in "uib":
        raise VolumeError(f"Labels are integers; the {name} is {labels.dtype}. Convert it.")
    if unknown is not None and unknown.any():
        labels = np.where(unknown, labels.dtype.type(0), labels)
    return labels.view(f"u{labels.dtype.itemsize}")


def unknown_voxels(labels: npt.NDArray[Any], mask: npt.NDArray[Any] | None = None) -> int:
    """Counts the labels that mark unknown voxels, inside a mask of their shape if one is given."""
    unknown = unknown_labels(labels)
    if unknown is None:
        return 0
    return int(np.count_nonzero(unknown if mask is None else unknown & (mask != 0)))


def unknown_labels(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Returns where labels mark what is unknown; None where their type has no such marks."""
    kind, size = labels.dtype.kind, labels.dtype.itemsize
    if kind == "i":
        return np.asarray(labels < 0)
    if kind == "f":
        return np.asarray(~np.isfinite(labels) | (labels < 0))
    return np.asarray(labels > LARGEST_MEANT[size]) if kind == "u" and size in LARGEST_MEANT else None


def _check_whole(labels: npt.NDArray[Any], unknown: npt.NDArray[np.bool_], name: str) -> None:
    known = labels[~unknown]
    if (known != np.rint(known)).any():
        odd = known[known != np.rint(known)][0]
        raise VolumeError(f"Labels are whole numbers; the {name} has {odd:g}. Is it an image? Name a label volume.")
    limit = _EXACT.get(labels.dtype.name, 0)
    if known.size and known.max() > limit:
        raise VolumeError(
            f"Labels are exact numbers; the {name} is {labels.dtype} and has {known.max():g}, above {limit}, where "
            "neighbouring ids are one. Store it as integers."
        )
