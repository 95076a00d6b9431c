"""`petavox.run` and `petavox.open_run`: a recipe run from Python, and the run as it is found on disk."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cluster.quantities import duration, in_bytes, in_time
from ...pipeline.errors import RequestError, TaskError
from ...pipeline.volumes import open_volume
from ..progress import suitable
from ..recipes.segmentation_recipe import Recipe, load
from ..run_directory.checks import check_affinities, check_run_directory, check_segmentation
from ..run_directory.layout import RECIPE
from ..stages.places import Places
from .recipes import RecipeLike, overrides_of, read_run
from .tables import Columns, Shown, Table, count
from .volumes import Volume

if TYPE_CHECKING:
    import networkx

    from ...pipeline.evaluation.scores import Scores
    from ...pipeline.geometry import Box
    from ..runs.status import RunStatus

_STAGES: Columns = {
    "stage": str,
    "tasks": count,
    "done": count,
    "running": count,
    "failed": count,
    "aside": count,
    "seconds": in_time,
    "memory": in_bytes,
}


def run(
    recipe: RecipeLike,
    out: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    force: Sequence[str] = (),
    progress: bool = True,
    **values: Any,
) -> Run:
    """Runs a recipe, or continues its run: what is done is not done again.

        >>> run = petavox.run("recipe.toml", workers=2, **{"agglomeration.threshold": 0.3})
        >>> run.scores.adapted_rand_error < 0.5
        True

    A script needs no `if __name__ == "__main__":` around this: workers do not import it.

    Args:
        recipe: a TOML file; or a dict such as {"input": {"raw": "em.zarr"}, "model": {"checkpoint": "snemi3d"}}, whose
            paths are relative to the current folder.
        out: the run directory; unless given, runs/NAME, named after the recipe file, or after the input of a dict.
        workers: processes on this machine; unless given, as many as the recipe says, which is 2 where it says nothing.
        cluster: "local", "serial" (this process alone) or "slurm"; unless given, what the recipe says.
        force: stages that are computed again, with all that depends on them, though nothing has changed.
        progress: show bars on a terminal, lines below a notebook's cell, and plain lines on standard error elsewhere.
        values: laid over the recipe by dotted key, or a dict for several keys of a table.

    Returns:
        The run, when everything is done.

    Raises:
        RequestError: the recipe is wrong or cannot work; nothing has been computed.
        TaskError: blocks failed, after the rest was done. `petavox.open_run` shows what is there.
        StorageError: the disk is full, or refuses otherwise; what is done is kept.
    """
    found, directory = read_run(recipe, out, workers, cluster, values)
    return run_to_end(found, directory, progress, force)


def open_run(path: str | os.PathLike[str]) -> Run:
    """Opens a run directory, finished or not.

        >>> run = petavox.open_run("runs/recipe")
        >>> run.segmentation.shape
        (16, 128, 128)

    Raises:
        RequestError: it is no run directory.
    """
    return Run(path)


def run_to_end(recipe: Recipe, directory: Path, progress: bool, force: Sequence[str] = ()) -> Run:
    """Runs a recipe and raises what `run` raises."""
    from ..report.ending import ending_text
    from ..runs.run import run as run_recipe

    ending = run_recipe(recipe, directory, suitable(progress), force=force)
    if ending.exit_status:
        raise TaskError(ending_text(ending, again="the same call"))
    return Run(directory)


class Report:
    """Shows the report of a run; a notebook shows the page itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Report({str(self.path)!r})"

    def _repr_html_(self) -> str:
        page = html.escape(self.path.read_text(encoding="utf-8"), quote=True)
        # A page within the page, so that neither changes how the other looks.
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 48em; border: 1px solid #ccc"></iframe>'


class Status(Shown):
    """Holds how far a run was when it was asked.

    Args:
        found: the run as it was found.
    """

    def __init__(self, found: RunStatus) -> None:
        self._found = found
        rows = (
            (s.name, s.tasks, s.done, s.running, s.failed, s.aside, s.seconds, s.peak_memory)
            for s in found.status.stages
        )
        self.stages = Table(_STAGES, tuple(rows))

    @property
    def done(self) -> bool:
        """Tells whether nothing is left to do."""
        return all(stage.done == stage.tasks for stage in self._found.status.stages)

    @property
    def failures(self) -> tuple[str, ...]:
        """Lists the first tasks that were set aside, a line each."""
        return tuple(
            f"{stage} task {number}: {why.splitlines()[0] if why else ''}"
            for stage, number, _, why in self._found.status.failures
        )

    @property
    def state(self) -> str:
        """Returns "at work", "finished", or how the last driver left the run."""
        return self._found.state

    def parts(self) -> Sequence[str | Table]:
        left = self._found.status.time_left if self.state == "at work" else None
        said = f"{self._found.directory}: {self.state}{f', about {duration(left)} left' if left else ''}."
        return (said, self.stages, *self.failures)


class Run(Shown):
    """Opens what a run directory holds: what the run has made, how far it is, and what can be made from it.

        >>> run = petavox.open_run("runs/recipe")
        >>> run.stages["stage"]
        ['predict', 'supervoxels', 'faces', 'agglomerate-0', ...]
        >>> int(run.segmentation[8].max()) > 0
        True

    Args:
        path: of the run directory.

    Raises:
        RequestError: it is no run directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        check_run_directory(self.path)

    @property
    def recipe(self) -> str:
        """Returns the recipe with everything filled in, as TOML."""
        return (self.path / RECIPE).read_text(encoding="utf-8")

    @property
    def segmentation(self) -> Volume:
        """Returns the segments, (Z, Y, X) uint64.

        Raises:
            RequestError: they are not all there yet.
        """
        check_segmentation(self.path)
        return Volume(open_volume(self._places.segmentation))

    @property
    def affinities(self) -> Volume:
        """Returns the affinities that were segmented, (C, Z, Y, X).

        Raises:
            RequestError: they are not all there yet, or the run started from supervoxels.
        """
        check_affinities(self.path)
        if self._places.affinities is None:
            raise RequestError(f"{self.path} starts from the supervoxels of another run: open {self._parent} for them.")
        return Volume(self._places.affinities.open())

    @property
    def supervoxels(self) -> Volume:
        """Returns the supervoxels of blocks, (Z, Y, X) uint64; one that crosses a face has an id on each side.

        `run.cut(threshold=1)` is a segmentation of whole supervoxels.

        Raises:
            RequestError: they are not all there yet.
        """
        from ..analysis.supervoxels import Supervoxels

        return Volume(Supervoxels(self.path))

    @property
    def raw(self) -> Volume | None:
        """Returns the grey values that the run starts from; None where it starts from affinities or supervoxels."""
        raw = self._recipe.input.raw
        return None if raw is None else Volume(raw.open())

    @property
    def scores(self) -> Scores | None:
        """Returns the scores; None where there was no truth, or where they are not computed yet."""
        from ...tasks import scores

        done = any(stage["stage"] == "scores" and stage["done"] for stage in self.stages)
        return scores.read(self._places.scores) if done else None

    @property
    def report(self) -> Report:
        """Returns the report, which a notebook shows as it is.

        Raises:
            RequestError: none has been written yet.
        """
        path = self.path / "report.html"
        if not path.exists():
            raise RequestError(f"A run writes its report when it ends; {self.path} has none yet.")
        return Report(path)

    @property
    def stages(self) -> Table:
        """Returns a row a stage: tasks, done, running, failed, set aside, seconds of all, bytes of the largest."""
        return self.status().stages

    def status(self) -> Status:
        """Looks how far the run is, who works on it, and what failed.

        >>> petavox.open_run("runs/recipe").status().done
        True
        """
        from ..runs.status import status_of

        return Status(status_of(self.path))

    def cut(
        self,
        threshold: float,
        out: str | os.PathLike[str] | None = None,
        *,
        workers: int | None = None,
        cluster: str | None = None,
        progress: bool = True,
        **values: Any,
    ) -> Run:
        """Makes another segmentation from the supervoxels of a finished run; affinities are not needed any more.

            >>> coarse = petavox.open_run("runs/recipe").cut(threshold=0.2, cluster="serial")
            >>> coarse.segmentation.shape
            (16, 128, 128)

        Args:
            threshold: of agglomeration, in [0, 1].
            out: its run directory; unless given, one below this run's that is named after the settings.
            workers, cluster, progress, values: as `petavox.run` takes them.

        Raises:
            RequestError: the supervoxels are not done, a value is wrong, or it is none of a cut's.
            TaskError: blocks failed.
        """
        from ..runs.cut import plan_cut

        overrides = overrides_of(values, workers, cluster)
        return run_to_end(*plan_cut(self.path, str(threshold), overrides, None if out is None else Path(out)), progress)

    def contact_graph(self, box: Box | Sequence[Sequence[int]]) -> networkx.Graph:
        """Returns the supervoxels that touch a box and the contacts between them; see `petavox.contact_graph`.

        >>> graph = petavox.open_run("runs/recipe").contact_graph(((0, 0, 0), (8, 64, 64)))
        >>> graph.number_of_nodes() > 1
        True
        """
        from ..analysis.contact_graph import contact_graph

        return contact_graph(self.path, box)

    def parts(self) -> Iterable[str | Table]:
        status = self.status()
        scores = self.scores
        scored = [] if scores is None else [f"Adapted Rand error {scores.adapted_rand_error:.4f}."]
        return (*status.parts(), *scored)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def _recipe(self) -> Recipe:
        return load(self.path / RECIPE)

    @property
    def _places(self) -> Places:
        return Places.of(self._recipe, self.path)

    @property
    def _parent(self) -> str | None:
        return self._recipe.input.run
