"""Analysis: questions about a result, which no run directory is changed for."""
