"""Runs: whole operations on a run directory."""
