"""From supervoxels to segments: the contact graph and the merging of its nodes, exact in any order."""
