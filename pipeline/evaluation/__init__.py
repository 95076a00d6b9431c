"""How wrong a segmentation is: contingency tables and the scores computed from them."""

from .scores import Scores, evaluate

__all__ = ["Scores", "evaluate"]
