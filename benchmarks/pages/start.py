"""docs/images/start/*.png: the pictures of docs/start.md, made by the page's own commands.

    python -m benchmarks.pages.start FOLDER [--out docs/images/start]

1. `blocks` finds the page's Python, its recipe and its commands.
2. `carry_out` runs them in the folder, in their order; a folder that has a run is only drawn.
3. `draw` makes the pictures.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import petavox
from petavox.pipeline.geometry import Box, Triple, triple
from petavox.pipeline.volumes import open_volume
from petavox.workflows.report.drawing import grey, overlay

PAGE = Path(__file__).parents[2] / "docs" / "start.md"
RUN = Path("runs/recipe")
SECTION = 32
GAP = 6  # pixels between two pictures

Pixels = npt.NDArray[np.uint8]


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Language and text of every block of a page that has a language."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def carry_out(folder: Path) -> None:
    """Does what the page says."""
    for language, text in blocks(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            subprocess.run([sys.executable, "-P", "-c", text], cwd=folder, check=True)
        elif language == "toml":
            (folder / "recipe.toml").write_text(text, encoding="utf-8")
        else:
            command = f'petavox() {{ "{sys.executable}" -P -m petavox.workflows.cli "$@"; }}\n{text}'
            subprocess.run(["bash", "-ec", command], cwd=folder, check=True)


def draw(folder: Path) -> dict[str, Pixels]:
    """Every picture of the page, by name."""
    image, truth = (open_volume(str(folder / name)) for name in ("em.zarr", "truth.zarr"))
    run = folder / RUN
    shape = image.spec.shape
    section = Box((SECTION, 0, 0), (SECTION + 1, *shape[1:]))
    under = _grey(image.read(section)[0])

    def segments(path: str | Path, box: Box = section, below: Pixels = under) -> Pixels:
        return overlay([below], [open_volume(str(path)).read(box)[0]])[0]

    affinities = open_volume(str(run / "affinities.zarr")).read(section)[:, 0]
    cuts = {value: run / "cuts" / f"threshold={value}" / "segmentation.zarr" for value in ("0.05", "0.8", "1")}
    middle = run / "segmentation.zarr"
    merger = petavox.evaluate(
        open_volume(str(middle)).read(Box.of_shape(shape)), truth.read(Box.of_shape(shape))
    ).mergers[0]
    around = _around(triple(merger.voxel), shape)
    below = _grey(image.read(around)[0])
    return {
        "sections": beside(_half(under), _half(_grey(image.read(_at(section, SECTION + 8))[0]))),
        "affinities": _half(_rgb(affinities.min(0))),
        "supervoxels": _half(segments(cuts["1"])),
        "segments": _half(segments(middle)),
        "thresholds": beside(*(_half(segments(path)) for path in (cuts["0.05"], middle, cuts["0.8"]))),
        "mistake": beside(
            *(_twice(p) for p in (below, segments(middle, around, below), segments(truth.path, around, below)))
        ),
    }


def beside(*pictures: Pixels) -> Pixels:
    """Pictures in a row, white between them."""
    gap = np.full((len(pictures[0]), GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=1)


def _around(voxel: Triple, shape: Triple, side: int = 128) -> Box:
    start = [min(max(0, at - side // 2), whole - side) for at, whole in zip(voxel[1:], shape[1:], strict=True)]
    return Box((voxel[0], start[0], start[1]), (voxel[0] + 1, start[0] + side, start[1] + side))


def _at(section: Box, z: int) -> Box:
    return Box((z, *section.start[1:]), (z + 1, *section.stop[1:]))


def _grey(section: npt.NDArray[Any]) -> Pixels:
    return grey([section])[0]


def _rgb(section: npt.NDArray[np.uint8]) -> Pixels:
    return np.repeat(section[..., None], 3, axis=2)


def _half(picture: Pixels) -> Pixels:
    """The upper left three quarters of a side: enough to see, at full resolution."""
    return picture[: len(picture) * 3 // 4, : picture.shape[1] * 3 // 4]


def _twice(picture: Pixels) -> Pixels:
    return picture.repeat(2, 0).repeat(2, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=PAGE.parent / "images" / "start")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if not (arguments.folder / RUN).exists():
        carry_out(arguments.folder)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, picture in draw(arguments.folder).items():
        Image.fromarray(picture).quantize(64).save(arguments.out / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
