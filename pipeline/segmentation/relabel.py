"""From dense labels to others, by table."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from ..errors import TableError


def relabel(
    labels: npt.NDArray[np.uint32], table: npt.NDArray[Any], out: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """Returns table[labels], checked.

    Args:
        labels: dense labels of any shape, 0…n.
        table: (n + 1,) the new label of each.
        out: where to put them, contiguous, of the same shape, perhaps the labels themselves; a new array of the table's
            type unless given.

    Raises:
        TableError: a label is beyond the table.
    """
    result = np.empty(labels.shape, dtype=table.dtype) if out is None else out
    largest = _look_up(np.ascontiguousarray(labels).reshape(-1), table, result.reshape(-1))
    if largest >= len(table):
        raise TableError(
            f"A block holds label {largest}, but its table ends at {len(table) - 1}: they come from different "
            "runs. Run the supervoxels of this block again."
        )
    return result


@njit(nogil=True, cache=True)
def _look_up(labels, table, result):  # type: ignore[no-untyped-def]
    """Fills the result and returns the largest label; one beyond the table counts as its end."""
    end = np.uint32(table.size - 1)
    largest = np.uint32(0)
    for i in range(labels.size):
        label = labels[i]
        largest = max(largest, label)
        result[i] = table[min(label, end)]
    return largest
