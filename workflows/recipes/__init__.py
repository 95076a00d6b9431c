"""Recipes: what is asked for, as strict models read from TOML."""
