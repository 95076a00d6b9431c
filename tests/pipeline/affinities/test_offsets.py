import pytest

from petavox.pipeline.affinities.offsets import LONG_RANGE, NEAREST, check_offsets
from petavox.pipeline.errors import AffinityError


def test_nearest_neighbours_come_first_in_z_y_x_order():
    assert LONG_RANGE[:3] == NEAREST == ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert len(set(LONG_RANGE)) == 12


def test_offsets_that_begin_with_the_needed_ones_are_accepted():
    assert check_offsets([list(offset) for offset in LONG_RANGE]) == LONG_RANGE


@pytest.mark.parametrize(
    "found", [NEAREST[::-1], NEAREST[:2], ((-1, 0, 0), (0, -1, 0), (0, 0, -1))], ids=["x first", "no x", "other sign"]
)
def test_other_offsets_are_refused_naming_both(found):
    with pytest.raises(AffinityError, match=r"must have the offsets \[\(1, 0, 0\).*found"):
        check_offsets(found)
