"""The contact graph of a region of a run, as a networkx graph: for people who want to look.

1. `_inside`: the fragments with a voxel in the box.
2. `_follow_links`: all fragments of the supervoxels that these belong to, wherever they lie, and their links.
3. `_supervoxels`: the supervoxel of each of them.
4. `_sizes` and `_contacts`: what the tables of their blocks, and of the faces between these, say of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..pipeline.errors import RequestError
from ..pipeline.geometry import BlockGrid, Box, Octree, Triple, triple
from ..pipeline.volumes import open_volume
from ..tasks import records
from ..tasks.assign import segments_of
from .finished import RECIPE, check_segmentation
from .recipe import load
from .segmentation import Places

if TYPE_CHECKING:
    import networkx

Ids = npt.NDArray[np.uint64]
Face = tuple[int, Triple]  # axis, and the block behind it


@dataclass(frozen=True)
class _Run:
    grid: BlockGrid
    places: Places


def contact_graph(run: str | Path, box: Box | Sequence[Sequence[int]]) -> networkx.Graph:
    """The supervoxels that touch a box, and the contacts between them.

    Memory is proportional to the box and to the blocks that its supervoxels reach into; of these only tables are read.

        >>> graph = petavox.contact_graph("runs/recipe", ((0, 0, 0), (32, 256, 256)))
        >>> sorted(graph.edges(data="affinity"), key=lambda edge: -edge[2])[:10]  # the strongest contacts

    Args:
        run: a run directory with a finished segmentation, or that of a cut.
        box: in voxels: first (z, y, x) and end (z, y, x), the end exclusive; inside the volume, and not empty.

    Returns:
        A node a supervoxel, named by its canonical id: `size` in voxels, `segment` (0: dust), and `voxel`, its first
        voxel (z, y, x). An edge a contact: `sum` of affinities from 0 to 255, `count` of voxel edges, and `affinity`,
        the mean from 0 to 1. Sizes and contacts are those of the whole volume, not of the box alone.

    Raises:
        RequestError: this is no run, its segmentation is not done, or the box is empty or leaves the volume.
        TableError: a table is missing or damaged.
    """
    import networkx

    opened, wanted = _open(Path(run).absolute()), box if isinstance(box, Box) else Box(*map(triple, box))
    if wanted.is_empty or not Box.of_shape(opened.grid.volume).contains(wanted):
        raise RequestError(
            f"The box must lie inside the volume and hold a voxel: {run} is {Box.of_shape(opened.grid.volume)}, the box"
            f" is {wanted}."
        )
    inside = _inside(opened, wanted)
    fragments, faces, links = _follow_links(opened, inside)
    supervoxels = _supervoxels(fragments, links)
    blocks = _blocks(opened.grid, fragments)

    graph = networkx.Graph()
    for supervoxel in np.unique(supervoxels).tolist():
        z, y, x = np.unravel_index(supervoxel - 1, opened.grid.volume)
        graph.add_node(supervoxel, size=0, segment=0, voxel=(int(z), int(y), int(x)))
    name = dict(zip(fragments.tolist(), supervoxels.tolist(), strict=True))
    for fragment, size in _sizes(opened, blocks, fragments):
        graph.nodes[name[fragment]]["size"] += size
    for fragment, segment in _segments(opened, _blocks(opened.grid, inside), fragments):
        graph.nodes[name[fragment]]["segment"] = segment
    for a, b, total, count in _contacts(opened, blocks, faces, fragments):
        if name[a] != name[b]:
            known = graph.get_edge_data(name[a], name[b], {"sum": 0, "count": 0})
            graph.add_edge(name[a], name[b], sum=known["sum"] + total, count=known["count"] + count)
    for _, _, contact in graph.edges(data=True):
        contact["affinity"] = contact["sum"] / contact["count"] / 255
    return graph


def _open(directory: Path) -> _Run:
    check_segmentation(directory)
    recipe = load(directory / RECIPE)
    places = Places.of(recipe, directory)
    return _Run(BlockGrid(open_volume(places.fragments).spec.shape, recipe.blocks.shape), places)


def _inside(run: _Run, box: Box) -> Ids:
    """The ids of the fragments with a voxel in a box."""
    volume = open_volume(run.places.fragments)
    found = [np.empty(0, np.uint64)]
    for index in run.grid.touching(box):
        labels = np.unique(volume.read(run.grid.box(index).intersect(box)))
        ids = records.read_block_columns(run.places.leaves, index, ["id"])["id"]
        found.append(ids[labels[labels > 0].astype(np.int64) - 1])
    return np.concatenate(found)


def _follow_links(run: _Run, fragments: Ids) -> tuple[Ids, set[Face], Ids]:
    """All that fragments are linked to, these included and increasing; the faces looked at; and the links, (n, 2)."""
    faces: set[Face] = set()
    links = np.empty((0, 2), np.uint64)
    reached = new = np.unique(fragments)
    while len(new):
        around = {face for block in _blocks(run.grid, new) for face in _faces(run.grid, block)}
        found = [_links(run, face, new) for face in around]
        faces |= around
        links = np.concatenate([links, *found])
        new = np.setdiff1d(links, reached)
        reached = np.union1d(reached, new)
    return reached, faces, links


def _links(run: _Run, face: Face, fragments: Ids) -> Ids:
    """The links through a face that have some fragments at one end or both, (n, 2)."""
    axis, behind = face
    table = records.read_face(run.places.leaves, behind, axis, levels=0)
    pairs = np.stack([table.link_a, table.link_b], axis=1)
    among: Ids = pairs[np.isin(pairs, fragments).any(axis=1)]
    return among


def _supervoxels(fragments: Ids, links: Ids) -> Ids:
    """For each fragment the smallest one that it is linked to, over any number of links."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b = np.searchsorted(fragments, links).T
    graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(len(fragments), len(fragments)))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    smallest: Ids = fragments[first][component]
    return smallest


def _sizes(run: _Run, blocks: Sequence[Triple], fragments: Ids) -> Iterator[tuple[int, ...]]:
    """(fragment, voxels) of those of some fragments that lie in some blocks."""
    for block in blocks:
        ids, sizes = records.read_block_columns(run.places.leaves, block, ["id", "size"]).values()
        wanted = np.isin(ids, fragments)
        yield from _rows(ids[wanted], sizes[wanted])


def _segments(run: _Run, blocks: Sequence[Triple], fragments: Ids) -> Iterator[tuple[int, ...]]:
    """(fragment, segment) of those of some fragments that lie in some blocks."""
    for block in blocks:
        ids, segments = segments_of(run.places.tables, Octree(run.grid.shape), 0, block)
        wanted = np.isin(ids, fragments)
        yield from _rows(ids[wanted], segments[wanted])


def _contacts(run: _Run, blocks: Sequence[Triple], faces: set[Face], fragments: Ids) -> Iterator[tuple[int, ...]]:
    """(fragment, fragment, sum, count) of every contact between two of some fragments."""
    names = ["id", *(f"contact_{name}" for name in ("a", "b", "sum", "count"))]
    for block in blocks:
        ids, a, b, total, count = records.read_block_columns(run.places.leaves, block, names).values()
        wanted = np.isin(ids, fragments)
        both = wanted[a] & wanted[b]
        yield from _rows(ids[a[both]], ids[b[both]], total[both], count[both])
    for axis, behind in faces:
        face = records.read_face(run.places.leaves, behind, axis, levels=0)
        both = np.isin(face.a, fragments) & np.isin(face.b, fragments)
        yield from _rows(face.a[both], face.b[both], face.sum[both], face.count[both])


def _rows(*columns: npt.NDArray[Any]) -> Iterator[tuple[int, ...]]:
    return zip(*(column.tolist() for column in columns), strict=True)


def _blocks(grid: BlockGrid, fragments: Ids) -> list[Triple]:
    """The blocks in which fragments lie; an id tells its first voxel."""
    voxels = np.unravel_index(fragments.astype(np.int64) - 1, grid.volume)
    indices = np.stack([place // length for place, length in zip(voxels, grid.block, strict=True)], axis=1)
    return [triple(index) for index in np.unique(indices, axis=0).tolist()]


def _faces(grid: BlockGrid, block: Triple) -> Iterator[Face]:
    """The faces between a block and those around it."""
    for axis in range(3):
        if block[axis] > 0:
            yield axis, block
        if block[axis] + 1 < grid.shape[axis]:
            yield axis, triple([i + (k == axis) for k, i in enumerate(block)])
