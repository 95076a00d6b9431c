"""Tasks are added in the places that CONTRIBUTING names and in no other: its steps are walked with a small task."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import petavox
from petavox.pipeline.geometry import Box
from petavox.pipeline.volumes import VolumeSpec, create_volume, open_volume

PACKAGE = Path(petavox.__file__).parent
CONTRIBUTING = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
SHAPE, BLOCK = (8, 32, 32), (8, 16, 16)
NEAREST = ((1, 0, 0), (0, 1, 0), (0, 0, 1))

FUNCTION = '''
"""Tells which voxels of an array belong to segments."""

import numpy as np


def foreground(labels):
    """Returns 1 where there is a segment."""
    return (labels != 0).astype(np.uint8)
'''
TASK = '''
"""Marks the voxels of a block that belong to segments."""

from ..pipeline import checksums
from ..pipeline.evaluation.foreground import foreground
from ..pipeline.geometry import Box
from ..pipeline.volumes import open_volume
from .contract import GridConfig, Outcome, Resources
from .outputs import VolumePart
from .work import Work

VERSION = 1


class Config(GridConfig):
    segmentation: str
    marked: str


def resources(config, density):
    return Resources(memory=9 * Box.of_shape(config.block).voxels)


def work(config, extent, growth):
    return Work(extent.tasks(), extent.voxels())


def run(config, index):
    box = config.grid.box(index)
    marks = foreground(open_volume(config.segmentation).read(box))
    open_volume(config.marked, writable=True).write(box, marks)
    return Outcome(voxels=box.voxels, checksum=checksums.of_array(marks))


def pieces(config, index):
    return (VolumePart(config.marked, config.grid.box(index)),)
'''
STAGE = """
    def _foreground(self):
        places, marked = self._places, self._places.tables_of("foreground.zarr")
        config = self._config("foreground", **self._geometry, segmentation=places.segmentation, marked=marked)
        made = {marked: self._frame.labels("uint8")}
        return self._stage("foreground", config, {"relabel": _itself}, outputs=(marked,), volumes=made)

"""


def edited(place: str, *pairs: tuple[str, str]) -> str:
    text = (PACKAGE / place).read_text("utf-8")
    for before, after in pairs:
        assert text.count(before) == 1
        text = text.replace(before, after)
    return text


def changes() -> dict[str, str]:
    """Every file that the new task needs, in the order of CONTRIBUTING's steps."""
    stages = "workflows/stages/segmentation_stages.py"
    built, next_method = "        stages.append(self._relabel())\n", "\n    def _contingency("
    return {
        "pipeline/evaluation/foreground.py": FUNCTION,
        "tasks/foreground.py": TASK,
        "tasks/__init__.py": edited("tasks/__init__.py", ('"scores")', '"scores", "foreground")')),
        stages: edited(
            stages,
            (built, f"{built}        stages.append(self._foreground())\n"),
            (next_method, STAGE + next_method.lstrip("\n")),
        ),
    }


def lay_over(package: Path, folder: Path, files: dict[str, str]) -> None:
    """Makes a folder that looks like the package but for some files; everything else is a link."""
    folder.mkdir()
    here = {name.partition("/")[0] for name in files}
    for entry in package.iterdir():
        if entry.name not in {*here, "__pycache__"} and (entry.is_dir() or entry.suffix in (".py", ".json", ".typed")):
            (folder / entry.name).symlink_to(entry)
    for name in here:
        below = {file.partition("/")[2]: text for file, text in files.items() if file.partition("/")[0] == name}
        if "" in below:
            (folder / name).write_text(below[""], "utf-8")
        else:
            lay_over(package / name, folder / name, below)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    lay_over(PACKAGE, folder / "petavox", changes())
    spec = VolumeSpec(SHAPE, "uint8", (30.0, 6.0, 6.0), channels=3, offsets=NEAREST, chunk=BLOCK)
    affinities = np.random.default_rng(0).integers(0, 256, (3, *SHAPE)).astype(np.uint8)
    affinities[:, :4] = 0
    create_volume(folder / "affinities.zarr", spec).write(spec.box, affinities)
    (folder / "recipe.toml").write_text(
        f'input.affinities = "affinities.zarr"\nblocks.shape = {list(BLOCK)}\ncluster.kind = "serial"'
    )
    return folder


def command(folder: Path, *arguments: str, expect: int = 0) -> str:
    """Runs a command of the petavox that has the task; returns its standard output."""
    script = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from petavox.workflows.cli import main; sys.argv[0] = 'petavox'; main()"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stderr
    return done.stdout


def test_the_changes_are_in_the_places_that_contributing_names():
    section = CONTRIBUTING.partition("## Adding a task\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\d\. [^`]*`([^`]+)`", section, re.MULTILINE)
    places = [place.replace("<name>", "foreground") for place in named]
    assert 1 <= len(places) <= 4
    assert all(file.startswith(place) for file, place in zip(changes(), places, strict=True))


def test_a_plan_counts_its_costs_as_those_of_another_and_says_so(folder):
    plan = json.loads(command(folder, "plan", str(folder / "recipe.toml"), "--run", str(folder / "run"), "--json"))
    stages = {stage["name"]: stage for stage in plan["stages"]}
    assert stages["foreground"]["tasks"] == 4
    assert stages["foreground"]["basis"] == "assumed"
    assert stages["foreground"]["seconds"] > 0
    assert stages["relabel"]["basis"] == "table"
    assert any(
        "has measured the costs of foreground: counted as those of supervoxels" in note for note in plan["notes"]
    )


def test_it_is_run_shown_audited_and_repaired_like_any_other(folder):
    run = folder / "run"
    command(folder, "run", str(folder / "recipe.toml"), "--run", str(run))
    marked, segmented = run / "tables/foreground.zarr", run / "segmentation.zarr"
    marks, segments = (open_volume(str(path)).read(Box.of_shape(SHAPE)) for path in (marked, segmented))
    assert np.array_equal(marks, segments != 0)
    assert marks.any()
    assert "foreground" in command(folder, "status", str(run))
    command(folder, "audit", str(run))
    chunk = max(path for path in marked.rglob("*") if path.is_file() and path.suffix != ".json")
    chunk.unlink()
    command(folder, "audit", str(run), expect=1)
    command(folder, "audit", str(run), "--repair")
    assert chunk.exists()
