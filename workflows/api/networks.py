"""`petavox.predict`, `petavox.train` and `petavox.models`: networks used, trained and listed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...pipeline.errors import RequestError, VolumeError
from ...pipeline.geometry import Box, triple
from ...pipeline.volumes import VolumeSpec, create_volume
from ...pipeline.volumes.spec import nanometres
from ..progress import Progress, suitable
from ..recipes.prediction_recipe import name_of
from .recipes import RecipeLike, overrides_of, read
from .runs import run_to_end
from .tables import Columns, Table, by, count
from .volumes import Volume, VolumePath

_MODELS: Columns = {"model": str, "from": str, "voxel size, nm": by, "patch": by, "parameters": count, "summary": str}


def predict(
    raw: VolumePath | npt.NDArray[Any],
    *,
    model: str | os.PathLike[str],
    voxel_size: Sequence[float] | None = None,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    progress: bool = True,
    **values: Any,
) -> Volume | npt.NDArray[np.uint8]:
    """Predicts the affinities of raw data: of an array at once, of a volume block by block.

        >>> raw = petavox.open("em.zarr")
        >>> affinities = petavox.predict(raw[:8, :96, :96], model="phantom", voxel_size=raw.voxel_size)
        >>> affinities.shape, affinities.dtype
        ((3, 8, 96, 96), dtype('uint8'))
        >>> petavox.predict(raw, model="phantom", out="affinities.zarr", cluster="serial").shape
        (3, 16, 128, 128)

    Args:
        raw: grey values (Z, Y, X), or a volume or its path.
        model: a name, see `petavox.models`, or a folder that `petavox.train` has left.
        voxel_size: nm, z y x, of an array; a volume knows its own.
        out: of a volume: the volume of affinities that is made, by a run in runs/predict-OUT; unless given, the
            affinities.zarr of a run in runs/predict-RAW.
        workers, cluster: as `petavox.run` takes them; unless given, this process predicts an array, on all cores.
        progress: as `petavox.run` takes it.
        values: further keys of the recipe, such as {"model.variants": 8}.

    Returns:
        (3, Z, Y, X) uint8, round(255 · affinity) of the edges to the voxels before along z, y and x: an array of an
        array, a volume of a volume.

    Raises:
        RequestError: there is no such model, it was trained on voxels of another size, or a value is wrong.
        TaskError: blocks failed.
    """
    if isinstance(raw, str | os.PathLike):
        if voxel_size is not None:
            raise RequestError(f"'voxel_size' belongs to an array; {os.fspath(raw)} has one in its metadata.")
        path, wanted = os.fspath(raw), None if out is None else os.fspath(out)
        directory = Path("runs") / f"predict-{name_of(wanted or path)}"
        made, overrides = wanted or str(directory / "affinities.zarr"), overrides_of(values, workers, cluster)
        return _predict_volume(path, os.fspath(model), made, directory, overrides, progress)
    if voxel_size is None or out is not None:
        raise RequestError(
            "An array is predicted into an array, so there is no 'out'; and it needs voxel_size=(z, y, x) in nm."
        )
    array = np.asarray(raw)
    if workers is None and cluster is None:  # one block in this process, since starting workers takes seconds
        cluster, values = "serial", {"blocks.shape": array.shape, "model.threads": os.cpu_count() or 1, **values}
    return _predict_array(array, os.fspath(model), voxel_size, overrides_of(values, workers, cluster), progress)


def train(
    recipe: RecipeLike, out: str | os.PathLike[str] | None = None, *, progress: bool = True, **values: Any
) -> Path:
    """Trains a network as a recipe says, or continues its training.

        >>> checkpoint = petavox.train("training.toml", **{"training.steps": 2})
        >>> petavox.predict(np.zeros((4, 16, 16)) + np.arange(16), model=checkpoint, voxel_size=(30, 6, 6)).shape
        (3, 4, 16, 16)

    Args:
        recipe: a TOML file, or a dict whose paths are relative to the current folder.
        out: directory of the training; unless given, training/NAME, named after the recipe file. A dict needs it.
        progress: show how far it is, and the loss.
        values: laid over the recipe by dotted key.

    Returns:
        The folder of the checkpoint, which `petavox.predict` and recipes take as a model.

    Raises:
        RequestError: the recipe, a volume or the checkpoint to start from is wrong, or the directory holds another
            training.
    """
    from ..models.train import train as train_network
    from ..recipes.training_recipe import TrainingRecipe

    file = None if isinstance(recipe, Mapping) else Path(recipe)
    if out is not None:
        directory = Path(out)
    elif file is not None:
        directory = Path("training") / file.stem
    else:
        raise RequestError("A training from a dict has no name: give out=, the directory for it.")
    found = read(recipe, TrainingRecipe, values)
    name, folder = ("a dict", Path.cwd()) if file is None else (file.name, file.parent)
    shown = _Steps(suitable(progress), found.training.steps)
    try:
        return train_network(found, directory, name=name, folder=folder, report=shown.report)
    finally:
        shown.progress.close()


def models() -> Table:
    """Lists the models that recipes can name: those that come with petavox, and yours.

    >>> "snemi3d" in petavox.models()["model"]
    True
    """
    from ..models.catalogue import list_models

    entries, problems = list_models()
    rows = [(e.name, e.source, e.config.voxel_size, e.config.patch, e.parameters, e.summary) for e in entries]
    damaged = [("?", "damaged", (), (), 0, str(problem)) for problem in problems]
    return Table(_MODELS, (*rows, *damaged))


def _predict_volume(
    raw: str, model: str, out: str, directory: Path, overrides: Sequence[str], progress: bool
) -> Volume:
    from ..recipes.prediction_recipe import prediction

    return run_to_end(prediction(raw, out, model, overrides), directory, progress).affinities


def _predict_array(
    raw: npt.NDArray[Any], model: str, voxel_size: Sequence[float], overrides: Sequence[str], progress: bool
) -> npt.NDArray[np.uint8]:
    """Predicts an array by the run of a volume of it, in a folder that is removed again."""
    if raw.ndim != 3:
        raise VolumeError(f"Raw data has the axes z, y, x; the array has the shape {raw.shape}.")
    shape = triple(raw.shape)
    with tempfile.TemporaryDirectory(prefix="petavox-") as folder:
        place = Path(folder)
        spec = VolumeSpec(shape, raw.dtype.name, nanometres(voxel_size))
        create_volume(place / "raw.zarr", spec).write(Box.of_shape(shape), raw)
        made = str(place / "affinities.zarr")
        return _predict_volume(str(place / "raw.zarr"), model, made, place / "run", overrides, progress)[:]


class _Steps:
    """Shows the log of a training as progress: a step is a task."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.progress, self._steps = progress, steps
        self._done: int | None = None

    def report(self, line: dict[str, Any]) -> None:
        """Shows a line of the log."""
        if "step" not in line:
            return
        if self._done is None:
            self._done = line["step"] - 1
            self.progress.begin([("training", self._steps, self._done)])
        self.progress.advance("training", line["step"] - self._done)
        self._done = line["step"]
        scores = {name: line[name] for name in ("validation_loss", "validation_score") if name in line}
        if scores:
            self.progress.note(f"step {self._done}: " + ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))
