"""How wrong segmentations are, and what makes them less wrong."""
