"""Scores segmentations: contingency tables, and the scores computed from them."""

from .scores import Scores, evaluate

__all__ = ["Scores", "evaluate"]
