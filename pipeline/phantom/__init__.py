"""Phantom EM: volumes without end that look like serial-section electron microscopy and have true labels."""

from .phantom import Phantom, PhantomConfig

__all__ = ["Phantom", "PhantomConfig"]
