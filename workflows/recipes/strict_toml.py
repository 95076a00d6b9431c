"""TOML files into strict pydantic models and back: an unknown key names its nearest known one, nothing is guessed.

The rule of a single key stands at its section's model: in `segmentation_recipe`, `training_recipe`, `cluster_section`
and `tuning_grid` beside this file; of [agglomeration] in `pipeline/agglomeration/rules.py`, of a pool's jobs in
`cluster/batch/jobs.py`, of volumes in `pipeline/volumes/source.py`.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from ...pipeline.errors import RequestError


class Section(BaseModel):
    """Is the base of every table of a recipe: frozen, strict, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Parsed = TypeVar("Parsed", bound=BaseModel)
_TELLING = {
    "train": {"volume", "phantom", "network", "training", "augmentation", "voxel_size"},
    "run": {"input", "blocks", "supervoxels", "agglomeration"},
}
"""Keys that tell for which command a recipe is."""


def read(path: str | Path, model: type[Parsed], overrides: Sequence[str] = ()) -> Parsed:
    """Returns a model from a TOML file, with `key=value` overrides laid over it.

    Validators find the file's folder as `info.context["folder"]`, to resolve paths against.

    Raises:
        RequestError: the file is missing, is not TOML, or does not fit the model; the message names the file, the
            key, and the nearest known key.
    """
    file = Path(path)
    return parse(laid_over(content_of(file), overrides), model, where=str(file), folder=file.resolve().parent)


def content_of(file: Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        RequestError: the file is missing, or is not TOML.
    """
    try:
        return tomllib.loads(_text(file.read_bytes()))
    except IsADirectoryError as error:
        inside = sorted(file.glob("*.toml"))
        named = f", such as {inside[0]}" if inside else ""
        raise RequestError(f"A recipe is a TOML file; {file} is a folder. Name the file{named}.") from error
    except OSError as error:
        raise RequestError(f"Recipe {file} cannot be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"Recipe {file} is not valid TOML: {error}.") from error


def _text(content: bytes) -> str:
    """The text of a recipe; Windows' editors begin it with a byte order mark, PowerShell writes UTF-16."""
    utf_16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return content.decode("utf-16" if utf_16 else "utf-8-sig")


def laid_over(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the content with "key=value" laid over it, keys dotted.

    Raises:
        RequestError: one of them is something else.
    """
    for override in overrides:
        _lay_over(content, override)
    return content


def as_override(key: str, value: Any) -> str:
    """Writes a value as the "key=value" that `laid_over` reads."""
    return f"{key}={literal(value)}"


def parse(content: Mapping[str, Any], model: type[Parsed], *, where: str, folder: Path) -> Parsed:
    """Returns a model from a mapping as TOML gives it; `where` names its source in messages.

    Raises:
        RequestError: the content does not fit the model.
    """
    _check_kind(content, model, where)
    try:
        return model.model_validate(_tuples(content), context={"folder": folder})
    except ValidationError as error:
        raise RequestError("\n".join(explain(error, model, where))) from error


def _check_kind(content: Mapping[str, Any], model: type[BaseModel], where: str) -> None:
    """Refuse a recipe of another kind, by the keys that only that kind has."""
    if content.keys() & model.model_fields.keys():
        return
    for command, keys in _TELLING.items():
        if content.keys() & keys and not model.model_fields.keys() & keys:
            raise RequestError(
                f"{where} is a recipe of another kind, for `petavox {command}`: it has {_some(content)}."
            )


def _some(content: Mapping[str, Any]) -> str:
    return ", ".join(f"'{key}'" for key in list(content)[:3])


def dump(model: BaseModel) -> str:
    """Returns the TOML text that `parse` turns into the same model; keys that are None are left out."""
    return "\n".join(_lines(model.model_dump(exclude_none=True))).strip() + "\n"


def explain(error: ValidationError, model: type[BaseModel], where: str) -> Iterator[str]:
    """Returns one message for each thing that pydantic found wrong."""
    for problem in error.errors(include_url=False):
        keys = [part for part in problem["loc"] if isinstance(part, str)]
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            yield f"{where}: unknown key '{key}'. {_nearest(keys, model)}"
        elif problem["type"] == "missing":
            yield f"{where}: '{key}' is missing; add it under {_table(keys[:-1])}."
        else:
            rule = problem["msg"].removeprefix("Value error, ").rstrip(".")
            found = "" if isinstance(problem["input"], dict) else f"; found {_plain(problem['input'])!r}"
            yield f"{where}: {key or 'the recipe'}: {rule}{found}."


def _nearest(keys: Sequence[str], model: type[BaseModel]) -> str:
    """Where an unknown key may have been meant to go."""
    table, key = keys[:-1], keys[-1]
    known = {path[-1]: path for path in _paths(model) if list(path[:-1]) == list(table)}
    below_first = sorted(_paths(model), key=lambda path: list(path[: len(table)]) != list(table))
    elsewhere = {path[-1]: path for path in reversed(below_first)}
    for candidates in (known, elsewhere):
        if match := difflib.get_close_matches(key, list(candidates), n=1):
            return f"Did you mean '{'.'.join(candidates[match[0]])}'?"
    return f"{_table(table)} knows: {', '.join(sorted(known))}."


def _paths(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a model, as a path from its root."""
    for name, field in model.model_fields.items():
        yield (*prefix, name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _paths(kind, (*prefix, name))


def _table(keys: Sequence[str]) -> str:
    return f"[{'.'.join(keys)}]" if keys else "the top level"


def _lay_over(content: dict[str, Any], override: str) -> None:
    """Puts the value of `key=value` into a mapping as TOML gives it; dots in the key go down into tables.

    Raises:
        RequestError: the text is something else, or goes through a value.
    """
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RequestError(
            f"--set takes key=value with a dotted key, such as agglomeration.threshold=0.4; found '{override}'."
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word: quoting a string twice for a shell is a nuisance
    try:
        set_key(content, key, value)
    except RequestError as error:
        raise RequestError(f"--set {override}: {error}") from error


def set_key(content: dict[str, Any], key: str, value: Any) -> None:
    """Puts a value into a mapping as TOML gives it; dots in the key go down into tables.

    Raises:
        RequestError: the key goes through a value.
    """
    *tables, last = key.strip().split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise RequestError(f"'{key}' cannot be set: '{table}' is a value, not a table.")
    content[last] = value


def _tuples(value: Any) -> Any:
    """Lists as tuples, since frozen models hold nothing that can change."""
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _lines(content: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[str]:
    tables = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    if prefix and (len(tables) < len(content) or not content):
        yield f"[{'.'.join(_key(part) for part in prefix)}]"
    for key, value in content.items():
        if key not in tables:
            yield f"{_key(key)} = {literal(value)}"
    if not prefix or len(tables) < len(content):
        yield ""
    for key, table in tables.items():
        yield from _lines(table, (*prefix, key))


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "a").replace("-", "a").isalnum()
    return key if bare else literal(key)


def literal(value: Any) -> str:
    """Writes a value as TOML does."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case Decimal():
            return f"{value:f}" if value.as_tuple().exponent else f"{value:f}.0"
        case str():
            # JSON's escapes are TOML's, but for the delete character and for surrogate pairs.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return "[" + ", ".join(literal(item) for item in value) + "]"
    raise TypeError(f"A recipe cannot hold a {type(value).__name__}: {value!r}.")
