"""Where a volume shows tissue: cells whose grey values have structure, apart from empty resin and the image's border.

structure: how much structure the grey values of each cell have · outline: from these to a mask, by a threshold that
the whole volume decides, without specks and holes.
"""

from .outline import Outline, outline
from .structure import cells_of, structure_of_cells

__all__ = ["Outline", "cells_of", "outline", "structure_of_cells"]
