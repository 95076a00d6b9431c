"""The report: one page about a run, and how it ended."""
