"""Packs what a bare machine with a GPU needs, so that nothing has to be fetched there.

    python benchmarks/gpu/pack.py

Two loads, each small enough for one transfer together with the tracked files: `.gpu1/` and `.gpu2/` hold sections of
SNEMI3D as lossless JPEG 2000, labels as LZMA, FIB-25, and a crop with the affinities that this machine's CPU predicts
for it; `.whl/` holds the wheels that images for torch lack. All of them are ignored by git.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from petavox.pipeline.checksums import of_array
from petavox.pipeline.segment import segment
from petavox.tasks.predict import Config, _predictor

ROOT = Path(__file__).parents[2]
LARGEST_TRANSFER = 64 * 2**20
SECTIONS = 94  # of SNEMI3D: those with labels
HALF = 45
FIB_SECTIONS = 125  # the others are reported, so they do not even travel
CROP = (slice(0, 32), slice(0, 192), slice(0, 192))
NEEDED = ("pydantic", "pydantic_core", "annotated-types", "typing-inspection", "google-crc32c")
FOR_WORKERS = (
    "dask",
    "distributed",
    "cryptography",
    "cffi",
    "pycparser",
    "tornado",
    "partd",
    "locket",
    "zict",
    "tblib",
)
PLATFORMS = ("2_34", "2_28", "2_27", "2_26", "2_24", "2_17", "2_5")


def jpeg2000(section: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A section as the bytes of a lossless file."""
    file = io.BytesIO()
    Image.fromarray(section).save(file, "JPEG2000", irreversible=False)
    return np.frombuffer(file.getvalue(), np.uint8)


def packed_sections(name: str, raw: NDArray[np.uint8], sections: Iterable[int]) -> dict[str, NDArray[np.uint8]]:
    numbers = list(sections)
    with ThreadPoolExecutor() as pool:
        files = list(pool.map(jpeg2000, (raw[z] for z in numbers)))
    return {f"{name}-{z:03}": file for z, file in zip(numbers, files, strict=True)}


def packed_labels(name: str, labels: NDArray[Any]) -> dict[str, NDArray[Any]]:
    data = np.frombuffer(lzma.compress(labels.tobytes(), preset=6), np.uint8)
    return {f"{name}.lzma": data, f"{name}.shape": np.array(labels.shape), f"{name}.type": np.array(labels.dtype.str)}


def reference(raw: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """A crop, what this machine's CPU predicts for it, and the checksum of the segments of that."""
    from petavox.pipeline.affinities.checkpoint import find_checkpoint, read_checkpoint_config
    from petavox.pipeline.geometry import Box, triple

    crop = np.ascontiguousarray(raw[CROP])
    folder = find_checkpoint("snemi3d")
    normalisation = read_checkpoint_config(folder).normalisation
    assert normalisation is not None
    config = Config(
        raw="", checkpoint=str(folder), affinities="", block=triple(crop.shape), normalisation=normalisation,
        patch=None, batch=2, threads=2, device="cpu", precision="float32",
    )  # fmt: skip
    whole = Box.of_shape(triple(crop.shape))
    affinities = _predictor(config, 0.0).predict(lambda box: crop[box.slices()], whole.shape, whole, 32)
    checksum = of_array(segment(affinities, high="0.95", threshold="0.3"))
    return {"crop": crop, "crop-affinities": affinities, "crop-segments": np.array(checksum)}


def write(folder: Path, content: dict[str, NDArray[Any]]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    np.savez_compressed(folder / "load.npz", **content)  # type: ignore[arg-type]


def fetch_wheels(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    platforms = [f"--platform=manylinux_{p}_x86_64" for p in PLATFORMS]
    platforms += ["--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64"]
    command = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version=3.12", "--implementation=cp", *platforms, "-d", str(folder)]
    subprocess.run([*command, *(f"{name}=={version(name)}" for name in (*NEEDED, *FOR_WORKERS))], check=True)


def tracked_bytes() -> int:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    return sum((ROOT / name.decode()).stat().st_size for name in names.split(b"\0") if name)


def size(*folders: str) -> int:
    return sum(f.stat().st_size for folder in folders for f in (ROOT / folder).rglob("*") if f.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    raw, fib = (tifffile.imread(data / name / "raw.tif") for name in ("snemi3d", "fib25"))
    labels, mask = (tifffile.imread(data / "snemi3d" / f"train_{n}.tif")[:SECTIONS] for n in ("labels", "mask"))
    fib_labels = tifffile.imread(data / "fib25" / "labels.tif")[:FIB_SECTIONS]
    write(ROOT / ".gpu1", {**packed_sections("snemi3d", raw, range(HALF)), **reference(raw)})
    rest = packed_sections("snemi3d", raw, range(HALF, SECTIONS)) | packed_sections("fib25", fib, range(FIB_SECTIONS))
    for name, array in (("snemi3d-labels", labels), ("snemi3d-mask", mask), ("fib25-labels", fib_labels)):
        rest |= packed_labels(name, array)
    write(ROOT / ".gpu2", rest)
    fetch_wheels(ROOT / ".whl")
    loads = {"first": tracked_bytes() + size(".whl", ".gpu1"), "second": tracked_bytes() + size(".gpu2")}
    print(json.dumps({"tracked": tracked_bytes(), **loads, "limit": LARGEST_TRANSFER}))
    if max(loads.values()) > LARGEST_TRANSFER * 0.98:
        sys.exit("A load is too large for one transfer.")


if __name__ == "__main__":
    main()
