"""How dense the graph of a volume's supervoxels will be, from samples: what a task's memory goes by."""

from __future__ import annotations

from ..pipeline.affinities.nearest import Channels, read_nearest
from ..pipeline.geometry import Box, triple
from ..pipeline.thresholds import Threshold
from ..pipeline.volumes import Volume
from ..tasks.contract import Density
from .recipe import Supervoxels

_SAMPLE = (32, 192, 192)


def sample_density(affinities: Volume, channels: Channels, wanted: Supervoxels) -> Density | None:
    """The densest of three places on the diagonal of a volume, by the watershed; None where all three are empty.

    Args:
        affinities: any size; at most 3.5 M voxels are read.
        channels: where the nearest neighbours lie in them.
        wanted: thresholds of the supervoxels.
    """
    from ..pipeline.agglomeration.contacts import interior_contacts
    from ..pipeline.segmentation.supervoxels import label_fragments

    volume = affinities.spec.shape
    shape = triple([min(v, s) for v, s in zip(volume, _SAMPLE, strict=True)])
    low, high = Threshold.parse(wanted.low, "low"), Threshold.parse(wanted.high, "high")
    fragments, contacts = 0, 0
    for quarter in (1, 2, 3):
        place = Box.of_shape(shape, [(v - s) * quarter // 4 for v, s in zip(volume, shape, strict=True)])
        grey = read_nearest(affinities.read, place, volume, channels, affinities.path)
        sample = Box.of_shape(shape)
        found = label_fragments(grey, sample, shape, low, high)
        fragments = max(fragments, len(found.ids))
        contacts = max(contacts, len(interior_contacts(found.labels, grey, sample, shape)))
    return Density(fragments / sample.voxels, contacts / sample.voxels) if fragments else None
