"""From affinities to supervoxels, and from supervoxels and a table of final ids to segments."""
