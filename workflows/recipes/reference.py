"""Writes docs/reference.md, the page of every key of every recipe, from the docstrings of the recipes' models.

python -m petavox.workflows.recipes.reference > docs/reference.md
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from decimal import Decimal
from inspect import cleandoc
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ...cluster.quantities import Duration, Size
from ...pipeline.volumes import VolumeSource
from . import strict_toml
from .segmentation_recipe import CheckpointName, InputPath, Overlap, Recipe, Shape, Voxels
from .training_recipe import TrainingRecipe
from .tuning_grid import TuningGrid

_HEAD = """\
# Reference: every key of a recipe

Written by `python -m petavox.workflows.recipes.reference` from the code; do not edit it by hand.

A recipe is a TOML file. A table such as `[agglomeration]` holds keys such as `threshold = 0.5`. A key that the recipe
leaves out has its default. An unknown key is an error that names the nearest known one. On the command line,
`--set agglomeration.threshold=0.4` replaces the recipe's value. The [glossary](glossary.md) explains the words;
[Which key do I turn?](keys.md) starts from what you see.
"""
_PAGES: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("Recipe of a segmentation", "`petavox plan`, `run` and `submit` read it; see [running](running.md).", Recipe),
    ("Recipe of a training", "`petavox train` reads it; see [training](training.md).", TrainingRecipe),
    ("Grid of thresholds", "`petavox tune --grid` reads it; see [choosing thresholds](tuning.md).", TuningGrid),
)
_VOLUME = """\
## Keys of a volume

A recipe names a volume by its path, or by a table with these keys: `truth = { path = "labels.zarr", channel = 0 }`.
Under `[input]` the keys may also stand beside `raw` or `affinities`.
"""
_NAMED = {
    InputPath: "path or URL",
    CheckpointName: "name or path",
    VolumeSource: "path, URL or [volume](#keys-of-a-volume)",
    Voxels: "three integers z, y, x",
    Overlap: "three integers z, y, x, from 0",
    Shape: "three integers z, y, x, above 0",
    Duration: 'duration: "90s", "30min", "2h", "1d"',
    Size: 'bytes: "8GB", "800MiB"',
}
_WORDS: dict[Any, str] = {bool: "true or false", int: "integer", float: "number", str: "text", Decimal: "decimal"}
_BOUNDS = {Gt: ("gt", "above"), Ge: ("ge", "from"), Lt: ("lt", "below"), Le: ("le", "to")}


def reference() -> str:
    """Writes the whole page as Markdown."""
    parts = [_HEAD]
    for title, reader, model in _PAGES:
        parts.append(f"## {title}\n\n{reader}\n")
        parts.extend(_sections(model, ()))
    parts.append(_VOLUME)
    parts.extend(_sections(VolumeSource, ()))
    return "\n".join(parts)


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """Reads the text of every field from the `Args:` of a model's docstring, and of those that it inherits from.

    Raises:
        KeyError: a field has no text.
    """
    texts: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if issubclass(kind, BaseModel) and kind.__doc__:
            texts |= _arguments(cleandoc(kind.__doc__))
    return {name: texts[name] for name in model.model_fields}


def _arguments(docstring: str) -> Iterator[tuple[str, str]]:
    """Yields name and text of every argument in a docstring; several names may share a text."""
    listed, names, text = False, "", ""
    for line in [*docstring.splitlines(), ""]:
        entry = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if names and not line.startswith(" " * 8):
            yield from ((name, text) for name in names.split(", "))
            names = ""
        if listed and entry:
            names, text = entry[1], entry[2]
        elif names:
            text += " " + line.strip()
        elif line.strip():
            listed = line == "Args:"


def _sections(model: type[BaseModel], path: tuple[str, ...], many: bool = False) -> Iterator[str]:
    """Yields the keys of a table as a table of Markdown, then the tables inside it."""
    hints, texts = get_type_hints(model, include_extras=True), field_texts(model)
    if path:
        name = ".".join(path)
        yield f"### `{f'[[{name}]]' if many else f'[{name}]'}`\n\n{_summary(model)}\n"
    rows = [
        f"| `{name}` | {_kind(hints[name], field.metadata)} | {_default(field)} | {_sentence(texts[name])} |"
        for name, field in model.model_fields.items()
        if _table_of(hints[name]) is None
    ]
    if rows:
        yield "\n".join(["| key | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n"
    for name, hint in hints.items():
        if name in model.model_fields and (table := _table_of(hint)):
            yield from _sections(table, (*path, name), many=get_origin(_bare(hint)) is tuple)


def _summary(model: type[BaseModel]) -> str:
    """The text of a model before the first `Args:`, as one paragraph."""
    return " ".join(cleandoc(model.__doc__ or "").partition("\n\n")[0].split())


def _table_of(hint: Any) -> type[BaseModel] | None:
    """The model of a key that is a table, or a list of tables."""
    for kind in (bare := _bare(hint), *get_args(bare)):
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not VolumeSource:
            return kind
    return None


def _bare(hint: Any) -> Any:
    """A type without the None that stands for a key that is left out."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (kind for kind in get_args(hint) if kind is not type(None))
    return hint


def _kind(hint: Any, metadata: Sequence[Any] = ()) -> str:
    """The values that a type allows, in words."""
    hint = _bare(hint)
    if hint in _NAMED:
        return _NAMED[hint]
    if get_origin(hint) is Annotated:
        base, *inner = get_args(hint)
        return _kind(base, [*inner, *metadata])
    if get_origin(hint) is Literal:
        return " or ".join(_literal(value) for value in get_args(hint))
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint))
    if hint is Decimal:  # every decimal of a recipe is a share
        metadata = [Ge(0), Le(1), *metadata]
    return _WORDS[hint] + _bounds(metadata)


def _tuple(kinds: tuple[Any, ...]) -> str:
    if kinds[-1] is Ellipsis:
        return f"list of: {_kind(kinds[0])}"
    if len(kinds) == 3 and len(set(kinds)) == 1:
        word, _, bounds = _kind(kinds[0]).partition(" ")
        return f"three {word}s z, y, x" + (f", {bounds}" if bounds else "")
    if len(set(kinds)) == 1:
        return f"{len(kinds)} times {_kind(kinds[0])}"
    return f"[{', '.join(map(_kind, kinds))}]"


def _bounds(metadata: Sequence[Any]) -> str:
    """The limits of a number, in words; of two lower or two upper ones, the last counts."""
    lower, upper = "", ""
    for part in (part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])):
        for kind, (name, word) in _BOUNDS.items():
            if isinstance(part, kind):
                bound = getattr(part, name)
                text = f" {word} {'2⁶³' if bound == 2**63 else bound}"
                lower, upper = (text, upper) if kind in (Gt, Ge) else (lower, text)
    return lower + upper


def _default(field: FieldInfo) -> str:
    """A default as a recipe would have it."""
    if field.is_required():
        return "required"
    return "–" if field.default is None else _literal(field.default)


def _literal(value: Any) -> str:
    return f"`{strict_toml.literal(value)}`"


def _sentence(text: str) -> str:
    text = text[0].upper() + text[1:]
    return (text if text.endswith(".") else f"{text}.").replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
