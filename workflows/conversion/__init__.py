"""Other formats in and out: volumes of laboratories become OME-Zarr."""
