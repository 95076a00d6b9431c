"""Variants of a patch: a network to which orientation means nothing must say the same of each edge in all of them."""

import pytest
import torch

from petavox.pipeline.affinities.offsets import LONG_RANGE, NEAREST
from petavox.pipeline.affinities.variants import Variant, predict_variants, variants_of
from petavox.pipeline.errors import AffinityError

ALL = variants_of(16)
NAMES = [f"{variant.flips}{' transposed' if variant.transposed else ''}" for variant in ALL]
SHAPE = (6, 12, 9)
DIAGONAL = (*NEAREST, (0, 1, 1), (0, 1, -1))


@pytest.fixture
def patches():
    return torch.randint(0, 255, (2, 1, *SHAPE), generator=torch.Generator().manual_seed(1)).float()


def equivariant(offsets):
    """A network that looks at the two ends of an edge alone; edges that leave the patch are not a number."""

    def network(patches):
        found = torch.full((len(patches), len(offsets), *patches.shape[-3:]), torch.nan)
        for channel, offset in enumerate(offsets):
            end = torch.roll(patches[:, 0], offset, (1, 2, 3))
            inside = torch.ones(patches.shape[-3:], dtype=torch.bool)
            for axis, o in enumerate(offset):
                place = torch.arange(inside.shape[axis]) - o
                along = [-1 if axis == i else 1 for i in range(3)]
                inside &= ((place >= 0) & (place < inside.shape[axis])).reshape(along)
            found[:, channel, inside] = (patches[:, 0] - end).abs()[:, inside]
        return found

    return network


@pytest.mark.parametrize("offsets", [NEAREST, LONG_RANGE, DIAGONAL], ids=["nearest", "long range", "diagonal"])
@pytest.mark.parametrize("variant", ALL, ids=NAMES)
def test_each_variant_finds_the_very_same_map(variant, offsets, patches):
    network = equivariant(offsets)
    plain = network(patches)
    assert plain.nan_to_num().std() > 10
    for combine in ("mean", "min"):
        found = predict_variants(network, patches, [ALL[0], variant], offsets, combine)
        torch.testing.assert_close(found, plain, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("count", [1, 4, 8, 16])
@pytest.mark.parametrize("combine", ["mean", "min"])
def test_so_do_all_of_them_together(count, combine, patches):
    network = equivariant(NEAREST)
    found = predict_variants(network, patches, variants_of(count), NEAREST, combine)
    torch.testing.assert_close(found, network(patches), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flipped_edge_that_stayed_at_its_voxel_would_be_noticed(axis, patches, monkeypatch):
    network = equivariant(NEAREST)
    in_place = tuple((channel, (0, 0, 0)) for channel in range(3))
    monkeypatch.setattr(Variant, "sources", lambda self, offsets: in_place)
    found = predict_variants(network, patches, [ALL[0], Variant((axis,))], NEAREST, "mean")
    others = [channel for channel in range(3) if channel != axis]
    assert not torch.equal(found[:, axis].nan_to_num(), network(patches)[:, axis].nan_to_num())
    torch.testing.assert_close(found[:, others], network(patches)[:, others], rtol=0, atol=0, equal_nan=True)


def test_an_edge_without_a_value_in_a_variant_is_combined_from_the_others():
    """At the plane where a flip has nothing to say, the mean is that of the variants that have."""
    answers = iter([1.0, 5.0])
    found = predict_variants(
        lambda seen: torch.full((1, 3, 2, 3, 4), next(answers)),
        torch.zeros(1, 1, 2, 3, 4),
        [Variant(), Variant((1,))],
        NEAREST,
        "mean",
    )
    assert set(found[0, 1, :, 0].flatten().tolist()) == {1.0}
    assert set(found[0, 1, :, 1:].flatten().tolist()) == {3.0}
    assert set(found[0, [0, 2]].flatten().tolist()) == {3.0}


def test_the_least_of_all_variants_is_kept_where_that_is_asked_for():
    answers = iter([4.0, 2.0, 3.0])
    patches = torch.zeros(1, 1, 2, 4, 4)
    variants = [Variant(), Variant((2,)), Variant(transposed=True)]
    found = predict_variants(lambda seen: torch.full((1, 3, 2, 4, 4), next(answers)), patches, variants, NEAREST, "min")
    assert set(found[0, 2, ..., 0].flatten().tolist()) == {3.0}
    assert set(found[0, 2, ..., 1:].flatten().tolist()) == {2.0}


def test_variants_are_different_and_undone():
    patch = torch.arange(2 * 3 * 4).reshape(2, 3, 4)
    seen = {(variant.shape((2, 3, 4)), tuple(variant.apply(patch).flatten().tolist())) for variant in ALL}
    assert len(seen) == 16
    for variant in ALL:
        assert tuple(variant.apply(patch).shape) == variant.shape((2, 3, 4))
        assert torch.equal(variant.undo(variant.apply(patch)), patch)
    for count in (1, 4, 8, 16):
        assert variants_of(count) == ALL[:count]
        assert variants_of(count)[0] == Variant()


@pytest.mark.parametrize(
    ("offsets", "count", "culprit"),
    [
        ((*NEAREST, (0, 3, 0)), 8, r"\[0, 3, 0\]"),
        ((*NEAREST, (0, 1, 1)), 4, r"\[0, 1, 1\]"),
        ((*NEAREST, (1, 2, 0), (1, -2, 0)), 8, r"\[1, 2, 0\]"),
    ],
)
def test_channels_that_have_no_counterpart_are_refused(offsets, count, culprit, patches):
    with pytest.raises(AffinityError, match=f"none for {culprit}.*fewer variants"):
        predict_variants(equivariant(offsets), patches, variants_of(count), offsets, "mean")
