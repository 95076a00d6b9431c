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
TREE = Path(__file__).parents[1]
ROOMS = ("pipeline", "tasks", "workflows", "cluster")
FLOORS = (  # from the roof down: a room imports itself and rooms below its floor; a line in brackets is one room
    ("workflows.cli", "workflows.api", "workflows.submit"),
    ("workflows.runs",),
    ("workflows.planning",),
    ("workflows.execution", "workflows.report", "workflows.analysis"),
    ("workflows.run_directory",),
    ("workflows.stages", "workflows.models"),
    ("workflows.conversion", "workflows.volumes"),
    ("workflows.recipes", "workflows.progress"),
    ("workflows.time_left",),
    ("tasks", "cluster"),
    ("pipeline.segment",),
    (
        "pipeline.affinities",
        "pipeline.segmentation",
        "pipeline.agglomeration",
        "pipeline.evaluation",
        "pipeline.phantom",
        "pipeline.tissue",
    ),
    ("pipeline.networks",),
    ("pipeline.volumes",),
    (
        [
            *("pipeline.checksums", "pipeline.errors", "pipeline.files", "pipeline.geometry", "pipeline.tables"),
            *("pipeline.file_lock", "pipeline.kernel_cache", "pipeline.labels", "pipeline.locations"),
            *("pipeline.thresholds", "pipeline.union_find", "pipeline.version"),
        ],
    ),
)
CLUSTER_KNOWS = "pipeline.errors"  # and nothing else of ours
LONGEST = 400  # lines of a file
ONLY_IN = {  # outside package: the one room that imports it
    "dask": "cluster",
    "distributed": "cluster",
    "dask_jobqueue": "cluster",
    "tensorstore": ("pipeline.volumes", "pipeline.locations"),
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
MODULES = {".".join(name): is_package for name, _, is_package in modules()}
OURS = [(importer, imported) for importer, imported in IMPORTS if not imported.startswith(":")]


def test_the_walk_sees_imports():
    assert ("tasks.relabel", "pipeline.volumes.open_volume") in OURS
    assert ("workflows.conversion.sources", ":numpy") in IMPORTS
    assert ("pipeline.volumes", "pipeline.volumes.spec.VolumeSpec") in OURS


def home(name: str) -> tuple[int, str] | None:
    """(floor, room) of a module or a name in it, the ground floor being the last of the list; None outside of all."""
    for floor, rooms in enumerate(FLOORS):
        for room in rooms:
            parts = room if isinstance(room, list) else [room]
            if any(within(name, part) for part in parts):
                return floor, parts[0]
    return None


def test_every_module_has_a_room():
    packages = {name for name in MODULES if MODULES[name]}
    assert [name for name in MODULES if home(name) is None and name not in {*ROOMS, *packages}] == []


def test_no_import_runs_up_or_across():
    for importer, imported in OURS:
        here, there = home(importer), home(imported)
        assert there is not None, f"{importer} imports {imported}, which lies in no room"
        assert here is None or here[1] == there[1] or here[0] < there[0], f"{importer} imports {imported}"


def test_the_cluster_knows_nothing_of_what_it_runs():
    seen = [imported for importer, imported in OURS if within(importer, "cluster")]
    assert [name for name in seen if not within(name, "cluster") and not within(name, CLUSTER_KNOWS)] == []


def test_no_imports_run_in_a_circle():
    """Those of functions and those for types alone count as well."""
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for importer, imported in OURS:
        parts = imported.split(".")
        module = next(m for n in range(len(parts), 0, -1) if (m := ".".join(parts[:n])) in MODULES)
        if module != importer:
            graph[importer].add(module)
    while free := {name for name, needs in graph.items() if not needs}:
        graph = {name: needs - free for name, needs in graph.items() if name not in free}
    assert graph == {}, "these import one another"


def test_no_file_is_a_house_of_its_own():
    files = [file for folder in (*ROOMS, "tests", "benchmarks") for file in (TREE / folder).rglob("*.py")]
    assert [str(f.relative_to(TREE)) for f in files if len(f.read_text("utf-8").splitlines()) > LONGEST] == []


def test_our_own_imports_are_relative():
    assert [pair for pair in IMPORTS if within(pair[1], ":petavox")] == []


@pytest.mark.parametrize("package", ONLY_IN)
def test_packages_that_have_one_door(package):
    users = {importer for importer, imported in IMPORTS if within(imported, f":{package}")}
    doors = ONLY_IN[package] if isinstance(ONLY_IN[package], tuple) else (ONLY_IN[package],)
    assert [user for user in users if not any(within(user, door) for door in doors)] == []


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
