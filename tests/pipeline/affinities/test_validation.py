"""The best weights by their segmentation are kept, whatever comes after them, and whatever interrupts the training."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from petavox.pipeline.affinities.augmentation_config import AugmentationConfig
from petavox.pipeline.affinities.checkpoint import load_checkpoint
from petavox.pipeline.affinities.prediction import Inference, Predictor
from petavox.pipeline.affinities.sampling import TrainingVolume
from petavox.pipeline.affinities.training import Trainer
from petavox.pipeline.affinities.training_config import TrainingConfig
from petavox.pipeline.affinities.unet import NetworkConfig
from petavox.pipeline.affinities.validation import ScoringConfig, middle
from petavox.pipeline.errors import CheckpointError, RequestError
from petavox.pipeline.geometry import Box, triple
from petavox.pipeline.networks.log import LOG
from petavox.pipeline.networks.normalisation import Normalisation

NETWORK = NetworkConfig(widths=(2, 3), stride=(1, 2, 2))
BOX = Box((0, 0, 0), (4, 16, 32))
SCORING = ScoringConfig(shape=(2, 16, 16), thresholds=(0.7, 0.4))
TRAINING = TrainingConfig(patch=(4, 16, 16), steps=6, warm_up=0, threads=1, validate_every=1, save_every=2)


@dataclass(frozen=True)
class Score:
    """A score that a judge has made up."""

    cremi_score: float
    adapted_rand_error: float = 0.25
    voi_split: float = 0.5
    voi_merge: float = 0.75


class Judge:
    """Gives the scores that it was told to, one after another, and remembers what it was shown."""

    def __init__(self, *scores):
        self.scores, self.seen = list(scores), []

    def __call__(self, affinities, labels, scoring):
        self.seen.append((affinities, labels))
        score = self.scores.pop(0)
        return [Score(score + 0.1), Score(score)]


def volume():
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (8, 32, 32), dtype=np.uint8)
    labels = random.integers(1, 4, (8, 32, 32)).astype(np.uint16)
    mask = random.random(labels.shape) < 0.9
    return TrainingVolume(image, labels, mask, Normalisation(mean=127.0, deviation=70.0), (BOX,))


def trainer(directory, judge, *, volumes=None, scoring=SCORING, start=None, network=NETWORK, **changes):
    made = Trainer(
        network,
        AugmentationConfig(displacement=2),
        TRAINING.model_copy(update=changes),
        volumes or [volume()],
        directory,
        voxel_size=(30.0, 6.0, 6.0),
        provenance={},
        start=start,
        scoring=scoring,
        judge=judge,
    )
    made.begin()
    return made


def steps(folder):
    return load_checkpoint(folder)[0].provenance["steps"]


def log(directory):
    return [json.loads(line) for line in (directory / LOG).read_text().splitlines()]


def weights(folder):
    return load_checkpoint(folder)[1].state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_best_weights_are_kept_and_the_last_ones_beside_them(tmp_path):
    folder = trainer(tmp_path / "a", Judge(0.9, 0.3, 0.5, 0.3, 0.2, 0.4)).run()
    assert (steps(folder), steps(tmp_path / "a" / "last")) == (5, 6)
    assert load_checkpoint(folder)[0].provenance["validation_score"] == 0.2
    trainer(tmp_path / "b", None, steps=6).run()
    assert same(weights(tmp_path / "b" / "checkpoint"), weights(tmp_path / "a" / "last"))
    found = [line for line in log(tmp_path / "a") if "validation_score" in line]
    assert [line["validation_score"] for line in found] == [0.9, 0.3, 0.5, 0.3, 0.2, 0.4]
    assert [line["best_step"] for line in found] == [1, 2, 2, 2, 5, 5]
    assert found[0]["adapted_rand_error"] == [0.25, 0.25]


def test_the_best_so_far_survives_an_interruption(tmp_path):
    scores = [0.9, 0.1, 0.5, 0.3, 0.2, 0.4]
    whole = trainer(tmp_path / "whole", Judge(*scores)).run()
    with pytest.raises(IndexError):  # the judge has no score for step 4; step 2 was the last that was saved
        trainer(tmp_path / "resumed", Judge(*scores[:3])).run()
    resumed = trainer(tmp_path / "resumed", Judge(*scores[2:])).run()
    assert steps(resumed) == steps(whole) == 2
    assert load_checkpoint(resumed)[0] == load_checkpoint(whole)[0]


def test_a_patch_that_could_not_be_predicted_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(RequestError, match="even"):
        trainer(tmp_path / "training", Judge(), patch=(3, 16, 16))
    assert not (tmp_path / "training").exists()


def test_what_is_judged_are_the_affinities_and_labels_of_the_middle_of_the_box(tmp_path):
    judge = Judge(0.5)
    folder = trainer(tmp_path, judge, steps=1).run()
    ((affinities, labels),) = judge.seen
    box, given = middle(BOX, SCORING.shape), volume()
    assert box == Box((1, 0, 8), (3, 16, 24))
    assert np.array_equal(labels, np.where(given.mask, given.labels, 0)[box.slices()])
    inference = Inference(patch=(4, 16, 16), normalisation=given.normalisation, device="cpu")
    predictor = Predictor(load_checkpoint(folder)[1].eval(), inference)
    expected = predictor.predict(lambda part: given.image[part.slices()], triple(given.image.shape), box, 2)
    assert np.array_equal(affinities, expected)


@pytest.mark.parametrize("changes", [{"keep": "last"}, {"volumes": "without validation"}])
def test_without_validation_or_on_request_the_last_weights_are_kept(tmp_path, changes):
    if "volumes" in changes:
        given = volume()
        changes["volumes"] = [TrainingVolume(given.image, given.labels, given.mask, given.normalisation)]
    assert steps(trainer(tmp_path, Judge(), **changes).run()) == 6
    assert not (tmp_path / "last").exists()


def test_a_training_is_not_resumed_with_other_scores(tmp_path):
    trainer(tmp_path, None, steps=2).run()
    with pytest.raises(CheckpointError, match=r"\[scoring\] shape was \[2, 16, 16\] .* is \[32, 256, 256\] now"):
        trainer(tmp_path, Judge(), scoring=None)


def test_a_training_can_start_from_a_checkpoint_which_stays_if_it_is_never_beaten(tmp_path):
    first = trainer(tmp_path / "first", None, steps=2).run()
    tuned = trainer(tmp_path / "tuned", Judge(0.1, 0.5, 0.3), steps=2, start=first).run()
    assert steps(tuned) == 0
    assert same(weights(tuned), weights(first))
    assert not same(weights(tmp_path / "tuned" / "last"), weights(first))
    assert trainer(tmp_path / "tuned", Judge(), steps=2, start=first).state.next_step == 2
    with pytest.raises(CheckpointError, match=r"\[start\] weights_sha256 was"):
        trainer(tmp_path / "tuned", Judge(), steps=2)


def test_a_checkpoint_of_another_network_is_no_start(tmp_path):
    first = trainer(tmp_path / "first", None, steps=1).run()
    with pytest.raises(CheckpointError, match=r"has widths \(2, 3\), not \(2, 2\)\. Leave \[network\] out"):
        trainer(tmp_path / "tuned", None, start=first, network=NetworkConfig(widths=(2, 2), stride=(1, 2, 2)))
    assert not (tmp_path / "tuned").exists()


def test_a_box_without_labels_is_refused_before_anything_is_trained(tmp_path):
    given = volume()
    given.mask[BOX.slices()] = False
    with pytest.raises(RequestError, match=r"must hold labels where it is segmented: \[1:3, 0:16, 8:24\]"):
        trainer(tmp_path / "training", Judge(), volumes=[given])
    assert not (tmp_path / "training").exists()


def test_the_best_of_a_constant_rate_may_beat_what_is_annealed_from_it(tmp_path):
    endless = {"schedule": "constant", "steps": 4}
    assert trainer(tmp_path, Judge(0.9, 0.1, 0.5, 0.3), **endless).run() == tmp_path / "last"
    folder = trainer(tmp_path, Judge(0.2, 0.4), **{**endless, "steps": 6, "anneal": 2}).run()
    assert folder == tmp_path / "checkpoint"
    assert (steps(folder), steps(tmp_path / "last")) == (2, 6)
