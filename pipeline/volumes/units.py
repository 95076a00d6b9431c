"""Units of length as OME, ImageJ, N5, HDF5 and Zarr spell them, in nanometres."""

from __future__ import annotations

import re
import unicodedata

_PREFIXES = {
    "yotta": ("Y", 1e24), "zetta": ("Z", 1e21), "exa": ("E", 1e18), "peta": ("P", 1e15), "tera": ("T", 1e12),
    "giga": ("G", 1e9), "mega": ("M", 1e6), "kilo": ("k", 1e3), "hecto": ("h", 1e2), "deca": ("da", 1e1),
    "deka": ("da", 1e1), "": ("", 1.0), "deci": ("d", 1e-1), "centi": ("c", 1e-2), "milli": ("m", 1e-3),
    "micro": ("μ", 1e-6), "nano": ("n", 1e-9), "pico": ("p", 1e-12), "femto": ("f", 1e-15), "atto": ("a", 1e-18),
    "zepto": ("z", 1e-21), "yocto": ("y", 1e-24),
}  # fmt: skip
_METRE = 1e9
_NAMES = {
    "angstrom": 0.1, "ångström": 0.1, "ångstrom": 0.1, "angström": 0.1, "micron": 1e3, "millimicron": 1.0,
    "inch": 25.4e6, "inche": 25.4e6, "foot": 304.8e6, "feet": 304.8e6, "yard": 914.4e6, "mile": 1609.344e9,
    "thou": 25.4e3, "mil": 25.4e3, "line": 25.4e6 / 12, "point": 25.4e6 / 72, "parsec": 3.0856775814913673e25,
    "lightyear": 9.4607304725808e24, "astronomicalunit": 1.495978707e20,
}  # fmt: skip
_NAMES |= {f"{prefix}{metre}": f * _METRE for prefix, (_, f) in _PREFIXES.items() for metre in ("meter", "metre")}
_SYMBOLS = {
    "Å": 0.1, "A": 0.1, "um": 1e3, "μ": 1e3, "in": 25.4e6, '"': 25.4e6, "ft": 304.8e6, "yd": 914.4e6, "mi": 1609.344e9,
    "li": 25.4e6 / 12, "pt": 25.4e6 / 72, "ua": 1.495978707e20, "au": 1.495978707e20, "ly": 9.4607304725808e24,
    "pc": 3.0856775814913673e25,
}  # fmt: skip
_SYMBOLS |= {f"{symbol}m": factor * _METRE for symbol, factor in _PREFIXES.values()}
_ANY_CASE = {"nm", "um", "μm", "km", "cm"}
"""Symbols that mean one unit in capitals, too. Mm and mm, Pm and pm do not."""
_PER_VOXEL = re.compile(r"\s*(?:/|per)\s*(?:pixel|px|pix|voxel|vox|vx)s?$", re.IGNORECASE)


def nanometres_of(unit: object) -> float | None:
    """Returns the length of a unit in nm; None where it is no unit of length ("pixel", "", a word nobody knows).

    Capitals count in symbols (Mm is a megametre) and not in names; names may be plural, British or American.
    """
    if isinstance(unit, bytes):
        unit = unit.decode(errors="replace")
    if not isinstance(unit, str):
        return None
    text = _tidied(unit)
    if text in _SYMBOLS:
        return _SYMBOLS[text]
    if text.lower() in _ANY_CASE:
        return _SYMBOLS[text.lower()]
    name = re.sub(r"[\s_-]", "", text.lower())
    return _NAMES.get(name, _NAMES.get(name.removesuffix("s")))


def _tidied(unit: str) -> str:
    """The unit without blanks, "per pixel" and full stop; both letters μ and both Å alike."""
    unit = unit.replace("\\u00B5", "μ").replace("\\u00b5", "μ").replace("\0", "")
    text = unicodedata.normalize("NFKC", unit).replace("Âμ", "μ").strip().strip("'").rstrip(".")
    return _PER_VOXEL.sub("", text).strip()
