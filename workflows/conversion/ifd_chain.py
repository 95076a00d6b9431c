"""The chain of image file directories of a TIFF, walked link by link: a file that was cut short has a broken one."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from ...pipeline.errors import VolumeError

_CLASSIC, _BIG = 42, 43
_MOST_TAGS = 4096


def page_offsets(path: Path) -> list[int]:
    """Returns where the directory of each page lies in a TIFF or BigTIFF file, in bytes, in the order of the chain.

    Raises:
        VolumeError: the file is none, or its chain leads out of it, in a circle, or into something else.
    """
    size = path.stat().st_size
    offsets: list[int] = []
    seen: set[int] = set()
    with path.open("rb") as file:
        try:
            order, entry, count_format, offset_format = _header(file)
            where = _unpacked(file, order + offset_format)
            while where:
                if where in seen:
                    raise VolumeError(
                        f"The pages of {path} lead in a circle: page {len(offsets)} is an earlier one. {_CURE}"
                    )
                if where >= size:
                    raise VolumeError(
                        f"{path} was cut short: page {len(offsets)} lies at byte {where} of {size}. {_CURE}"
                    )
                seen.add(where)
                file.seek(where)
                tags = _unpacked(file, order + count_format)
                if not 0 < tags <= _MOST_TAGS:
                    raise VolumeError(f"Page {len(offsets)} of {path} has {tags} tags: it is damaged. {_CURE}")
                offsets.append(where)
                file.seek(tags * entry, 1)
                where = _unpacked(file, order + offset_format)
        except (struct.error, OverflowError) as error:
            raise VolumeError(f"{path} was cut short, or is damaged, behind {len(offsets)} pages. {_CURE}") from error
    if not offsets:
        raise VolumeError(f"{path} is a TIFF without a page. {_CURE}")
    return offsets


_CURE = "Copy or export it again."


def _header(file: BinaryIO) -> tuple[str, int, str, str]:
    """Byte order, bytes of a tag, and the formats of a count of tags and of an offset."""
    order = {b"II": "<", b"MM": ">"}.get(file.read(2), "")
    kind = _unpacked(file, (order or "<") + "H")
    if kind == _BIG and order:
        file.seek(8)
        return order, 20, "Q", "Q"
    if kind == _CLASSIC and order:
        return order, 12, "H", "I"
    raise struct.error("no TIFF")


def _unpacked(file: BinaryIO, format_: str) -> int:
    return int(struct.unpack(format_, file.read(struct.calcsize(format_)))[0])
