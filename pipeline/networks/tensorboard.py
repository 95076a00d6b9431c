"""A training's numbers in the format of TensorBoard, beside the lines of the log.

An event file is a row of records: a length, the record, and masked CRC-32C checksums of both (tensorflow's
`record_writer.cc`). A record is an Event of tensorflow's `event.proto`; the few fields that numbers need are written
here as protocol buffers, so that training does not need TensorBoard. Looking at them does: `tensorboard --logdir DIR`.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .. import checksums

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5  # wire types of protocol buffers
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION_LOG = 1, 2, 3, 5, 7  # fields of an Event
_VALUE = 1  # of a Summary
_TAG, _SIMPLE_VALUE = 1, 2  # of a Value
_STATUS, _START = 1, 1  # of a SessionLog, and the status that makes TensorBoard forget later steps of before


class EventFile:
    """Writes numbers, a file for every process that trains.

    Args:
        directory: where the file goes; it is made with the first number.
        step: the first that is still to come; TensorBoard forgets what older files say of it and of later ones.
    """

    def __init__(self, directory: Path, step: int) -> None:
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._path, self._step = directory / name, step

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Append the numbers of a step, each under its name."""
        records = [] if self._path.exists() else self._head()
        values = b"".join(
            _field(_VALUE, _BYTES, _field(_TAG, _BYTES, name.encode()) + _field(_SIMPLE_VALUE, _FLOAT, number))
            for name, number in numbers.items()
        )
        records.append(_event(step, _field(_SUMMARY, _BYTES, values)))
        with self._path.open("ab") as file:
            file.write(b"".join(map(_framed, records)))

    def _head(self) -> list[bytes]:
        start = _field(_SESSION_LOG, _BYTES, _field(_STATUS, _VARINT, _START))
        return [_event(0, _field(_FILE_VERSION, _BYTES, b"brain.Event:2")), _event(self._step, start)]


def _event(step: int, content: bytes) -> bytes:
    return _field(_WALL_TIME, _DOUBLE, time.time()) + _field(_STEP, _VARINT, step) + content


def _field(number: int, kind: int, value: float | bytes) -> bytes:
    """A field of a protocol buffer."""
    tag = _varint(number << 3 | kind)
    if isinstance(value, bytes):
        return tag + _varint(len(value)) + value
    if kind == _VARINT:
        return tag + _varint(int(value))
    return tag + struct.pack("<d" if kind == _DOUBLE else "<f", value)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth bit says that more follow."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _framed(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + _masked(length) + record + _masked(record)


def _masked(data: bytes) -> bytes:
    checksum = checksums.of_array(np.frombuffer(data, np.uint8))
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)
