"""A reader of TensorBoard's event files, after the description of TFRecord files and of protocol buffers."""

from __future__ import annotations

import struct

import google_crc32c


def records(data):
    """The records of an event file, their checksums compared."""
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        record = data[12 : 12 + length]
        for part, stated in ((data[:8], data[8:12]), (record, data[12 + length : 16 + length])):
            checksum = google_crc32c.value(part)
            rotated = (checksum >> 15) | (checksum << 17) & 0xFFFFFFFF
            assert struct.unpack("<I", stated)[0] == (rotated + 0xA282EAD8) % 2**32
        yield record
        data = data[16 + length :]


def message(data):
    """The fields of a protocol buffer: [(number, value)]."""

    def varint():
        nonlocal data
        found = shift = 0
        while True:
            byte, data = data[0], data[1:]
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return found

    fields = []
    while data:
        number, kind = divmod(varint(), 8)
        if kind == 0:
            fields.append((number, varint()))
            continue
        length = {1: 8, 5: 4}.get(kind) or varint()
        value, data = data[:length], data[length:]
        fields.append((number, struct.unpack({1: "<d", 5: "<f"}[kind], value)[0] if kind in (1, 5) else value))
    return fields


def scalars(path):
    """(step, name, number) of an event file, and what comes before them."""
    first, second, *rest = ([(n, v) for n, v in message(record) if n != 1] for record in records(path.read_bytes()))
    found = []
    for event in rest:
        fields = dict(event)
        for _, value in message(fields[5]):
            tag, number = dict(message(value))[1], dict(message(value))[2]
            found.append((fields[2], tag.decode(), number))
    return first, second, found
