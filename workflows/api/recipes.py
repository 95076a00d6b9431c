"""Recipes as Python gives them: a file or a dict, with single values laid over it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from ..recipes import strict_toml
from ..recipes.prediction_recipe import name_of
from ..recipes.segmentation_recipe import Recipe
from ..run_directory.layout import directory_of

RecipeLike = str | os.PathLike[str] | Mapping[str, Any]
Parsed = TypeVar("Parsed", bound=BaseModel)


def read(recipe: RecipeLike, model: type[Parsed], values: Mapping[str, Any]) -> Parsed:
    """Checks a recipe and the values laid over it.

    Args:
        recipe: a TOML file; or a dict, nested or with dotted keys, whose paths are relative to the current folder.
        model: of the recipe.
        values: by dotted key, such as {"agglomeration.threshold": 0.3}; a dict is a whole table of them.

    Raises:
        RequestError: something does not fit; the message names the key and the nearest known one.
    """
    if isinstance(recipe, Mapping):
        content, where, folder = dict[str, Any](), "the recipe", Path.cwd()
        values = {**dict(_leaves(recipe)), **dict(_leaves(values))}
    else:
        file = Path(recipe)
        content, where, folder = strict_toml.content_of(file), str(file), file.resolve().parent
    for key, value in _leaves(values):
        strict_toml.set_key(content, key, value)
    return strict_toml.parse(content, model, where=where, folder=folder)


def read_run(
    recipe: RecipeLike,
    out: str | os.PathLike[str] | None,
    workers: int | None,
    cluster: str | None,
    values: Mapping[str, Any],
) -> tuple[Recipe, Path]:
    """Checks the recipe of a run, and finds the run's directory.

    The directory is `out`; unless given, the folder of a recipe that a run keeps, else runs/NAME beside the recipe's
    file, named after it; of a dict, runs/NAME in the current folder, named after the input.
    """
    found = read(recipe, Recipe, _with_cluster(values, workers, cluster))
    if out is not None:
        return found, Path(out)
    if isinstance(recipe, Mapping):
        return found, Path("runs") / name_of(str(found.input.raw or found.input.affinities or found.input.run))
    return found, directory_of(Path(recipe))


def overrides_of(values: Mapping[str, Any], workers: int | None, cluster: str | None) -> list[str]:
    """Writes values as the "key=value" that the command line takes."""
    return [strict_toml.as_override(key, value) for key, value in _leaves(_with_cluster(values, workers, cluster))]


def _with_cluster(values: Mapping[str, Any], workers: int | None, cluster: str | None) -> dict[str, Any]:
    chosen = {"cluster.workers": workers, "cluster.kind": cluster}
    return {**values, **{key: value for key, value in chosen.items() if value is not None}}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted keys and plain values: those of NumPy as Python's, paths as text, tuples as lists."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.tolist() if hasattr(value, "tolist") else value
