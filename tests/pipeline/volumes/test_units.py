"""A unit of length is known in every spelling of the field; what is none is told apart."""

import pytest

from petavox.pipeline.volumes.units import nanometres_of

SPELLINGS = {
    1.0: ["nm", "NM", "nanometer", "nanometre", "Nanometers", "nano-meter", "nm/px", "nm per pixel", "nm.", b"nm"],
    1e3: ["um", "µm", "μm", "\\u00B5m", "Âµm", "micron", "microns", "Micron", "micrometer", "micrometres", "UM"],
    0.1: ["Å", "\u212b", "A", "angstrom", "Angstroms", "ångström"],
    1e-3: ["pm", "picometer"],
    1e6: ["mm", "millimetres"],
    1e7: ["cm", "centimeter"],
    1e9: ["m", "meter", "metres"],
    1e15: ["Mm", "megameter"],
    25.4e6: ["inch", "inches", "in", '"'],
    304.8e6: ["ft", "foot", "feet"],
}


@pytest.mark.parametrize(("nm", "unit"), [(nm, unit) for nm, units in SPELLINGS.items() for unit in units])
def test_units_of_length_have_many_spellings(nm, unit):
    assert nanometres_of(unit) == pytest.approx(nm)


@pytest.mark.parametrize(
    "unit", ["", " ", "pixel", "px", "voxel", "reference frame", "furlong", "sec", "MM", None, 3, {"a": 1}, [], "nm nm"]
)
def test_what_is_no_unit_of_length_is_none(unit):
    assert nanometres_of(unit) is None
