"""From dense labels to final ids, by table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from ..errors import TableError


def relabel(labels: npt.NDArray[np.uint32], table: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """table[labels], checked.

    Args:
        labels: dense labels of any shape, 0…n.
        table: (n + 1,) the new label of each.

    Raises:
        TableError: a label is beyond the table.
    """
    result = np.empty(labels.shape, dtype=np.uint64)
    if not _look_up(np.ascontiguousarray(labels).reshape(-1), table, result.reshape(-1)):
        raise TableError(
            f"A block holds label {labels.max()}, but its table ends at {len(table) - 1}: they come from different "
            "runs. Run the supervoxels of this block again."
        )
    return result


@njit(nogil=True, cache=True)
def _look_up(labels, table, result):  # type: ignore[no-untyped-def]
    # Pieces that stay in the cache: one loop finds the largest label, the other one needs no check.
    for start in range(0, labels.size, 1 << 14):
        stop = min(start + (1 << 14), labels.size)
        largest = labels[start]
        for i in range(start, stop):
            largest = max(largest, labels[i])
        if largest >= table.size:
            return False
        for i in range(start, stop):
            result[i] = table[labels[i]]
    return True
