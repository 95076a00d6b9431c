"""The wheel holds everything that it needs and nothing else, and the lists of requirements agree."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import petavox

TREE = Path(__file__).parents[1]
PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text())
ROOMS = ("pipeline", "tasks", "workflows", "cluster")
DATA = (".html", ".json", ".jsonl", ".md", ".png", ".safetensors", ".toml", ".txt", ".typed")


def tree_files() -> set[str]:
    """What belongs into the package: the modules at the root, and all that its rooms hold."""
    found = [*TREE.glob("*.py"), TREE / "py.typed"]
    for room in ROOMS:
        found += [p for p in (TREE / room).rglob("*") if p.is_file()]
    names = (p.relative_to(TREE) for p in found)
    return {str(n) for n in names if "__pycache__" not in n.parts and not n.name.startswith(".")}


def installed_files() -> set[str]:
    """What an installed wheel put into site-packages/petavox; skips where petavox runs from its tree."""
    if Path(petavox.__file__).resolve().parent == TREE:
        pytest.skip("petavox is not installed from a wheel here")
    files = importlib.metadata.files("petavox") or []
    return {str(Path(*f.parts[1:])) for f in files if f.parts[0] == "petavox" and f.suffix != ".pyc"}


def test_every_package_folder_is_listed():
    folders = {p.parent for room in ROOMS for p in (TREE / room).rglob("__init__.py")}
    names = {"petavox", *(".".join(("petavox", *f.relative_to(TREE).parts)) for f in folders)}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == names


def test_every_folder_with_modules_is_a_package():
    for name in tree_files():
        folder = (TREE / name).parent
        assert not name.endswith(".py") or folder == TREE or (folder / "__init__.py").exists(), name


def test_the_wheel_holds_what_the_tree_holds():
    assert installed_files() == tree_files()


def test_the_wheel_holds_only_modules_and_their_data():
    assert [f for f in installed_files() if not f.endswith((".py", *DATA))] == []


def test_nothing_is_installed_beside_the_package():
    installed_files()
    tops = {f.parts[0] for f in importlib.metadata.files("petavox") or []}
    assert {t for t in tops if t not in ("petavox", "..") and not t.endswith(".dist-info")} == set()
    scripts = {s.name for s in importlib.metadata.distribution("petavox").entry_points}
    assert scripts == {"petavox"}


def test_the_version_is_written_once():
    assert PROJECT["project"]["dynamic"] == ["version"]
    installed_files()
    assert importlib.metadata.version("petavox") == petavox.__version__


# --- requirements ----------------------------------------------------------------------------------------------------


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def bounds(requirements: list[str]) -> dict[str, str]:
    """Name and bound of requirements such as "numpy>=2"."""
    pairs = (re.fullmatch(r"([\w.-]+)\s*(.*)", r.partition("#")[0].strip()) for r in requirements)
    return {canonical(pair[1]): pair[2] for pair in pairs if pair}


REQUIRED = bounds(PROJECT["project"]["dependencies"])
EXTRAS = bounds([r for extra in PROJECT["project"]["optional-dependencies"].values() for r in extra])
PINNED = bounds([line for line in (TREE / "constraints.txt").read_text().splitlines() if not line.startswith("#")])
CONDA = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib", "dask-core": "dask"}


def test_every_requirement_is_pinned_within_its_bound():
    def version(text: str) -> list[int]:
        return [int(n) for n in re.findall(r"\d+", text)]

    for name, bound in (REQUIRED | EXTRAS).items():
        assert PINNED[name].startswith("=="), name
        assert version(PINNED[name]) >= version(bound), name
    assert PINNED["torch"] == "==2.13.0"


@pytest.mark.parametrize(("version", "good"), [("2.6.0", True), ("2.8.1", True), ("2.9.0", False), ("2.9.1", False)])
def test_the_torch_whose_bfloat16_convolutions_are_slow_stays_out(version, good):
    assert (version in SpecifierSet(REQUIRED["torch"])) == good


def test_torchvision_and_what_needs_it_stay_out():
    unwanted = {"torchvision", "torchaudio", "timm", "deepinv", "segmentation-models-pytorch"}
    assert unwanted.isdisjoint(PINNED | REQUIRED | EXTRAS)


def test_the_conda_environment_asks_for_the_same():
    lines = re.findall(r"^  - (.+)$", (TREE / "environment.yml").read_text(), re.MULTILINE)
    found = {CONDA.get(name, name): bound for name, bound in bounds(lines).items()}
    for name, bound in (REQUIRED | bounds(PROJECT["project"]["optional-dependencies"]["io"])).items():
        assert found.get(name) == bound, name
    assert found["python"] == PROJECT["project"]["requires-python"]
