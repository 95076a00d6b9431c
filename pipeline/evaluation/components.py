"""Truth objects that enter a box more than once, told apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .contingency import Labels


def separate_components(truth: Labels) -> npt.NDArray[np.uint64]:
    """Returns truth in which every connected component has an id of its own; 0 stays 0.

    A neuron can enter a cropped box twice, and no segmentation of that box can know that the two pieces belong
    together. The largest component keeps the object's id, the others get the smallest ids not in use. Voxels that
    share a corner are connected: sections are thick, and a thin neurite may shift by a voxel from one to the next.

    Args:
        truth: (Z, Y, X) integers, the whole scored box.
    """
    from skimage.measure import label

    ids, compact = np.unique(truth, return_inverse=True)
    compact = compact.reshape(truth.shape)
    components = label(compact, background=int(np.searchsorted(ids, 0)) if 0 in ids else -1, connectivity=3)
    voxels = np.bincount(components.ravel())
    owner = np.zeros(len(voxels), np.int64)
    owner[components.ravel()] = compact.ravel()
    names = ids.astype(np.uint64)[owner]
    names[0] = 0
    order = np.lexsort((np.arange(1, len(voxels)), -voxels[1:], owner[1:])) + 1
    is_other = np.r_[False, owner[order][1:] == owner[order][:-1]][: len(order)]
    others = np.sort(order[is_other])
    unused = np.setdiff1d(np.arange(1, len(ids) + len(others) + 1, dtype=np.uint64), ids.astype(np.uint64))
    names[others] = unused[: len(others)]
    separated: npt.NDArray[np.uint64] = names[components]
    return separated
