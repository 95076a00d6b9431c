"""The version of petavox."""

__version__ = "0.1.0"
