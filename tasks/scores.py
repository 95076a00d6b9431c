"""The contingency tables of all blocks → scores.json."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

from ..pipeline.evaluation.contingency import total
from ..pipeline.evaluation.scores import Scores, score
from ..pipeline.files import write_text
from ..pipeline.geometry import Box, Triple
from . import contingency
from .contract import Density, Outcome, Resources, TaskConfig
from .outputs import File, Piece
from .work import Extent, Growth, Work

VERSION = 1


class Config(TaskConfig):
    """Configures the scores of a run.

    Args:
    contingency: the config of the tables.
    scores: path of the JSON file to write.
    """

    contingency: contingency.Config
    scores: str


def resources(config: Config, _: Density) -> Resources:
    """States four times the rows of the sum, for adding and sorting: 100 bytes, one pair in 500 scored voxels."""
    voxels = Box(config.contingency.start, config.contingency.stop).voxels
    return Resources(memory=4 * 100 * (1 << 16) + voxels * 4 // 5, grows_with="scored box")


def work(config: Config, _: Extent, __: Growth) -> Work:
    """Counts the tables of the blocks in the scored box, whose rows go by its voxels."""
    scored = Box(config.contingency.start, config.contingency.stop)
    blocks = zip(scored.start, scored.stop, config.contingency.block, strict=True)
    return Work(prod(-(-stop // side) - start // side for start, stop, side in blocks), scored.voxels)


def run(config: Config, index: Triple) -> Outcome:
    """Add the tables one by one and score the sum.

    Raises:
        VolumeError: nothing in the scored box has a truth label.
        TableError: a block's table is missing or damaged.
    """
    parts = (contingency.read_block(config.contingency, block) for block in contingency.blocks(config.contingency))
    table = total(parts)
    write(config.scores, score(table))
    return Outcome(voxels=table.scored, counts={"pairs": len(table)}, checksum=File(config.scores).checksum())


def pieces(config: Config, index: Triple) -> tuple[Piece, ...]:
    return (File(config.scores),)


def write(path: str | Path, scores: Scores) -> None:
    """Write scores as JSON, whole or not at all.

    Raises:
        StorageError: the file cannot be written.
    """
    write_text(path, json.dumps(scores.to_json(), indent=1) + "\n")


def read(path: str | Path) -> Scores:
    """Returns the scores in a file that `write` made."""
    return Scores.from_json(json.loads(Path(path).read_text()))
