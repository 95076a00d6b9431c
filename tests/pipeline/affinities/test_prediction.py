import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import memory_of_prediction
from hypothesis import example, given, settings
from hypothesis import strategies as st

from petavox.pipeline.affinities.prediction import Inference, Predictor, aligned_batch
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.errors import RequestError, StorageError
from petavox.pipeline.geometry import BlockGrid, Box
from petavox.pipeline.networks.normalisation import Normalisation
from petavox.pipeline.networks.patch_grid import NEGLIGIBLE, Patches, mirrored

NETWORK = NetworkConfig(widths=(4, 6), stride=(1, 2, 2))
PATCH = (4, 8, 12)
DEPTH = 3  # planes that are read at a time
NORMALISATION = Normalisation(mean=120, deviation=40)


def network():
    torch.manual_seed(5)
    made = ResidualSymmetricUNet(NETWORK)
    with torch.no_grad():
        made.train()(torch.randn(2, 1, 8, 32, 32))
        made.head.weight.mul_(3)
    return made.eval()


def inference(**changes):
    return Inference(**{"patch": PATCH, "normalisation": NORMALISATION, "device": "cpu", **changes})


def predictor(**changes):
    return Predictor(network(), inference(**changes))


def image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def predict_by_blocks(predictor, raw, block):
    affinities = np.zeros((3, *raw.shape), np.uint8)
    grid = BlockGrid(raw.shape, block)
    for index in grid.indices():
        box = grid.box(index)
        affinities[:, *box.slices()] = predictor.predict(lambda b: raw[b.slices()], raw.shape, box, DEPTH)
    return affinities


def predict_at_once(raw):
    """The definition, slowly: every patch of the grid, float64, weights of the published bump."""
    grid, unfolded = Patches(PATCH).over(raw.shape), network()
    total, norm = np.zeros((3, *raw.shape)), np.zeros(raw.shape)
    u = [np.arange(1, n + 1) / (n + 1) for n in PATCH]
    bump = np.exp(24 - sum(np.meshgrid(*(((v * (1 - v)) ** -1.5) for v in u), indexing="ij")))
    for index in grid.touching(Box.of_shape(raw.shape)):
        box = grid.box(index)
        places = [mirrored(a, b, n) for a, b, n in zip(box.start, box.stop, raw.shape, strict=True)]
        seen = NORMALISATION.apply(torch.from_numpy(raw[np.ix_(*places)]))[None, None]
        with torch.inference_mode():
            answer = torch.sigmoid(unfolded(seen))[0, :3].double().numpy()
        common = box.intersect(Box.of_shape(raw.shape))
        total[:, *common.slices()] += (answer * bump)[:, *common.slices(box.start)]
        norm[common.slices()] += bump[common.slices(box.start)]
    return 255 * total / norm


@pytest.fixture(scope="module")
def ready():
    return predictor(), predictor(batch=3)


def test_prediction_equals_its_definition(ready):
    raw = image((7, 21, 18))
    found = predict_by_blocks(ready[0], raw, raw.shape)
    assert found.std() > 5
    assert np.abs(found - predict_at_once(raw)).max() < 0.52 + 3 * 255 * NEGLIGIBLE


@settings(max_examples=12)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 20), st.integers(1, 20)),
    block=st.tuples(st.integers(2, 6), st.integers(6, 20), st.integers(6, 20)),
    batched=st.booleans(),
    seed=st.integers(0, 99),
)
@example(shape=(1, 1, 1), block=(1, 4, 4), batched=False, seed=0)
@example(shape=(6, 20, 20), block=(2, 7, 11), batched=True, seed=0)
@example(shape=(6, 13, 11), block=(2, 6, 6), batched=True, seed=85)  # one bit, of one number that was left over
def test_prediction_does_not_depend_on_the_blocks(ready, shape, block, batched, seed):
    raw = image(shape, seed)
    whole = predict_by_blocks(ready[batched], raw, shape)
    np.testing.assert_array_equal(predict_by_blocks(ready[batched], raw, block), whole)


@st.composite
def overlaps(draw):
    """A patch that the network takes, an overlap of up to half of it, and a rim that the overlap has room for."""
    patch = (draw(st.integers(2, 5)), 4 * draw(st.integers(1, 3)), 4 * draw(st.integers(1, 3)))
    overlap = tuple(draw(st.integers(0, length // 2)) for length in patch)
    return {"patch": patch, "overlap": overlap, "rim": tuple(draw(st.integers(0, length // 2)) for length in overlap)}


@settings(max_examples=25, deadline=None)
@given(
    patches=overlaps(),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 25), st.integers(1, 25)),
    block=st.tuples(st.integers(2, 6), st.integers(6, 20), st.integers(6, 20)),
    seed=st.integers(0, 99),
)
@example({"patch": (4, 8, 12), "overlap": (2, 4, 6), "rim": (1, 1, 2)}, (9, 25, 25), (2, 6, 7), 0)
@example({"patch": (4, 8, 12), "overlap": (0, 0, 0), "rim": None}, (6, 20, 20), (2, 7, 11), 0)
def test_nor_does_it_with_any_overlap(patches, shape, block, seed):
    raw, made = image(shape, seed), predictor(batch=2, **patches)
    whole = predict_by_blocks(made, raw, shape)
    np.testing.assert_array_equal(predict_by_blocks(made, raw, block), whole)


def test_a_voxel_is_made_of_the_patches_of_its_overlap_by_their_weights():
    raw, patches = image((9, 25, 30)), {"patch": (4, 8, 12), "overlap": (2, 4, 6), "rim": (1, 1, 2)}
    made, unfolded = predictor(batch=2, **patches), network()
    grid, expected = made.patches.over(raw.shape), np.zeros((3, *raw.shape))
    padded = np.pad(raw, 16, mode="symmetric")
    for axis, length in enumerate(raw.shape):
        padded = np.take(padded, mirrored(-16, length + 16, length) + 16, axis)
    for index in np.ndindex(*(axis.count for axis in grid.axes)):
        box, (z, y, x) = grid.box(index), grid.weights(index)
        seen = NORMALISATION.apply(torch.from_numpy(padded[box.shift((16, 16, 16)).slices()]))[None, None]
        with torch.inference_mode():
            answer = torch.sigmoid(unfolded(seen))[0, :3].double().numpy()
        common = box.intersect(Box.of_shape(raw.shape))
        weighted = answer * (z[:, None, None] * y[:, None] * x)
        expected[:, *common.slices()] += weighted[:, *common.slices(box.start)]
    assert np.abs(predict_by_blocks(made, raw, raw.shape) - 255 * expected).max() < 0.51


@pytest.mark.parametrize(("batch", "threads", "together"), [(1, 1, 1), (3, 1, 4), (4, 1, 4), (2, 2, 4), (3, 7, 1)])
def test_a_batch_is_as_large_as_it_takes_for_no_number_to_be_left_over(batch, threads, together):
    assert aligned_batch(NETWORK, inference(batch=batch, threads=threads)) == together


def test_a_patch_has_the_same_affinities_in_every_place_of_a_batch():
    made, images = predictor(batch=3), torch.randn(40, 1, *PATCH)
    size = made.engine.batch
    others = torch.randn(size, 1, *PATCH)
    for image in images:
        answers = []
        for place in range(size):
            together = others.clone()
            together[place] = image
            answers.append(made.engine(together)[place])
        assert all(torch.equal(answer, answers[0]) for answer in answers)


@pytest.mark.parametrize("combine", ["mean", "min"])
def test_neither_does_a_prediction_over_flips_and_transposes(combine):
    raw, made = image((5, 14, 13)), predictor(variants=16, combine=combine, batch=2)
    whole = predict_by_blocks(made, raw, raw.shape)
    np.testing.assert_array_equal(predict_by_blocks(made, raw, (3, 7, 9)), whole)
    plain = predict_by_blocks(predictor(batch=2), raw, raw.shape)
    assert (whole != plain).mean() > 0.5
    assert combine == "mean" or (whole <= plain).all()


@pytest.mark.parametrize("block", [(4, 20, 50), (2, 7, 13), (4, 20, 15)])
def test_patches_without_image_have_affinity_0_in_every_block(block):
    raw = image((4, 20, 50))
    raw[:, :, 20:] = 0
    made = predictor(fill_value=0)
    found = predict_by_blocks(made, raw, block)
    np.testing.assert_array_equal(found, predict_by_blocks(made, raw, raw.shape))
    assert not found[..., 36:].any()
    assert found[..., :20].any()


def test_every_voxel_that_is_needed_is_read_once_in_slabs_inside_the_volume():
    raw, read = image((9, 30, 30)), np.zeros((9, 30, 30), int)

    def reading(box):
        assert Box.of_shape(raw.shape).contains(box)
        assert box.start[0] // DEPTH == (box.stop[0] - 1) // DEPTH
        read[box.slices()] += 1
        return raw[box.slices()]

    made, block = predictor(), Box((2, 0, 10), (5, 12, 30))
    made.predict(reading, raw.shape, block, DEPTH)
    assert read.max() == 1
    assert read[made.patches.over(raw.shape).span(block).intersect(Box.of_shape(raw.shape)).slices()].all()


def test_patches_are_computed_while_others_are_still_being_read():
    raw, made, computing = image((24, 8, 12)), predictor(), threading.Event()
    made.engine._eager.register_forward_hook(lambda *_: computing.set())

    def read(box):
        assert box.start[0] < 12 or computing.wait(30)
        return raw[box.slices()]

    found = made.predict(read, raw.shape, Box.of_shape(raw.shape), DEPTH)
    np.testing.assert_array_equal(found, predict_by_blocks(predictor(), raw, raw.shape))


@pytest.mark.parametrize("found_depth", [1, 4, 5, 40])
def test_slabs_make_up_the_block_in_order_whatever_their_depth(found_depth):
    raw, block = image((24, 8, 12)), Box((3, 0, 0), (23, 8, 12))
    boxes, found = zip(
        *predictor(batch=2).slabs(lambda b: raw[b.slices()], raw.shape, block, DEPTH, found_depth), strict=True
    )
    assert list(boxes) == list(block.slabs(found_depth))
    whole = predictor(batch=2).predict(lambda b: raw[b.slices()], raw.shape, block, DEPTH)
    np.testing.assert_array_equal(np.concatenate([arrived() for arrived in found], axis=1), whole)


def test_a_slab_is_given_before_what_it_does_not_need_is_read():
    raw, given = image((24, 8, 12)), threading.Event()

    def read(box):
        assert box.start[0] < 12 or given.wait(30)
        return raw[box.slices()]

    for _ in predictor().slabs(read, raw.shape, Box.of_shape(raw.shape), DEPTH, DEPTH):
        given.set()


def test_what_goes_wrong_while_reading_is_told():
    raw = image((12, 8, 12))

    def read(box):
        if box.start[0] >= 6:
            raise StorageError("The disk is gone.")
        return raw[box.slices()]

    with pytest.raises(StorageError, match="The disk is gone"):
        predictor().predict(read, raw.shape, Box.of_shape(raw.shape), DEPTH)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux tells the peak of a process")
@pytest.mark.parametrize("variants", [1, 4])
def test_a_process_stays_within_the_memory_known_in_advance_and_takes_most_of_it(variants):
    script = Path(memory_of_prediction.__file__)
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", str(script), str(variants)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert 5 * found["result"] < found["added"] < found["known"] < 2 * found["added"]  # an accumulator of floats, too


def test_a_patch_that_the_network_cannot_take_is_refused_with_one_that_it_can():
    with pytest.raises(RequestError, match=r"divisible by \(1, 4, 4\).*\(4, 12, 12\)"):
        predictor(patch=(4, 10, 12))


def test_a_patch_of_which_a_variant_does_not_fit_is_refused():
    settings, uneven = inference(patch=(4, 6, 8)), NetworkConfig(widths=(4, 6), pooling=(1, 1, 4))
    Predictor(ResidualSymmetricUNet(uneven), settings)
    with pytest.raises(RequestError, match=r"found \(4, 8, 6\)"):
        Predictor(ResidualSymmetricUNet(uneven), replace(settings, variants=8))
