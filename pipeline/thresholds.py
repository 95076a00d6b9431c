"""Decimal thresholds in [0, 1], compared exactly with uint8 affinities and with means of them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from .errors import RequestError

SCALE = 10**6
Decimals = Decimal | float | str


@dataclass(frozen=True, order=True)
class Threshold:
    """Holds a decimal in [0, 1] with at most six places, as millionths.

    An affinity v of 0…255 passes t when v ≥ t · 255; a contact passes when sum ≥ t · 255 · count.
    """

    millionths: int

    @classmethod
    def parse(cls, value: Decimals, name: str = "threshold") -> Threshold:
        """Makes a threshold from a decimal; a float counts as the shortest decimal that prints as it.

        Raises:
            RequestError: not a number in [0, 1], or more than six places.
        """
        try:
            millionths = Decimal(str(value)) * SCALE
            valid = 0 <= millionths <= SCALE and millionths == int(millionths)
        except (ArithmeticError, ValueError):
            valid = False
        if not valid:
            raise RequestError(f"{name} must be a decimal in [0, 1] with at most six places; found {value!r}.")
        return cls(int(millionths))

    @property
    def least_affinity(self) -> int:
        """Returns the smallest uint8 affinity that passes: 0…255."""
        return -(-self.millionths * 255 // SCALE)

    @property
    def per_edge(self) -> int:
        """Returns the mean that each voxel edge must reach, in millionths of a grey level: t · 255 · 10⁶."""
        return self.millionths * 255

    def __str__(self) -> str:
        return str((Decimal(self.millionths) / SCALE).normalize())


MAXIMUM = Threshold(SCALE)


def _exact(value: Any, info: ValidationInfo) -> Decimal:
    """Returns a number as the decimal that was written; text is a number to models that are not strict."""
    try:
        if isinstance(value, bool) or (isinstance(value, str) and (info.config or {}).get("strict")):
            raise RequestError("Not a number.")
        Threshold.parse(value)
    except RequestError as error:
        raise ValueError("must be a decimal in [0, 1] with at most six places") from error
    return Decimal(str(value))


Fraction = Annotated[Decimal, BeforeValidator(_exact)]
"""A field of a model that holds a threshold."""
