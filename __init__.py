"""petavox turns an electron-microscopy volume into neurons, block by block, and says how wrong the result is."""

__version__ = "0.1.0"
