"""Marks tasks of a stage that are in some state, one bit a task: 125 kB for each million of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_SCAN = 1 << 13  # bytes looked at together


class Bitmap:
    """Holds the bits 0 … size − 1.

    Args:
        bits: one boolean each; copied.

    Attributes:
        size: number of bits.
        count: number of bits that are set.
    """

    def __init__(self, bits: npt.NDArray[np.bool_]) -> None:
        self.size = len(bits)
        self.count = int(np.count_nonzero(bits))
        self._bytes = bytearray(np.packbits(bits, bitorder="little"))
        self._view = np.frombuffer(self._bytes, np.uint8)

    def __getitem__(self, place: int) -> bool:
        return self._bytes[place >> 3] >> (place & 7) & 1 == 1

    def set(self, place: int) -> None:
        """Sets a bit, if it is not set."""
        if not self[place]:
            self._bytes[place >> 3] |= 1 << (place & 7)
            self.count += 1

    def next_clear(self, start: int) -> int:
        """Returns the first place from `start` on whose bit is not set; `size` where there is none."""
        while start < self.size and self[start]:
            start += 1
            if start & 7 == 0:
                start += 8 * self._full(start >> 3)
        return min(start, self.size)

    def _full(self, first: int) -> int:
        """Counts the bytes from one of them on whose bits are all set, as far as is looked at together."""
        not_full = self._view[first : first + _SCAN] != 255
        return int(not_full.argmax()) if not_full.any() else len(not_full)
