"""The structure of a cell is that of its own image, whatever noise lies over it and whatever lies around it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.tissue import cells_of, structure_of_cells
from petavox.pipeline.tissue.structure import NO_IMAGE
from twins.structure import structure

shapes = st.tuples(*[st.integers(1, 9)] * 3)


def box_of(index, cell, cells, shape):
    return tuple(
        slice(i * side, (i + 1) * side if i + 1 < n else length)
        for i, side, n, length in zip(index, cell, cells, shape, strict=True)
    )


@settings(deadline=None, max_examples=80)
@given(shapes, st.tuples(*[st.integers(1, 6)] * 3), st.sampled_from(["uint8", "uint16", "float32"]), st.integers(0, 99))
def test_every_cell_has_the_structure_of_its_definition(shape, cell, dtype, seed):
    random = np.random.default_rng(seed)
    top = 255 if dtype == "uint8" else 65535 if dtype == "uint16" else 1.0
    grey = random.choice([0, top, 0.2 * top, 0.3 * top, 0.31 * top], shape).astype(dtype)
    fill = grey.flat[0].item()
    image = grey != fill
    if dtype != "float32":
        image &= (grey > 0) & (grey < top)
    cells = cells_of(shape, cell)
    found = structure_of_cells(grey, cell, fill)
    assert found.shape == cells
    for index in np.ndindex(cells):
        part = box_of(index, cell, cells, shape)
        assert found[index] == pytest.approx(structure(grey[part], image[part]), rel=1e-4, abs=1e-6 * top)


@given(shapes, st.tuples(*[st.integers(1, 6)] * 3))
def test_cells_share_out_all_voxels_and_none_is_less_than_half_of_another(shape, cell):
    for length, side, count in zip(shape, cell, cells_of(shape, cell), strict=True):
        last = length - (count - 1) * side
        assert count == 1 or 2 * last >= side
        assert 2 * last <= 3 * side


def test_noise_has_no_structure_and_adds_none_to_what_has():
    random = np.random.default_rng(0)
    plane = np.kron(random.choice([90.0, 170.0], (16, 16)), np.ones((8, 8)))
    image = np.broadcast_to(plane, (6, 128, 128))
    for noise in (5, 15, 30):
        grain = random.normal(0, noise, image.shape)
        alone, both = (
            structure_of_cells(np.clip(grey + grain, 1, 254).astype(np.uint8), (6, 64, 64))
            for grey in (np.full(image.shape, 128.0), image)
        )
        assert alone.max() < 0.1 * both.min()
        assert both == pytest.approx(structure_of_cells(image.astype(np.uint8), (6, 64, 64)), rel=0.1)


@pytest.mark.parametrize("value", [0, 255, 7, np.nan])
def test_a_border_is_no_image(value):
    grey = np.random.default_rng(0).integers(60, 180, (4, 32, 32)).astype(np.float32 if value != value else np.uint8)
    expected = structure_of_cells(grey, (4, 16, 16), 7)
    bordered = np.full((4, 48, 48), value, grey.dtype)
    bordered[:, 16:, 16:] = grey
    found = structure_of_cells(bordered, (4, 16, 16), 7)
    assert np.array_equal(found[:, 1:, 1:], expected)
    assert (found[:, 0] == NO_IMAGE).all()
    assert (found[:, :, 0] == NO_IMAGE).all()
