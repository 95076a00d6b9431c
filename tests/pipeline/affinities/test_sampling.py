import numpy as np
import pytest
import torch

from petavox.pipeline.affinities.augmentation_config import AugmentationConfig
from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.affinities.sampling import PatchSampler, TrainingVolume, validation_examples
from petavox.pipeline.affinities.targets import MASKED, UNKNOWN, affinity_targets
from petavox.pipeline.errors import RequestError
from petavox.pipeline.geometry import Box
from petavox.pipeline.networks.normalisation import Normalisation

SHAPE = (12, 40, 40)
PATCH = (4, 16, 16)
PLAIN = AugmentationConfig(flips=False, slip=0, step=0, missing=0, defocus=0, grey=0, noise=0)


def volume(**changes):
    """Every voxel is an object of its own, and its grey value says which."""
    labels = np.arange(1, 1 + np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE)
    fields = {"image": labels, "labels": labels, "mask": np.ones(SHAPE, bool)} | changes
    return TrainingVolume(normalisation=Normalisation(mean=0, deviation=1), **fields)


def sampler(*volumes, **changes):
    settings = {"augmentation": PLAIN, "labelled": 0.0, "erosion": 0, "seed": 3, "device": "cpu"} | changes
    return PatchSampler(volumes, shape=PATCH, offsets=NEAREST, **settings)


def same(a, b):
    return torch.equal(a.image, b.image) and torch.equal(a.targets, b.targets)


def test_a_patch_depends_on_its_number_and_the_seed_alone():
    augmented = {"augmentation": AugmentationConfig(displacement=4, warp=0.5, elastic=0.5)}
    one, other = sampler(volume(), **augmented), sampler(volume(), **augmented)
    one.draw(0)
    assert same(one.draw(7), other.draw(7))
    assert not same(one.draw(7), one.draw(8))
    assert not same(one.draw(7), sampler(volume(), seed=4, **augmented).draw(7))


@pytest.mark.parametrize(
    "alone", [{"flips": True}, {"slip": 1.0}, {"step": 1.0}, {"warp": 1.0}, {"elastic": 1.0}], ids=str
)
def test_targets_are_those_of_the_image_whichever_change_of_place_is_switched_on(alone):
    z, y, x = np.ogrid[tuple(slice(n) for n in SHAPE)]
    cells = (1 + z // 2 + 8 * (y // 7) + 64 * (x // 7)).astype(np.uint16)
    drawer = sampler(
        volume(image=cells, labels=cells), augmentation=PLAIN.model_copy(update={"displacement": 4} | alone)
    )
    for number in range(5):
        example = drawer.draw(number)
        seen = example.image[0].round()
        pure = (example.image[0] - seen).abs() < 1e-3  # not grey between two cells
        assert bool(pure.all()) == (not {"warp", "elastic"} & set(alone))
        of_image = affinity_targets(torch.where(pure, seen, UNKNOWN).int(), NEAREST)
        compared = (of_image != MASKED) & (example.targets != MASKED)
        assert compared.float().mean() > 0.3
        assert (of_image == example.targets)[compared].float().mean() > 0.97


def test_z_is_exchanged_in_cubes_only():
    with pytest.raises(RequestError, match=r"must be a cube, found \(4, 16, 16\)"):
        sampler(volume(), augmentation=AugmentationConfig(exchange_z=True))


def test_nothing_is_learned_from_validation_and_excluded_boxes():
    kept_out = (Box((0, 0, 0), (6, 40, 20)), Box((6, 20, 20), (12, 40, 40)))
    drawer = sampler(volume(validation=kept_out[:1], exclude=kept_out[1:]))
    forbidden = np.zeros(SHAPE, bool)
    for box in kept_out:
        forbidden[box.slices()] = True
    for number in range(50):
        example = drawer.draw(number)
        known = (example.targets != MASKED).any(0)
        seen = example.image[0].int().numpy() - 1
        assert not forbidden.ravel()[seen[known]].any()


def test_patches_have_the_labelled_share_that_is_asked_for():
    mask = np.zeros(SHAPE, bool)
    mask[:, :, 24:] = True
    drawer = sampler(volume(mask=mask), labelled=1.0)
    starts = {int(drawer.draw(number).image.min() - 1) % SHAPE[2] for number in range(20)}
    assert starts == {24}
    with pytest.raises(RequestError, match="Patches need at least 100% labelled"):
        sampler(volume(mask=~mask & mask), labelled=1.0).draw(0)


def test_volumes_are_drawn_by_weight():
    drawer = sampler(volume(image=np.ones(SHAPE), weight=3.0), volume(image=np.zeros(SHAPE), weight=1.0))
    assert 0.6 < np.mean([drawer.draw(number).image.max() for number in range(100)]) < 0.9


def test_validation_patches_tile_the_box_unchanged():
    held = volume(validation=(Box((2, 0, 4), (11, 33, 40)),))
    examples = validation_examples([held], PATCH, NEAREST, limit=100)
    starts = [np.unravel_index(int(example.image.min()) - 1, SHAPE) for example in examples]
    assert starts == [(z, y, x) for z in (2, 6) for y in (0, 16) for x in (4, 20)]
    assert len(validation_examples([held], PATCH, NEAREST, limit=3)) == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: volume(mask=np.ones((1, 2, 3), bool)), "one shape"),
        (lambda: volume(validation=(Box((0, 0, 0), (13, 40, 40)),)), "outside the training volume"),
        (
            lambda: validation_examples([volume(validation=(Box((0, 0, 0), (3, 40, 40)),))], PATCH, NEAREST, 1),
            "as large",
        ),
        (
            lambda: sampler(TrainingVolume(*(np.ones((2, 9, 9), bool),) * 3, Normalisation(mean=0, deviation=1))),
            "as large",
        ),
    ],
    ids=["shapes differ", "box outside", "small validation box", "small volume"],
)
def test_volumes_that_do_not_fit_are_refused(wrong, said):
    with pytest.raises(RequestError, match=said):
        wrong()
