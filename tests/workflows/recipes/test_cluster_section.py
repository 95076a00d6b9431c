"""[cluster]: presets are laid under what a recipe says, and places come out as they were described."""

from __future__ import annotations

import pytest

from petavox.pipeline.errors import RequestError
from petavox.workflows.recipes import strict_toml
from petavox.workflows.recipes.cluster_section import preset_names
from petavox.workflows.recipes.segmentation_recipe import load

HEAD = "[input]\naffinities = 'affinities.zarr'\n[cluster]\n"
LAB = """
[cluster]
kind = "slurm"
[cluster.pools.cpu]
partition = "short"
account = "lab"
maximum = 50
"""


@pytest.fixture(autouse=True)
def configured(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "petavox").mkdir(parents=True)
    (tmp_path / "config" / "petavox" / "lab.toml").write_text(LAB)


def clusters(tmp_path, text, *overrides):
    (tmp_path / "recipe.toml").write_text(HEAD + text)
    return load(tmp_path / "recipe.toml", overrides).cluster


def test_a_preset_lies_under_what_the_recipe_says(tmp_path):
    found = clusters(tmp_path, "preset = 'lab'\npools.cpu = {maximum = 7}\n")
    assert (found.kind, found.pools.cpu.partition, found.pools.cpu.maximum) == ("slurm", "short", 7)


def test_the_command_line_lies_over_both(tmp_path):
    found = clusters(tmp_path, "preset = 'lab'\n", "cluster.kind=local", "cluster.pools.cpu.account=mine")
    assert (found.kind, found.pools.cpu.account, found.pools.cpu.maximum) == ("local", "mine", 50)


def test_a_resolved_recipe_needs_no_preset(tmp_path):
    (tmp_path / "recipe.toml").write_text(HEAD + "preset = 'lab'\n")
    resolved = load(tmp_path / "recipe.toml")
    (tmp_path / "resolved.toml").write_text(strict_toml.dump(resolved))
    (tmp_path / "config" / "petavox" / "lab.toml").unlink()
    assert load(tmp_path / "resolved.toml") == resolved


def test_a_preset_may_be_a_path_beside_the_recipe(tmp_path):
    (tmp_path / "here.toml").write_text(LAB.replace("short", "long"))
    assert clusters(tmp_path, "preset = 'here.toml'\n").pools.cpu.partition == "long"


@pytest.mark.parametrize("name", ["slurm", "slurm-preemptible"])
def test_shipped_presets_are_valid(tmp_path, name):
    assert name in preset_names()
    assert clusters(tmp_path, f"preset = '{name}'\n").kind == "slurm"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("preset = 'labb'\n", "no preset 'labb'. There are lab, slurm"),
        ("preset = 'nowhere.toml'\n", "nowhere.toml cannot be read"),
        ("preset = 'wrong'\n", "wrong.toml: unknown key 'cluster.pools.cpu.partion'. Did you mean"),
        ("pools.cpu.walltime = 'soon'\n", "cluster.pools.cpu.walltime: must be a duration"),
        ("pools.cpu.gpus = 1\n", "unknown key 'cluster.pools.cpu.gpus'"),
        ("presset = 'lab'\n", "Did you mean 'cluster.preset'"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, text, complaint):
    wrong = tmp_path / "config" / "petavox" / "wrong.toml"
    wrong.write_text(LAB.replace("partition", "partion"))
    with pytest.raises(RequestError, match=complaint):
        clusters(tmp_path, text)


def test_tasks_on_gpus_have_a_pool_of_their_own(tmp_path):
    local = clusters(tmp_path, "workers = 3\ngpus = 2\n")
    pools = local.spec(tmp_path, 10**9, {"cpu", "gpu"}).pools
    assert {name: pool.workers for name, pool in pools.items()} == {"cpu": 3, "gpu": 2}
    assert local.spec(tmp_path, 10**9, {"cpu"}).pools.keys() == {"cpu"}
