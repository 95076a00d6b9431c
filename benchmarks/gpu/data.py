"""The data that travelled, unpacked as uncompressed TIFF files, which need no codec to be read."""

from __future__ import annotations

import io
import lzma
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from on_gpu import Setting
from PIL import Image

UNPACKED = Path(os.environ.get("PETAVOX_GPU_FOLDER", "/tmp/petavox-gpu"))


def loads(setting: Setting) -> dict[str, NDArray[Any]]:
    """Everything in the loads that have arrived."""
    found: dict[str, NDArray[Any]] = {}
    for file in sorted(setting.data.glob("**/load.npz")):
        with np.load(file, allow_pickle=False) as content:
            found |= {name: content[name] for name in content.files}
    return found


def decode(file: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A section of a JPEG 2000 file."""
    try:
        return np.asarray(Image.open(io.BytesIO(file.tobytes())))
    except OSError:  # a Pillow without that codec
        import cv2

        return np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE))


def labels_of(name: str, content: dict[str, NDArray[Any]]) -> NDArray[Any]:
    flat = np.frombuffer(lzma.decompress(content[f"{name}.lzma"].tobytes()), str(content[f"{name}.type"]))
    return flat.reshape(content[f"{name}.shape"])


def unpack(setting: Setting) -> dict[str, Any]:
    """Writes every volume of which all sections are there; sections that came before are kept meanwhile."""
    content = loads(setting)
    sections = UNPACKED / "sections"
    sections.mkdir(parents=True, exist_ok=True)
    names = [name for name in content if name.rpartition("-")[2].isdigit()]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: np.save(sections / f"{name}.npy", decode(content[name])), names))
    written = {}
    for volume in ("snemi3d", "fib25"):
        folder = UNPACKED / volume
        folder.mkdir(exist_ok=True)
        files = sorted(sections.glob(f"{volume}-*.npy"))
        if files:
            raw = np.stack([np.load(file) for file in files])
            tifffile.imwrite(folder / "raw.tif", raw)
            written[f"{volume}/raw"] = list(raw.shape)
    for name, file in (("snemi3d-labels", "train_labels"), ("snemi3d-mask", "train_mask"), ("fib25-labels", "labels")):
        if f"{name}.lzma" in content:
            labels = labels_of(name, content)
            tifffile.imwrite(UNPACKED / name.partition("-")[0] / f"{file}.tif", labels)
            written[name] = list(labels.shape)
    return written
