"""The tables that the stages of a segmentation leave for one another: where they lie and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..pipeline import tables
from ..pipeline.agglomeration.block_graph import Leaf, Placement, Share
from ..pipeline.agglomeration.contacts import Contacts
from ..pipeline.agglomeration.octree_node import Decision, FaceTable, Ids, Region
from ..pipeline.agglomeration.seams import Seam, Side
from ..pipeline.geometry import Triple
from ..pipeline.locations import joined
from ..pipeline.tables import Arrays
from .contract import at_level
from .outputs import Table


def path(directory: str, stage: str, index: Triple) -> str:
    """Returns the path of the table of one task; a folder for each row of blocks keeps folders small."""
    z, y, x = index
    return joined(directory, stage, str(z), str(y), f"{x}.parquet")


def pieces(directory: str, stage: str, index: Triple) -> tuple[Table]:
    """Names the table of one task of a stage as a piece of storage."""
    return (Table(path(directory, stage, index)),)


def write_leaf(directory: str, index: Triple, leaf: Leaf, planes: Arrays, labels: int) -> tables.Written:
    """Writes the graph of a block, the planes at its faces, and the checksum of its labels in the fragments volume."""
    graph: Arrays = {"id": leaf.ids, "size": leaf.sizes, "unsure": leaf.unsure, "labels": np.array([labels], np.uint32)}
    rims = [_contact_arrays(f"rim{face}", contacts) for face, contacts in leaf.rims.items()]
    parts = [graph, _contact_arrays("core", leaf.core), *rims, planes]
    return tables.write(path(directory, "supervoxels", index), {k: v for part in parts for k, v in part.items()})


def read_leaf(directory: str, index: Triple, levels: int) -> Leaf:
    """Reads the graph of a block without its rims; `levels` of its histograms, 0 to leave them out."""
    columns = (*_CLUSTER, *_contact_columns("core", levels))
    arrays = tables.read(path(directory, "supervoxels", index), columns)
    return Leaf(arrays["id"], arrays["size"], arrays["unsure"], _contacts(arrays, "core", levels), {})


def read_side(directory: str, index: Triple, face: int, levels: int, planes: Sequence[str]) -> tuple[Side, Arrays]:
    """Reads the part of a block's graph that a seam needs, and some of its planes."""
    columns = (*_CLUSTER, *_contact_columns(f"rim{face}", levels), *planes)
    arrays = tables.read(path(directory, "supervoxels", index), columns)
    rim = _contacts(arrays, f"rim{face}", levels)
    return Side(arrays["id"], arrays["size"], arrays["unsure"], rim, face), arrays


def read_block_columns(directory: str, index: Triple, names: Sequence[str]) -> Arrays:
    return tables.read(path(directory, "supervoxels", index), names)


def read_checksum_of_labels(directory: str, index: Triple) -> int:
    """Reads the checksum of a block of the fragments volume, as its task wrote it."""
    (checksum,) = read_block_columns(directory, index, ["labels"])["labels"].tolist()
    return int(checksum)


def write_seams(directory: str, index: Triple, seams: dict[int, Seam]) -> tables.Written:
    """Writes the seams between a block and those before it, by axis."""
    arrays: Arrays = {}
    for axis, seam in seams.items():
        for name in FaceTable.__annotations__:
            arrays[f"{name}{axis}"] = getattr(seam.face, name).ravel()
        for side, share in (("before", seam.before), ("behind", seam.behind)):
            arrays |= {f"{side}{axis}_{column}": getattr(share, name) for name, column in _SHARE.items()}
            arrays |= _contact_arrays(f"{side}{axis}", share.contacts)
    return tables.write(path(directory, "faces", index), arrays)


def read_face(directory: str, index: Triple, axis: int, levels: int) -> FaceTable:
    """Reads the face between a block and the one before it along an axis; `levels` of its histograms, 0: none."""
    names = [name for name in FaceTable.__annotations__ if levels or name != "histogram"]
    arrays = tables.read(path(directory, "faces", index), [f"{name}{axis}" for name in names])
    columns = {name: arrays[f"{name}{axis}"] for name in names}
    columns["histogram"] = _histogram(columns.get("histogram"), len(columns["a"]), levels)
    return FaceTable(**columns)


def read_share(directory: str, index: Triple, axis: int, side: Literal["before", "behind"], levels: int) -> Share:
    """Reads the decisions that the seam between a block and the one before it made for one of the two."""
    prefix = f"{side}{axis}"
    columns = (*(f"{prefix}_{column}" for column in _SHARE.values()), *_contact_columns(prefix, levels))
    arrays = tables.read(path(directory, "faces", index), columns)
    fields = {name: arrays[f"{prefix}_{column}"] for name, column in _SHARE.items()}
    return Share(**fields, contacts=_contacts(arrays, prefix, levels))


def write_decision(
    directory: str, level: int, index: Triple, decision: Decision, placement: Placement | None = None
) -> tables.Written:
    """Writes the decisions of an octree node; of a block, also where the clusters of its leaf are."""
    columns: Arrays = {
        "given": decision.given,
        "target": decision.target,
        "final": decision.final,
        "linked_from": decision.linked[:, 0],
        "linked_to": decision.linked[:, 1],
        "merge_a": decision.merges[:, 0],
        "merge_b": decision.merges[:, 1],
        "merge_score": decision.merge_score,
        "merge_scale": decision.merge_scale,
        "segment": decision.segments,
        "segment_size": decision.segment_sizes,
    }
    if placement is not None:
        columns |= {column: getattr(placement, name) for name, column in _PLACEMENT.items()}
    return tables.write(
        path(directory, at_level("agglomerate", level), index), {**columns, **_region_arrays(decision.residual)}
    )


def read_placement(directory: str, index: Triple) -> Placement:
    """Reads where the clusters of a block's leaf are."""
    arrays = tables.read(path(directory, at_level("agglomerate", 0), index), tuple(_PLACEMENT.values()))
    fields = {name: arrays[column] for name, column in _PLACEMENT.items()}
    return Placement(**fields, pairs=np.empty((0, 2), np.uint64))


def read_residual(directory: str, level: int, index: Triple, levels: int) -> Region:
    """Reads the graph that an octree node passed up; `levels` of its histograms."""
    columns = (*_REGION, *_contact_columns("contact", levels))
    arrays = tables.read(path(directory, at_level("agglomerate", level), index), columns)
    ends = (arrays[name] for name in ("fragment", "cluster", "faces"))
    return Region(arrays["id"], arrays["name"], arrays["size"], _contacts(arrays, "contact", levels), *ends)


@dataclass(frozen=True)
class Targets:
    """Says where the clusters that an octree node was given have gone, as far as the node knows; see `Decision`."""

    given: Ids
    target: Ids
    final: npt.NDArray[np.bool_]


def read_targets(directory: str, level: int, index: Triple) -> Targets:
    arrays = tables.read(path(directory, at_level("agglomerate", level), index), ("given", "target", "final"))
    return Targets(arrays["given"], arrays["target"], arrays["final"])


def write_assignment(directory: str, level: int, index: Triple, given: Ids, segments: Ids) -> tables.Written:
    """Writes the segment of every cluster that an octree node had been given."""
    return tables.write(path(directory, at_level("assign", level), index), {"given": given, "segment": segments})


def read_assignment(directory: str, level: int, index: Triple) -> tuple[Ids, Ids]:
    arrays = tables.read(path(directory, at_level("assign", level), index), ("given", "segment"))
    return arrays["given"], arrays["segment"]


_CLUSTER = ("id", "size", "unsure")
# Fields, and the columns that stored tables have of them.
_SHARE = {
    "joined": "joined",
    "into": "into",
    "moved_out": "gone",
    "moved_out_to": "gone_to",
    "moved_in": "taker",
    "moved_in_ids": "taken_ids",
    "moved_in_sizes": "taken_sizes",
    "ends": "ends",
}
_PLACEMENT = {"place": "place", "moved_face": "gone_face", "moved_to": "gone_to"}
_REGION = ("id", "name", "size", "fragment", "cluster", "faces")


def _region_arrays(region: Region) -> Arrays:
    return {
        "id": region.ids,
        "name": region.names,
        "size": region.sizes,
        **_contact_arrays("contact", region.contacts),
        "fragment": region.fragments,
        "cluster": region.clusters,
        "faces": region.faces,
    }


def _contact_arrays(prefix: str, contacts: Contacts) -> Arrays:
    return {f"{prefix}_{name}": getattr(contacts, name).ravel() for name in Contacts.__annotations__}


def _contact_columns(prefix: str, levels: int) -> tuple[str, ...]:
    return tuple(f"{prefix}_{name}" for name in Contacts.__annotations__ if levels or name != "histogram")


def _contacts(arrays: Arrays, prefix: str, levels: int) -> Contacts:
    columns = {name: arrays[f"{prefix}_{name}"] for name in Contacts.__annotations__ if name != "histogram"}
    stored = arrays.get(f"{prefix}_histogram")
    return Contacts(**columns, histogram=_histogram(stored, len(columns["a"]), levels))


def _histogram(stored: npt.NDArray[np.uint32] | None, contacts: int, levels: int) -> npt.NDArray[np.uint32]:
    """The histograms of some contacts; a linkage that needs none starts from tables that have them."""
    return np.empty((contacts, 0), np.uint32) if stored is None else stored.reshape(contacts, levels)
