"""The rooms of the house import one another only as DESIGN allows, and importing petavox is cheap."""

import ast
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import petavox
from petavox.pipeline import errors

ROOT = Path(petavox.__file__).parent
ROOMS = ("pipeline", "tasks", "workflows", "cluster")
ALLOWED = {
    "pipeline": ("pipeline",),
    "tasks": ("tasks", "pipeline"),
    "workflows": ("workflows", "tasks", "pipeline", "cluster"),
    "cluster": ("cluster", "pipeline.errors"),
}
# What all of pipeline/ may import.
SHARED = {"checksums", "errors", "geometry", "labels", "volumes", "tables", "thresholds"}
ONLY_IN = {  # outside package: the one room that imports it
    "dask": "cluster",
    "distributed": "cluster",
    "dask_jobqueue": "cluster",
    "tensorstore": "pipeline.volumes",
    "pyarrow": "pipeline.tables",
}
HEAVY = ("torch", "numba", "tensorstore", "zarr", "dask", "distributed", "pyarrow", "scipy", "skimage", "matplotlib")


def modules() -> Iterator[tuple[tuple[str, ...], ast.Module, bool]]:
    """(name below petavox, syntax tree, whether it is a package) of every module."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            yield parts[:-1] if is_package else parts, ast.parse(path.read_text()), is_package


def imports() -> Iterator[tuple[str, str]]:
    """(importing module, imported name): ours without `petavox.`, others with a leading colon."""
    for name, tree, is_package in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((".".join(name), f":{alias.name}") for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield ".".join(name), f":{node.module}"
            elif isinstance(node, ast.ImportFrom):
                base = name[: len(name) - node.level + is_package]
                target = (*base, *(node.module or "").split(".")) if node.module else base
                for alias in node.names:  # `from .. import x` may import a module, `from ..x import y` a name in it
                    yield ".".join(name), ".".join((*target, alias.name))


def within(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


IMPORTS = sorted(set(imports()))
OURS = [(importer, imported) for importer, imported in IMPORTS if not imported.startswith(":")]


def test_the_walk_sees_imports():
    assert ("tasks.relabel", "pipeline.volumes.open_volume") in OURS
    assert ("workflows.conversion.sources", ":numpy") in IMPORTS
    assert ("pipeline.volumes", "pipeline.volumes.spec.VolumeSpec") in OURS


def test_rooms_import_only_the_rooms_below():
    for importer, imported in OURS:
        if "." not in imported:
            continue  # petavox itself: its version
        rooms = ALLOWED[importer.partition(".")[0]]
        assert any(within(imported, room) for room in rooms), f"{importer} imports {imported}"


def test_our_own_imports_are_relative():
    assert [pair for pair in IMPORTS if within(pair[1], ":petavox")] == []


def test_folders_of_the_pipeline_do_not_import_one_another():
    folders = {p.parent.name for p in (ROOT / "pipeline").glob("*/__init__.py")}
    for importer, imported in OURS:
        here, there = (name.split(".")[1:2] for name in (importer, imported))
        if not within(importer, "pipeline") or not within(imported, "pipeline") or here == there:
            continue
        if here and here[0] in folders | SHARED:
            assert there[0] in SHARED, f"{importer} imports {imported}"


@pytest.mark.parametrize("package", ONLY_IN)
def test_packages_that_have_one_door(package):
    users = {importer for importer, imported in IMPORTS if within(imported, f":{package}")}
    assert [user for user in users if not within(user, ONLY_IN[package])] == []


def loaded_after(code: str) -> set[str]:
    """The top-level packages that a new interpreter has loaded after some code."""
    script = f"import sys, json\n{code}\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_petavox_loads_nothing_heavy():
    loaded = loaded_after("import petavox")
    assert loaded.isdisjoint(HEAVY), sorted(loaded.intersection(HEAVY))


def test_asking_for_help_loads_nothing_heavy():
    loaded = loaded_after("from petavox.workflows.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass")
    assert loaded.isdisjoint(HEAVY), sorted(loaded.intersection(HEAVY))


def all_errors(base: type[Exception] = errors.PetavoxError) -> Iterator[type[Exception]]:
    yield base
    for sub in base.__subclasses__():
        yield from all_errors(sub)


@pytest.mark.parametrize("kind", list(all_errors()))
def test_every_exception_survives_a_process_pool(kind):
    error = kind("the rule, what was found", 3)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.args == error.args


def test_every_exception_lives_in_errors():
    for name, tree, _ in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and name != ("pipeline", "errors"):
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                assert not any(base.endswith(("Error", "Exception")) for base in bases), f"{'.'.join(name)}.{node.name}"
