import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from petavox.pipeline.affinities import training, training_settings
from petavox.pipeline.affinities.augmentation_config import AugmentationConfig
from petavox.pipeline.affinities.checkpoint import load_checkpoint
from petavox.pipeline.affinities.sampling import PATCHES, TrainingVolume
from petavox.pipeline.affinities.training import STATE, Trainer
from petavox.pipeline.affinities.training_config import TrainingConfig, learning_rate
from petavox.pipeline.affinities.unet import NetworkConfig
from petavox.pipeline.errors import AffinityError, CheckpointError, RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.log import LOG
from petavox.pipeline.networks.normalisation import Normalisation

NETWORK = NetworkConfig(widths=(4, 6), stride=(1, 2, 2))
TRAINING = TrainingConfig(
    patch=(4, 16, 16), steps=10, warm_up=2, threads=1, log_every=1, validate_every=5, save_every=4, seed=1
)


def volume():
    """Stripes of one object each, dark at their borders."""
    labels = np.broadcast_to(np.repeat(np.arange(1, 9), 6), (8, 48, 48)).astype(np.uint16)
    image = np.where(np.isin(np.arange(48) % 6, (0, 5)), 40, 200) + np.zeros((8, 48, 1))
    validation = (Box((0, 0, 0), (4, 16, 48)),)
    normalisation = Normalisation(mean=147.0, deviation=75.0)
    return TrainingVolume(image.astype(np.uint8), labels, np.ones(labels.shape, bool), normalisation, validation)


def trainer(directory, network=NETWORK, start=None, **changes):
    made = Trainer(
        network,
        AugmentationConfig(displacement=4),
        TRAINING.model_copy(update=changes),
        [volume()],
        directory,
        voxel_size=(30.0, 6.0, 6.0),
        provenance={"made": "by a test"},
        start=start,
    )
    made.begin()
    return made


def losses(directory):
    lines = [json.loads(line) for line in (directory / LOG).read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def test_the_same_seed_gives_the_same_first_ten_losses(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trainer(tmp_path / name, seed=seed).run()
    assert [step for step, _ in losses(tmp_path / "a")] == list(range(1, 11))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


def test_a_resumed_training_is_the_same_training(tmp_path):
    trainer(tmp_path / "whole").run()
    interrupted = trainer(tmp_path / "resumed")
    for step, examples in interrupted._batches():
        interrupted._step(step, examples)
        if step == 4:
            interrupted.save()
        if step == 6:
            break
    resumed = trainer(tmp_path / "resumed")
    assert resumed.state.next_step == 5
    folders = trainer(tmp_path / "whole").run(), resumed.run()
    assert losses(tmp_path / "resumed") == losses(tmp_path / "whole")[5:]
    (config, network), (other_config, other) = map(load_checkpoint, folders)
    assert config == other_config
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_training_learns_and_leaves_a_checkpoint_that_says_what_it_is(tmp_path):
    run = trainer(tmp_path, steps=60, learning_rate=0.01, average=0.9)
    before = run.validate()
    config, network = load_checkpoint(run.run())
    after = run.validate()
    assert after["validation_loss"] < 0.7 * before["validation_loss"]
    assert after["balanced_accuracy"][2] > before["balanced_accuracy"][2] + 0.1
    assert config.provenance == {"made": "by a test", "steps": 60}
    assert config.normalisation == volume().normalisation
    assert config.network == network.config == NETWORK


def test_a_training_ends_with_its_minutes_and_the_rate_has_then_fallen(tmp_path, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(
        training.time, "perf_counter", lambda: next(clock) / 10
    )  # every look at it takes a tenth of a second
    run = trainer(tmp_path, steps=10**6, minutes=0.1)
    run.run()
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    rates = [line["learning_rate"] for line in lines if "learning_rate" in line]
    assert 5 < run.state.next_step < 100
    assert rates[-1] < 0.05 * TRAINING.learning_rate < 0.9 * TRAINING.learning_rate < max(rates)
    assert trainer(tmp_path, steps=10**6, minutes=0.1).state.seconds == run.state.seconds >= 6


def test_minutes_that_are_left_count_from_the_steps_where_these_are_farther():
    config = TRAINING.model_copy(update={"steps": 50, "warm_up": 0, "minutes": 1.0})
    assert learning_rate(25, config, 0.0) == learning_rate(0, config, 30.0) == learning_rate(25, config, 20.0)


def test_a_training_that_is_stopped_has_saved_its_last_step_and_goes_on_from_there(tmp_path):
    trainer(tmp_path / "whole").run()
    stopped = trainer(tmp_path / "stopped")
    stopped.stop()
    stopped.run()
    assert stopped.state.next_step == 1
    trainer(tmp_path / "stopped").run()
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_convolutions_have_the_precision_that_is_asked_for_and_losses_and_weights_are_finite(
    tmp_path, precision, dtype
):
    run = trainer(tmp_path, precision=precision, batch=2, steps=3)
    seen = seen_by(run.state.model)
    run.run()
    assert {answer.dtype for answer in seen} == {dtype}
    assert {len(answer) for answer in seen} == {2}
    assert all(answer.isfinite().all() for answer in seen)
    assert all(weights.dtype == torch.float32 and weights.isfinite().all() for weights in run.state.model.parameters())
    assert np.isfinite([loss for _, loss in losses(tmp_path)]).all()
    assert len(losses(tmp_path)) == 3


def seen_by(network):
    """The answers of a network's convolutions, as they come."""
    seen = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(lambda _, __, answer: seen.append(answer.detach()))
    return seen


def test_descriptors_are_learned_beside_the_affinities_and_weighed(tmp_path):
    shapes = NETWORK.model_copy(update={"descriptors": (1.0, 2.0, 2.0)})
    first = []
    for weight in (0.0, 1.0, 2.0):
        folder = tmp_path / str(weight)
        run = trainer(folder, NETWORK if weight == 0 else shapes, steps=2, descriptor_weight=weight, validate_every=1)
        config, network = load_checkpoint(run.run())
        assert config.network == network.config == run.checkpoint.network
        first.append(losses(folder)[0][1])
    assert "balanced_accuracy" in (tmp_path / "2.0" / LOG).read_text()
    assert first[2] - first[1] > 0.01


def test_edges_that_decide_are_weighed_beside_all(tmp_path):
    for weight in (0.0, 1.0):
        trainer(tmp_path / str(weight), steps=2, maximin_weight=weight).run()
    (_, without), (_, with_them) = losses(tmp_path / "0.0")[0], losses(tmp_path / "1.0")[0]
    assert with_them - without > 0.1


def test_edges_can_decide_only_where_the_first_offsets_are_the_nearest_neighbours(tmp_path):
    farther = NETWORK.model_copy(update={"offsets": ((2, 0, 0), *NETWORK.offsets)})
    with pytest.raises(AffinityError, match="must have the offsets"):
        trainer(tmp_path / "training", farther, maximin_weight=1.0)
    assert not (tmp_path / "training").exists()


def test_a_narrower_checkpoint_starts_a_training_that_begins_with_its_answers(tmp_path):
    narrow = trainer(tmp_path / "narrow", steps=2)
    folder = narrow.run()
    wide = NETWORK.model_copy(update={"widths": (6, 8)})
    run = trainer(tmp_path / "wide", wide, start=folder)
    assert run.validate()["validation_loss"] == pytest.approx(narrow.validate()["validation_loss"], rel=1e-4)
    assert load_checkpoint(run.run())[0].network == wide
    with pytest.raises(CheckpointError, match="which may have smaller widths"):
        trainer(tmp_path / "narrower", NETWORK.model_copy(update={"widths": (4, 5)}), start=folder)


def test_a_compiled_network_is_trained_in_place_of_the_plain_one(tmp_path, monkeypatch):
    compiled = []

    def compile(network):
        compiled.append(network)
        return network

    monkeypatch.setattr(torch, "compile", compile)
    for name, asked in (("plain", False), ("compiled", True)):
        trainer(tmp_path / name, steps=2, compile=asked).run()
    assert len(compiled) == 1
    assert losses(tmp_path / "plain") == losses(tmp_path / "compiled")


def test_settings_may_not_change_on_resuming_but_for_the_length(tmp_path):
    trainer(tmp_path, steps=2).run()
    assert trainer(tmp_path, steps=4).state.next_step == 2
    with pytest.raises(CheckpointError, match=r"\[training\] seed was 1"):
        trainer(tmp_path, seed=9)


def test_a_state_from_before_a_setting_is_continued_where_that_has_its_default(tmp_path, monkeypatch):
    run = trainer(tmp_path, steps=1)
    del run.settings["augmentation"]["exchange_z"], run.settings["volumes"]
    run.run()
    assert trainer(tmp_path).state.next_step == 1
    run.settings["augmentation"]["exchange_z"] = True
    run.save()
    with pytest.raises(CheckpointError, match="exchange_z was True"):
        trainer(tmp_path)


@pytest.mark.parametrize("other", [{"validation": ()}, {"weight": 2.0}, {"labels": np.ones((8, 48, 48), np.uint8)}])
def test_other_volumes_and_boxes_are_not_continued_with(tmp_path, monkeypatch, other):
    trainer(tmp_path, steps=1).run()
    changed = replace(volume(), **other)
    monkeypatch.setitem(globals(), "volume", lambda: changed)
    with pytest.raises(CheckpointError, match=r"\[volumes\] 0 was"):
        trainer(tmp_path)


def test_a_checkpoint_that_a_crash_has_prevented_is_written_by_the_next_run(tmp_path):
    checkpoint = trainer(tmp_path, steps=2).run()
    expected = (checkpoint / "weights.safetensors").read_bytes()
    shutil.rmtree(checkpoint)
    trainer(tmp_path, steps=2).run()
    assert (checkpoint / "weights.safetensors").read_bytes() == expected


def test_a_gpu_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "usable_device", lambda: "cpu")
    with pytest.raises(RequestError, match="torch must be able to compute on one"):
        trainer(tmp_path / "training", device="cuda")
    assert not (tmp_path / "training").exists()


def test_a_state_of_other_patches_is_not_continued(tmp_path, monkeypatch):
    trainer(tmp_path, steps=1).run()
    monkeypatch.setattr(training_settings, "PATCHES", PATCHES + 1)
    with pytest.raises(CheckpointError, match=rf"\[sampling\] patches was {PATCHES} in"):
        trainer(tmp_path)


def test_a_damaged_state_is_noticed(tmp_path):
    trainer(tmp_path, steps=1).run()
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        trainer(tmp_path)


def test_a_patch_that_the_network_cannot_take_is_refused(tmp_path):
    with pytest.raises(RequestError, match="next larger shape that is: \\(4, 16, 20\\)"):
        trainer(tmp_path, patch=(4, 16, 18))


def test_the_rate_rises_then_falls_to_zero():
    rates = [learning_rate(step, TRAINING.model_copy(update={"steps": 50, "warm_up": 10})) for step in range(51)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[9] == rates[10] == max(rates) == TRAINING.learning_rate
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[50] < 1e-9


ENDLESS = {"schedule": "constant", "learning_rate": 1e-3, "warm_up": 2, "average": 0.5, "longer_average": 0.9}


def test_a_constant_rate_stays_and_falls_to_zero_over_the_steps_that_anneal():
    config = TRAINING.model_copy(update={**ENDLESS, "steps": 50, "warm_up": 10, "anneal": 20})
    rates = [learning_rate(step, config) for step in range(51)]
    assert rates[:10] == sorted(rates[:10])
    assert set(rates[9:31]) == {1e-3}
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert rates[40] == pytest.approx(0.5e-3)
    assert rates[50] == 0
    assert learning_rate(10**9, config.model_copy(update={"anneal": 0, "steps": 10**10})) == 1e-3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"anneal": 5}, "constant"),
        ({"schedule": "constant", "anneal": 11}, "11 of 10"),
        ({"schedule": "constant", "anneal": 5, "minutes": 1.0}, "minutes"),
    ],
)
def test_steps_that_anneal_are_the_last_ones_of_a_constant_schedule(wrong, said):
    with pytest.raises(ValueError, match=said):
        TrainingConfig.model_validate({**TRAINING.model_dump(), **wrong})


def test_a_training_that_does_not_end_has_two_averages_and_no_checkpoint(tmp_path):
    folder = trainer(tmp_path, **ENDLESS).run()
    assert folder == tmp_path / "last"
    assert not (tmp_path / "checkpoint").exists()
    last, longer = (load_checkpoint(tmp_path / name)[1] for name in ("last", "longer"))
    assert not all(torch.equal(a, b) for a, b in zip(last.parameters(), longer.parameters(), strict=True))


def test_a_training_that_is_annealed_from_its_state_is_one_that_was_to_anneal_from_the_start(tmp_path):
    expected = trainer(tmp_path / "known", **ENDLESS, steps=10, anneal=4).run()
    trainer(tmp_path / "endless", **ENDLESS, steps=6).run()
    folder = trainer(tmp_path / "endless", **ENDLESS, steps=10, anneal=4).run()
    assert folder == tmp_path / "endless" / "checkpoint"
    assert (folder / "weights.safetensors").read_bytes() == (expected / "weights.safetensors").read_bytes()
    found, wanted = (load_file(tmp_path / name / STATE) for name in ("endless", "known"))
    assert all(torch.equal(found[name], wanted[name]) for name in {**found, **wanted})


def test_a_state_is_saved_after_so_many_minutes(tmp_path, monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(training.time, "perf_counter", lambda: next(clock))  # every look at it takes a second
    run, saved = trainer(tmp_path, save_every=1000, save_minutes=0.1, steps=8), []
    save = run.save
    monkeypatch.setattr(run, "save", lambda: (saved.append(run.state.next_step), save()))
    run.run()
    assert saved[-1] == 8
    assert len(saved) > 2
