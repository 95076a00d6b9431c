"""Variants differ from the base by their ingredient, held-out labels stay out, and the page says what was measured."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.affinities.sampling import TrainingVolume
from petavox.pipeline.affinities.targets import affinity_targets
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.affinities.variants import variants_of
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.normalisation import Normalisation

ROOT = Path(__file__).parents[2]
EXTENT = (16, 24, 32)


@pytest.fixture(scope="module")
def scripts() -> Iterator[SimpleNamespace]:
    """The modules of the benchmark; of this folder's own name, pytest would make another `benchmarks`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
            patch.setenv(name, "1")  # as the scripts do, to be undone
        patch.syspath_prepend(str(ROOT))
        before = set(sys.modules)
        from benchmarks.accuracy import ingredients
        from benchmarks.harness import judging
        from benchmarks.pages import ingredients as ingredients_page

        yield SimpleNamespace(ingredients=ingredients, page=ingredients_page, judging=judging)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "benchmarks":
                del sys.modules[name]


def some_volume(box: Box) -> TrainingVolume:
    random = np.random.default_rng(0)
    image = random.integers(0, 255, EXTENT, dtype=np.uint8)
    labels = random.integers(1, 4, EXTENT).astype(np.uint16)
    return TrainingVolume(image, labels, np.ones(EXTENT, bool), Normalisation(mean=127, deviation=60), exclude=(box,))


def small_network(**changes: Any) -> NetworkConfig:
    return NetworkConfig(widths=(2, 2), pooling=(2, 2, 2), stride=(2, 2, 2), **changes)


def test_each_variant_changes_something_of_the_base_and_only_settings_that_exist(scripts: SimpleNamespace) -> None:
    study = scripts.ingredients.Study(some_volume(Box((0, 0, 16), EXTENT)), None, (16, 16, 16), 5, Path())
    made = {
        name: tuple(
            table.model_dump_json() for table in (study.network(v), study.training(v, 0), study.augmentation(v))
        )
        for name, v in scripts.ingredients.TRAINED.items()
    }
    assert len(set(made.values())) == len(made)
    for name, tables in made.items():
        differing = sum(a != b for a, b in zip(tables, made["base"], strict=True))
        assert differing == (name != "base"), name


def test_what_is_reported_elsewhere_is_never_read(scripts: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "fib25").mkdir()
    sections = np.arange(20, dtype=np.uint8)[:, None, None] + np.eye(32, dtype=np.uint8)
    for name in ("raw.tif", "labels.tif"):
        tifffile.imwrite(tmp_path / "fib25" / name, sections)
    volume, box = scripts.ingredients.load(tmp_path, EXTENT, 8)
    assert np.array_equal(volume.labels, sections[: EXTENT[0], : EXTENT[1], : EXTENT[2]])
    assert box == Box((0, 0, 24), EXTENT)
    assert not volume.learnable()[box.slices()].any()
    assert volume.learnable().sum() == 16 * 24 * 24
    with pytest.raises(SystemExit, match="not touched"):
        scripts.ingredients.load(tmp_path, (126, 24, 32), 8)


def test_a_folder_of_other_settings_is_refused(scripts: SimpleNamespace, tmp_path: Path) -> None:
    scripts.ingredients.check_work(tmp_path, {"steps": 5, "patch": (16, 16, 16)})
    scripts.ingredients.check_work(tmp_path, {"steps": 5, "patch": (16, 16, 16)})
    with pytest.raises(SystemExit, match="other settings"):
        scripts.ingredients.check_work(tmp_path, {"steps": 6, "patch": (16, 16, 16)})


def test_a_training_is_worked_on_by_one_process_at_a_time(scripts: SimpleNamespace, tmp_path: Path) -> None:
    with scripts.ingredients.claimed(tmp_path / "a") as mine, scripts.ingredients.claimed(tmp_path / "a") as theirs:
        assert (mine, theirs) == (True, False)
    with scripts.ingredients.claimed(tmp_path / "a") as again:
        assert again


def test_all_ways_to_look_at_once_are_the_ways_one_by_one(
    scripts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert variants_of(16)[:8] == variants_of(8)
    assert variants_of(8)[:4] == variants_of(4)
    torch.manual_seed(0)
    box = Box((2, 2, 26), (6, 7, 32))
    place = scripts.judging.Place(some_volume(box), box, (8, 8, 8))
    network = NetworkConfig(widths=(2,), stride=(2, 2, 2), offsets=NEAREST)
    kept = ResidualSymmetricUNet(network).state_dict()
    ways = ((1, "mean"), (8, "mean"), (4, "min"))
    monkeypatch.setattr(scripts.judging, "WAYS", ways)
    together = place.looked_at(network, kept)
    for variants, combine in ways:
        alone = place.predicted(network, kept, variants, combine)
        assert np.array_equal(together[f"{variants} {combine}"], alone)


def test_long_range_channels_are_those_that_the_network_gives(scripts: SimpleNamespace) -> None:
    torch.manual_seed(0)
    network = small_network(offsets=(*NEAREST, (3, 0, 0), (0, 3, 0), (0, 0, 3)), descriptors=(1.0, 1.0, 1.0))
    module = ResidualSymmetricUNet(network).eval()
    fewer, kept = scripts.judging.with_offsets(network, module.state_dict(), network.offsets[3:])
    other = ResidualSymmetricUNet(fewer).eval()
    other.load_state_dict(dict(kept))
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.inference_mode():
        assert torch.allclose(other(image), module(image)[:, 3:6], atol=1e-6)


def test_affinities_of_the_labels_themselves_are_perfect_and_their_opposite_is_not(scripts: SimpleNamespace) -> None:
    truth = np.repeat(np.repeat(np.arange(1, 9).reshape(2, 2, 2), 6, 0), 6, 1).repeat(6, 2)
    wanted = affinity_targets(torch.from_numpy(truth), NEAREST).numpy()
    right = np.where(wanted == 1, 255, 0).astype(np.uint8)
    row = scripts.judging.scores(right, truth)
    assert (row["accuracy"], row["area"], row["error"], row["voi"]) == (1, 1, 0, 0)
    assert scripts.judging.voxel_scores(255 - right[0], wanted[0]) == (0, 0)
    assert scripts.judging.voxel_scores(np.full_like(right[0], 7), wanted[0]) == (0.5, 0.5)
    rules = dict(scripts.judging.linkages(right, (right, NEAREST), truth))
    assert {scripts.judging.best_of(trials)["error"] for trials in rules.values()} == {0}


def row(part: str, what: str, seed: int, error: float, accuracy: float) -> dict[str, Any]:
    measures = {"error": error, "around": error, "cremi": error, "voi": 1.0, "accuracy": accuracy, "area": accuracy}
    errors = {"0.95": [error] * 9, "0.99": [error] * 9}
    return {"part": part, "what": what, "seed": seed, "high": "0.99", "threshold": "0.5", "errors": errors, **measures}


def test_what_helps_is_positive_whether_the_base_has_it_or_not(scripts: SimpleNamespace) -> None:
    rows = [row("trained", "base", seed, 0.2 + seed / 100, 0.9) for seed in (0, 1)]
    rows += [row("trained", "without a", seed, 0.3 + seed / 100, 0.8) for seed in (0, 1)]
    rows += [row("trained", "with b", seed, 0.205 + seed / 100, 0.95) for seed in (0, 1)]
    entries = [("without a", "a", True), ("with b", "b", False)]
    ingredients = [dict(zip(("what", "ingredient", "in_base"), entry, strict=True)) for entry in entries]
    a, b = scripts.page.worth({"rows": rows, "ingredients": ingredients})
    assert (a["ingredient"], a["error"], a["accuracy"]) == ("a", "**+0.1000**", "**+0.1000**")
    assert (b["ingredient"], b["error"], b["accuracy"]) == ("b", "-0.0050", "**+0.0500**"), "0.20 to 0.21 meets 0.205"


def test_other_ways_are_held_against_the_first_seed_by_seed(scripts: SimpleNamespace) -> None:
    rows = [row("linkage", "mean", seed, 0.2 + seed, 0.9) for seed in (0, 1)]
    rows += [row("linkage", "better", seed, 0.1 + seed, 0.9) for seed in (0, 1)]
    rows += [row("linkage", "either", seed, 0.3 + 0.7 * seed, 0.9) for seed in (0, 1)]
    found = scripts.page.rows_of({"rows": rows}, "linkage")
    better, either = scripts.page.against_first(found, ["error"])
    assert (better["what"], better["error"]) == ("better", "**+0.1000**")
    assert (either["what"], either["error"]) == ("either", "+0.0500")


def test_of_one_seed_nothing_stands_out(scripts: SimpleNamespace) -> None:
    rows = [row("linkage", "mean", 0, 0.2, 0.9), row("linkage", "better", 0, 0.1, 0.9)]
    (better,) = scripts.page.against_first(scripts.page.rows_of({"rows": rows}, "linkage"), ["error"])
    assert better["error"] == "+0.1000"
    assert not scripts.page.apart([0.1], [0.2])


@pytest.mark.parametrize(("seeds", "share"), [(1, 1), (2, 1 / 3), (3, 0.1)])
def test_the_chance_of_being_apart_is_that_of_an_order(scripts: SimpleNamespace, seeds: int, share: float) -> None:
    assert scripts.page.chance(seeds) == pytest.approx(share)
