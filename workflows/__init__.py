"""Decides which tasks run, in which order: recipes, plan, ledger, run loop, report, and the command line."""
