"""Conversion: volumes in other formats become OME-Zarr."""
