"""The thresholds of fib25.toml: those that segment the first half of FIB-25 best, as it is and as it might have been.

    python -m benchmarks.accuracy.fib25 [--data ../shared/data] [--work build/fib25]

z 0–125 is predicted twice: as it is, and blurred, with contrast and brightness that drift through the volume. `petavox
tune` scores the same thresholds on both. The least mean error chooses, of both and of the two thresholds beside the one
that is chosen, so that it does not stand at an edge. z 125–250 is not looked at.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

HALF = slice(0, 125)
RECIPE = """
[input]
raw = "{name}.zarr"
[model]
checkpoint = "{checkpoint}"
[agglomeration]
dust_size = 0
[output]
until = "affinities"
[blocks]
shape = [128, 256, 256]
[cluster]
kind = "serial"
"""
GRID = """
low = [0.0, 0.02]
high = [0.999]
join = [[300, 0.1], [1000, 0.1]]
linkage = ["mean", "quantile"]
quantile = [0.75, 0.85, 0.95]
threshold = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7]
small = [[0, 0]]
veto = [[0, 0.8], [3000, 0.2], [3000, 0.3], [3000, 0.4], [3000, 0.5], [3000, 0.6]]
"""
THRESHOLD = "threshold"
SCORES = ("adapted_rand_error", "voi_split", "voi_merge")
SHOWN = 10

Image = NDArray[np.float32]


def drifted(image: Image) -> Image:
    """An image (Z, Y, X) a little out of focus, as noisy as before, with contrast and brightness that drift."""
    blurred: Image = gaussian_filter(image, (0, 0.62, 0.62))
    lost = np.sqrt((fine_power(image) - fine_power(blurred)) / fine_power(noise(image.shape)))
    noisy = np.clip(blurred + lost * noise(image.shape), 0, 255).round()
    random = np.random.default_rng(1)
    contrast, brightness = (smooth(random.standard_normal(image.shape)) for _ in range(2))
    mean = gaussian_filter(noisy, 20)
    changed: Image = mean + (noisy - mean) * np.clip(0.75 + 0.15 * contrast, 0.4, 1.1)
    return changed + 0.35 * noisy.std() * brightness


def noise(shape: tuple[int, ...]) -> Image:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def smooth(field: NDArray[np.float64]) -> Image:
    drift: Image = gaussian_filter(field.astype(np.float32), 30)
    return drift / drift.std()


def fine_power(image: Image) -> float:
    """Mean power of some sections above 0.35 periods a voxel."""
    rows, columns = image.shape[1:]
    window = np.outer(np.hanning(rows), np.hanning(columns))
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(columns))
    fine = (frequency > 0.35) & (frequency < 0.5)
    sections = [np.abs(np.fft.fft2((section - section.mean()) * window)) ** 2 for section in image[::25]]
    return float(np.mean([power[fine].mean() for power in sections]))


def petavox(*arguments: object, folder: Path) -> None:
    command = [sys.executable, "-P", "-m", "petavox.workflows.cli", *map(str, arguments)]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def trials(name: str, image: Image, checkpoint: str, work: Path) -> dict[str, dict[str, Any]]:
    """What `petavox tune` tried, by its settings."""
    tifffile.imwrite(work / f"{name}.tif", np.clip(image, 0, 255).round().astype(np.uint8))
    petavox("convert", f"{name}.tif", f"{name}.zarr", "--voxel-size", "10,10,10", folder=work)
    (work / f"{name}.toml").write_text(RECIPE.format(name=name, checkpoint=checkpoint))
    petavox("run", f"{name}.toml", "--run", name, folder=work)
    chosen = ("--split", "none", "--grid", "grid.toml", "--set", f"evaluate.truth={work / 'truth.zarr'}")
    petavox("tune", name, *chosen, folder=work)
    found = json.loads((work / name / "tuning" / "trials.json").read_text())["trials"]
    return {json.dumps({k: v for k, v in trial.items() if k not in SCORES}): trial for trial in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PETAVOX_DATA", "../shared/data")))
    parser.add_argument("--checkpoint", default="fib25", help="a model's name or the folder of a checkpoint")
    parser.add_argument("--work", type=Path, default=Path("build/fib25"), help="a new folder")
    settings = parser.parse_args()
    work = settings.work.absolute()
    work.mkdir(parents=True)
    labels = tifffile.imread(settings.data / "fib25" / "labels.tif")[HALF]
    tifffile.imwrite(work / "truth.tif", labels)
    petavox("convert", "truth.tif", "truth.zarr", "--voxel-size", "10,10,10", folder=work)
    (work / "grid.toml").write_text(GRID)
    image = tifffile.imread(settings.data / "fib25" / "raw.tif")[HALF].astype(np.float32)
    images = {"as_it_is": image, "drifted": drifted(image)}
    with ThreadPoolExecutor(len(images)) as pool:
        found = list(pool.map(lambda name: trials(name, images[name], settings.checkpoint, work), images))
    errors = {key: np.array([trial[key]["adapted_rand_error"] for trial in found]) for key in found[0]}
    around = errors_around(errors)
    for key in sorted(around, key=lambda key: around[key])[:SHOWN]:
        print(f"{around[key]:.4f}", *(f"{error:.4f}" for error in errors[key]), key)


def errors_around(errors: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """The mean error of settings and of those with the next lower and the next higher threshold, where there are both.

    Args:
        errors: of each volume, by the settings in JSON.
    """
    lines: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for key in errors:
        others = json.loads(key)
        threshold = others.pop(THRESHOLD)
        lines[json.dumps(others)].append((threshold, key))
    found = {}
    for line in lines.values():
        keys = [key for _, key in sorted(line)]
        for beside in zip(keys, keys[1:], keys[2:], strict=False):
            found[beside[1]] = float(np.mean([errors[key] for key in beside]))
    return found


if __name__ == "__main__":
    main()
