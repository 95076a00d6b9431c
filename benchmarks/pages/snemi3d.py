"""docs/images/snemi3d.png: a section of the validation box, as the README's run of SNEMI3D leaves it.

    python -m benchmarks.pages.snemi3d FOLDER [--out docs/images/snemi3d.png]

FOLDER holds raw.zarr and truth.zarr as the README makes them, and the run of snemi3d.toml in runs/snemi3d.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import open_volume
from petavox.workflows.report.drawing import grey, overlay

from ..harness.measure import ROOT
from .start import Pixels

RUN = Path("runs/snemi3d")
SECTION = 72
PLACE = (512, 512)  # y and x of the validation box
FIRST = 50  # section of the truth
SIDE = 512


def draw(folder: Path) -> dict[str, Pixels]:
    """The image of a section, and what lies over it, by their titles."""
    here = Box((SECTION, *PLACE), (SECTION + 1, *(start + SIDE for start in PLACE)))
    in_truth = Box((SECTION - FIRST, 0, 0), (SECTION - FIRST + 1, SIDE, SIDE))
    under = grey([open_volume(str(folder / "raw.zarr")).read(here)[0]])[0]
    affinities = open_volume(str(folder / RUN / "affinities.zarr")).read(here)[:, 0]
    segments = open_volume(str(folder / RUN / "segmentation.zarr")).read(here)[0]
    truth = open_volume(str(folder / "truth.zarr")).read(in_truth)[0]
    return {
        f"image, section {SECTION}": under,
        "affinities (z, y, x as red, green, blue)": affinities.transpose(1, 2, 0),
        "segmentation": overlay([under], [segments])[0],
        "truth": overlay([under], [truth])[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "snemi3d.png")
    arguments = parser.parse_args()
    pictures = draw(arguments.folder)
    figure = Figure(figsize=(11.5, 3.1), layout="constrained")
    for axes, (title, pixels) in zip(figure.subplots(1, len(pictures)), pictures.items(), strict=True):
        axes.imshow(pixels)
        axes.set_title(title, fontsize=8)
        axes.axis("off")
    figure.savefig(arguments.out, dpi=100)


if __name__ == "__main__":
    main()
