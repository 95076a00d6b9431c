"""What else there is for the work of a kernel: from a folder of arrays to the call that is timed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from .measure import Call

CROP = (slice(0, 32), slice(0, 256), slice(0, 256))  # for slow ones

Prepare = Callable[[Path, str], Call]


def load(work: Path, *names: str) -> list[np.ndarray]:
    return [np.load(work / f"{name}.npy") for name in names]


def dense(labels: np.ndarray) -> np.ndarray:
    """Labels 0…n, since peers take time and memory by the largest."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def skimage_watershed(work: Path, high: str) -> Call:
    from skimage.segmentation import watershed

    boundary = 255 - load(work, "affinities")[0][:, *CROP].min(axis=0)
    return lambda: {"supervoxels": int(watershed(boundary).max())}


def scipy_components(work: Path, high: str) -> Call:
    from scipy.ndimage import label

    inside = load(work, "affinities")[0].min(axis=0) >= 128
    return lambda: {"components": int(label(inside)[1])}


def bioimage_features(work: Path, high: str) -> Call:
    from bioimage_cpp.graph import features, region_adjacency_graph

    affinities, labels = load(work, "affinities", "labels")
    scaled = affinities[:, *CROP].astype(np.float32) / np.float32(255)
    labels = dense(labels[CROP]).astype(np.uint32)

    def call() -> dict[str, int]:
        graph = region_adjacency_graph(labels, number_of_threads=1)
        offsets = [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]
        return {"contacts": len(features.affinity_features(graph, labels, scaled, offsets, number_of_threads=1))}

    return call


def numpy_take(work: Path, high: str) -> Call:
    (labels,) = load(work, "labels")
    table = np.arange(labels.max() + 1, dtype=np.uint64) // np.uint64(3)
    return lambda: table[labels]


def skimage_scores(work: Path, high: str) -> Call:
    from skimage.metrics import adapted_rand_error, variation_of_information

    segments, truth = (dense(array[CROP]) for array in load(work, "segments", "truth"))

    def call() -> dict[str, float]:
        variation_of_information(truth, segments)
        return {"adapted_rand_error": float(adapted_rand_error(truth, segments)[0])}

    return call


PEERS: tuple[tuple[str, str, Prepare, bool], ...] = (
    ("supervoxels", "scikit-image watershed, crop", skimage_watershed, True),
    ("supervoxels", "scipy connected components of affinity ≥ 0.5", scipy_components, False),
    ("contacts", "bioimage-cpp region graph + affinity features, crop", bioimage_features, True),
    ("relabel", "numpy table[labels]", numpy_take, False),
    ("contingency", "scikit-image Rand + VOI, dense labels, crop", skimage_scores, True),
)
