"""Run directories: what a run keeps on disk."""
