"""Fingerprints of stages: what a result depends on, hashed, so that nothing stale is ever taken for done.

The ingredients of a stage are the name and version of its task, its config, the identity of the volumes and weights
that it reads, and the fingerprints of the stages that it needs. Paths inside the run directory count relative to it
and inputs count by identity, so a run directory may be moved, and an input too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .stage import Stage

Ingredients = dict[str, Any]


def ingredients(
    stages: Sequence[Stage], directory: Path, identities: Mapping[str, str]
) -> dict[str, tuple[str, Ingredients]]:
    """Returns, for each stage by name, its fingerprint and what it was made from.

    Args:
        stages: each after those that it needs.
        directory: directory of the run, absolute.
        identities: identities of the run's inputs, by the path or name that configs hold.
    """
    result: dict[str, tuple[str, Ingredients]] = {}
    for stage in stages:
        made_from = {
            "task": stage.task,
            "version": stage.version,
            "config": _without_places(stage.config.model_dump(mode="json"), directory, identities),
            "needs": {name: result[name][0] for name in stage.needs},
        }
        result[stage.name] = (digest(made_from), made_from)
    return result


def digest(content: Any) -> str:
    """Returns a hash of anything that JSON can hold."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def differences(old: Ingredients, new: Ingredients) -> Iterator[str]:
    """Lists the changes of a stage's own ingredients, in words: field, old value, new value; not those of its needs."""
    if old.get("version") != new["version"]:
        yield f"its code changed (version {old.get('version')} → {new['version']})"
    before, after = dict(_flat(old.get("config", {}))), dict(_flat(new["config"]))
    for key in [*before, *(key for key in after if key not in before)]:
        if before.get(key) == after.get(key):
            continue
        if _is_identity(before.get(key)) and _is_identity(after.get(key)):
            yield f"the data behind {key} changed"
        else:
            yield f"{key} {before.get(key, 'unset')} → {after.get(key, 'unset')}"


def portable(path: str, directory: Path) -> str:
    """Writes a path relative to the run directory if it lies there, so that the directory may move."""
    return f"<run>/{Path(path).relative_to(directory)}" if Path(path).is_relative_to(directory) else path


_IDENTITY = "identity:"


def _is_identity(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_IDENTITY)


def _without_places(value: Any, directory: Path, identities: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(item, directory, identities) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_places(item, directory, identities) for item in value]
    if not isinstance(value, str):
        return value
    if value in identities:
        return _IDENTITY + identities[value]
    return portable(value, directory)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif key == "path" and prefix:  # a volume with something laid over it goes by the name of one without
            yield prefix.removesuffix("."), value
        else:
            yield f"{prefix}{key}", value
