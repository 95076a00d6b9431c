"""Voxels that a network computes: counted patch by patch, and no more in the blocks that a plan proposes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from petavox.pipeline.geometry import BlockGrid
from petavox.pipeline.networks.patch_grid import Patches
from petavox.pipeline.volumes import CHUNK_TARGET
from petavox.workflows.planning.patch_cost import computed, computed_a_voxel, frugal_block
from twins import regions

PATCHES = st.sampled_from([Patches((6, 12, 12)), Patches((9, 20, 20), (3, 6, 6)), Patches((8, 16, 16), (0, 0, 0))])
shapes = st.tuples(*(st.integers(1, 60),) * 3)


@settings(max_examples=30, deadline=None)
@given(patches=PATCHES, volume=shapes, block=st.tuples(*(st.integers(6, 40),) * 3), data=st.data())
def test_what_is_computed_is_the_patches_of_every_block(patches, volume, block, data):
    grid, over = BlockGrid(volume, block, data.draw(st.none() | regions(volume))), patches.over(volume)
    voxels = patches.shape[0] * patches.shape[1] * patches.shape[2]
    counts = [voxels * len(list(over.touching(grid.box(index)))) for index in grid.indices()]
    assert computed(grid, patches, largest=False) == sum(counts)
    assert computed(grid, patches, largest=True) >= max(counts)


@given(
    patches=st.sampled_from([Patches((18, 160, 160)), Patches((30, 320, 320), (6, 48, 48))]),
    volume=st.tuples(*(st.integers(1, 4000),) * 3),
    block=st.tuples(*(st.integers(32, 800),) * 3),
)
def test_the_blocks_that_are_proposed_compute_no_more_and_are_near_in_whole_chunks(patches, volume, block):
    asked = BlockGrid(volume, block)
    better = BlockGrid(volume, frugal_block(asked, patches))
    assert computed_a_voxel(better, patches) <= computed_a_voxel(asked, patches)
    for length, wanted, chunk in zip(better.block, block, CHUNK_TARGET, strict=True):
        assert wanted / 1.5 <= length <= wanted * 1.5
        assert length in (wanted, length // chunk * chunk)
