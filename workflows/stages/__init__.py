"""Stages: what a recipe comes to, one task a block each, and what their results depend on."""
