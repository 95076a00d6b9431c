"""Faults injected into real runs, one after another."""
