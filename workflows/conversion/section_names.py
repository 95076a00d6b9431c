"""The order of sections by the numbers in their names: decimals, signs and any count of digits; gaps and doubles."""

from __future__ import annotations

import glob
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ...pipeline.errors import VolumeError

IN_ORDER = "If they follow one another in the order of their names nevertheless, say --in-order"
_NUMBERS = (r"\d+", r"\d+[.,]\d+|\d+", r"\d+(?:[.,]\d+)?(?:e[+-]?\d{1,3})?")
"""What a number may be, the likeliest first: whole, decimal, with a power of ten."""
_SIGNS = (r"(?<![^\W_])[-+]", r"[-+]")
"""Where a sign may stand: not behind a letter or digit, which it separates from the number; or anywhere."""
_WIDE = Decimal("1.75")
"""Of the usual step; from there on something is missing. Rounded decimals differ by up to half a step."""
_IRREGULAR = 0.25
"""Share of steps that may be wide; with more of them the numbers count something else than sections."""


@dataclass(frozen=True)
class Order:
    """Puts names in an order.

    Args:
        indices: of the names, in order.
        remark: what a user must be told of the numbers; empty if nothing.
    """

    indices: tuple[int, ...]
    remark: str = ""


def order_of(names: Sequence[str], where: str) -> Order:
    """Returns the order of sections by the one number that differs in their names.

    Args:
        names: without folders and endings.
        where: names their folder in errors.

    Raises:
        VolumeError: there are several series, a number is missing or there twice, or nothing says the order.
    """
    if len(names) < 2:
        return Order(tuple(range(len(names))))
    readings = [_Reading.of(names, _SIGNS[0], number) for number in _NUMBERS]
    if not any(reading.is_good for reading in readings):
        readings += [_Reading.of(names, _SIGNS[1], number) for number in _NUMBERS]
    best = min(readings, key=lambda reading: (not reading.is_good, reading.wide_steps))
    if not best.is_good:
        raise VolumeError(_no_order(names, readings[0], where))
    for other in readings:
        if other.is_good and other.wide_steps == best.wide_steps and other.order != best.order:
            raise VolumeError(
                f"The numbers in the names of sections must have one meaning; {names[0]} and the others in {where} may "
                f"hold whole numbers or decimals. Rename them with numbers of equal length. {IN_ORDER}."
            )
    return Order(best.order, _gaps([best.values[i] for i in best.order], [names[i] for i in best.order], where))


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts section_9 before section_10, whatever the case of letters."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


@dataclass(frozen=True)
class _Reading:
    """Names read as texts and numbers.

    Args:
        texts: what of each name is no number.
        numbers: of each name.
        values: the number of each section; empty if no column of numbers counts them.
    """

    texts: tuple[tuple[str, ...], ...]
    numbers: tuple[tuple[Decimal, ...], ...]
    values: tuple[Decimal, ...]

    @classmethod
    def of(cls, names: Sequence[str], sign: str, number: str) -> _Reading:
        pattern = re.compile(rf"(?:{sign})?(?:{number})", re.IGNORECASE)
        parts = [_split(name.replace("−", "-"), pattern) for name in names]
        texts, numbers = tuple(text for text, _ in parts), tuple(values for _, values in parts)
        columns = [tuple(column) for column in zip(*numbers, strict=True)] if len(set(texts)) == 1 else []
        varying = [column for column in columns if len(set(column)) > 1]
        unique = [column for column in varying if len(set(column)) == len(names)]
        if len(varying) != 1:
            varying = sorted(unique, key=_wide_steps)  # the first of those that are most even
        return cls(texts, numbers, varying[0] if varying else ())

    @property
    def is_good(self) -> bool:
        """Tells whether each section has a number of its own."""
        return bool(self.values) and len(set(self.values)) == len(self.values)

    @property
    def wide_steps(self) -> int:
        """Counts the steps between the sections' numbers that are wider than most."""
        return _wide_steps(self.values)

    @property
    def order(self) -> tuple[int, ...]:
        """Indices of the names in the order of their numbers."""
        return tuple(sorted(range(len(self.values)), key=lambda i: self.values[i]))


def _split(name: str, number: re.Pattern[str]) -> tuple[tuple[str, ...], tuple[Decimal, ...]]:
    """The texts around the numbers of a name, and the numbers."""
    texts, numbers, end = [], [], 0
    for match in number.finditer(name):
        texts.append(name[end : match.start()].lower())
        numbers.append(Decimal(match[0].replace(",", ".")))
        end = match.end()
    return (*texts, name[end:].lower()), tuple(numbers)


def _steps(values: Sequence[Decimal]) -> list[Decimal]:
    return [b - a for a, b in itertools.pairwise(values)]


def _usual(steps: Sequence[Decimal]) -> Decimal:
    """The commonest step; the smallest of those that are."""
    counts = Counter(steps)
    most = max(counts.values())
    return min(step for step, count in counts.items() if count == most)


def _wide_steps(values: Sequence[Decimal]) -> int:
    steps = _steps(sorted(values))
    return sum(step > _WIDE * _usual(steps) for step in steps) if steps else 0


def _gaps(values: Sequence[Decimal], names: Sequence[str], where: str) -> str:
    """Words remarks on the steps between numbers.

    Raises:
        VolumeError: numbers are missing.
    """
    steps = _steps(values)
    usual = _usual(steps)
    wide = [i for i, step in enumerate(steps) if step > _WIDE * usual]
    if wide and (usual == 1 or len(wide) <= _IRREGULAR * len(steps)):
        found = [f"between {names[i]} and {names[i + 1]}{_missing(values[i], values[i + 1], usual)}" for i in wide[:5]]
        raise VolumeError(
            f"Sections of {where} are missing, by the numbers in their names: {'; '.join(found)}"
            f"{' …' if len(wide) > 5 else ''}. Bring them back, or put copies of their neighbours there. {IN_ORDER}."
        )
    if wide:
        return "The numbers in the names of its sections are unevenly spaced; sections are in their order"
    whole = all(value == int(value) for value in values)
    stepped = whole and usual > 1 and len(set(steps)) == 1
    return f"The numbers in the names of its sections go up in steps of {usual}" if stepped else ""


def _missing(before: Decimal, after: Decimal, usual: Decimal) -> str:
    """The numbers that are missing between two, in brackets, if they are whole."""
    if usual != int(usual) or before != int(before):
        return ""
    between = range(int(before + usual), int(after), int(usual))
    listed = ", ".join(map(str, between[:5]))
    return f" ({listed}{' …' if len(between) > 5 else ''})"


def _no_order(names: Sequence[str], reading: _Reading, where: str) -> str:
    """Why names have no order: several series, the same number twice, several numbers that repeat, or none."""
    series: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for text, name in zip(reading.texts, names, strict=True):
        series[text].append(name)
    if len(series) > 1:
        patterns = sorted((_pattern(found[0]), len(found)) for found in series.values())
        listed = ", ".join(f"{pattern} ({count})" for pattern, count in patterns[:6])
        return (
            f"The sections of a volume are one series of names, numbered through; {where} has {len(series)}: {listed}"
            f"{' …' if len(series) > 6 else ''}. Give one of them, in quotes: '{where}/{patterns[0][0]}.*'. {IN_ORDER}."
        )
    if reading.values:
        counts = Counter(reading.values)
        twice = next(value for value, count in counts.items() if count > 1)
        same = [name for name, value in zip(names, reading.values, strict=True) if value == twice]
        return (
            f"Each section of {where} must have a number of its own: {' and '.join(same[:3])} have the same. Take one "
            f"away, or rename it. {IN_ORDER}."
        )
    counted = [len(set(column)) for column in zip(*reading.numbers, strict=True)]
    return (
        f"The sections of a volume are numbered through; the names in {where} hold several numbers, none of which is "
        f"another one in each ({', '.join(f'{n} values' for n in counted if n > 1)}), such as {min(names)} and "
        f"{max(names)}: tiles, channels or parts? Give one series, in quotes, with * and ?. {IN_ORDER}."
    )


def _pattern(name: str) -> str:
    """A name with * for its numbers, as shells take it."""
    return re.sub(r"\d+", "*", glob.escape(name))
