"""The tables that the stages of a segmentation leave for one another: where they lie and what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..pipeline import tables
from ..pipeline.agglomeration.contacts import Contacts
from ..pipeline.agglomeration.regions import Decision, FaceTable, Ids, Region
from ..pipeline.geometry import Triple
from .pieces import Table

CONTACT = ("a", "b", "sum", "count", "best")


def path(directory: str, stage: str, index: Triple) -> Path:
    """Where a stage keeps the table of one task; a folder a row keeps folders small."""
    z, y, x = index
    return Path(directory) / stage / str(z) / str(y) / f"{x}.parquet"


def pieces(directory: str, stage: str, index: Triple) -> tuple[Table]:
    """The table of one task of a stage."""
    return (Table(str(path(directory, stage, index))),)


def write_block(directory: str, index: Triple, region: Region, planes: tables.Arrays) -> tables.Written:
    """The fragments of a block: their graph, and the planes at its faces."""
    return tables.write(path(directory, "supervoxels", index), {**_region_arrays(region), **planes})


def read_block_region(directory: str, index: Triple, levels: int) -> Region:
    return _region(tables.read(path(directory, "supervoxels", index), _REGION), levels)


def read_block_columns(directory: str, index: Triple, names: list[str]) -> tables.Arrays:
    return tables.read(path(directory, "supervoxels", index), names)


def write_faces(directory: str, index: Triple, faces: dict[int, FaceTable]) -> tables.Written:
    """The faces between a block and those before it, by axis."""
    arrays = {
        f"{name}{axis}": getattr(face, name).ravel()
        for axis, face in faces.items()
        for name in FaceTable.__annotations__
    }
    return tables.write(path(directory, "faces", index), arrays)


def read_face(directory: str, index: Triple, axis: int, levels: int) -> FaceTable:
    """The face between a block and the one before it along an axis; `levels` of its histograms, 0 to leave them out."""
    names = tuple(FaceTable.__annotations__)
    arrays = tables.read(path(directory, "faces", index), [f"{name}{axis}" for name in names])
    columns = {name: arrays[f"{name}{axis}"] for name in names}
    columns["histogram"] = _histogram(columns["histogram"], len(columns["a"]), levels)
    return FaceTable(**columns)


def write_decision(directory: str, level: int, index: Triple, decision: Decision) -> tables.Written:
    """What an octree node decided."""
    columns: tables.Arrays = {
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
    return tables.write(
        path(directory, f"agglomerate-{level}", index), {**columns, **_region_arrays(decision.residual)}
    )


def read_residual(directory: str, level: int, index: Triple, levels: int) -> Region:
    """What an octree node passed up; `levels` of its histograms."""
    return _region(tables.read(path(directory, f"agglomerate-{level}", index), _REGION), levels)


@dataclass(frozen=True)
class Targets:
    """What became of the clusters that an octree node had been given, as far as the node knows; see `Decision`."""

    given: Ids
    target: Ids
    final: npt.NDArray[np.bool_]


def read_targets(directory: str, level: int, index: Triple) -> Targets:
    arrays = tables.read(path(directory, f"agglomerate-{level}", index), ("given", "target", "final"))
    return Targets(arrays["given"], arrays["target"], arrays["final"])


def write_assignment(directory: str, level: int, index: Triple, given: Ids, segments: Ids) -> tables.Written:
    """The segment of every cluster that an octree node had been given."""
    return tables.write(path(directory, f"assign-{level}", index), {"given": given, "segment": segments})


def read_assignment(directory: str, level: int, index: Triple) -> tuple[Ids, Ids]:
    arrays = tables.read(path(directory, f"assign-{level}", index), ("given", "segment"))
    return arrays["given"], arrays["segment"]


_REGION = (
    "id", "name", "size", *(f"contact_{name}" for name in CONTACT), "contact_histogram", "fragment", "cluster", "faces",
)  # fmt: skip


def _region_arrays(region: Region) -> tables.Arrays:
    return {
        "id": region.ids,
        "name": region.names,
        "size": region.sizes,
        **{f"contact_{name}": getattr(region.contacts, name) for name in CONTACT},
        "contact_histogram": region.contacts.histogram.ravel(),
        "fragment": region.fragments,
        "cluster": region.clusters,
        "faces": region.faces,
    }


def _region(arrays: tables.Arrays, levels: int) -> Region:
    columns = {name: arrays[f"contact_{name}"] for name in CONTACT}
    contacts = Contacts(**columns, histogram=_histogram(arrays["contact_histogram"], len(columns["a"]), levels))
    fragments = (arrays[name] for name in ("fragment", "cluster", "faces"))
    return Region(arrays["id"], arrays["name"], arrays["size"], contacts, *fragments)


def _histogram(stored: npt.NDArray[np.uint32], contacts: int, levels: int) -> npt.NDArray[np.uint32]:
    """The histograms of some contacts; a linkage that needs none starts from tables that have them."""
    return stored.reshape(contacts, levels) if levels else np.empty((contacts, 0), np.uint32)
