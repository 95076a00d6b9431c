"""Predicts a block in this fresh process, and prints what it held at most beyond before, and what was known in advance.

The kernel counts the process's memory, whatever allocates it; Linux alone forgets a peak when asked to.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from pathlib import Path

import numpy as np
import torch

from petavox.pipeline.affinities.prediction import Inference, Predictor, working_memory
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.geometry import Box, Triple
from petavox.pipeline.networks.normalisation import Normalisation

NETWORK = NetworkConfig(widths=(4, 6), stride=(1, 2, 2))
DEPTH = 3


def peak() -> int:
    """Bytes that this process held at most since `forget`."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def forget() -> None:
    """Gives back what is free, and counts the peak from here on."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def predicted(patch: Triple, block: Triple, volume: Triple, variants: int) -> dict[str, int]:
    raw = np.random.default_rng(0).integers(0, 255, volume, dtype=np.uint8)
    inference = Inference(
        patch=patch,
        normalisation=Normalisation(mean=120.0, deviation=40.0),
        batch=2,
        device="cpu",
        variants=variants,  # type: ignore[arg-type]
    )
    predictor = Predictor(ResidualSymmetricUNet(NETWORK), inference)
    forget()
    before = peak()
    found = predictor.predict(lambda box: raw[box.slices()].copy(), volume, Box.of_shape(block, (4, 24, 32)), DEPTH)
    known = working_memory(NETWORK, inference, block, grey_bytes=1, depth=DEPTH)
    return {"added": peak() - before, "known": known, "result": found.nbytes}


if __name__ == "__main__":
    torch.set_num_threads(1)
    predicted((4, 8, 8), (2, 8, 8), (8, 64, 64), variants=1)  # kernels are loaded
    print(json.dumps(predicted((8, 48, 48), (16, 144, 144), (24, 192, 192), variants=int(sys.argv[1]))))
