"""The faces between a block and the three blocks before it → contacts and links across them, by fragment id."""

from __future__ import annotations

from ..pipeline.agglomeration.contacts import face_contacts
from ..pipeline.agglomeration.regions import FaceTable
from ..pipeline.geometry import BlockGrid, Triple
from . import records
from .contract import Density, Outcome, Resources, TaskConfig
from .pieces import Piece

VERSION = 2


class Config(TaskConfig):
    """Args:
    volume: shape of the volume.
    block: shape of a block.
    levels: of the contacts' histograms; 0 for none.
    tables: folder of the run's tables.
    """

    volume: Triple
    block: Triple
    levels: int = 0
    tables: str


def resources(config: Config, density: Density) -> Resources:
    """The ids of two blocks, the planes of the largest face, and the contacts and links through all three."""
    z, y, x = config.block
    contact = 200 + 12 * config.levels
    faces = density.face_fragments * contact * (z * y + z * x + y * x)
    return Resources(memory=round(density.fragments * 16 * z * y * x + 20 * max(z * y, z * x, y * x) + 2 * faces))


def run(config: Config, index: Triple) -> Outcome:
    faces = {axis: _face(config, index, axis) for axis in range(3) if index[axis] > 0}
    written = records.write_faces(config.tables, index, faces)
    return Outcome(
        counts={
            "face_contacts": sum(len(face.a) for face in faces.values()),
            "links": sum(len(face.link_a) for face in faces.values()),
            "table_bytes": written.bytes,
        },
        checksum=written.checksum,
    )


def pieces(config: Config, index: Triple) -> tuple[Piece, ...]:
    return records.pieces(config.tables, "faces", index)


def _face(config: Config, index: Triple, axis: int) -> FaceTable:
    box = BlockGrid(config.volume, config.block).box(index)
    shape = [n for i, n in enumerate(box.shape) if i != axis]
    previous = [i - (k == axis) for k, i in enumerate(index)]
    before = records.read_block_columns(config.tables, (previous[0], previous[1], previous[2]), ["id", f"last{axis}"])
    behind = records.read_block_columns(
        config.tables, index, ["id", f"first{axis}", f"affinity{axis}", f"picked{axis}"]
    )
    contacts, links = face_contacts(
        before[f"last{axis}"].reshape(shape),
        behind[f"first{axis}"].reshape(shape),
        behind[f"affinity{axis}"].reshape(shape),
        behind[f"picked{axis}"].reshape(shape),
        box.start,
        config.volume,
        axis,
        config.levels,
    )
    return FaceTable(
        before["id"][contacts.a],
        behind["id"][contacts.b],
        contacts.sum,
        contacts.count,
        contacts.best,
        contacts.histogram,
        before["id"][links[:, 0]],
        behind["id"][links[:, 1]],
    )
