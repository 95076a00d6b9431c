"""The contact graph of a region of a run, as a networkx graph: for people who want to look.

1. `_inside`: which nodes of which blocks have a voxel in the box.
2. `_grown`: the graph of these blocks, and of others around them until the supervoxels of the box are whole.
3. `_together`: the graph of some blocks, as the octree would join them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...pipeline.agglomeration.block_graph import FACES
from ...pipeline.agglomeration.contacts import Contacts, Int64s
from ...pipeline.agglomeration.greedy_merging import Bools, Merges
from ...pipeline.agglomeration.octree_node import Ids, Region, decide, look_up
from ...pipeline.agglomeration.small_supervoxels import JoinRule, join_small, linked
from ...pipeline.errors import RequestError
from ...pipeline.geometry import BlockGrid, Box, Octree, Triple, triple
from ...pipeline.volumes import open_volume
from ...tasks import block_tables
from ...tasks.agglomerate import region_of_block
from ...tasks.assign import block_across, homes_of_leaf, segments_of
from ..recipes.segmentation_recipe import load
from ..run_directory.affinities import region_of
from ..run_directory.checks import check_segmentation
from ..run_directory.layout import RECIPE
from ..stages.places import Places

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True)
class _Run:
    grid: BlockGrid
    places: Places
    rule: JoinRule


@dataclass(frozen=True)
class _Graph:
    """Supervoxels of some blocks: their nodes by id, the supervoxel of each; and the graph of these."""

    given: Ids
    supervoxels: Ids
    region: Region


def contact_graph(run: str | Path, box: Box | Sequence[Sequence[int]]) -> networkx.Graph:
    """Returns the supervoxels that touch a box, once small ones have joined, and the contacts between them.

    Memory is proportional to the box and to the blocks that its supervoxels reach or touch; of these only tables are
    read.

        >>> graph = petavox.contact_graph("runs/recipe", ((0, 0, 0), (8, 64, 64)))
        >>> strongest = sorted(graph.edges(data="affinity"), key=lambda edge: -edge[2])[:10]
        >>> 0 < strongest[0][2] <= 1
        True

    Args:
        run: a run directory with a finished segmentation, or that of a cut.
        box: in voxels: first (z, y, x) and end (z, y, x), the end exclusive; inside the volume, and not empty.

    Returns:
        A node a supervoxel, named by its canonical id: `size` in voxels, `segment` (0: dust), and `voxel`, its first
        voxel (z, y, x). An edge a contact: `sum` of affinities from 0 to 255, `count` of voxel edges, and `affinity`,
        the mean from 0 to 1. Sizes and contacts are those of the whole volume, not of the box alone. A supervoxel that
        stays small has no contacts.

    Raises:
        RequestError: this is no run, its segmentation is not done, or the box is empty or leaves the volume.
        TableError: a table is missing or damaged.
    """
    import networkx

    opened, wanted = _open(Path(run).absolute()), box if isinstance(box, Box) else Box(*map(triple, box))
    if wanted.is_empty or not opened.grid.covered.contains(wanted):
        raise RequestError(
            f"The box must lie inside what was segmented and hold a voxel: {run} is {opened.grid.covered}, the box is"
            f" {wanted}."
        )
    blocks, segments = _inside(opened, wanted)
    inside = np.array(sorted(segments), dtype=np.uint64)
    found = _grown(opened, blocks, inside)
    supervoxels = look_up(inside, found.given, found.supervoxels)

    graph = networkx.Graph()
    region, sizes = found.region, dict(zip(found.region.ids.tolist(), found.region.sizes.tolist(), strict=True))
    for node, supervoxel in zip(inside.tolist(), supervoxels.tolist(), strict=True):
        z, y, x = np.unravel_index(supervoxel - 1, opened.grid.volume)
        voxel = (int(z), int(y), int(x))
        graph.add_node(supervoxel, size=sizes[supervoxel], segment=segments[node], voxel=voxel)
    shown = np.isin(region.ids, supervoxels)
    contacts = region.contacts.select(shown[region.contacts.a] & shown[region.contacts.b])
    columns = region.ids[contacts.a], region.ids[contacts.b], contacts.sum, contacts.count
    for a, b, total, count in zip(*(column.tolist() for column in columns), strict=True):
        graph.add_edge(a, b, sum=total, count=count, affinity=total / count / 255)
    return graph


def _open(directory: Path) -> _Run:
    check_segmentation(directory)
    recipe = load(directory / RECIPE)
    places = Places.of(recipe, directory)
    wanted = recipe.supervoxels
    rule = JoinRule.parse(wanted.join_size, wanted.join_affinity)
    grid = BlockGrid(open_volume(places.fragments).spec.shape, recipe.blocks.shape, region_of(recipe))
    return _Run(grid, places, rule)


def _inside(run: _Run, box: Box) -> tuple[set[Triple], dict[int, int]]:
    """The blocks whose regions have nodes with a voxel in a box, and the segment of each of these nodes, by id."""
    volume, octree = open_volume(run.places.fragments), Octree(run.grid)
    blocks: set[Triple] = set()
    found: dict[int, int] = {}
    for index in run.grid.touching(box):
        labels = np.unique(volume.read(run.grid.box(index).intersect(box)))
        for block, clusters, nodes in homes_of_leaf(run.places.tables, index):
            wanted = nodes[np.isin(clusters + 1, labels)]
            if len(wanted):
                ids, segments = segments_of(run.places.tables, octree, 0, block)
                found.update(zip(ids[wanted].tolist(), segments[wanted].tolist(), strict=True))
                blocks.add(block)
    return blocks, found


def _grown(run: _Run, blocks: set[Triple], inside: Ids) -> _Graph:
    """The graph of so many blocks that it has all there is to know of the supervoxels of some nodes."""
    regions: dict[Triple, Region] = {}
    while True:
        for block in blocks - regions.keys():
            regions[block], _ = region_of_block(run.places.leaves, run.grid.shape, block, levels=0)
        graph = _together(run, regions)
        region = graph.region
        wanted = _needed(region, np.isin(region.ids, look_up(inside, graph.given, graph.supervoxels)), run.rule)
        reaching = wanted[region.clusters]
        ends = zip(_blocks(run.grid, region.fragments[reaching]), region.faces[reaching].tolist(), strict=True)
        around = {block_across(block, face) for block, faces in ends for face in FACES if face & faces}
        if not around:
            return graph
        blocks = blocks | around


def _together(run: _Run, regions: Mapping[Triple, Region]) -> _Graph:
    """The graph of some blocks, joined as far as these know."""
    parts, faces = [], []
    for block, region in regions.items():
        there = {face for face in FACES if block_across(block, face) in regions}
        parts.append(region.with_faces(sum(set(FACES) - there)))
        axes = [axis for axis in range(3) if FACES[2 * axis] in there]
        faces += [block_tables.read_face(run.places.leaves, block, axis, levels=0) for axis in axes]
    decision = decide(parts, faces, run.rule, _pass_up)
    return _Graph(decision.given, decision.target, decision.residual)


def _pass_up(contacts: Contacts, sizes: Int64s, is_open: Bools, unsure: Bools) -> Merges:
    """Merge nothing, decide nothing."""
    nodes, none = np.arange(len(sizes)), np.empty(0, dtype=np.int64)
    return Merges(nodes, np.ones(len(sizes), dtype=np.bool_), nodes, none, none, none, none)


def _needed(region: Region, wanted: Bools, rule: JoinRule) -> Bools:
    """Some nodes, and all small ones that may still join them."""
    contacts = region.contacts
    unsure = join_small(contacts, region.sizes, region.open_faces(), rule).unsure != 0
    both = unsure[contacts.a] & unsure[contacts.b]
    chain = linked(contacts.a[both], contacts.b[both], len(wanted))
    near = wanted.copy()
    near[contacts.a[wanted[contacts.b]]] = True
    near[contacts.b[wanted[contacts.a]]] = True
    needed: Bools = wanted | (unsure & np.isin(chain, chain[near & unsure]))
    return needed


def _blocks(grid: BlockGrid, clusters: Ids) -> Iterable[Triple]:
    """The block of each of some clusters of leaves, whose ids tell their first voxel there."""
    voxels = np.unravel_index(clusters.astype(np.int64) - 1, grid.volume)
    axes = zip(voxels, grid.block, grid.first, strict=True)
    indices = np.stack([place // length - first for place, length, first in axes], axis=1)
    return map(triple, indices.tolist())
