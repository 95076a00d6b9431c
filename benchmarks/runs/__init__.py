"""Whole runs: what blocks, the loop, memory, plans and storage cost."""
