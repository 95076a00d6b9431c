"""What multicut over blocks loses against a solve of the whole graph.

    python -m benchmarks.kernels.multicut AFFINITIES [--shape Z Y X] [--block Z Y X …] [--solver NAME] [--out FILE]

Builds the contact graph of a volume, or of the box of a given shape at its origin, in memory; solves it as a whole with
bioimage-cpp; and again up the octree over blocks of several shapes. Prints energies (negative: less is better), the gap
to the whole solve as a share of its energy, and seconds; JSON with --out. Most of an energy comes from contacts that
nobody would join, so a stricter measure stands beside it: the share that is lost of what the whole solve gains over
joining nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from petavox.pipeline.agglomeration.block_graph import Leaf, Placement, as_region, grow_leaf
from petavox.pipeline.agglomeration.contacts import Contacts, face_contacts, interior_contacts
from petavox.pipeline.agglomeration.greedy_merging import Merges
from petavox.pipeline.agglomeration.multicut import energy, merge_multicut, solve
from petavox.pipeline.agglomeration.octree_node import ALL_FACES, Decision, FaceTable, Region, decide, face_bit, look_up
from petavox.pipeline.agglomeration.rules import MulticutRule
from petavox.pipeline.agglomeration.seams import Seam, Side, sew
from petavox.pipeline.agglomeration.small_supervoxels import JoinRule
from petavox.pipeline.geometry import BlockGrid, Box, Octree, Triple, triple
from petavox.pipeline.segmentation.supervoxels import Fragments, halo_box, label_fragments
from petavox.pipeline.thresholds import Threshold
from petavox.pipeline.volumes import open_volume

NONE_JOIN = JoinRule()
BLOCKS = ("64 512 512", "64 256 256", "32 256 256", "32 128 128", "16 64 64")


def step(index: Triple, axis: int, by: int) -> Triple:
    return triple([i + by * (k == axis) for k, i in enumerate(index)])


class Blockwise:
    """Agglomeration of a volume in memory over blocks of one shape."""

    def __init__(self, affinities: np.ndarray, block: Triple, thresholds: tuple[Threshold, Threshold], rule):
        self.affinities, self.rule = affinities, rule
        self.volume = triple(affinities.shape[1:])
        self.grid = BlockGrid(self.volume, block)
        self.octree = Octree(self.grid)
        self.blocks = {index: self._fragments(index, thresholds) for index in self.grid.indices()}
        self.largest = 0  # contacts given to one node above the leaves
        self.leaves = {index: self._leaf(index) for index in self.grid.indices()}
        faces = [(axis, index) for axis in range(3) for index in self.grid.indices() if index[axis] > 0]
        self.seams = {face: self._seam(*face) for face in faces}
        self.regions = {index: self._region(index) for index in self.grid.indices()}

    def _fragments(self, index: Triple, thresholds: tuple[Threshold, Threshold]) -> Fragments:
        box = self.grid.box(index)
        outer = np.ascontiguousarray(self.affinities[:, *halo_box(box, self.volume).slices()])
        return label_fragments(outer, box, self.volume, *thresholds)

    def _leaf(self, index: Triple) -> Leaf:
        box, found = self.grid.box(index), self.blocks[index]
        contacts = interior_contacts(found.labels, self.affinities[:, *box.slices()], box, self.volume)
        faces = np.zeros(len(found.ids) + 1, np.uint8)
        for axis in range(3):
            for above in (False, True):
                if (box.stop[axis] < self.volume[axis]) if above else (box.start[axis] > 0):
                    faces[np.unique(np.take(found.labels, -above, axis))] |= face_bit(axis, above)
        return grow_leaf(found.ids, found.sizes.astype(np.int64), contacts, faces[1:], NONE_JOIN)[0]

    def _seam(self, axis: int, index: Triple) -> Seam:
        box, before, behind = self.grid.box(index), step(index, axis, -1), self.blocks[index]
        contacts, links = face_contacts(
            np.take(self.blocks[before].labels, -1, axis),
            np.take(behind.labels, 0, axis),
            np.take(self.affinities[axis][box.slices()], 0, axis),
            behind.crossing[axis],
            box.start,
            self.volume,
            axis,
        )
        sides = self._side(before, face_bit(axis, True)), self._side(index, face_bit(axis, False))
        return sew(*sides, contacts, links, NONE_JOIN)

    def _side(self, index: Triple, face: int) -> Side:
        leaf = self.leaves[index]
        return Side(leaf.ids, leaf.sizes, leaf.unsure, leaf.rims.get(face, Contacts.empty()), face)

    def _region(self, index: Triple) -> tuple[Region, Placement]:
        shares = {}
        for axis in range(3):
            if index[axis] > 0:
                shares[face_bit(axis, False)] = self.seams[axis, index].behind
            if index[axis] + 1 < self.grid.shape[axis]:
                shares[face_bit(axis, True)] = self.seams[axis, step(index, axis, 1)].before
        return as_region(self.leaves[index], shares)

    def _child(self, level: int, child: Triple) -> Region:
        still_open = ALL_FACES
        for axis, above in self.octree.siblings(level - 1, child):
            still_open &= ~face_bit(axis, above)
        return self.decisions[level - 1, child].residual.with_faces(still_open)

    def _merge(self, contacts: Contacts, *nodes: np.ndarray) -> Merges:
        self.largest = max(self.largest, len(contacts))
        return merge_multicut(contacts, *nodes, self.rule)

    def _decide(self, parts: list[Region], faces: list[FaceTable]) -> Decision:
        return decide(parts, faces, NONE_JOIN, self._merge)

    def run(self) -> None:
        """Decide every node of the octree, from the leaves to the root."""
        self.decisions: dict[tuple[int, Triple], Decision] = {}
        for index, (region, _) in self.regions.items():
            self.decisions[0, index] = self._decide([region], [])
        self.largest = 0
        for level in range(1, self.octree.height + 1):
            for node in BlockGrid(self.octree.shape(level), (1, 1, 1)).indices():
                parts = [self._child(level, child) for child in self.octree.children(level, node)]
                faces = [self.seams[face].face for face in self.octree.inner_faces(level, node)]
                self.decisions[level, node] = self._decide(parts, faces)

    def segments_of(self, ids: np.ndarray) -> np.ndarray:
        """The segments of supervoxels: a supervoxel has the id of its first fragment."""
        known, segments = [], []
        for index, (_, placement) in self.regions.items():
            known.append(self.blocks[index].ids)
            segments.append(self._assigned(0, index)[placement.place])
        order = np.argsort(np.concatenate(known))
        return look_up(ids, np.concatenate(known)[order], np.concatenate(segments)[order])

    def _assigned(self, level: int, node: Triple) -> np.ndarray:
        decision = self.decisions[level, node]
        result = decision.target.copy()
        if level < self.octree.height:
            parent = self.octree.parent(level, node)
            above = self.decisions[level + 1, parent].given
            waiting = ~decision.final
            result[waiting] = look_up(decision.target[waiting], above, self._assigned(level + 1, parent))
        return result


def row(name: str, found: float, whole: float, nothing: float, seconds: float, clusters: int, **more) -> dict:
    return {
        "solved": name,
        "energy": found,
        "gap": (found - whole) / abs(whole),
        "gain_lost": (found - whole) / (nothing - whole),
        "clusters": clusters,
        "seconds": round(seconds, 2),
        **more,
    }


def measure(affinities: np.ndarray, thresholds, rule: MulticutRule, blocks: list[Triple]) -> list[dict]:
    volume = triple(affinities.shape[1:])
    box = Box.of_shape(volume)
    fragments = label_fragments(affinities, box, volume, *thresholds)
    contacts: Contacts = interior_contacts(fragments.labels, affinities, box, volume)
    nothing = energy(contacts, np.arange(len(fragments.ids)), rule)
    started = time.perf_counter()
    labels = solve(contacts, len(fragments.ids), rule)
    whole = energy(contacts, labels, rule)
    seconds = time.perf_counter() - started
    size = {"nodes": len(fragments.ids), "contacts": len(contacts)}
    rows = [row("whole", whole, whole, nothing, seconds, len(np.unique(labels)), **size)]
    show(rows[-1])
    for block in blocks:
        blockwise = Blockwise(affinities, block, thresholds, rule)
        started = time.perf_counter()
        blockwise.run()
        seconds = time.perf_counter() - started
        segments = blockwise.segments_of(fragments.ids)
        found = energy(contacts, segments, rule)
        name = "×".join(map(str, block))
        size = {"blocks": len(blockwise.grid), "largest_given_contacts": blockwise.largest}
        rows.append(row(name, found, whole, nothing, seconds, len(np.unique(segments)), **size))
        show(rows[-1])
    return rows


def show(row: dict) -> None:
    print(
        f"{row['solved']:>12}  energy {row['energy']:>14.1f}  gap {100 * row['gap']:7.4f} %  gain lost "
        f"{100 * row['gain_lost']:7.4f} %  {row['clusters']:>8} clusters  {row['seconds']:>7.2f} s  "
        + "  ".join(f"{key} {row[key]}" for key in list(row)[6:]),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("affinities", type=Path)
    parser.add_argument("--shape", type=int, nargs=3, help="of the box at the origin; the whole volume unless given")
    parser.add_argument("--block", type=str, nargs="*", default=BLOCKS, help='such as "32 256 256"')
    parser.add_argument("--low", default="0.05")
    parser.add_argument("--high", default="0.95")
    parser.add_argument("--bias", type=float, default=MulticutRule.bias)
    parser.add_argument("--not-by-size", action="store_true")
    parser.add_argument("--solver", default=MulticutRule.solver)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    volume = open_volume(arguments.affinities)
    shape = triple(arguments.shape or volume.spec.shape)
    affinities = np.ascontiguousarray(volume.read(Box.of_shape(shape), slice(0, 3)))
    thresholds = Threshold.parse(arguments.low), Threshold.parse(arguments.high)
    rule = MulticutRule(arguments.bias, not arguments.not_by_size, arguments.solver)
    blocks = [triple([int(n) for n in block.split()]) for block in arguments.block]
    rows = measure(affinities, thresholds, rule, blocks)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
