"""Planning: what a run will cost, and what cannot work."""
